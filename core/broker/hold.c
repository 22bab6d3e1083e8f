#include "core/broker/hold.h"

#include "core/base/assert.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/shard.h"

#include <stdatomic.h>
#include <string.h>

enum {
    HOLD_QUEUE_COUNT = 500, /* messages waiting, or half of the queue's bound if that is less */
    HOLD_OUTPUT_BYTES = 1024 * 1024, /* of QoS 0, written and not taken */
    HOLD_STEPS = 8,                  /* in each step of time it gets rid of so large a part */
    HOLD_RECEIPTS = 256, /* acknowledgements owed to a publisher, by other shards mostly */
};

#define HOLD_PROGRESS_NS UINT64_C(1000000000)
#define HOLD_SLOW_NS     UINT64_C(1000000000)

static uint64_t now_of(const struct shard *shard)
{
    return io_now_ns(shard->io);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- who is behind ------------------------------------------------------------------------- */

struct backlog {
    uint64_t count, bytes;
};

/* More than this waits: it is behind. Half of it or less: it has caught up. */
static struct backlog mark_of(const struct config *config)
{
    uint64_t half = config->queue_max / 2;
    return (struct backlog){
        .count = config->queue_max == 0 ? HOLD_QUEUE_COUNT : least(half, HOLD_QUEUE_COUNT),
        .bytes = least(config->output_bytes_max / 2, HOLD_OUTPUT_BYTES),
    };
}

static struct backlog backlog_of(const struct session *receiver)
{
    const struct conn *conn = receiver->conn;
    return (struct backlog){queue_count(&receiver->queue), conn->out.bytes};
}

static bool has_caught_up(const struct session *receiver, const struct backlog *backlog)
{
    struct backlog mark = mark_of(((const struct shard *)receiver->owner)->config);
    return backlog->count <= mark.count / 2 && backlog->bytes <= mark.bytes / 2;
}

static uint64_t step_ns(const struct shard *shard)
{
    return shard->config->hold_ms * UINT64_C(1000000);
}

static void pace_begin(struct pace *pace, struct session *receiver, uint64_t now_ns)
{
    struct backlog backlog = backlog_of(receiver);
    *pace = (struct pace){receiver, backlog.count, backlog.bytes,
                          now_ns + step_ns(receiver->owner)};
}

/* Still behind, and fast enough? Who was not is slow for a while. */
static bool is_worth_waiting(struct pace *pace, uint64_t now_ns)
{
    struct session *receiver = pace->receiver;
    if (receiver == NULL || receiver->conn == NULL) {
        return false;
    }
    struct backlog now = backlog_of(receiver);
    if (has_caught_up(receiver, &now)) {
        return false;
    }
    if (now_ns < pace->until_ns) {
        return true;
    }
    struct backlog mark = mark_of(((const struct shard *)receiver->owner)->config);
    bool is_fast = now.count + mark.count / HOLD_STEPS < pace->count ||
                   now.bytes + mark.bytes / HOLD_STEPS < pace->bytes;
    if (!is_fast) {
        ((struct conn *)receiver->conn)->slow_until_ns = now_ns + HOLD_SLOW_NS;
        return false;
    }
    pace_begin(pace, receiver, now_ns);
    return true;
}

void hold_note(struct session *receiver)
{
    struct shard *shard = receiver->owner;
    const struct conn *conn = receiver->conn;
    if (conn == NULL || now_of(shard) < conn->slow_until_ns || conn->is_finishing ||
        conn->state != CONN_OPEN || shard->config->hold_ms == 0) {
        return;
    }
    struct backlog mark = mark_of(shard->config), now = backlog_of(receiver);
    if (now.count <= mark.count && now.bytes <= mark.bytes) {
        return;
    }
    bool is_stuck = conn_is_sending(conn) && now_of(shard) > conn->progress_ns + HOLD_PROGRESS_NS;
    if (!is_stuck) {
        shard->behind = receiver;
    }
}

void hold_begin(struct shard *shard)
{
    shard->behind = NULL;
    shard->behind_shards = 0;
}

/* ---- shards tell each other ---------------------------------------------------------------- */

/* Relaxed: a hint in time, orders nothing. */
static void tell(struct shard *shard, uint64_t at_ns)
{
    if (atomic_load_explicit(&shard->behind_ns, memory_order_relaxed) != at_ns) {
        atomic_store_explicit(&shard->behind_ns, at_ns, memory_order_relaxed);
    }
}

void hold_remote_publisher(struct shard *shard)
{
    if (shard->behind != NULL && shard->told.receiver == NULL) {
        pace_begin(&shard->told, shard->behind, now_of(shard));
        tell(shard, now_of(shard));
    }
    hold_begin(shard);
}

/* It says so once a turn while that is true; a shard that says nothing any more is not waited for. */
static bool is_behind(const struct shard *asking, uint32_t other)
{
    const struct shard *shard = asking->broker->shards[other];
    uint64_t at_ns = atomic_load_explicit(&shard->behind_ns, memory_order_relaxed);
    return at_ns != 0 && now_of(asking) < at_ns + step_ns(asking);
}

void hold_look_at(struct shard *shard, uint32_t target)
{
    if (is_behind(shard, target)) {
        shard->behind_shards |= UINT64_C(1) << target;
    }
}

static void tell_again(struct shard *shard)
{
    if (shard->told.receiver == NULL) {
        return;
    }
    bool is_worth = is_worth_waiting(&shard->told, now_of(shard));
    tell(shard, is_worth ? now_of(shard) : 0);
    shard->told.receiver = is_worth ? shard->told.receiver : NULL;
}

/* ---- holding ------------------------------------------------------------------------------- */

/* What is behind on another shard is known here a little later: so much may be on its way there. */
static bool is_owed_much(const struct conn *conn, uint32_t receipts)
{
    return conn->work != NULL && conn->work->receipt_count > receipts;
}

void hold_publisher(struct conn *conn)
{
    struct shard *shard = conn->shard;
    struct session *receiver = shard->behind == conn->session ? NULL : shard->behind;
    uint64_t shards = shard->behind_shards;
    bool has_to_wait = receiver != NULL || shards != 0 || is_owed_much(conn, HOLD_RECEIPTS);
    hold_begin(shard);
    if (!has_to_wait || conn->is_held || conn->is_heard_out || conn->state != CONN_OPEN ||
        conn_prepare(conn) != OK) {
        return;
    }
    struct hold *hold = &conn->work->hold;
    hold->pace.receiver = NULL;
    if (receiver != NULL) {
        pace_begin(&hold->pace, receiver, now_of(shard));
    }
    hold->shards = shards;
    list_push_back(&shard->held, &hold->link);
    conn->is_held = true;
    conn_pause(conn);
    metric_add(shard->metrics, METRIC_publishers_held, 1);
}

/* Room for count more bytes behind those that are kept. */
static bool make_room(struct hold *hold, size_t count)
{
    uint32_t kept = hold->end - hold->begin;
    if (hold->blob != NULL && hold->blob != hold->source &&
        count <= hold->blob->capacity - hold->end) {
        return true;
    }
    uint64_t capacity = (uint64_t)kept * 2 + count;
    struct blob *blob = capacity > UINT32_MAX ? NULL : blob_new((uint32_t)capacity);
    if (blob == NULL) {
        return false;
    }
    if (kept > 0) {
        memcpy(blob->bytes, hold->blob->bytes + hold->begin, kept);
    }
    blob_unref(hold->blob);
    hold->blob = blob;
    hold->begin = 0;
    hold->end = kept;
    return true;
}

static bool is_within(const struct blob *blob, struct slice bytes)
{
    return blob != NULL && bytes.data >= blob->bytes &&
           bytes.data + bytes.count <= blob->bytes + blob->capacity;
}

bool hold_keep(struct conn *conn, struct slice bytes)
{
    struct hold *hold = &conn->work->hold;
    ASSERT(conn->is_held);
    if (bytes.count == 0) {
        return true;
    }
    if (hold->blob == NULL && is_within(hold->source, bytes)) {
        hold->blob = blob_ref(hold->source);
        hold->begin = (uint32_t)(bytes.data - hold->blob->bytes);
        hold->end = hold->begin + (uint32_t)bytes.count;
        return true;
    }
    if (!make_room(hold, bytes.count)) {
        return false;
    }
    memcpy(hold->blob->bytes + hold->end, bytes.data, bytes.count);
    hold->end += (uint32_t)bytes.count;
    return true;
}

/* ---- letting go ---------------------------------------------------------------------------- */

/* What is left of a WebSocket's payload comes first; then what the socket brought after it. */
static void feed_kept(struct conn *conn)
{
    struct hold *hold = &conn->work->hold;
    struct partial packet = conn->packet;
    struct blob *blob = hold->blob;
    struct slice bytes = {0};
    if (blob != NULL) {
        bytes = slice_of(blob->bytes + hold->begin, hold->end - hold->begin);
    }
    hold->blob = NULL;
    hold->begin = hold->end = 0;
    hold->source = blob;
    conn->packet = (struct partial){0};
    if (packet.count > 0) {
        conn_feed_mqtt(conn, slice_of(packet.blob->bytes, packet.count));
    }
    if (bytes.count > 0) {
        conn_feed(conn, bytes);
    }
    hold->source = NULL;
    partial_deinit(&packet);
    blob_unref(blob);
}

static void let_go(struct conn *conn)
{
    list_remove(&conn->work->hold.link);
    conn->is_held = false;
    feed_kept(conn);
    if (conn->is_held) {
        return;
    }
    conn_unpause(conn);
    if (conn->is_finishing) {
        conn_mark_dirty(conn); /* it has been heard out, and ends with this turn */
    }
}

void hold_hear_out(struct conn *conn)
{
    if (conn->is_held) {
        conn->is_heard_out = true;
        let_go(conn);
    }
}

static bool is_due(const struct conn *conn)
{
    const struct shard *shard = conn->shard;
    struct hold *hold = &conn->work->hold;
    bool waits = is_worth_waiting(&hold->pace, now_of(shard)) ||
                 is_owed_much(conn, HOLD_RECEIPTS / 2);
    for (uint64_t left = hold->shards; left != 0 && !waits; left &= left - 1) {
        waits = is_behind(shard, (uint32_t)__builtin_ctzll(left));
    }
    return !waits;
}

void holds_run(struct shard *shard)
{
    tell_again(shard);
    /* Who is held anew meanwhile comes behind the last one of now. */
    const struct list *last = shard->held.prev;
    LIST_EACH_SAFE (&shard->held, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn_work, hold.link)->conn;
        bool is_last = link == last;
        if (is_due(conn)) {
            let_go(conn);
        }
        if (is_last) {
            break;
        }
    }
}

void hold_drop(struct conn *conn)
{
    struct hold *hold = &conn->work->hold;
    list_remove(&hold->link);
    conn->is_held = false;
    blob_unref(hold->blob);
    hold->blob = NULL;
    hold->begin = hold->end = 0;
}

void hold_forget(struct shard *shard, const struct session *receiver)
{
    shard->behind = shard->behind == receiver ? NULL : shard->behind;
    if (shard->told.receiver == receiver) {
        shard->told.receiver = NULL;
        tell(shard, 0);
    }
    LIST_EACH (&shard->held, link) {
        struct hold *hold = CONTAINER_OF(link, struct hold, link);
        hold->pace.receiver = hold->pace.receiver == receiver ? NULL : hold->pace.receiver;
    }
}
