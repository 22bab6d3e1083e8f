/*
 * held_journal: a whole shard on a journal that commits when the test says so, and clients whose
 * packets are bytes. A program that includes it is named test_lasting*, which gives it the house.
 */
#ifndef TERN_TESTS_LIB_HELD_JOURNAL_H
#define TERN_TESTS_LIB_HELD_JOURNAL_H

#include "bench/micro/door.h"
#include "bench/micro/house.h"
#include "core/broker/restore.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a journal that waits for the test ----------------------------------------------------- */

enum { WAITERS_MAX = 1024, OPS_MAX = 4096, OWED_MAX = 1024 };

static struct held {
    struct journal journal;
    struct {
        journal_done done;
        void *context;
    } waiters[WAITERS_MAX];
    uint32_t waiter_count;
    enum op_kind ops[OPS_MAX];
    uint64_t settled; /* the number of the message in the last OP_SETTLE */
    struct held_op {
        uint32_t partition, flush; /* how many flushes came before: one flush, one entry */
        uint64_t number, group;    /* OP_SEND, OP_SENT, OP_RECEIVED; OP_ENQUEUE: its sequence */
        char name[16];             /* OP_SEND: the group's */
    } details[OPS_MAX];
    uint32_t op_count, flush_count;
    uint64_t dirty;          /* partitions in which something was logged since the last commit */
    enum err admits, awaits; /* what admit() and await() say; OK: nothing special */
    bool is_at_once;         /* everything is committed as soon as it is logged */

    /* What is retained, as the ops said, by the first letter of the topic; and a reading of it. */
    struct stored {
        char payload; /* 0: none */
        uint64_t expires_wall_ms;
    } retained[128];
    struct {
        const struct slice *topics;
        struct stored found[64]; /* as it was when it was asked for */
        uint32_t count;
        journal_retained_done done; /* NULL: nobody reads */
        void *context;
    } reading;
    uint32_t reading_count;

    /* What is owed, as the ops said, in their order; and a reading of a page of it. */
    bool keeps_owed; /* the test says: its topics and payloads are one letter */
    struct owed {
        uint64_t session;        /* 0: it is settled */
        struct stored_item item; /* its slices point to what follows */
        char payload, share_text[16];
        uint32_t ids[2];
    } owed[OWED_MAX];
    uint32_t owed_count;
    struct {
        uint64_t session, from_sequence;
        uint32_t max;
        journal_read_done done; /* NULL: nobody reads */
        void *context;
    } page;
    uint32_t page_count;
    bool has_no_memory; /* no reading begins */
} held;

static inline enum err held_admit(struct journal *journal, uint32_t partition)
{
    (void)journal, (void)partition;
    return held.admits;
}

static inline void held_note(struct held_op *out, const struct op *op)
{
    *out = (struct held_op){.partition = op->partition, .flush = held.flush_count};
    if (op->kind == OP_SEND) {
        out->number = op->send.number;
        assert_true(op->send.group.count < sizeof(out->name));
        memcpy(out->name, op->send.group.data, op->send.group.count);
    } else if (op->kind == OP_RECEIVED) {
        out->number = op->received.number;
        out->group = op->received.group;
    } else if (op->kind == OP_SENT) {
        out->number = op->sent;
    } else if (op->kind == OP_ENQUEUE) {
        out->number = op->enqueue.sequence;
    }
}

/* Topics of one letter, and payloads. */
static inline void held_owe(const struct op *op, uint64_t stored)
{
    struct owed *owed = &held.owed[held.owed_count++];
    const struct op_enqueue *from = &op->enqueue;
    assert_true(held.owed_count <= OWED_MAX);
    assert_true(from->share_text.count <= sizeof(owed->share_text) && from->id_count <= 2);
    *owed = (struct owed){.session = op->session, .payload = (char)from->msg->payload.data[0]};
    for (uint32_t i = 0; i < from->id_count; i++) {
        owed->ids[i] = from->ids[i];
    }
    if (from->share_text.count > 0) {
        memcpy(owed->share_text, from->share_text.data, from->share_text.count);
    }
    owed->item = (struct stored_item){.sequence = from->sequence,
                                      .stored = stored,
                                      .message = {.qos = from->msg->qos, .topic = slice_text("t")},
                                      .ids = owed->ids,
                                      .id_count = from->id_count,
                                      .qos = from->qos,
                                      .retain = from->retain};
    owed->item.message.payload = slice_of(&owed->payload, 1);
    owed->item.share_text = slice_of(owed->share_text, from->share_text.count);
}

/* An item stays where it is, for what points to it. */
static inline void held_settle(const struct op *op)
{
    for (uint32_t i = 0; i < held.owed_count; i++) {
        struct owed *owed = &held.owed[i];
        if (owed->session == op->session && owed->item.sequence == op->settle.sequence) {
            owed->session = 0;
        }
    }
}

static inline uint64_t held_log(struct journal *journal, const struct op *op)
{
    (void)journal;
    assert_true(op->partition < PARTITION_COUNT);
    assert_true(held.op_count < OPS_MAX);
    held_note(&held.details[held.op_count], op);
    held.ops[held.op_count++] = op->kind;
    held.settled = op->kind == OP_SETTLE ? op->settle.message : held.settled;
    if (op->kind == OP_ENQUEUE && held.keeps_owed) {
        held_owe(op, held.op_count);
    } else if (op->kind == OP_SETTLE) {
        held_settle(op);
    }
    if (op->kind == OP_RETAIN) {
        struct stored *stored = &held.retained[op->retain->topic.data[0] & 127];
        stored->payload = op->retain->payload.count > 0 ? (char)op->retain->payload.data[0] : 0;
    }
    held.dirty |= held.is_at_once ? 0 : UINT64_C(1) << op->partition;
    return held.op_count;
}

static inline enum err held_await(struct journal *journal, uint64_t partitions, journal_done done,
                                  void *context)
{
    (void)journal;
    assert_true(partitions != 0);
    if (held.awaits != OK) {
        return held.awaits;
    }
    if ((held.dirty & partitions) == 0) {
        return OK;
    }
    assert_true(held.waiter_count < WAITERS_MAX);
    held.waiters[held.waiter_count].done = done;
    held.waiters[held.waiter_count++].context = context;
    return ERR_AGAIN;
}

static inline void tell_all(enum err err)
{
    uint32_t count = held.waiter_count;
    held.dirty = 0;
    for (uint32_t i = 0; i < count; i++) {
        held.waiters[i].done(held.waiters[i].context, err);
    }
    held.waiter_count -= count; /* who waits anew stands behind them */
    memmove(held.waiters, held.waiters + count, held.waiter_count * sizeof(held.waiters[0]));
}

static inline bool held_no(const struct journal *journal)
{
    (void)journal;
    return false;
}

static inline void held_nothing(struct journal *journal)
{
    (void)journal;
}

static inline void held_flush(struct journal *journal)
{
    (void)journal;
    held.flush_count++;
}

static inline enum err held_read(struct journal *journal, uint32_t partition, uint64_t session,
                                 uint64_t from_sequence, uint32_t max, journal_read_done done,
                                 void *context)
{
    (void)journal, (void)partition;
    if (!held.keeps_owed || held.has_no_memory) {
        return ERR_NOMEM;
    }
    assert_null(held.page.done); /* one page at a time */
    held.page.session = session;
    held.page.from_sequence = from_sequence;
    held.page.max = max;
    held.page.done = done;
    held.page.context = context;
    held.page_count++;
    return OK;
}

/* The disk answers with a page. */
static inline void answer_page(enum err err)
{
    journal_read_done done = held.page.done;
    struct stored_item items[512];
    uint32_t count = 0;
    assert_non_null(done);
    assert_true(held.page.max <= 512);
    for (uint32_t i = 0; i < held.owed_count && count < held.page.max; i++) {
        const struct owed *owed = &held.owed[i];
        if (owed->session == held.page.session && owed->item.sequence >= held.page.from_sequence) {
            items[count++] = owed->item;
        }
    }
    held.page.done = NULL;
    done(held.page.context, err, items, err == OK ? count : 0);
}

static inline enum err held_read_retained(struct journal *journal, const struct slice *topics,
                                          uint32_t count, journal_retained_done done, void *context)
{
    (void)journal;
    assert_true(count > 0 && count <= 64);
    assert_null(held.reading.done);
    held.reading.topics = topics;
    held.reading.count = count;
    held.reading.done = done;
    held.reading.context = context;
    held.reading_count++;
    for (uint32_t i = 0; i < count; i++) {
        held.reading.found[i] = held.retained[topics[i].data[0] & 127];
    }
    return OK;
}

/* The disk answers, with as many as it likes. */
static inline void answer_some(enum err err, uint32_t count)
{
    journal_retained_done done = held.reading.done;
    struct msg_spec messages[64];
    for (uint32_t i = 0; i < count; i++) {
        const struct stored *found = &held.reading.found[i];
        messages[i] = (struct msg_spec){.retain = true,
                                        .topic = held.reading.topics[i],
                                        .expires_wall_ms = found->expires_wall_ms,
                                        .payload = slice_of(&found->payload, 1)};
        messages[i].topic.count = found->payload == 0 ? 0 : messages[i].topic.count;
    }
    assert_non_null(done);
    held.reading.done = NULL;
    done(held.reading.context, err, messages, err == OK ? count : 0);
}

static const struct journal_calls held_calls = {.admit = held_admit,
                                                .log = held_log,
                                                .await = held_await,
                                                .read = held_read,
                                                .read_retained = held_read_retained,
                                                .is_congested = held_no,
                                                .collect = held_nothing,
                                                .flush = held_flush,
                                                .has_news = held_no,
                                                .leave_io = held_nothing};

static inline enum err held_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                                uint64_t *wall_ms, struct broker_failure *failure)
{
    (void)context, (void)io, (void)shard, (void)wall_ms, (void)failure;
    held = (struct held){.journal = {&held_calls}};
    *out = &held.journal;
    return OK;
}

/* What was on disk at the start; NULL: nothing. */
static void (*held_disk)(struct restore *restore);

static inline enum err held_load(void *context, struct journal *journal, struct shard *shard,
                                 struct broker_failure *failure)
{
    (void)context, (void)journal, (void)failure;
    struct restore *restore = restore_begin(shard, shard->partitions.mine, 0);
    assert_non_null(restore);
    if (held_disk != NULL) {
        held_disk(restore);
    }
    return restore_end(restore, OK);
}

static inline void held_free(struct journal *journal)
{
    (void)journal;
    tell_all(ERR_SHUTDOWN);
    if (held.reading.done != NULL) {
        answer_some(ERR_SHUTDOWN, 0);
    }
    if (held.page.done != NULL) {
        answer_page(ERR_SHUTDOWN);
    }
}

static const struct broker_ports ports = {
    .journal_new = held_new, .journal_load = held_load, .journal_free = held_free};

/* ---- a client ------------------------------------------------------------------------------- */

struct client {
    struct house *house;
    struct link *link;
    uint8_t heard[4096], said[512];
    uint32_t heard_count;
};

static inline void on_heard(void *owner, struct slice bytes)
{
    struct client *client = owner;
    assert_true(client->heard_count + bytes.count <= sizeof(client->heard));
    memcpy(client->heard + client->heard_count, bytes.data, bytes.count);
    client->heard_count += (uint32_t)bytes.count;
}

static inline void turns(struct house *house)
{
    for (uint32_t i = 0; i < 8; i++) {
        house_turn(house);
    }
}

static inline void commit(struct house *house)
{
    tell_all(OK);
    turns(house);
    tell_all(OK); /* what the first ones set going */
    turns(house);
}

static inline void say(struct client *client, const void *bytes, size_t count)
{
    assert_true(link_is_quiet(client->link));
    memcpy(client->said, bytes, count);
    link_say(client->link, slice_of(client->said, count));
    turns(client->house);
}

#define SAY(client, text) say((client), text, sizeof(text) - 1)

static inline void expect(struct client *client, const char *bytes, size_t count)
{
    assert_int_equal(client->heard_count, count);
    assert_memory_equal(client->heard, bytes, count);
    client->heard_count = 0;
}

#define EXPECT(client, text)   expect((client), text, sizeof(text) - 1)
#define EXPECT_NOTHING(client) assert_int_equal((client)->heard_count, 0)

static inline struct client *client_new(struct house *house)
{
    struct client *client = calloc(1, sizeof(*client));
    client->house = house;
    client->link = link_new(house_shard(house, 0)->io, on_heard, client);
    turns(house);
    return client;
}

/* 3.1.1; clean or not; one letter is the client id. */
static inline struct client *connected(struct house *house, char id, bool is_clean)
{
    struct client *client = client_new(house);
    uint8_t connect[] = {0x10, 13, 0, 4, 'M',        'Q', 'T', 'T', 4, is_clean ? 2 : 0,
                         0,    0,  0, 1, (uint8_t)id};
    say(client, connect, sizeof(connect));
    commit(house);
    assert_int_equal(client->heard_count, 4);
    client->heard_count = 0;
    return client;
}

struct scene {
    struct house *house;
    struct client *clients[4];
    uint32_t count;
};

static inline struct scene scene_new(void)
{
    return (struct scene){.house = house_new_on(&ports, 1, 0, 1000, "")};
}

static inline struct client *add(struct scene *scene, struct client *client)
{
    return scene->clients[scene->count++] = client;
}

static inline void scene_free(struct scene *scene)
{
    house_free(scene->house);
    for (uint32_t i = 0; i < scene->count; i++) {
        link_free(scene->clients[i]->link);
        free(scene->clients[i]);
    }
}

static inline bool was_logged(enum op_kind kind)
{
    for (uint32_t i = 0; i < held.op_count; i++) {
        if (held.ops[i] == kind) {
            return true;
        }
    }
    return false;
}

#endif
