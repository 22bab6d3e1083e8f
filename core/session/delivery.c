#include "core/session/delivery.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/ledger.h"

#include <string.h>

enum { DEQUE_CAPACITY_MIN = 4 };

static size_t ids_bytes(uint32_t count)
{
    return sizeof(struct delivery_ids) + count * sizeof(uint32_t);
}

struct delivery_ids *delivery_ids_new(const uint32_t *ids, uint32_t count)
{
    struct delivery_ids *copy = blocks_take(ids_bytes(count));
    if (copy != NULL) {
        copy->count = count;
        memcpy(copy->ids, ids, count * sizeof(*ids));
    }
    return copy;
}

const uint32_t *delivery_id_list(const struct delivery *delivery, uint32_t *count)
{
    if (delivery->more_ids != NULL) {
        *count = delivery->more_ids->count;
        return delivery->more_ids->ids;
    }
    *count = delivery->id != 0;
    return &delivery->id;
}

void delivery_deinit(struct delivery *delivery)
{
    msg_unref(delivery->msg);
    if (delivery->more_ids != NULL) {
        blocks_give(delivery->more_ids, ids_bytes(delivery->more_ids->count));
    }
    delivery->msg = NULL;
    delivery->more_ids = NULL;
}

static void slots_free(struct deque *deque)
{
    ledger_add(LEDGER_MESSAGES, -(int64_t)(deque->capacity * sizeof(*deque->slots)));
    blocks_give(deque->slots, deque->capacity * sizeof(*deque->slots));
}

void deque_deinit(struct deque *deque)
{
    for (uint32_t i = 0; i < deque->count; i++) {
        delivery_deinit(deque_at(deque, i));
    }
    slots_free(deque);
    *deque = (struct deque){0};
}

static enum err deque_grow(struct deque *deque)
{
    uint32_t capacity = deque->capacity == 0 ? DEQUE_CAPACITY_MIN : deque->capacity * 2;
    struct delivery *slots = blocks_take(capacity * sizeof(*slots));
    if (slots == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < deque->count; i++) {
        slots[i] = *deque_at(deque, i);
    }
    slots_free(deque);
    ledger_add(LEDGER_MESSAGES, (int64_t)(capacity * sizeof(*slots)));
    deque->slots = slots;
    deque->capacity = capacity;
    deque->head = 0;
    return OK;
}

enum err deque_push(struct deque *deque, const struct delivery *delivery)
{
    if (deque->count == deque->capacity) {
        TRY(deque_grow(deque));
    }
    deque->slots[(deque->head + deque->count) & (deque->capacity - 1)] = *delivery;
    deque->count++;
    return OK;
}

struct delivery *deque_at(const struct deque *deque, uint32_t index)
{
    ASSERT(index < deque->count);
    return &deque->slots[(deque->head + index) & (deque->capacity - 1)];
}

/* An empty deque keeps only a small array: most sessions are idle most of the time. */
static void deque_rest(struct deque *deque)
{
    if (deque->count == 0 && deque->capacity > DEQUE_CAPACITY_MIN * 8) {
        slots_free(deque);
        *deque = (struct deque){0};
    }
}

struct delivery deque_pop(struct deque *deque)
{
    struct delivery delivery = *deque_at(deque, 0);
    deque->head = (deque->head + 1) & (deque->capacity - 1);
    deque->count--;
    deque_rest(deque);
    return delivery;
}

struct delivery deque_pop_back(struct deque *deque)
{
    ASSERT(deque->count > 0);
    struct delivery delivery = *deque_at(deque, deque->count - 1);
    deque->count--;
    deque_rest(deque);
    return delivery;
}
