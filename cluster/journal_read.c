#include "cluster/journal_read.h"

#include "core/base/arena.h"
#include "core/base/list.h"
#include "core/session/session.h"

#include <stdlib.h>

enum {
    /* A page of a queue: about so much, and one message of any size. */
    ITEMS_BYTES_MAX = 1024 * 1024,
    /* The same of retained messages: many connections may ask at once, and each may read slowly. */
    RETAINED_BYTES_MAX = 64 * 1024,
    ARENA_BYTES = 16 * 1024,
    ARENA_BYTES_MAX = 1024 * 1024 * 1024,
};

/* Of either kind. */
struct reading {
    struct store_apply apply;
    struct reader *reader;
    struct arena *arena;
    uint32_t max, count; /* asked for, and read */
    void *context;
};

struct items_reading {
    struct reading reading;
    uint64_t session, from_sequence;
    struct stored_item *items; /* the arena's */
    journal_read_done done;
};

struct retained_reading {
    struct reading reading;
    const struct slice *topics;
    journal_retained_done done;
    struct msg_spec messages[];
};

static struct reading *reading_of(struct job *job)
{
    return CONTAINER_OF(CONTAINER_OF(job, struct store_apply, job), struct reading, apply);
}

/* reading: the first part of a block from malloc(), NULL if there was none. Frees it on ERR_NOMEM. */
static enum err submit(struct reader *reader, struct reading *reading, const struct reading *what)
{
    struct arena *arena = reading == NULL ? NULL : arena_new(ARENA_BYTES, ARENA_BYTES_MAX);
    if (arena == NULL) {
        free(reading);
        return ERR_NOMEM;
    }
    *reading = *what;
    reading->reader = reader;
    reading->arena = arena;
    store_apply(reader->desk, &reading->apply);
    return OK;
}

static void reading_free(struct reading *reading)
{
    arena_free(reading->arena);
    free(reading);
}

/* ---- a queue -------------------------------------------------------------------------------- */

/* In the state lane. */
static enum err run_items(struct store_apply *apply)
{
    struct items_reading *items = CONTAINER_OF(apply, struct items_reading, reading.apply);
    struct reading *reading = &items->reading;
    return machine_read_items(apply->machine, items->session, items->from_sequence, reading->max,
                              ITEMS_BYTES_MAX, reading->arena, &items->items, &reading->count);
}

static void on_items(struct job *job, enum err err)
{
    struct reading *reading = reading_of(job);
    const struct items_reading *items = CONTAINER_OF(reading, struct items_reading, reading);
    err = reading->reader->is_closing ? ERR_SHUTDOWN : err;
    items->done(reading->context, err, items->items, err == OK ? reading->count : 0);
    reading_free(reading);
}

enum err reader_items(struct reader *reader, struct machine *machine, uint32_t partition,
                      uint64_t session, uint64_t from_sequence, uint32_t max,
                      journal_read_done done, void *context)
{
    struct items_reading *items = calloc(1, sizeof(*items));
    if (items != NULL) {
        items->session = session;
        items->from_sequence = from_sequence;
        items->done = done;
    }
    return submit(reader, (struct reading *)items,
                  &(struct reading){.apply = {.job.done = on_items,
                                              .machine = machine,
                                              .partition = partition,
                                              .read = run_items},
                                    .max = max,
                                    .context = context});
}

/* ---- retained messages ---------------------------------------------------------------------- */

/* In the state lane. No machine is asked: its shard may be closing it meanwhile. */
static enum err run_retained(struct store_apply *apply)
{
    struct retained_reading *retained = CONTAINER_OF(apply, struct retained_reading, reading.apply);
    struct reading *reading = &retained->reading;
    struct reader *reader = reading->reader;
    while (reading->count < reading->max &&
           arena_taken_bytes(reading->arena) < RETAINED_BYTES_MAX) {
        struct slice topic = retained->topics[reading->count];
        enum err err = machine_read_retained(store_state(reader->store), partition_of(topic), topic,
                                             &reader->key, reading->arena,
                                             &retained->messages[reading->count]);
        if (err != OK && err != ERR_NOT_FOUND) {
            return reading->count > 0 ? OK : err; /* what comes before it is told first */
        }
        reading->count++;
    }
    return OK;
}

static void on_retained(struct job *job, enum err err)
{
    struct reading *reading = reading_of(job);
    const struct retained_reading *retained = CONTAINER_OF(reading, struct retained_reading,
                                                           reading);
    err = reading->reader->is_closing ? ERR_SHUTDOWN : err;
    retained->done(reading->context, err, retained->messages, err == OK ? reading->count : 0);
    reading_free(reading);
}

enum err reader_retained(struct reader *reader, const struct slice *topics, uint32_t count,
                         journal_retained_done done, void *context)
{
    struct retained_reading *retained = calloc(1, sizeof(*retained) +
                                                      count * sizeof(retained->messages[0]));
    if (retained != NULL) {
        retained->topics = topics;
        retained->done = done;
    }
    return submit(reader, (struct reading *)retained,
                  &(struct reading){.apply = {.job.done = on_retained, .read = run_retained},
                                    .max = count,
                                    .context = context});
}
