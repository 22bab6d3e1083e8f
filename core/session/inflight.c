/*
 * A QoS exchange is a walk from FREE back to FREE, one slot per packet id:
 *
 *              send qos 1                        PUBACK
 *      FREE ───────────────> WAIT_PUBACK ───────────────────────────> FREE
 *      FREE ───────────────> WAIT_PUBREC ──PUBREC──> WAIT_PUBCOMP ──> FREE
 *              send qos 2         └── PUBREC >= 0x80 ───────────────> FREE
 *
 * Invariants
 *   I1  slots stand in order of sequence, so an id is found by its distance from the oldest; no
 *       two share an id, as the span of sequences in flight stays below 65535.
 *   I2  a slot holds a msg reference exactly while PUBLISH may have to be resent: WAIT_PUBACK and
 *       WAIT_PUBREC. After PUBREC the payload is never sent again [MQTT-4.3.3-6].
 *   I3  used counts the slots that are not FREE. The oldest slot is never FREE.
 */
#include "core/session/inflight.h"

#include "core/base/assert.h"

enum { PACKET_IDS = 65535 };

/* clang-format off */
static const struct step {
    bool legal, send_pubrel;
    enum delivery_state next;
} steps[DELIVERY_STATE_COUNT][INFLIGHT_EVENT_COUNT] = {
    /*                                    legal  pubrel next                                     */
    [WAIT_PUBACK ][ON_PUBACK        ] = { true,  false, DELIVERY_FREE },
    [WAIT_PUBREC ][ON_PUBREC        ] = { true,  true,  WAIT_PUBCOMP  }, /* [MQTT-4.3.3-4]        */
    [WAIT_PUBREC ][ON_PUBREC_REFUSED] = { true,  false, DELIVERY_FREE }, /* the exchange ends     */
    [WAIT_PUBCOMP][ON_PUBREC        ] = { true,  true,  WAIT_PUBCOMP  }, /* our reply was lost    */
    [WAIT_PUBCOMP][ON_PUBCOMP       ] = { true,  false, DELIVERY_FREE },
};
/* clang-format on */

void inflight_deinit(struct inflight *in)
{
    if (in->used > 0) {
        *in->total -= in->used;
    }
    deque_deinit(&in->slots);
    in->used = 0;
    in->bytes = 0;
}

uint16_t inflight_id(uint64_t sequence)
{
    return (uint16_t)(1 + sequence % PACKET_IDS);
}

bool inflight_has_room(const struct inflight *in, const struct window *window, uint64_t sequence)
{
    bool is_full = in->used >= window->count_max ||
                   (window->bytes_max > 0 && in->bytes >= window->bytes_max);
    if (is_full) {
        return false;
    }
    return in->slots.count == 0 || sequence - deque_at(&in->slots, 0)->sequence < PACKET_IDS;
}

enum err inflight_send(struct inflight *in, const struct delivery *delivery,
                       const struct window *window, uint16_t *id_out)
{
    ASSERT(delivery->qos == 1 || delivery->qos == 2);
    if (!inflight_has_room(in, window, delivery->sequence)) {
        return ERR_LIMIT;
    }
    uint32_t count = in->slots.count;
    ASSERT(count == 0 || deque_at(&in->slots, count - 1)->sequence < delivery->sequence); /* I1 */
    struct delivery slot = *delivery;
    slot.state = delivery->qos == 1 ? WAIT_PUBACK : WAIT_PUBREC;
    TRY(deque_push(&in->slots, &slot));
    in->used++;
    (*in->total)++;
    in->bytes += msg_bytes(delivery->msg);
    *id_out = inflight_id(delivery->sequence);
    return OK;
}

enum err inflight_restore(struct inflight *in, const struct delivery *delivery,
                          enum delivery_state state)
{
    uint32_t count = in->slots.count;
    ASSERT(count == 0 || deque_at(&in->slots, count - 1)->sequence < delivery->sequence); /* I1 */
    struct delivery slot = *delivery;
    slot.state = (uint8_t)state;
    slot.is_dup = slot.must_resend = true;
    TRY(deque_push(&in->slots, &slot));
    in->used++;
    (*in->total)++;
    in->bytes += state == WAIT_PUBCOMP ? 0 : msg_bytes(delivery->msg); /* I2 */
    return OK;
}

/* Binary search over the sequences; their residues are unique by I1. */
static struct delivery *slot_find(const struct inflight *in, uint16_t id)
{
    if (in->slots.count == 0 || id == 0) {
        return NULL;
    }
    uint64_t oldest = deque_at(&in->slots, 0)->sequence;
    uint32_t distance = ((uint32_t)id + PACKET_IDS - inflight_id(oldest)) % PACKET_IDS;
    uint64_t sequence = oldest + distance;
    uint32_t low = 0, high = in->slots.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct delivery *slot = deque_at(&in->slots, middle);
        if (slot->sequence == sequence) {
            return slot->state == DELIVERY_FREE ? NULL : slot;
        }
        if (slot->sequence < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static bool holds_msg(enum delivery_state state)
{
    return state == WAIT_PUBACK || state == WAIT_PUBREC;
}

static void drop_free_slots(struct inflight *in)
{
    while (in->slots.count > 0 && deque_at(&in->slots, 0)->state == DELIVERY_FREE) {
        struct delivery gone = deque_pop(&in->slots);
        delivery_deinit(&gone);
    }
}

enum err inflight_ack(struct inflight *in, uint16_t id, enum inflight_event event,
                      bool *send_pubrel, struct delivery *done)
{
    ASSERT(event < INFLIGHT_EVENT_COUNT);
    struct delivery *slot = slot_find(in, id); /* I1 */
    if (slot == NULL) {
        return ERR_NOT_FOUND;
    }
    const struct step *step = &steps[slot->state][event];
    if (!step->legal) {
        return ERR_PROTOCOL;
    }
    if (holds_msg(slot->state) && !holds_msg(step->next)) {
        in->bytes -= msg_bytes(slot->msg);
    }
    *send_pubrel = step->send_pubrel;
    *done = *slot;
    done->state = step->next;
    if (step->next == DELIVERY_FREE) {
        slot->msg = NULL; /* moved to done */
        slot->more_ids = NULL;
        slot->state = DELIVERY_FREE;
        ASSERT(in->used > 0);
        in->used--;
        (*in->total)--; /* I3 */
        drop_free_slots(in);
        return OK;
    }
    if (holds_msg(slot->state) && !holds_msg(step->next)) {
        delivery_deinit(slot); /* I2 */
    }
    slot->state = step->next;
    slot->must_resend = false; /* the answer says that it arrived, whenever it was sent */
    done->msg = NULL;
    done->more_ids = NULL;
    return OK;
}

struct delivery *inflight_next(struct inflight *in, uint32_t *cursor)
{
    while (*cursor < in->slots.count) {
        struct delivery *slot = deque_at(&in->slots, (*cursor)++);
        if (slot->state != DELIVERY_FREE) {
            return slot;
        }
    }
    return NULL;
}

bool inflight_take(struct inflight *in, struct delivery *out)
{
    drop_free_slots(in);
    if (in->slots.count == 0) {
        return false;
    }
    *out = deque_pop(&in->slots);
    in->used--;
    (*in->total)--;
    if (holds_msg(out->state)) {
        in->bytes -= msg_bytes(out->msg);
    }
    return true;
}

bool inflight_give_up(struct inflight *in, struct delivery *slot, struct delivery *out)
{
    if (slot->state == DELIVERY_FREE) {
        return false;
    }
    if (holds_msg(slot->state)) {
        in->bytes -= msg_bytes(slot->msg);
    }
    *out = *slot;
    slot->msg = NULL;
    slot->more_ids = NULL;
    slot->state = DELIVERY_FREE;
    in->used--;
    (*in->total)--;
    drop_free_slots(in);
    return true;
}
