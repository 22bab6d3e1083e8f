#include "core/broker/conn_out.h"

#include "core/base/assert.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t class_bytes[OUT_CLASS_COUNT] = {512, 4096, 32768};
static const uint32_t class_keep[OUT_CLASS_COUNT] = {1024, 256, 32};

static struct out_segment *segment_new(struct out_pool *pool, uint32_t capacity)
{
    uint8_t class = 0;
    while (class < OUT_CLASS_COUNT && class_bytes[class] < capacity) {
        class ++;
    }
    struct out_segment *segment;
    if (class < OUT_CLASS_COUNT && pool->free[class] != NULL) {
        segment = pool->free[class];
        pool->free[class] = segment->next;
        pool->free_count[class]--;
    } else {
        capacity = class < OUT_CLASS_COUNT ? class_bytes[class] : capacity;
        segment = malloc(sizeof(*segment) + capacity);
        if (segment == NULL) {
            return NULL;
        }
        segment->capacity = capacity;
        segment->class = class;
        msg_memory_add((int64_t)(sizeof(*segment) + capacity));
    }
    segment->next = NULL;
    segment->msg = NULL;
    segment->data = segment->bytes;
    segment->count = 0;
    return segment;
}

static void segment_release(struct out_segment *segment)
{
    msg_memory_add(-(int64_t)(sizeof(*segment) + segment->capacity));
    free(segment);
}

static void segment_free(struct out_pool *pool, struct out_segment *segment)
{
    msg_unref(segment->msg);
    if (segment->class < OUT_CLASS_COUNT &&
        pool->free_count[segment->class] < class_keep[segment->class]) {
        segment->next = pool->free[segment->class];
        pool->free[segment->class] = segment;
        pool->free_count[segment->class]++;
        return;
    }
    segment_release(segment);
}

void out_pool_deinit(struct out_pool *pool)
{
    for (uint32_t class = 0; class < OUT_CLASS_COUNT; class ++) {
        while (pool->free[class] != NULL) {
            struct out_segment *next = pool->free[class]->next;
            segment_release(pool->free[class]);
            pool->free[class] = next;
        }
        pool->free_count[class] = 0;
    }
}

static void out_append(struct conn_out *out, struct out_segment *segment)
{
    if (out->last == NULL) {
        out->first = segment;
    } else {
        out->last->next = segment;
    }
    out->last = segment;
    out->segment_count++;
}

/* May the last segment still grow? Not if it is in flight: the kernel reads it. */
static bool is_open(const struct conn_out *out)
{
    return out->segment_count > out->flying_count && out->last->msg == NULL;
}

uint8_t *out_reserve(struct conn_out *out, struct out_pool *pool, uint32_t count)
{
    struct out_segment *segment = out->last;
    if (!is_open(out) || segment->capacity - segment->count < count) {
        uint32_t wanted = out->bytes > 0 ? class_bytes[0] + 1 : out->hint;
        wanted = out->bytes > 2 * class_bytes[1] ? class_bytes[2] : wanted;
        segment = segment_new(pool, count > wanted ? count : wanted);
        if (segment == NULL) {
            return NULL;
        }
        out_append(out, segment);
    }
    uint8_t *bytes = segment->bytes + segment->count;
    segment->count += count;
    out->bytes += count;
    pool->bytes += count;
    return bytes;
}

bool out_payload(struct conn_out *out, struct out_pool *pool, struct msg *msg)
{
    uint32_t count = (uint32_t)msg->payload.count;
    if (count == 0) {
        return true;
    }
    if (count < OUT_REFERENCE_BYTES) {
        uint8_t *bytes = out_reserve(out, pool, count);
        if (bytes != NULL) {
            memcpy(bytes, msg->payload.data, count);
        }
        return bytes != NULL;
    }
    struct out_segment *segment = malloc(sizeof(*segment));
    if (segment == NULL) {
        return false;
    }
    msg_memory_add((int64_t)sizeof(*segment));
    *segment = (struct out_segment){
        .msg = msg_ref(msg), .data = msg->payload.data, .count = count, .class = OUT_CLASS_COUNT};
    out_append(out, segment);
    out->bytes += count;
    pool->bytes += count;
    return true;
}

uint32_t out_take(struct conn_out *out, struct slice *parts, uint32_t parts_max, uint64_t *bytes)
{
    ASSERT(out->flying_count == 0);
    uint32_t count = 0;
    uint64_t total = 0;
    for (struct out_segment *s = out->first; s != NULL && count < parts_max; s = s->next) {
        out->flying_count++;
        if (s->count > 0) {
            parts[count++] = slice_of(s->data, s->count);
            total += s->count;
        }
    }
    *bytes = total;
    if (total > 0) {
        out->hint = total > class_bytes[2] ? class_bytes[2] : (uint32_t)total;
    }
    return count;
}

void out_sent(struct conn_out *out, struct out_pool *pool)
{
    for (; out->flying_count > 0; out->flying_count--) {
        struct out_segment *segment = out->first;
        out->first = segment->next;
        out->bytes -= segment->count;
        pool->bytes -= segment->count;
        out->segment_count--;
        segment_free(pool, segment);
    }
    if (out->first == NULL) {
        out->last = NULL;
    }
}

void out_clear(struct conn_out *out, struct out_pool *pool)
{
    out->flying_count = out->segment_count;
    out_sent(out, pool);
    ASSERT(out->bytes == 0);
}
