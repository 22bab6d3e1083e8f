/*
 * lookup: what takes its time before a remote leg can connect: a name server, and files of TLS.
 *
 * Floor:  bridge.
 * Thread: asked by the bridge's; the work is done by a thread of its own, which ends with it.
 * Memory: shared by the two; the last one frees it, so nobody waits for a silent name server.
 *
 * The bridge looks again and again whether it is done: it does not happen often enough to need a door
 * of its own into the shard's loop.
 */
#ifndef TERN_BRIDGE_LOOKUP_H
#define TERN_BRIDGE_LOOKUP_H

#include "core/base/config.h"
#include "core/io/sock.h"
#include "core/io/tls_client.h"

enum { LOOKUP_FOUND_MAX = LIMIT_LISTENER_ADDRESSES };

struct lookup;

struct lookup_result {
    enum err err;
    struct address found[LOOKUP_FOUND_MAX];
    uint32_t count;
    struct tls_context *tls; /* the lookup's reference; NULL: in clear */
    const char *trouble;     /* what is wrong, or "" */
};

/* Everything needed is copied. NULL: memory is exhausted, or no thread is to be had. */
struct lookup *lookup_new(const struct bridge_config *config, const struct bridge_address *address);

/* false: it is not done yet. *out is borrowed from the lookup. */
bool lookup_done(struct lookup *lookup, struct lookup_result *out);

void lookup_free(struct lookup *lookup); /* accepts NULL */

#endif
