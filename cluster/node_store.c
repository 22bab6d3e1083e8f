#include "cluster/node_store.h"

#include "cluster/journal_raft.h"
#include "core/admin/admin.h"
#include "core/base/log.h"
#include "core/broker/broker.h"
#include "core/broker/partition.h"
#include "core/broker/restore.h"
#include "core/broker/shard.h"
#include "storage/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)CONFIG_FSYNC == STORE_FSYNC && (int)CONFIG_QUORUM == STORE_QUORUM &&
                   (int)CONFIG_RELAXED == STORE_RELAXED,
               "the words of `durability` are those of the store");

enum {
    PATH_BYTES = 4096 + 16,
    LOAD_KEYS = 64,        /* between two looks at the clock */
    LOAD_KEYS_MAX = 65536, /* in one turn, however fast the clock says that it goes */
    WILL_GRACE_MS = 4000,  /* for clients of a node that went to come to this one */
};

#define RETRY_NS UINT64_C(1000000000)
#define LOAD_NS  UINT64_C(5000000) /* of a turn; others of the shard go on meanwhile */

static enum err failed(enum err err, const struct kv_failure *why, struct broker_failure *failure)
{
    snprintf(failure->text, sizeof(failure->text), "%s",
             why->text[0] != 0 ? why->text : err_text(err));
    return err;
}

static bool is_there(const char *folder, const char *name, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

/*
 * Whoever comes from mosquitto has its file in that folder, and may go back to it: ours is a folder
 * beside the file, and stays it when the file is gone. A store that is there already stays one when
 * somebody puts the file in it.
 */
static void folder_of(const struct config *config, char out[4096])
{
    const char *folder = config->persistence_location;
    int count = (int)strlen(folder);
    while (count > 1 && folder[count - 1] == '/') {
        count--;
    }
    snprintf(out, 4096, "%.*s", count, folder);
    char path[PATH_BYTES];
    bool has_ours = is_there(out, "tern/FORMAT", path);
    if (is_there(out, "FORMAT", path) || (!is_there(out, "mosquitto.db", path) && !has_ours)) {
        return;
    }
    snprintf(out, 4096, "%.*s/tern", count, folder);
    if (!has_ours) {
        log_event(LOG_NOTICE,
                  "mosquitto's state is not read: stop tern and `ternctl import FOLDER --mosquitto "
                  "FILE`, once",
                  LOG_TEXT("folder", out), LOG_TEXT("file", path));
    }
}

enum err node_store_open(const struct config *config, uint32_t shard_count, uint64_t seed,
                         struct node_store *out, struct broker_failure *failure)
{
    *out = (struct node_store){.shard_count = shard_count,
                               .seed = seed,
                               .load_keys_max = LOAD_KEYS_MAX,
                               .will_grace_ms = WILL_GRACE_MS};
    if (!config->persistence) {
        return OK;
    }
    folder_of(config, out->folder);
    struct store_config store = {.folder = out->folder,
                                 .durability = (enum store_durability)config->durability,
                                 .memory_bytes = broker_storage_memory(config),
                                 .space_free_min = config->storage_free_min,
                                 .gather_ns = STORE_GATHER_NS,
                                 .has_threads = true};
    struct kv_failure why = {.text = ""};
    enum err err = store_open(&store, &out->store, &why);
    return err == OK ? OK : failed(err, &why, failure);
}

void node_store_close(struct node_store *self)
{
    node_store_load_stop(self);
    store_close(self->store);
    self->store = NULL;
}

enum err node_store_journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                                uint64_t *wall_ms, struct broker_failure *failure)
{
    struct node_store *self = context;
    struct journal_raft_config config = {.store = self->store,
                                         .io = io,
                                         .shard = shard,
                                         .shard_count = self->shard_count,
                                         .seed = self->seed + shard};
    struct kv_failure why = {.text = ""};
    enum err err = journal_raft_new(&config, out, &why);
    if (err != OK) {
        return failed(err, &why, failure);
    }
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        const struct machine *machine = journal_raft_machine(*out, i);
        uint64_t seen_ms = machine != NULL ? machine_wall_ms(machine) : 0;
        *wall_ms = seen_ms > *wall_ms ? seen_ms : *wall_ms;
    }
    return OK;
}

void node_store_journal_free(struct journal *journal)
{
    journal_raft_free(journal);
}

void node_store_tell(const struct node_store *self, struct admin_storage *out)
{
    struct store_figures figures;
    if (self->store == NULL) {
        return;
    }
    store_look_quickly(self->store, &figures);
    *out = (struct admin_storage){.is_kept = true,
                                  .admits = store_admits(self->store),
                                  .syncs = figures.sync_count,
                                  .sync_ns = figures.sync_ns_total,
                                  .appends = figures.append_count,
                                  .append_bytes = figures.append_bytes,
                                  .applied = figures.apply_count,
                                  .flushes = figures.flush_count,
                                  .cuts = figures.cut_count,
                                  .free_bytes = figures.free_bytes};
}

/* ---- loading ------------------------------------------------------------------------------- */

static enum err on_received(void *context, uint32_t source, uint64_t number)
{
    struct node_load *loading = context;
    return source < STORE_PARTITIONS
               ? restore_received(loading->restore, loading->partition, source, number)
               : ERR_CORRUPT;
}

static enum err on_taken(void *context, uint32_t source, uint64_t number, uint64_t group)
{
    struct node_load *loading = context;
    return restore_taken(loading->restore, loading->partition, source, number, group);
}

static enum err on_outbox(void *context, uint64_t number, const struct outgoing_record *record)
{
    struct node_load *loading = context;
    return restore_outbox(loading->restore, loading->partition, number, &record->message,
                          record->group);
}

static enum err on_retained(void *context, const struct msg_spec *message)
{
    return restore_retained(((struct node_load *)context)->restore, message);
}

static enum err on_session(void *context, const struct session_record *record)
{
    struct restored_session session = {.key = record->key,
                                       .open = record->open,
                                       .is_closed = record->is_closed,
                                       .closed_wall_ms = record->closed_wall_ms,
                                       .sent_sequence = record->sent_sequence};
    return restore_session(((struct node_load *)context)->restore, &session);
}

static enum err on_subscription(void *context, uint64_t session, const struct op_subscribe *record)
{
    (void)session;
    return restore_subscription(((struct node_load *)context)->restore, record);
}

static enum err on_packet_id(void *context, uint64_t session, uint16_t packet_id)
{
    (void)session;
    return restore_packet_id(((struct node_load *)context)->restore, packet_id);
}

static enum err on_item(void *context, uint64_t session, uint64_t sequence,
                        const struct item_record *record)
{
    (void)session;
    struct stored_item item = machine_stored_item(sequence, record);
    return restore_item(((struct node_load *)context)->restore, &item);
}

static const struct machine_reader reader = {.received = on_received,
                                             .outbox = on_outbox,
                                             .retained = on_retained,
                                             .session = on_session,
                                             .subscription = on_subscription,
                                             .packet_id = on_packet_id,
                                             .item = on_item,
                                             .taken = on_taken};

/* The turn that it wakes tries again. */
static void on_retry(struct timer *timer)
{
    (void)timer;
}

static enum err load_begin(struct node_load *load, struct journal *journal, struct shard *shard,
                           uint32_t partition, uint32_t will_grace_ms)
{
    struct machine *machine = journal_raft_machine(journal, partition);
    load->partition = partition;
    load->waiting &= ~(UINT64_C(1) << partition);
    load->restore = restore_begin(shard, UINT64_C(1) << partition, will_grace_ms);
    load->walk = machine_walk_new(machine, &reader, load);
    if (load->restore == NULL || load->walk == NULL) {
        return ERR_NOMEM;
    }
    return restore_outbox_next(load->restore, partition, machine_send_next(machine));
}

/* err is returned, unless the end of it fails. */
static enum err load_end(struct node_load *load, enum err err)
{
    struct restore *restore = load->restore;
    machine_walk_free(load->walk);
    load->walk = NULL;
    load->restore = NULL;
    return restore != NULL ? restore_end(restore, err) : err;
}

static enum err load_whole(struct node_load *load, struct journal *journal, struct shard *shard,
                           uint32_t partition)
{
    bool is_done = false;
    enum err err = load_begin(load, journal, shard, partition, 0);
    while (err == OK && !is_done) {
        err = machine_walk_step(load->walk, UINT32_MAX, &is_done);
    }
    return load_end(load, err);
}

enum err node_store_journal_load(void *context, struct journal *journal, struct shard *shard,
                                 struct broker_failure *failure)
{
    struct node_store *self = context;
    struct node_load *load = &self->loads[shard->index];
    journal_raft_set_clock(journal, shard_wall_ms(shard));
    *load = (struct node_load){.waiting = 0};
    timer_init(&load->timer, on_retry);
    enum err err = OK;
    for (uint32_t i = 0; i < STORE_PARTITIONS && err == OK; i++) {
        if (journal_raft_machine(journal, i) != NULL) {
            err = load_whole(load, journal, shard, i);
        }
    }
    if (err != OK) {
        snprintf(
            failure->text, sizeof(failure->text),
            "partition %u of the store cannot be loaded: %s: `ternctl check` says more; restore "
            "a backup with `ternctl restore`",
            load->partition, err_text(err));
    }
    if (atomic_fetch_add(&self->loaded_count, 1) + 1 == self->shard_count) {
        store_loaded(self->store);
    }
    return err;
}

void node_store_load_stop(struct node_store *self)
{
    for (uint32_t i = 0; i < SHARD_COUNT_MAX; i++) {
        (void)load_end(&self->loads[i], ERR_SHUTDOWN);
    }
}

/* ---- while the broker runs ----------------------------------------------------------------- */

void node_store_led(struct node_store *self, struct shard *shard, uint32_t partition)
{
    self->loads[shard->index].waiting |= UINT64_C(1) << partition;
}

void node_store_lost(struct node_store *self, struct shard *shard, uint32_t partition)
{
    struct node_load *load = &self->loads[shard->index];
    bool is_loading = load->restore != NULL && load->partition == partition;
    load->waiting &= ~(UINT64_C(1) << partition);
    if (is_loading) {
        (void)load_end(load, ERR_UNAVAILABLE);
    }
    partition_end(shard, partition);
}

static void load_failed(struct node_load *load, struct shard *shard, enum err err)
{
    log_event(LOG_ERROR,
              "a partition cannot be loaded, nobody is let into it: `ternctl check` says more",
              LOG_U64("partition", load->partition), LOG_TEXT("error", err_text(err)));
    partition_end(shard, load->partition);
    load->waiting |= UINT64_C(1) << load->partition;
    wheel_set(shard->wheel, &load->timer, io_now_ns(shard->io) + RETRY_NS);
}

static bool has_more(const struct node_load *load)
{
    return !timer_is_set(&load->timer) && (load->restore != NULL || load->waiting != 0);
}

static void load_some(struct node_load *load, struct shard *shard, uint32_t keys_max)
{
    bool is_done = false;
    enum err err = machine_walk_step(load->walk, keys_max, &is_done);
    if (err == OK && !is_done) {
        return;
    }
    err = load_end(load, err);
    if (err != OK) {
        load_failed(load, shard, err);
    }
}

bool node_store_journal_load_more(void *context, struct journal *journal, struct shard *shard)
{
    struct node_store *self = context;
    struct node_load *load = &self->loads[shard->index];
    uint64_t until_ns = io_clock_ns(shard->io) + LOAD_NS;
    uint32_t keys_left = self->load_keys_max;
    while (has_more(load) && keys_left > 0 && io_clock_ns(shard->io) < until_ns) {
        uint32_t keys = keys_left < LOAD_KEYS ? keys_left : LOAD_KEYS;
        keys_left -= keys;
        if (load->restore == NULL) {
            uint32_t partition = (uint32_t)__builtin_ctzll(load->waiting);
            enum err err = load_begin(load, journal, shard, partition, self->will_grace_ms);
            if (err != OK) {
                load_failed(load, shard, load_end(load, err));
                continue;
            }
        }
        load_some(load, shard, keys);
    }
    return has_more(load);
}
