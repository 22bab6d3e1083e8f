#include "tests/sim/sim_kv.h"

#include "core/base/blocks.h"
#include "core/base/buf.h"
#include "core/base/map.h"
#include "tests/sim/sim_tree.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct past { /* the contents after a batch */
    struct tree *tree;
    uint64_t bytes; /* of that batch, for the room and the time it takes */
};

/* A map on the disk. pasts[0] is safe; up to pasts[handed] it is with the system; the last is now. */
struct sim_map {
    struct sim_map *next;
    char folder[PATH_MAX];
    struct past *pasts;
    size_t past_count, handed;
    struct tree *copy; /* kept aside */
    struct kv *open;   /* NULL: by nobody */
};

struct sim_disk {
    struct sim_disk *next;
    char root[PATH_MAX];
    struct rng *rng;
    struct sim_map *maps;  /* in the order they were made */
    struct kv_iter *iters; /* that somebody walks by */
    struct tree **left;    /* what those stood on that ended with a crash */
    size_t left_count;
    uint64_t free_bytes, cost_ns;
    bool is_stalling;
    struct {
        bool is_armed, does_lie;
        uint32_t skip;
        enum err err;
        uint64_t call_ns, kib_ns;
    } calls[SIM_KV_CALLS];
};

struct kv {
    struct sim_disk *disk;
    struct sim_map *map; /* NULL: the process has ended, or it could not be reopened */
    struct kv_config config;
    enum err fence;
    uint64_t written_bytes;
};

static struct sim_disk *disks; /* all there are: the door has no argument for it */

/* ---- the disk ------------------------------------------------------------------------------- */

static void *take(size_t bytes)
{
    void *memory = calloc(1, bytes);
    ASSERT(memory != NULL);
    return memory;
}

/* What is handed out is of who asked, and goes with him: the simulator takes away a node's memory. */
static void *lend(size_t bytes)
{
    void *memory = blocks_take(bytes);
    ASSERT(memory != NULL);
    return memset(memory, 0, bytes);
}

struct sim_disk *sim_kv_disk_new(const char *root, struct rng *rng)
{
    struct sim_disk *disk = take(sizeof *disk);
    *disk = (struct sim_disk){.next = disks, .rng = rng, .free_bytes = UINT64_MAX};
    snprintf(disk->root, sizeof disk->root, "%s", root);
    disks = disk;
    return disk;
}

/* Forget the pasts from begin (inclusive) to end (exclusive). */
static void map_forget(struct sim_map *map, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        tree_unref(map->pasts[i].tree);
    }
    memmove(map->pasts + begin, map->pasts + end, (map->past_count - end) * sizeof *map->pasts);
    map->past_count -= end - begin;
}

static void map_keep(struct sim_map *map, struct tree *tree, uint64_t bytes)
{
    if ((map->past_count & (map->past_count - 1)) == 0) { /* full at each power of two */
        size_t room = map->past_count == 0 ? 1 : 2 * map->past_count;
        map->pasts = realloc(map->pasts, room * sizeof *map->pasts);
        ASSERT(map->pasts != NULL);
    }
    map->pasts[map->past_count++] = (struct past){tree, bytes};
}

static struct tree *map_now(const struct sim_map *map)
{
    return map->pasts[map->past_count - 1].tree;
}

void sim_kv_disk_free(struct sim_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    struct sim_disk **place = &disks;
    while (*place != disk) {
        place = &(*place)->next;
    }
    *place = disk->next;
    for (size_t i = 0; i < disk->left_count; i++) {
        tree_unref(disk->left[i]);
    }
    free(disk->left);
    while (disk->maps != NULL) {
        struct sim_map *map = disk->maps;
        ASSERT(map->open == NULL);
        disk->maps = map->next;
        map_forget(map, 0, map->past_count);
        tree_unref(map->copy);
        free(map->pasts);
        free(map);
    }
    free(disk);
}

/* The safe contents become those of a past that is drawn, from the first one that could be it on. */
static void map_draw(struct sim_map *map, struct rng *rng, size_t first)
{
    size_t drawn = first + rng_below(rng, map->past_count - first);
    map_forget(map, drawn + 1, map->past_count);
    map_forget(map, 0, drawn);
    map->handed = 0;
}

static void iters_crash(struct sim_disk *disk);

void sim_kv_crash(struct sim_disk *disk, enum sim_kv_crash crash)
{
    iters_crash(disk);
    for (struct sim_map *map = disk->maps; map != NULL; map = map->next) {
        if (map->open != NULL) {
            map->open->map = NULL;
            map->open = NULL;
        }
        /* What is left is safe from here on: who opens a map writes it anew before he goes on. */
        map_draw(map, disk->rng, crash == SIM_KV_PROCESS_ENDS ? map->handed : 0);
    }
}

void sim_kv_copy(struct sim_disk *disk)
{
    for (struct sim_map *map = disk->maps; map != NULL; map = map->next) {
        tree_unref(map->copy);
        map->copy = tree_ref(map->pasts[0].tree);
    }
}

void sim_kv_restore(struct sim_disk *disk)
{
    for (struct sim_map *map = disk->maps; map != NULL; map = map->next) {
        ASSERT(map->open == NULL);
        map_forget(map, 0, map->past_count);
        map_keep(map, tree_ref(map->copy), 0);
        map->handed = 0;
    }
}

void sim_kv_fail(struct sim_disk *disk, enum sim_kv_call call, uint32_t skip, enum err err)
{
    disk->calls[call].is_armed = true;
    disk->calls[call].skip = skip;
    disk->calls[call].err = err;
}

void sim_kv_lie(struct sim_disk *disk, enum sim_kv_call call, bool does_lie)
{
    disk->calls[call].does_lie = does_lie;
}

void sim_kv_set_free(struct sim_disk *disk, uint64_t bytes)
{
    disk->free_bytes = bytes;
}

void sim_kv_set_pace(struct sim_disk *disk, enum sim_kv_call call, uint64_t call_ns,
                     uint64_t kib_ns)
{
    disk->calls[call].call_ns = call_ns;
    disk->calls[call].kib_ns = kib_ns;
}

uint64_t sim_kv_take_ns(struct sim_disk *disk)
{
    uint64_t cost_ns = disk->cost_ns;
    disk->cost_ns = 0;
    return cost_ns;
}

void sim_kv_set_stalling(struct sim_disk *disk, bool is_stalling)
{
    disk->is_stalling = is_stalling;
}

/* A call is made: what it costs, and whether it is one that was to fail. */
static enum err on_call(struct sim_disk *disk, enum sim_kv_call call, uint64_t bytes)
{
    disk->cost_ns += disk->calls[call].call_ns + disk->calls[call].kib_ns * bytes / 1024;
    if (!disk->calls[call].is_armed) {
        return OK;
    }
    if (disk->calls[call].skip > 0) {
        disk->calls[call].skip--;
        return OK;
    }
    disk->calls[call].is_armed = false;
    return disk->calls[call].err;
}

static struct sim_map *map_find(const struct sim_disk *disk, const char *folder)
{
    struct sim_map *map = disk->maps;
    while (map != NULL && strcmp(map->folder, folder) != 0) {
        map = map->next;
    }
    return map;
}

static struct sim_map *map_make(struct sim_disk *disk, const char *folder, struct tree *tree)
{
    struct sim_map **place = &disk->maps, *map = take(sizeof *map);
    while (*place != NULL) {
        place = &(*place)->next;
    }
    *place = map;
    snprintf(map->folder, sizeof map->folder, "%s", folder);
    map_keep(map, tree, 0);
    return map;
}

static struct sim_disk *disk_of(const char *folder)
{
    for (struct sim_disk *disk = disks; disk != NULL; disk = disk->next) {
        size_t count = strlen(disk->root);
        if (strncmp(folder, disk->root, count) == 0 &&
            (folder[count] == '/' || folder[count] == 0)) {
            return disk;
        }
    }
    return NULL;
}

bool sim_kv_flip(struct sim_disk *disk, const char *folder, struct slice prefix, bool is_noticed)
{
    struct sim_map *map = map_find(disk, folder);
    uint64_t count = 0;
    if (map == NULL) {
        return false;
    }
    /* Only what is safe lies on the disk; it is turned over wherever it is still the same. */
    const struct tree_item *item, *drawn = NULL;
    for (item = tree_from(map->pasts[0].tree, prefix, false);
         item != NULL && slice_starts_with(tree_key(item), prefix);
         item = tree_from(map->pasts[0].tree, tree_key(item), true)) {
        if (item->value_count > 0 && rng_below(disk->rng, ++count) == 0) {
            drawn = item;
        }
    }
    if (drawn == NULL) {
        return false;
    }
    uint64_t bit = rng_below(disk->rng, 8 * drawn->value_count);
    struct buf copy = {0};
    struct slice key = tree_key(drawn);
    ASSERT(buf_append(&copy, key) == OK && buf_append(&copy, tree_value(drawn)) == OK);
    key = slice_head(buf_bytes(&copy), key.count);
    copy.data[copy.begin + key.count + bit / 8] ^= (uint8_t)(1u << bit % 8);
    for (size_t i = map->past_count; i > 0;
         i--) { /* the oldest last: the item is borrowed from it */
        if (tree_get(map->pasts[i - 1].tree, key) == drawn) {
            map->pasts[i - 1].tree = tree_put(map->pasts[i - 1].tree, key,
                                              slice_skip(buf_bytes(&copy), key.count), is_noticed);
        }
    }
    buf_deinit(&copy);
    return true;
}

uint64_t sim_kv_digest(const struct sim_disk *disk)
{
    uint64_t digest = 0;
    for (const struct sim_map *map = disk->maps; map != NULL; map = map->next) {
        for (uint64_t i = 0; i < tree_count(map->pasts[0].tree); i++) {
            const struct tree_item *item = tree_at(map->pasts[0].tree, i);
            digest = hash_bytes_seeded(tree_key(item), digest);
            digest = hash_bytes_seeded(tree_value(item), digest);
        }
    }
    return digest;
}

/* ---- open and close ------------------------------------------------------------------------- */

static enum err fail(struct kv_failure *failure, const char *folder, enum err err)
{
    snprintf(failure->text, sizeof failure->text, "%.900s: %s", folder, err_text(err));
    return err;
}

enum err kv_open(const struct kv_config *config, struct kv **out, struct kv_failure *failure)
{
    struct sim_disk *disk = disk_of(config->folder);
    if (disk == NULL) {
        return fail(failure, config->folder, ERR_IO); /* sim_kv_disk_new() was not called */
    }
    enum err err = on_call(disk, SIM_KV_OPEN, 0);
    struct sim_map *map = map_find(disk, config->folder);
    if (err == OK && map == NULL && config->must_exist) {
        err = ERR_NOT_FOUND;
    }
    if (err == OK && map != NULL && map->open != NULL) {
        err = ERR_BUSY;
    }
    if (err != OK) {
        return fail(failure, config->folder, err);
    }
    struct kv *kv = lend(sizeof *kv);
    *kv = (struct kv){.disk = disk, .config = *config};
    kv->map = map == NULL ? map_make(disk, config->folder, NULL) : map;
    kv->map->open = kv;
    kv->config.folder = kv->map->folder;
    *out = kv;
    return OK;
}

void kv_close(struct kv *kv)
{
    if (kv == NULL) {
        return;
    }
    struct sim_map *map = kv->map;
    if (map != NULL && kv->config.way == KV_LOGGED) {
        kv_sync(kv, true);
    }
    if (map != NULL) {
        map_draw(map, kv->disk->rng, map->handed);
        map->open = NULL;
    }
    blocks_give(kv, sizeof *kv);
}

enum err kv_reopen(struct kv *kv, struct kv_failure *failure)
{
    if (kv->map == NULL) {
        return fail(failure, "a map", ERR_IO);
    }
    kv->fence = ERR_IO;
    enum err err = on_call(kv->disk, SIM_KV_OPEN, 0);
    if (err != OK) {
        return fail(failure, kv->map->folder, err);
    }
    /* The system may find only at a sync that there is no room, and forget what it had been handed. */
    map_draw(kv->map, kv->disk->rng, 0);
    kv->fence = OK;
    return OK;
}

void kv_merge(struct kv *kv)
{
    (void)kv; /* there are no files */
}

enum err kv_free_bytes(const char *folder, uint64_t *out)
{
    struct sim_disk *disk = disk_of(folder);
    if (disk == NULL) {
        return ERR_IO;
    }
    *out = disk->free_bytes;
    return OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* kind, length of key and value (or end of the range), and both; one after the other. */
struct kv_batch {
    struct buf changes;
};
enum change_kind { CHANGE_PUT, CHANGE_DELETE, CHANGE_DELETE_RANGE };
struct change {
    enum change_kind kind;
    size_t first_count, second_count;
};

struct kv_batch *kv_batch_new(void)
{
    return lend(sizeof(struct kv_batch));
}

struct kv_batch *kv_batch_copy(const struct kv_batch *batch)
{
    struct kv_batch *copy = kv_batch_new();
    bool is_copied = buf_append(&copy->changes, buf_bytes(&batch->changes)) == OK;
    ASSERT(is_copied);
    return copy;
}

void kv_batch_free(struct kv_batch *batch)
{
    if (batch != NULL) {
        buf_deinit(&batch->changes);
        blocks_give(batch, sizeof *batch);
    }
}

static void batch_add(struct kv_batch *batch, enum change_kind kind, struct slice first,
                      struct slice second)
{
    struct change change = {kind, first.count, second.count};
    bool is_added = buf_append(&batch->changes, slice_of(&change, sizeof change)) == OK &&
                    buf_append(&batch->changes, first) == OK &&
                    buf_append(&batch->changes, second) == OK;
    ASSERT(is_added);
}

void kv_batch_put(struct kv_batch *batch, struct slice key, struct slice value)
{
    batch_add(batch, CHANGE_PUT, key, value);
}

void kv_batch_delete(struct kv_batch *batch, struct slice key)
{
    batch_add(batch, CHANGE_DELETE, key, (struct slice){0});
}

void kv_batch_delete_range(struct kv_batch *batch, struct slice from, struct slice to)
{
    batch_add(batch, CHANGE_DELETE_RANGE, from, to);
}

void kv_batch_clear(struct kv_batch *batch)
{
    buf_consume(&batch->changes, buf_count(&batch->changes));
}

uint64_t kv_batch_bytes(const struct kv_batch *batch)
{
    return buf_count(&batch->changes);
}

static struct tree *apply(struct tree *tree, struct slice changes)
{
    while (changes.count > 0) {
        struct change change;
        memcpy(&change, changes.data, sizeof change);
        changes = slice_skip(changes, sizeof change);
        struct slice first = slice_head(changes, change.first_count);
        changes = slice_skip(changes, change.first_count);
        struct slice second = slice_head(changes, change.second_count);
        changes = slice_skip(changes, change.second_count);
        switch (change.kind) {
        case CHANGE_PUT:
            tree = tree_put(tree, first, second, false);
            break;
        case CHANGE_DELETE:
            tree = tree_delete(tree, first);
            break;
        case CHANGE_DELETE_RANGE:
            tree = tree_delete_range(tree, first, second);
            break;
        }
    }
    return tree;
}

static enum err state_of(const struct kv *kv)
{
    return kv->map == NULL ? ERR_IO : kv->fence;
}

static enum err fenced(struct kv *kv, enum err err)
{
    bool passes = err == ERR_NO_SPACE && kv->config.way == KV_UNLOGGED;
    kv->fence = passes ? OK : err;
    return err;
}

enum err kv_write(struct kv *kv, const struct kv_batch *batch)
{
    TRY(state_of(kv));
    uint64_t bytes = kv_batch_bytes(batch);
    TRY(fenced(kv, on_call(kv->disk, SIM_KV_WRITE, bytes)));
    if (kv->disk->free_bytes == 0) {
        return fenced(kv, ERR_NO_SPACE);
    }
    if (kv->disk->calls[SIM_KV_WRITE].does_lie && kv->config.way == KV_UNLOGGED) {
        return OK;
    }
    map_keep(kv->map, apply(tree_ref(map_now(kv->map)), buf_bytes(&batch->changes)), bytes);
    return OK;
}

/* Everything written is on the disk, as far as that has room. */
static enum err settle(struct kv *kv, enum sim_kv_call call, bool is_durable)
{
    struct sim_map *map = kv->map;
    uint64_t bytes = 0;
    TRY(state_of(kv));
    for (size_t i = map->handed + 1; i < map->past_count; i++) {
        bytes += map->pasts[i].bytes;
    }
    TRY(fenced(kv, on_call(kv->disk, call, bytes)));
    if (kv->disk->calls[call].does_lie) {
        return OK;
    }
    if (kv->disk->free_bytes != UINT64_MAX) {
        if (bytes > kv->disk->free_bytes) {
            kv->disk->free_bytes = 0;
            return fenced(kv, ERR_NO_SPACE);
        }
        kv->disk->free_bytes -= bytes;
    }
    kv->written_bytes += bytes;
    map->handed = map->past_count - 1;
    if (is_durable) {
        map_forget(map, 0, map->handed);
        map->handed = 0;
    }
    return OK;
}

enum err kv_sync(struct kv *kv, bool is_durable)
{
    ASSERT(kv->config.way == KV_LOGGED);
    return settle(kv, SIM_KV_SYNC, is_durable);
}

enum err kv_flush(struct kv *kv)
{
    ASSERT(kv->config.way == KV_UNLOGGED);
    return settle(kv, SIM_KV_FLUSH, true);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool is_noticed(const struct sim_disk *disk, const struct tree_item *item)
{
    return item->is_damaged && !disk->calls[SIM_KV_READ].does_lie;
}

enum err kv_get(struct kv *kv, struct slice key, struct kv_value *out)
{
    if (kv->map == NULL) {
        return ERR_IO;
    }
    TRY(on_call(kv->disk, SIM_KV_READ, 0));
    const struct tree_item *item = tree_get(map_now(kv->map), key);
    if (item == NULL) {
        return ERR_NOT_FOUND;
    }
    if (is_noticed(kv->disk, item)) {
        return ERR_CORRUPT;
    }
    out->own = tree_ref(map_now(kv->map));
    out->bytes = tree_value(item);
    return OK;
}

void kv_value_free(struct kv_value *value)
{
    tree_unref(value->own);
    *value = (struct kv_value){.own = NULL};
}

struct kv_iter {
    struct sim_disk *disk;
    struct tree *tree;
    const struct tree_item *next;
    enum err err;
    bool has_to;
    struct buf from, to;
    struct kv_iter *other, **place; /* in those of the disk */
};

struct kv_iter *kv_iter_new(struct kv *kv, struct slice from, struct slice to, bool is_bulk)
{
    (void)is_bulk;
    if (kv->map == NULL) {
        return NULL;
    }
    struct kv_iter *iter = lend(sizeof *iter);
    iter->disk = kv->disk;
    iter->tree = tree_ref(map_now(kv->map));
    iter->other = kv->disk->iters;
    iter->place = &kv->disk->iters;
    if (iter->other != NULL) {
        iter->other->place = &iter->other;
    }
    kv->disk->iters = iter;
    iter->has_to = to.count > 0;
    ASSERT(buf_append(&iter->from, from) == OK && buf_append(&iter->to, to) == OK);
    kv_iter_seek(iter, from);
    return iter;
}

static int compare(struct slice a, struct slice b)
{
    size_t common = a.count < b.count ? a.count : b.count;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.count > b.count) - (a.count < b.count);
}

void kv_iter_seek(struct kv_iter *iter, struct slice key)
{
    struct slice from = buf_bytes(&iter->from);
    iter->next = tree_from(iter->tree, compare(key, from) < 0 ? from : key, false);
}

bool kv_iter_next(struct kv_iter *iter, struct slice *key, struct slice *value)
{
    const struct tree_item *item = iter->next;
    if (item == NULL || iter->err != OK ||
        (iter->has_to && compare(tree_key(item), buf_bytes(&iter->to)) >= 0)) {
        return false;
    }
    iter->err = on_call(iter->disk, SIM_KV_READ, 0);
    if (iter->err == OK && is_noticed(iter->disk, item)) {
        iter->err = ERR_CORRUPT;
    }
    if (iter->err != OK) {
        return false;
    }
    *key = tree_key(item);
    *value = tree_value(item);
    iter->next = tree_from(iter->tree, *key, true);
    return true;
}

enum err kv_iter_error(const struct kv_iter *iter)
{
    return iter->err;
}

static void iters_remove(struct kv_iter *iter)
{
    *iter->place = iter->other;
    if (iter->other != NULL) {
        iter->other->place = iter->place;
    }
}

enum err kv_iter_end(struct kv_iter *iter)
{
    enum err err = iter->err;
    if (iter->place != NULL) { /* else there was a crash */
        iters_remove(iter);
        tree_unref(iter->tree);
    }
    buf_deinit(&iter->from);
    buf_deinit(&iter->to);
    blocks_give(iter, sizeof *iter);
    return err;
}

/* What they stood on stays; the rest goes with the memory of the node. */
static void iters_crash(struct sim_disk *disk)
{
    while (disk->iters != NULL) {
        struct kv_iter *iter = disk->iters;
        iters_remove(iter);
        iter->place = NULL;
        disk->left = realloc(disk->left, (disk->left_count + 1) * sizeof(*disk->left));
        ASSERT(disk->left != NULL);
        disk->left[disk->left_count++] = iter->tree;
    }
}

/* ---- looking after it ----------------------------------------------------------------------- */

bool kv_is_stalling(struct kv *kv)
{
    return kv->disk->is_stalling;
}

void kv_look(struct kv *kv, struct kv_figures *out)
{
    *out = (struct kv_figures){.written_bytes = kv->written_bytes};
    if (kv->map == NULL) {
        return;
    }
    struct tree *now = map_now(kv->map);
    out->key_count = tree_count(now);
    for (uint64_t i = 0; i < tree_count(now); i++) {
        const struct tree_item *item = tree_at(now, i);
        out->memory_bytes += sizeof *item + item->key_count + item->value_count;
    }
    out->disk_bytes = out->memory_bytes;
}

enum err kv_checkpoint(struct kv *kv, const char *folder, struct kv_failure *failure)
{
    struct sim_disk *disk = disk_of(folder);
    enum err err = kv->map == NULL || disk == NULL ? ERR_IO : OK;
    if (err == OK && map_find(disk, folder) != NULL) {
        err = ERR_EXISTS;
    }
    if (err != OK) {
        return fail(failure, folder, err);
    }
    map_make(disk, folder, tree_ref(map_now(kv->map)));
    return OK;
}

enum err kv_verify(struct kv *kv, struct kv_failure *failure)
{
    struct tree *now = kv->map == NULL ? NULL : map_now(kv->map);
    for (uint64_t i = 0; i < tree_count(now); i++) {
        if (tree_at(now, i)->is_damaged) {
            return fail(failure, kv->map->folder, ERR_CORRUPT);
        }
    }
    return kv->map == NULL ? fail(failure, "a map", ERR_IO) : OK;
}
