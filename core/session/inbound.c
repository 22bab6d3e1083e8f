#include "core/session/inbound.h"

#include <stdlib.h>
#include <string.h>

void inbound_deinit(struct inbound *inbound)
{
    free(inbound->ids);
    *inbound = (struct inbound){0};
}

/* Where the id stands, or where it would have to stand. */
static uint32_t position(const struct inbound *inbound, uint16_t packet_id)
{
    uint32_t low = 0, high = inbound->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (inbound->ids[middle] < packet_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool inbound_has(const struct inbound *inbound, uint16_t packet_id)
{
    uint32_t at = position(inbound, packet_id);
    return at < inbound->count && inbound->ids[at] == packet_id;
}

enum err inbound_add(struct inbound *inbound, uint16_t packet_id)
{
    uint32_t at = position(inbound, packet_id);
    if (at < inbound->count && inbound->ids[at] == packet_id) {
        return ERR_EXISTS;
    }
    if (inbound->count == inbound->capacity) {
        uint32_t capacity = inbound->capacity == 0 ? 8 : inbound->capacity * 2;
        uint16_t *ids = realloc(inbound->ids, capacity * sizeof(*ids));
        if (ids == NULL) {
            return ERR_NOMEM;
        }
        inbound->ids = ids;
        inbound->capacity = capacity;
    }
    memmove(inbound->ids + at + 1, inbound->ids + at, (inbound->count - at) * sizeof(uint16_t));
    inbound->ids[at] = packet_id;
    inbound->count++;
    return OK;
}

bool inbound_remove(struct inbound *inbound, uint16_t packet_id)
{
    uint32_t at = position(inbound, packet_id);
    if (at == inbound->count || inbound->ids[at] != packet_id) {
        return false;
    }
    inbound->count--;
    memmove(inbound->ids + at, inbound->ids + at + 1, (inbound->count - at) * sizeof(uint16_t));
    return true;
}
