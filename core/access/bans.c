#include "core/access/bans.h"

#include "core/access/network.h"
#include "core/base/list.h"
#include "core/base/map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* Three maps: an address is a network of full length. */
enum table { TABLE_NETWORK, TABLE_CLIENT, TABLE_USER, TABLE_COUNT };

enum { NETWORK_KEY_BYTES = 1 + NETWORK_IP_BYTES, WHY_BYTES = 256 };

/* clang-format off */
static const struct {
    const char *name;
    enum table table;
} kinds[BAN_KIND_COUNT] = {
    [BAN_ADDRESS] = { "address", TABLE_NETWORK },
    [BAN_NETWORK] = { "network", TABLE_NETWORK },
    [BAN_CLIENT ] = { "client",  TABLE_CLIENT  },
    [BAN_USER   ] = { "user",    TABLE_USER    },
};
static const char *const by_names[BAN_BY_COUNT] = {
    [BAN_BY_CONFIG  ] = "configuration",
    [BAN_BY_OPERATOR] = "operator",
    [BAN_BY_FLAPPING] = "flapping",
};
/* clang-format on */

struct entry {
    struct list link; /* by id */
    struct ban ban;   /* its texts stand behind */
    struct slice key;
    uint8_t bytes[];
};

struct bans {
    pthread_rwlock_t lock;
    struct map *tables[TABLE_COUNT];
    struct list entries;
    uint64_t id_last;
    uint32_t lengths[NETWORK_BITS + 1]; /* networks of each length, to know what to look for */
    /* Relaxed: who is banned at the very moment may come in or not. */
    _Atomic uint32_t counts[TABLE_COUNT];
};

const char *ban_kind_name(enum ban_kind kind)
{
    ASSERT(kind < BAN_KIND_COUNT);
    return kinds[kind].name;
}

enum ban_kind ban_kind_find(struct slice name)
{
    int kind = 0;
    while (kind < BAN_KIND_COUNT && !slice_is(name, kinds[kind].name)) {
        kind++;
    }
    return (enum ban_kind)kind;
}

const char *ban_by_name(enum ban_by by)
{
    ASSERT(by < BAN_BY_COUNT);
    return by_names[by];
}

/* ---- keys ---------------------------------------------------------------------------------- */

static struct slice key_of(const void *value)
{
    return ((const struct entry *)value)->key;
}

static struct slice network_key(const struct network *network, uint8_t bytes[NETWORK_KEY_BYTES])
{
    bytes[0] = network->bits;
    memcpy(bytes + 1, network->ip, NETWORK_IP_BYTES);
    return slice_of(bytes, NETWORK_KEY_BYTES);
}

/* Where a ban is found. ERR_INVALID: no address, or no network. */
static enum err key_make(enum ban_kind kind, struct slice value, uint8_t bytes[NETWORK_KEY_BYTES],
                         struct slice *key)
{
    struct network network;
    bool has_length;
    if (kinds[kind].table != TABLE_NETWORK) {
        *key = value;
        return value.count > 0 ? OK : ERR_INVALID;
    }
    TRY(network_parse(value, &network, &has_length));
    if (has_length != (kind == BAN_NETWORK)) {
        return ERR_INVALID;
    }
    *key = network_key(&network, bytes);
    return OK;
}

static bool is_over(const struct entry *entry, uint64_t wall_ms)
{
    return entry->ban.until_wall_ms != 0 && entry->ban.until_wall_ms <= wall_ms;
}

/* ---- reading ------------------------------------------------------------------------------- */

static struct slice trim(struct slice text)
{
    while (text.count > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text = slice_skip(text, 1);
    }
    while (text.count > 0 &&
           (text.data[text.count - 1] == ' ' || text.data[text.count - 1] == '\t')) {
        text = slice_head(text, text.count - 1);
    }
    return text;
}

enum err ban_parse(struct slice text, struct ban *out, char why[256])
{
    struct slice line = trim(text), value, key;
    uint8_t bytes[NETWORK_KEY_BYTES];
    size_t end = 0;
    while (end < line.count && line.data[end] != ' ' && line.data[end] != '\t') {
        end++;
    }
    value = trim(slice_skip(line, end));
    enum ban_kind kind = ban_kind_find(slice_head(line, end));
    if (kind == BAN_KIND_COUNT) {
        snprintf(why, WHY_BYTES,
                 "whom it concerns is missing or not known: write address, network, client or "
                 "user, then which one");
        return ERR_INVALID;
    }
    bool is_quoted = value.count >= 2 && value.data[0] == '"' && value.data[value.count - 1] == '"';
    value = is_quoted ? slice_head(slice_skip(value, 1), value.count - 2) : value;
    if (key_make(kind, value, bytes, &key) == OK) {
        *out = (struct ban){.kind = kind, .by = BAN_BY_CONFIG, .value = value};
        return OK;
    }
    static const char *const examples[BAN_KIND_COUNT] = {
        "no address: write for instance ban address 203.0.113.7",
        ("no network (its bits beyond the length have to be 0): write for instance ban network "
         "198.51.100.0/24"),
        "no client id: write for instance ban client meter-17",
        "no user name: write for instance ban user mallory",
    };
    snprintf(why, WHY_BYTES, "%s", examples[kind]);
    return ERR_INVALID;
}

/* ---- the list ------------------------------------------------------------------------------ */

static void entry_remove(struct bans *bans, struct entry *entry)
{
    enum table table = kinds[entry->ban.kind].table;
    map_remove(bans->tables[table], entry->key);
    list_remove(&entry->link);
    atomic_fetch_sub_explicit(&bans->counts[table], 1, memory_order_relaxed);
    if (table == TABLE_NETWORK) {
        bans->lengths[entry->key.data[0]]--;
    }
    free(entry);
}

static void remove_over(struct bans *bans, uint64_t wall_ms)
{
    LIST_EACH_SAFE (&bans->entries, link) {
        struct entry *entry = CONTAINER_OF(link, struct entry, link);
        if (is_over(entry, wall_ms)) {
            entry_remove(bans, entry);
        }
    }
}

uint32_t bans_count(struct bans *bans)
{
    uint32_t count = 0;
    for (int i = 0; i < TABLE_COUNT; i++) {
        count += atomic_load_explicit(&bans->counts[i], memory_order_relaxed);
    }
    return count;
}

/* Not cut within a letter. */
static struct slice reason_cut(struct slice reason)
{
    size_t count = reason.count < BAN_REASON_MAX ? reason.count : BAN_REASON_MAX;
    while (count > 0 && count < reason.count && (reason.data[count] & 0xc0) == 0x80) {
        count--;
    }
    return slice_head(reason, count);
}

static struct slice put(uint8_t **at, struct slice text)
{
    struct slice copy = slice_of(*at, text.count);
    if (text.count > 0) {
        memcpy(*at, text.data, text.count);
    }
    *at += text.count;
    return copy;
}

static struct entry *entry_new(const struct ban *ban, struct slice key)
{
    struct slice reason = reason_cut(ban->reason);
    struct entry *entry = malloc(sizeof(*entry) + key.count + ban->value.count + reason.count);
    if (entry == NULL) {
        return NULL;
    }
    uint8_t *at = entry->bytes;
    entry->ban = *ban;
    entry->key = put(&at, key);
    entry->ban.value = put(&at, ban->value);
    entry->ban.reason = put(&at, reason);
    list_init(&entry->link);
    return entry;
}

static enum err add_locked(struct bans *bans, const struct ban *ban, uint64_t wall_ms)
{
    enum table table = kinds[ban->kind].table;
    uint8_t bytes[NETWORK_KEY_BYTES];
    struct slice key;
    TRY(key_make(ban->kind, ban->value, bytes, &key));
    struct entry *old = map_get(bans->tables[table], key);
    if (old != NULL && old->ban.by == BAN_BY_CONFIG && ban->by != BAN_BY_CONFIG) {
        return ERR_EXISTS;
    }
    if (old == NULL && bans_count(bans) >= BANS_MAX) {
        remove_over(bans, wall_ms);
        if (bans_count(bans) >= BANS_MAX) {
            return ERR_LIMIT;
        }
    }
    struct entry *entry = entry_new(ban, key);
    if (entry == NULL) {
        return ERR_NOMEM;
    }
    if (old != NULL) {
        entry_remove(bans, old);
    }
    if (map_put(bans->tables[table], entry) != OK) {
        free(entry);
        return ERR_NOMEM;
    }
    entry->ban.id = ++bans->id_last;
    entry->ban.since_wall_ms = wall_ms;
    list_push_back(&bans->entries, &entry->link);
    atomic_fetch_add_explicit(&bans->counts[table], 1, memory_order_relaxed);
    if (table == TABLE_NETWORK) {
        bans->lengths[entry->key.data[0]]++;
    }
    return OK;
}

enum err bans_add(struct bans *bans, const struct ban *ban, uint64_t wall_ms, uint64_t *id)
{
    ASSERT(ban->kind < BAN_KIND_COUNT);
    pthread_rwlock_wrlock(&bans->lock);
    enum err err = add_locked(bans, ban, wall_ms);
    if (err == OK && id != NULL) {
        *id = bans->id_last;
    }
    pthread_rwlock_unlock(&bans->lock);
    return err;
}

static enum err remove_locked(struct bans *bans, struct entry *entry)
{
    if (entry == NULL) {
        return ERR_NOT_FOUND;
    }
    if (entry->ban.by == BAN_BY_CONFIG) {
        return ERR_PERMISSION;
    }
    entry_remove(bans, entry);
    return OK;
}

enum err bans_remove(struct bans *bans, enum ban_kind kind, struct slice value)
{
    uint8_t bytes[NETWORK_KEY_BYTES];
    struct slice key;
    ASSERT(kind < BAN_KIND_COUNT);
    TRY(key_make(kind, value, bytes, &key));
    pthread_rwlock_wrlock(&bans->lock);
    enum err err = remove_locked(bans, map_get(bans->tables[kinds[kind].table], key));
    pthread_rwlock_unlock(&bans->lock);
    return err;
}

enum err bans_remove_id(struct bans *bans, uint64_t id)
{
    struct entry *found = NULL;
    pthread_rwlock_wrlock(&bans->lock);
    LIST_EACH (&bans->entries, link) {
        struct entry *entry = CONTAINER_OF(link, struct entry, link);
        found = entry->ban.id == id ? entry : found;
    }
    enum err err = remove_locked(bans, found);
    pthread_rwlock_unlock(&bans->lock);
    return err;
}

enum err bans_set_config(struct bans *bans, const struct ban *list, uint32_t count,
                         uint64_t wall_ms)
{
    enum err first = OK;
    pthread_rwlock_wrlock(&bans->lock);
    remove_over(bans, wall_ms);
    LIST_EACH_SAFE (&bans->entries, link) {
        struct entry *entry = CONTAINER_OF(link, struct entry, link);
        if (entry->ban.by == BAN_BY_CONFIG) {
            entry_remove(bans, entry);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct ban ban = list[i];
        ban.by = BAN_BY_CONFIG;
        enum err err = add_locked(bans, &ban, wall_ms);
        first = first == OK ? err : first;
    }
    pthread_rwlock_unlock(&bans->lock);
    return first;
}

/* ---- looking ------------------------------------------------------------------------------- */

static bool is_banned(struct bans *bans, enum table table, struct slice key, uint64_t wall_ms,
                      enum ban_kind *kind)
{
    struct entry *entry = map_get(bans->tables[table], key);
    if (entry == NULL || is_over(entry, wall_ms)) {
        return false;
    }
    *kind = entry->ban.kind;
    return true;
}

static bool is_empty(struct bans *bans, enum table table)
{
    return atomic_load_explicit(&bans->counts[table], memory_order_relaxed) == 0;
}

enum ban_kind bans_find_address(struct bans *bans, const uint8_t *ip, uint32_t ip_bytes,
                                uint64_t wall_ms)
{
    enum ban_kind kind = BAN_KIND_COUNT;
    uint8_t wide[NETWORK_IP_BYTES], bytes[NETWORK_KEY_BYTES];
    if (ip_bytes == 0 || is_empty(bans, TABLE_NETWORK)) {
        return kind;
    }
    network_widen(ip, ip_bytes, wide);
    pthread_rwlock_rdlock(&bans->lock);
    for (int bits = NETWORK_BITS; bits >= 0 && kind == BAN_KIND_COUNT; bits--) {
        struct network network;
        if (bans->lengths[bits] > 0) {
            network = network_of(wide, (uint32_t)bits);
            is_banned(bans, TABLE_NETWORK, network_key(&network, bytes), wall_ms, &kind);
        }
    }
    pthread_rwlock_unlock(&bans->lock);
    return kind;
}

enum ban_kind bans_find_client(struct bans *bans, struct slice client_id, bool has_user,
                               struct slice username, uint64_t wall_ms)
{
    enum ban_kind kind = BAN_KIND_COUNT;
    if (is_empty(bans, TABLE_CLIENT) && is_empty(bans, TABLE_USER)) {
        return kind;
    }
    pthread_rwlock_rdlock(&bans->lock);
    bool is_found = is_banned(bans, TABLE_CLIENT, client_id, wall_ms, &kind);
    if (!is_found && has_user) {
        is_banned(bans, TABLE_USER, username, wall_ms, &kind);
    }
    pthread_rwlock_unlock(&bans->lock);
    return kind;
}

uint32_t bans_page(struct bans *bans, uint64_t after, uint32_t count, uint64_t wall_ms,
                   void (*visit)(void *context, const struct ban *ban), void *context)
{
    uint32_t shown = 0;
    pthread_rwlock_rdlock(&bans->lock);
    LIST_EACH (&bans->entries, link) {
        struct entry *entry = CONTAINER_OF(link, struct entry, link);
        if (shown == count) {
            break;
        }
        if (entry->ban.id > after && !is_over(entry, wall_ms)) {
            visit(context, &entry->ban);
            shown++;
        }
    }
    pthread_rwlock_unlock(&bans->lock);
    return shown;
}

/* ---- the whole ----------------------------------------------------------------------------- */

struct bans *bans_new(uint64_t seed)
{
    struct bans *bans = calloc(1, sizeof(*bans));
    bool is_whole = true;
    if (bans == NULL) {
        return NULL;
    }
    pthread_rwlock_init(&bans->lock, NULL);
    list_init(&bans->entries);
    for (int i = 0; i < TABLE_COUNT; i++) {
        bans->tables[i] = map_new(key_of, seed + (uint64_t)i);
        is_whole &= bans->tables[i] != NULL;
    }
    if (!is_whole) {
        bans_free(bans);
        return NULL;
    }
    return bans;
}

void bans_free(struct bans *bans)
{
    struct list *link;
    if (bans == NULL) {
        return;
    }
    while ((link = list_pop_front(&bans->entries)) != NULL) {
        free(CONTAINER_OF(link, struct entry, link));
    }
    for (int i = 0; i < TABLE_COUNT; i++) {
        map_free(bans->tables[i]);
    }
    pthread_rwlock_destroy(&bans->lock);
    free(bans);
}
