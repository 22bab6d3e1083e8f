#include "core/broker/conn_out.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/ledger.h"

#include <string.h>

/* Header and capacity together; what is larger gets a chunk of its own size. */
static const uint32_t chunk_bytes[] = {512, 4096, 32768};

enum {
    CHUNK_KINDS = sizeof(chunk_bytes) / sizeof(chunk_bytes[0]),
    CHUNK_CAPACITY_MAX = 32768 - sizeof(struct out_segment),
};

/* Capacity 0: for a payload by reference. */
static struct out_segment *segment_new(uint32_t capacity)
{
    size_t bytes = sizeof(struct out_segment) + (size_t)capacity;
    for (uint32_t kind = 0; capacity > 0 && kind < CHUNK_KINDS; kind++) {
        if (bytes <= chunk_bytes[kind]) {
            bytes = chunk_bytes[kind];
            break;
        }
    }
    struct out_segment *segment = blocks_take(bytes);
    if (segment == NULL) {
        return NULL;
    }
    ledger_add(LEDGER_MESSAGES, (int64_t)bytes);
    *segment = (struct out_segment){
        .data = segment->bytes,
        .capacity = (uint32_t)(bytes - sizeof(*segment)),
    };
    return segment;
}

static void segment_free(struct out_segment *segment)
{
    size_t bytes = sizeof(*segment) + (size_t)segment->capacity;
    msg_unref(segment->msg);
    ledger_add(LEDGER_MESSAGES, -(int64_t)bytes);
    blocks_give(segment, bytes);
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

uint8_t *out_reserve(struct conn_out *out, uint64_t *output_bytes, uint32_t count)
{
    struct out_segment *segment = out->last;
    if (!is_open(out) || segment->capacity - segment->count < count) {
        uint32_t wanted = out->bytes > 0 ? chunk_bytes[0] : out->hint;
        wanted = out->bytes > 2 * chunk_bytes[1] ? CHUNK_CAPACITY_MAX : wanted;
        segment = segment_new(count > wanted ? count : wanted);
        if (segment == NULL) {
            return NULL;
        }
        out_append(out, segment);
    }
    uint8_t *bytes = segment->bytes + segment->count;
    segment->count += count;
    out->bytes += count;
    *output_bytes += count;
    return bytes;
}

bool out_payload(struct conn_out *out, uint64_t *output_bytes, struct msg *msg)
{
    uint32_t count = (uint32_t)msg->payload.count;
    if (count == 0) {
        return true;
    }
    if (count < OUT_REFERENCE_BYTES) {
        uint8_t *bytes = out_reserve(out, output_bytes, count);
        if (bytes != NULL) {
            memcpy(bytes, msg->payload.data, count);
        }
        return bytes != NULL;
    }
    struct out_segment *segment = segment_new(0);
    if (segment == NULL) {
        return false;
    }
    segment->msg = msg_ref(msg);
    segment->data = msg->payload.data;
    segment->count = count;
    out_append(out, segment);
    out->bytes += count;
    *output_bytes += count;
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
        out->hint = total > CHUNK_CAPACITY_MAX ? CHUNK_CAPACITY_MAX : (uint32_t)total;
    }
    return count;
}

static void first_free(struct conn_out *out, uint64_t *output_bytes)
{
    struct out_segment *segment = out->first;
    out->first = segment->next;
    out->bytes -= segment->count;
    *output_bytes -= segment->count;
    out->segment_count--;
    segment_free(segment);
    if (out->first == NULL) {
        out->last = NULL;
    }
}

void out_sent(struct conn_out *out, uint64_t *output_bytes)
{
    for (; out->flying_count > 0; out->flying_count--) {
        first_free(out, output_bytes);
    }
}

uint32_t out_peek(const struct conn_out *out, struct slice *parts, uint32_t parts_max,
                  uint64_t bytes_max, uint64_t *bytes)
{
    ASSERT(out->flying_count == 0);
    uint32_t count = 0;
    uint64_t total = 0;
    for (struct out_segment *s = out->first; s != NULL && count < parts_max && total < bytes_max;
         s = s->next) {
        if (s->count == 0) {
            continue;
        }
        size_t shown = s->count;
        if (s->msg != NULL && shown > bytes_max - total) {
            shown = bytes_max - total;
        }
        parts[count++] = slice_of(s->data, shown);
        total += shown;
    }
    *bytes = total;
    return count;
}

void out_consume(struct conn_out *out, uint64_t *output_bytes, uint64_t bytes)
{
    ASSERT(bytes <= out->bytes);
    while (out->first != NULL && bytes >= out->first->count) {
        bytes -= out->first->count;
        first_free(out, output_bytes);
    }
    if (bytes > 0) {
        struct out_segment *first = out->first;
        ASSERT(first->msg != NULL); /* chunks are shown whole */
        first->data += bytes;
        first->count -= (uint32_t)bytes;
        out->bytes -= bytes;
        *output_bytes -= bytes;
    }
}

void out_clear(struct conn_out *out, uint64_t *output_bytes)
{
    out->flying_count = out->segment_count;
    out_sent(out, output_bytes);
    ASSERT(out->bytes == 0);
}
