#include "cluster/link_parts.h"
#include "core/base/assert.h"

/*
 * Invariants
 *   F1  data_sent - data_credited <= window, or a single message is under way: one that is larger
 *       than the window goes alone. The receiver holds the sender to it: it knows of less credit.
 *   F2  at most a frame of messages leaves at a time, and only when the one before has left: what
 *       comes meanwhile joins the next, and raft overtakes what has waited.
 */
enum { CREDIT_PART = 4, NS_PER_S = 1000000000 };

static uint64_t cost_of(size_t body_bytes)
{
    return body_bytes + LINK_COST_BYTES;
}

void link_queues_free(struct link *link)
{
    for (uint32_t i = 0; i < LINK_CLASS_COUNT; i++) {
        buf_deinit(&link->queues[i].bytes);
    }
}

uint64_t link_waiting(const struct link *link, enum link_class class)
{
    return buf_count(&link->queues[class].bytes);
}

enum err link_send(struct link *link, const struct link_message *message)
{
    ASSERT(message->kind < LINK_KIND_COUNT);
    enum link_class class = link_class_of(message->kind);
    struct link_queue *queue = &link->queues[class];
    size_t waiting = buf_count(&queue->bytes);

    ASSERT((class == LINK_BULK) == link->is_bulk);
    if (link->state != LINK_UP || link->is_broken || link->events == NULL) {
        return ERR_UNAVAILABLE;
    }
    link_mark(link);
    if (waiting > 0 && waiting + message->body.count > link->links->config.queue_bytes_max) {
        link_break(link, LINK_REASON_LIMIT, NULL);
        return ERR_LIMIT;
    }
    if (link_message_encode(message, &queue->bytes) != OK) {
        link_break(link, LINK_REASON_LIMIT, err_text(ERR_NOMEM));
        return ERR_NOMEM;
    }
    queue->body_bytes += message->body.count;
    queue->count++;
    return OK;
}

/* ---- out ---------------------------------------------------------------------------------------- */

/* What a frame takes of a queue: the first bytes of it, whole messages. */
struct portion {
    size_t bytes;
    uint64_t body_bytes, count;
};

static uint64_t portion_cost(const struct portion *portion)
{
    return portion->body_bytes + portion->count * LINK_COST_BYTES;
}

/*
 * As many messages as room and credit allow. The first one may be larger than the room, else it would
 * never leave, and than the credit if nothing else is under way.
 */
static struct portion portion_of(const struct link_queue *queue, size_t room, uint64_t credit,
                                 bool is_alone)
{
    struct portion all = {buf_count(&queue->bytes), queue->body_bytes, queue->count};
    struct portion taken = {0};
    struct slice rest = buf_bytes(&queue->bytes);
    struct link_message message;

    if (all.bytes <= room && portion_cost(&all) <= credit) {
        return all;
    }
    while (room > 0 && link_message_next(&rest, &message)) {
        struct portion more = {all.bytes - rest.count, taken.body_bytes + message.body.count,
                               taken.count + 1};
        bool is_first = taken.count == 0;
        if ((more.bytes > room && !is_first) ||
            (portion_cost(&more) > credit && !(is_first && is_alone))) {
            break;
        }
        taken = more;
    }
    return taken;
}

static void queue_consume(struct link_queue *queue, const struct portion *portion)
{
    buf_consume(&queue->bytes, portion->bytes);
    queue->body_bytes -= portion->body_bytes;
    queue->count -= portion->count;
}

static struct portion data_portion(struct link *link, size_t room)
{
    uint64_t under_way = link->data_sent - link->data_credited;
    uint64_t credit = link->window_bytes > under_way ? link->window_bytes - under_way : 0;
    return portion_of(&link->queues[LINK_DATA], room, credit, under_way == 0); /* F1 */
}

static struct portion bulk_portion(struct link *link)
{
    struct links *links = link->links;
    uint64_t now_ns = io_now_ns(links->io), rate = links->config.bulk_bytes_per_s;
    struct portion none = {0};

    if (buf_count(&link->queues[LINK_BULK].bytes) == 0) {
        return none;
    }
    if (rate > 0 && now_ns < links->bulk_ready_ns) {
        link_wake_by(link, links->bulk_ready_ns);
        return none;
    }
    struct portion portion = portion_of(&link->queues[LINK_BULK], LINK_FRAME_BYTES, UINT64_MAX,
                                        true);
    if (rate > 0) {
        links->bulk_ready_ns = now_ns + (uint64_t)((double)portion.bytes * NS_PER_S / (double)rate);
    }
    return portion;
}

/* Data, packed where so much of it waits that the wire is what is slow. */
static bool pack(struct link *link, const struct portion *data, struct buf *packed)
{
    const struct link_queue *queue = &link->queues[LINK_DATA];

    return data->bytes > 0 && data->bytes <= LINK_FRAME_BYTES &&
           buf_count(&queue->bytes) >= link->links->config.pack_from_bytes &&
           link_messages_pack(slice_head(buf_bytes(&queue->bytes), data->bytes), packed);
}

/* A frame of what waits goes to out. false: memory. */
static bool frame_put(struct link *link, const struct portion taken[LINK_CLASS_COUNT])
{
    uint8_t head[LINK_FRAME_HEAD_MAX];
    struct buf packed = {0};
    size_t bytes = 0;
    bool is_packed = pack(link, &taken[LINK_DATA], &packed);

    for (uint32_t i = 0; i < LINK_CLASS_COUNT; i++) {
        bytes += i == LINK_DATA && is_packed ? 0 : taken[i].bytes;
    }
    size_t head_bytes = link_frame_head(link->data_released, bytes,
                                        is_packed ? taken[LINK_DATA].bytes : 0, buf_count(&packed),
                                        head);
    bool is_good = buf_reserve(&link->out, head_bytes + buf_count(&packed) + bytes) == OK &&
                   buf_append(&link->out, slice_of(head, head_bytes)) == OK &&
                   buf_append(&link->out, buf_bytes(&packed)) == OK;
    for (uint32_t i = 0; i < LINK_CLASS_COUNT && is_good; i++) {
        struct link_queue *queue = &link->queues[i];
        if (taken[i].bytes > 0 && !(i == LINK_DATA && is_packed)) {
            is_good = buf_append(&link->out,
                                 slice_head(buf_bytes(&queue->bytes), taken[i].bytes)) == OK;
        }
        queue_consume(queue, &taken[i]);
    }
    buf_deinit(&packed);
    return is_good;
}

void link_flush(struct link *link)
{
    if (link->state == LINK_UP && !link->is_broken && link->events != NULL &&
        !io_is_sending(link->stream) && buf_count(&link->out) == 0) { /* F2 */
        struct portion taken[LINK_CLASS_COUNT] = {0};
        size_t bytes = 0;
        for (uint32_t i = LINK_RAFT; i <= LINK_DATA; i++) {
            size_t room = bytes < LINK_FRAME_BYTES ? LINK_FRAME_BYTES - bytes : 0;
            taken[i] = i == LINK_DATA ? data_portion(link, room)
                                      : portion_of(&link->queues[i], room, UINT64_MAX, true);
            bytes += taken[i].bytes;
        }
        taken[LINK_BULK] = bulk_portion(link);
        if (bytes + taken[LINK_BULK].bytes > 0 || link->must_speak) {
            link->must_speak = false;
            link->data_sent += portion_cost(&taken[LINK_DATA]);
            link->data_told = link->data_released;
            if (!frame_put(link, taken)) {
                link_break(link, LINK_REASON_LIMIT, err_text(ERR_NOMEM));
            }
        }
    }
    link_push(link);
}

/* ---- in ----------------------------------------------------------------------------------------- */

void link_release(struct link *link, size_t body_bytes)
{
    link->data_released += cost_of(body_bytes);
    ASSERT(link->data_released <= link->data_received);
    if (link->data_released - link->data_told >= link->links->config.window_bytes / CREDIT_PART) {
        link->must_speak = true;
        link_mark(link);
    }
}

/* false: more than it was given credit for. */
static bool data_count(struct link *link, const struct link_message *message)
{
    uint64_t under_way = link->data_received - link->data_told, cost = cost_of(message->body.count);
    if (under_way > 0 && under_way + cost > link->links->config.window_bytes) { /* F1 */
        return false;
    }
    link->data_received += cost;
    return true;
}

static void messages_give(struct link *link, struct slice messages)
{
    struct link_message message;

    while (link->events != NULL && !link->is_broken && link_message_next(&messages, &message)) {
        enum link_class class = link_class_of(message.kind);
        if ((class == LINK_BULK) != link->is_bulk) {
            link_break(link, LINK_REASON_PROTOCOL, "a message of the wrong class");
        } else if (class == LINK_DATA && !data_count(link, &message)) {
            link_break(link, LINK_REASON_PROTOCOL, "more data than it has credit for");
        } else {
            link->events->message(link->owner, link, &message);
        }
    }
}

void link_frame(struct link *link, const struct link_frame *frame)
{
    if (frame->credit > link->data_sent) {
        link_break(link, LINK_REASON_PROTOCOL, "credit for what was never sent");
        return;
    }
    if (frame->credit > link->data_credited) {
        link->data_credited = frame->credit;
        link_mark(link);
    }
    messages_give(link, frame->messages);
    if (frame->packed.count > 0 && link->events != NULL && !link->is_broken) {
        struct buf plain = {0};
        if (link_messages_unpack(frame, &plain) == OK) {
            messages_give(link, buf_bytes(&plain));
        } else {
            link_break(link, LINK_REASON_PROTOCOL, "packed messages that cannot be unpacked");
        }
        buf_deinit(&plain);
    }
}
