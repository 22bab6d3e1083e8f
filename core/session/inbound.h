/*
 * inbound: what one client sent at QoS 2 and has not released yet; a repeat ends here.
 *
 * Floor:  session.
 * Thread: the shard that owns the session.
 * Memory: a sorted array of packet ids, grown as needed; at most 65535 entries, in practice as
 *         many as the Receive Maximum we granted.
 */
#ifndef TERN_SESSION_INBOUND_H
#define TERN_SESSION_INBOUND_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised is empty. */
struct inbound {
    uint16_t *ids;
    uint32_t count, capacity;
};

void inbound_deinit(struct inbound *inbound);

bool inbound_has(const struct inbound *inbound, uint16_t packet_id);

/* Remember an id. ERR_EXISTS: it is a repeat. ERR_NOMEM. */
enum err inbound_add(struct inbound *inbound, uint16_t packet_id);

/* PUBREL: forget it. false: it was not there. */
bool inbound_remove(struct inbound *inbound, uint16_t packet_id);

#endif
