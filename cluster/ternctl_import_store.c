#include "cluster/journal_raft.h"
#include "cluster/ternctl.h"
#include "cluster/ternctl_import.h"
#include "core/base/rng.h"
#include "core/io/io.h"
#include "storage/key.h"
#include "storage/store.h"

#include <stdlib.h>

enum { WAIT_NS = 20000000 /* for the lanes, which wake us */ };

struct import_store {
    struct import sink; /* first */
    struct store *store;
    struct io *io;
    struct journal *journal;
    struct key key;
};

static struct import_store *of_sink(struct import *import)
{
    return (struct import_store *)import;
}

static void turn(struct import *import)
{
    struct import_store *self = of_sink(import);
    journal_collect(self->journal);
    journal_flush(self->journal);
    bool has_news = journal_has_news(self->journal);
    io_turn(self->io, has_news ? 0 : WAIT_NS);
    journal_collect(self->journal);
}

static bool has_retained(struct import *import, struct slice topic)
{
    struct import_store *self = of_sink(import);
    struct kv_value value;
    key_of_retained(&self->key, partition_of(topic), topic);
    if (kv_get(store_state(self->store), key_slice(&self->key), &value) != OK) {
        return false;
    }
    kv_value_free(&value);
    return true;
}

/* ---- what is there already ------------------------------------------------------------------------ */

static enum err on_session(void *context, const struct session_record *session)
{
    struct import *import = context;
    import->is_fresh = false;
    return import_knows(import, session->open.client_id);
}

static enum err on_retained(void *context, const struct msg_spec *message)
{
    struct import *import = context;
    (void)message;
    import->is_fresh = false;
    import->has_retained = has_retained;
    return OK;
}

static enum err look(struct import_store *self)
{
    static const struct machine_reader reader = {.session = on_session, .retained = on_retained};
    self->sink.is_fresh = true;
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        struct machine *machine = journal_raft_machine(self->journal, i);
        self->sink.outbox_last[i] = machine_send_next(machine) - 1;
        self->sink.is_fresh = self->sink.is_fresh && self->sink.outbox_last[i] == 0;
        TRY(machine_read(machine, &reader, &self->sink));
    }
    return OK;
}

/* ---- opening --------------------------------------------------------------------------------------- */

static enum err open_all(const char *folder, struct import_store *self, struct kv_failure *failure)
{
    struct store_config config = {
        .folder = folder,
        .durability = STORE_RELAXED, /* import_finish() and store_close() sync all of it */
        .gather_ns = STORE_GATHER_NS,
        .has_threads = true,
    };
    struct io_config io_config = {.stream_count_max = 1};
    uint64_t seed = rng_system_seed();
    TRY(import_init(&self->sink, seed));
    TRY(store_open(&config, &self->store, failure));
    store_loaded(self->store); /* no client waits for its start */
    TRY(io_new(&io_config, &self->io));
    struct journal_raft_config journal_config = {
        .store = self->store,
        .io = self->io,
        .shard = 0,
        .shard_count = 1,
        .seed = seed,
    };
    TRY(journal_raft_new(&journal_config, &self->journal, failure));
    io_turn(self->io, 0); /* its clocks */
    self->sink.wall_ms = io_wall_ms(self->io);
    self->sink.journal = self->journal;
    self->sink.turn = turn;
    return look(self);
}

int import_store_open(const char *folder, struct import_store **out)
{
    struct kv_failure failure = {""};
    struct import_store *self = calloc(1, sizeof(*self));
    enum err err = self == NULL ? ERR_NOMEM : open_all(folder, self, &failure);
    if (err == OK) {
        *out = self;
        return TERNCTL_OK;
    }
    import_store_close(self, false);
    fprintf(stderr, "ternctl import: %s\n", failure.text[0] == '\0' ? err_text(err) : failure.text);
    if (err == ERR_BUSY) {
        fprintf(stderr, "ternctl import: a broker runs on it: stop it first\n");
    }
    return err == ERR_BUSY                                ? TERNCTL_UNAVAILABLE
           : err == ERR_CORRUPT || err == ERR_UNSUPPORTED ? TERNCTL_DATA
                                                          : TERNCTL_CANNOT_CREATE;
}

struct import *import_store_sink(struct import_store *store)
{
    return &store->sink;
}

bool import_store_close(struct import_store *store, bool is_wanted)
{
    if (store == NULL) {
        return false;
    }
    if (store->store != NULL) {
        store_close_soon(store->store); /* what has no space on the disk is not waited for */
    }
    if (store->journal != NULL) {
        journal_raft_free(store->journal);
    }
    bool is_gone = !is_wanted && store_discard(store->store);
    if (is_wanted) {
        store_close(store->store);
    }
    io_free(store->io);
    import_deinit(&store->sink);
    free(store);
    return is_gone;
}
