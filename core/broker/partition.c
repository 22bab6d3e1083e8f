#include "core/broker/partition.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/ends.h"
#include "core/broker/mailbox.h"
#include "core/broker/on_close.h"
#include "core/broker/outbox.h"
#include "core/broker/retained.h"
#include "core/broker/routes.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/broker/taken.h"
#include "core/pubsub/retain.h"

/*
 * The view: how many partitions are absent in the low bits, and above them a count of changes.
 *
 * Invariants
 *   V1  who unhangs the subscriptions of a partition has changed the view before: who does not find them
 *       sees that. Who hangs them changes it afterwards: who looked before and after, and saw the same
 *       with nothing absent, has found all.
 */
enum { VIEW_CHANGE = 128, VIEW_ABSENT = VIEW_CHANGE - 1, SWEEP_MESSAGES = 64 };
_Static_assert((int)PARTITION_COUNT < (int)VIEW_CHANGE, "all may be absent");

static uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

void partitions_init(struct shard *shard)
{
    struct partitions *self = &shard->partitions;
    for (uint32_t i = shard->index; i < PARTITION_COUNT; i += shard->broker_shard_count) {
        self->mine |= bit(i);
    }
    shard->elsewhere = shard->broker->ports.journal_new == NULL ? 0 : self->mine;
}

void partitions_deinit(struct shard *shard)
{
    retain_scan_free(shard->partitions.sweep);
    shard->partitions.sweep = NULL;
}

/* ---- asking ---------------------------------------------------------------------------------- */

uint64_t partitions_led(const struct shard *shard)
{
    return shard->partitions.mine & ~shard->elsewhere;
}

bool partition_is_led(const struct shard *shard, uint32_t partition)
{
    return (partitions_led(shard) & bit(partition)) != 0;
}

bool partition_is_here(const struct shard *shard, struct slice key)
{
    uint64_t led = atomic_load_explicit(&shard->broker->led, memory_order_acquire);
    return (led & bit(partition_of(key))) != 0;
}

/* Acquire: pairs with change(), see V1. */
uint32_t partition_view(const struct shard *shard)
{
    return atomic_load_explicit(&shard->broker->view, memory_order_acquire);
}

static bool misses_some(const struct shard *shard, uint32_t view)
{
    return shard->mesh == NULL && (view & VIEW_ABSENT) != 0;
}

bool partition_is_missed(const struct shard *shard)
{
    return misses_some(shard, partition_view(shard));
}

enum err partition_look(const struct shard *shard, uint32_t view)
{
    bool has_changed = shard->mesh == NULL &&
                       partition_view(shard) != view; /* a mesh leaves marks */
    return misses_some(shard, view) || has_changed ? ERR_UNAVAILABLE : OK;
}

bool partition_is_stale(const struct shard *shard, const struct mail *mail)
{
    /* With a mesh it is served by what is so now; but what is of an outbox must not overtake what failed. */
    bool is_awaited = mail->origin.number != 0 || (mail->receipt != NULL && shard->mesh == NULL);
    return is_awaited && mail->view != partition_view(shard);
}

/* Release: pairs with partition_view(). */
static void change(struct shard *shard, uint64_t partitions, bool is_led)
{
    struct broker *broker = shard->broker;
    uint32_t count = (uint32_t)__builtin_popcountll(partitions);
    if (is_led) {
        shard->elsewhere &= ~partitions;
        atomic_fetch_or_explicit(&broker->led, partitions, memory_order_acq_rel);
        atomic_fetch_add_explicit(&broker->view, VIEW_CHANGE - count, memory_order_acq_rel);
    } else {
        shard->elsewhere |= partitions;
        atomic_fetch_and_explicit(&broker->led, ~partitions, memory_order_acq_rel);
        atomic_fetch_add_explicit(&broker->view, VIEW_CHANGE + count, memory_order_acq_rel);
    }
}

/* ---- mail ------------------------------------------------------------------------------------ */

static uint32_t post_to_others(struct shard *shard, enum mail_kind kind, uint64_t partitions)
{
    for (uint32_t i = 0; i < shard->broker_shard_count; i++) {
        if (i != shard->index) {
            struct mail mail = {.kind = kind, .a = partitions};
            mailbox_post(shard->mailbox, i, &mail);
        }
    }
    return shard->broker_shard_count - 1;
}

static void lead(struct shard *shard)
{
    struct partitions *self = &shard->partitions;
    uint64_t come = self->asking & self->loading;
    self->asking = 0;
    if (come != 0) {
        self->loading &= ~come;
        outbox_restored(shard, come);
        change(shard, come, true);
        for (uint64_t left = shard->routes != NULL ? come : 0; left != 0; left &= left - 1) {
            routes_take_up(shard, (uint32_t)__builtin_ctzll(left));
        }
        post_to_others(shard, MAIL_LED, come); /* they may be asleep, and have something for it */
    }
}

/* Mail stays in order: who answers has joined what came, and has been joined by who came. */
static void ask(struct shard *shard)
{
    struct partitions *self = &shard->partitions;
    self->asking = self->arriving;
    self->arriving = 0;
    shares_rejoin(shard, self->asking);
    self->answers_open = post_to_others(shard, MAIL_ARRIVES, self->asking);
    if (self->answers_open == 0) {
        lead(shard);
    }
}

void partitions_on_mail(struct shard *shard, struct mail *mail)
{
    struct partitions *self = &shard->partitions;
    struct mail answer = {.kind = MAIL_ARRIVED};
    switch ((enum mail_kind)mail->kind) {
    case MAIL_ARRIVES:
        shares_rejoin(shard, mail->a);
        mailbox_post(shard->mailbox, mail->from, &answer);
        break;
    case MAIL_ARRIVED:
        ASSERT(self->answers_open > 0);
        if (--self->answers_open == 0) {
            lead(shard);
        }
        break;
    case MAIL_LOST:
        shares_forget_groups(shard, mail->a);
        break;
    case MAIL_LED: /* partitions_run() sees the new view */
        break;
    default:
        ASSERT(false);
    }
}

/* ---- what is retained ------------------------------------------------------------------------ */

static void sweep_one(struct shard *shard, struct slice topic)
{
    bool goes = (shard->partitions.sweeping & bit(partition_of(topic))) != 0;
    if (goes && !retained_is_of_broker(topic)) {
        retain_drop(shard->retain, topic);
    }
}

/* false: it is over, or memory lacks for it now. */
static bool sweep_some(struct shard *shard)
{
    struct partitions *self = &shard->partitions;
    struct retained found[SWEEP_MESSAGES];
    bool is_done = false;
    if (self->sweep == NULL) {
        self->sweep = retain_scan_new_whole(shard->retain);
    }
    if (self->sweep == NULL) {
        return false;
    }
    uint32_t count = retain_scan_next(self->sweep, 0, found, SWEEP_MESSAGES, &is_done);
    for (uint32_t i = 0; i < count; i++) {
        sweep_one(shard, found[i].msg->topic);
        msg_unref(found[i].msg);
    }
    if (is_done) {
        retain_scan_free(self->sweep);
        self->sweep = NULL;
        self->sweeping = 0;
    }
    return !is_done;
}

/* ---- coming ---------------------------------------------------------------------------------- */

void partitions_begin(struct shard *shard, uint64_t partitions)
{
    struct partitions *self = &shard->partitions;
    ASSERT((partitions & ~self->mine) == 0);
    ASSERT((partitions & (partitions_led(shard) | self->loading)) == 0);
    while ((self->sweeping & partitions) != 0 && sweep_some(shard)) {
    }
    self->loading |= partitions;
}

/* Relaxed: it is looked at between barriers. */
void partitions_loaded(struct shard *shard, uint64_t partitions)
{
    struct partitions *self = &shard->partitions;
    self->arriving |= partitions;
    if (!self->is_settling) {
        self->is_settling = true;
        atomic_fetch_add_explicit(&shard->broker->settling_count, 1, memory_order_relaxed);
    }
}

bool partitions_have_work(const struct shard *shard)
{
    const struct partitions *self = &shard->partitions;
    return self->sweeping != 0 || (self->arriving != 0 && self->answers_open == 0);
}

void partitions_look(struct shard *shard)
{
    uint32_t view = partition_view(shard);
    if (view != shard->partitions.view_seen) {
        shard->partitions.view_seen = view;
        outboxes_go_on(shard);
    }
}

void partitions_run(struct shard *shard)
{
    struct partitions *self = &shard->partitions;
    if (self->sweeping != 0) {
        sweep_some(shard);
    }
    if (self->arriving != 0 && self->answers_open == 0) {
        ask(shard);
    }
    if (self->is_settling && self->arriving == 0 && self->answers_open == 0) {
        self->is_settling = false;
        atomic_fetch_sub_explicit(&shard->broker->settling_count, 1, memory_order_relaxed);
    }
    partitions_look(shard);
}

/* ---- going ----------------------------------------------------------------------------------- */

static void sessions_end(struct shard *shard, uint32_t partition)
{
    uint64_t cursor = 0;
    struct session *session;
    while ((session = map_next(shard->sessions, &cursor)) != NULL) {
        if (session->partition != partition) {
            continue;
        }
        if (session->conn != NULL) {
            conn_unload(session->conn);
        }
        session_destroy(session);
    }
}

/* Marks stand for what it had, until another node says what it has. */
static void routes_leave(struct shard *shard, uint32_t partition)
{
    if (routes_give_up(shard, partition) != OK) {
        log_event(LOG_ERROR,
                  "memory is exhausted: messages for a partition that was given up may be missed",
                  LOG_U64("partition", partition));
    }
}

void partition_end(struct shard *shard, uint32_t partition)
{
    struct partitions *self = &shard->partitions;
    uint64_t gone = bit(partition);
    ASSERT((gone & self->mine) != 0);
    ASSERT(shard->journal != NULL);
    if ((gone & (partitions_led(shard) | self->loading)) == 0) {
        return;
    }
    if (partition_is_led(shard, partition)) {
        change(shard, gone, false); /* V1 */
    }
    if (shard->routes != NULL) {
        routes_leave(shard, partition);
    }
    self->loading &= ~gone;
    self->arriving &= ~gone;
    self->asking &= ~gone;
    shares_end(shard, partition);
    shares_forget_groups(shard, gone);
    post_to_others(shard, MAIL_LOST, gone);
    sessions_end(shard, partition);
    ends_forget(shard, partition);
    outbox_end(shard, partition);
    taken_forget(shard->broker->taken, partition);
    retain_scan_free(self->sweep);
    self->sweep = NULL;
    self->sweeping |= gone;
    log_event(LOG_NOTICE, "a partition is led here no more", LOG_U64("partition", partition));
}
