#include "core/broker/mailbox.h"

#include "core/broker/mail.h"
#include "core/broker/shard.h"
#include "core/limits.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    RING_SLOTS = 1024,
    READ_MAX = 4096, /* items handled per turn */
};

/* A shard's flag, alone on its cache line: set by the sleeper, cleared by who wakes it. */
struct sleeper {
    _Alignas(LIMIT_APART_BYTES) _Atomic bool is_sleeping;
    _Atomic(struct io *) io;
};
_Static_assert(sizeof(struct sleeper) == LIMIT_APART_BYTES, "to wake one shard disturbs no other");

struct mail_rings {
    uint32_t shard_count;
    struct ring *rings[SHARD_COUNT_MAX][SHARD_COUNT_MAX]; /* [from][to]; the diagonal is unused */
    struct sleeper sleepers[SHARD_COUNT_MAX];
};
_Static_assert(offsetof(struct mail_rings, sleepers) % LIMIT_APART_BYTES == 0,
               "where the rings are is only read");

/* What did not fit, in order. */
struct overflow {
    struct mail *items;
    uint32_t head, count, capacity;
};

struct mailbox {
    struct shard *shard;
    struct mail_rings *rings;
    uint64_t posted; /* bitmap of targets with new mail since the last flush */
    uint32_t overflow_total;
    struct overflow overflow[SHARD_COUNT_MAX];
};

struct mail_rings *mail_rings_new(uint32_t shard_count)
{
    struct mail_rings *rings = aligned_alloc(_Alignof(struct mail_rings), sizeof(*rings));
    if (rings == NULL) {
        return NULL;
    }
    *rings = (struct mail_rings){.shard_count = shard_count};
    for (uint32_t from = 0; from < shard_count; from++) {
        for (uint32_t to = 0; to < shard_count; to++) {
            if (from == to) {
                continue;
            }
            rings->rings[from][to] = ring_new(RING_SLOTS, sizeof(struct mail));
            if (rings->rings[from][to] == NULL) {
                mail_rings_free(rings);
                return NULL;
            }
        }
    }
    return rings;
}

void mail_rings_free(struct mail_rings *rings)
{
    if (rings == NULL) {
        return;
    }
    for (uint32_t from = 0; from < rings->shard_count; from++) {
        for (uint32_t to = 0; to < rings->shard_count; to++) {
            struct mail mail;
            struct ring *ring = rings->rings[from][to];
            while (ring != NULL && ring_pop(ring, &mail)) {
                mail_discard(&mail);
            }
            ring_free(ring);
        }
    }
    free(rings);
}

struct mailbox *mailbox_new(struct shard *shard, struct mail_rings *rings)
{
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    if (mailbox == NULL) {
        return NULL;
    }
    mailbox->shard = shard;
    mailbox->rings = rings;
    atomic_store_explicit(&rings->sleepers[shard->index].io, shard->io, memory_order_release);
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    struct sleeper *sleeper = &mailbox->rings->sleepers[mailbox->shard->index];
    atomic_store_explicit(&sleeper->io, NULL, memory_order_release);
    for (uint32_t i = 0; i < mailbox->rings->shard_count; i++) {
        struct overflow *overflow = &mailbox->overflow[i];
        for (uint32_t k = overflow->head; k < overflow->head + overflow->count; k++) {
            mail_discard(&overflow->items[k]);
        }
        free(overflow->items);
    }
    free(mailbox);
}

/* Memory for mail is the one thing whose lack we cannot answer: the process ends, loudly. */
static void overflow_add(struct overflow *overflow, const struct mail *mail)
{
    if (overflow->head + overflow->count == overflow->capacity) {
        uint32_t capacity = overflow->capacity == 0 ? 64 : overflow->capacity * 2;
        struct mail *items = malloc(capacity * sizeof(*items));
        ASSERT(items != NULL);
        for (uint32_t i = 0; i < overflow->count; i++) {
            items[i] = overflow->items[overflow->head + i];
        }
        free(overflow->items);
        overflow->items = items;
        overflow->capacity = capacity;
        overflow->head = 0;
    }
    overflow->items[overflow->head + overflow->count++] = *mail;
}

void mailbox_post(struct mailbox *mailbox, uint32_t target, const struct mail *mail)
{
    ASSERT(target != mailbox->shard->index);
    ASSERT(target < mailbox->rings->shard_count);
    struct mail item = *mail;
    item.from = (uint8_t)mailbox->shard->index;
    item.view = mailbox->shard->partitions.view_seen;
    struct overflow *overflow = &mailbox->overflow[target];
    metric_add(mailbox->shard->metrics, METRIC_mail_sent, 1);
    mailbox->posted |= UINT64_C(1) << target;
    if (overflow->count == 0 &&
        ring_push(mailbox->rings->rings[mailbox->shard->index][target], &item)) {
        return;
    }
    metric_add(mailbox->shard->metrics, METRIC_mail_full, overflow->count == 0 ? 1 : 0);
    overflow_add(overflow, &item);
    mailbox->overflow_total++;
}

bool mailbox_is_stalled(const struct mailbox *mailbox)
{
    return mailbox->overflow_total > 0;
}

uint32_t mailbox_read(struct mailbox *mailbox, void (*handle)(struct shard *, struct mail *))
{
    uint32_t handled = 0;
    for (uint32_t from = 0; from < mailbox->rings->shard_count; from++) {
        struct ring *ring = mailbox->rings->rings[from][mailbox->shard->index];
        struct mail mail;
        for (uint32_t i = 0; ring != NULL && i < READ_MAX && ring_pop(ring, &mail); i++) {
            handle(mailbox->shard, &mail);
            handled++;
        }
    }
    return handled;
}

static void overflow_flush(struct mailbox *mailbox, uint32_t target)
{
    struct overflow *overflow = &mailbox->overflow[target];
    struct ring *ring = mailbox->rings->rings[mailbox->shard->index][target];
    while (overflow->count > 0 && ring_push(ring, &overflow->items[overflow->head])) {
        overflow->head++;
        overflow->count--;
        mailbox->overflow_total--;
        mailbox->posted |= UINT64_C(1) << target;
    }
    if (overflow->count == 0) {
        free(overflow->items);
        *overflow = (struct overflow){0};
    }
}

void mailbox_flush(struct mailbox *mailbox)
{
    for (uint32_t i = 0; mailbox->overflow_total > 0 && i < mailbox->rings->shard_count; i++) {
        if (mailbox->overflow[i].count > 0) {
            overflow_flush(mailbox, i);
        }
    }
    for (uint64_t left = mailbox->posted; left != 0; left &= left - 1) {
        struct sleeper *sleeper = &mailbox->rings->sleepers[__builtin_ctzll(left)];
        /*
         * Pairs with the exchange in mailbox_may_sleep. Both are read-modify-writes of one flag, so
         * one comes first: either we see that it sleeps, or it sees the mail pushed before ours.
         */
        if (atomic_exchange_explicit(&sleeper->is_sleeping, false, memory_order_acq_rel)) {
            struct io *io = atomic_load_explicit(&sleeper->io, memory_order_acquire);
            if (io != NULL) {
                io_wake(mailbox->shard->io, io);
            }
        }
    }
    mailbox->posted = 0;
}

bool mailbox_is_empty(const struct mailbox *mailbox)
{
    for (uint32_t from = 0; from < mailbox->rings->shard_count; from++) {
        const struct ring *ring = mailbox->rings->rings[from][mailbox->shard->index];
        if (ring != NULL && !ring_is_empty(ring)) {
            return false;
        }
    }
    return true;
}

bool mailbox_may_sleep(struct mailbox *mailbox)
{
    struct sleeper *self = &mailbox->rings->sleepers[mailbox->shard->index];
    atomic_exchange_explicit(&self->is_sleeping, true, memory_order_acq_rel);
    return mailbox_is_empty(mailbox);
}

void mailbox_awake(struct mailbox *mailbox)
{
    struct sleeper *self = &mailbox->rings->sleepers[mailbox->shard->index];
    atomic_store_explicit(&self->is_sleeping, false, memory_order_relaxed);
}
