#include "cluster/route_hear.h"

#include "core/session/session.h"

#include <stdlib.h>

/* What was heard of a partition. */
struct heard {
    uint64_t term, sequence;
    uint32_t node;    /* who told */
    bool has_begun;   /* the first part came, and nothing was missed since */
    bool is_complete; /* so did the last */
    bool has_asked;   /* for all, once; a check asks again */
};

struct route_hear {
    struct route_hear_host host;
    struct heard heard[PARTITION_COUNT];
};

struct route_hear *route_hear_new(const struct route_hear_host *host)
{
    struct route_hear *hear = calloc(1, sizeof(*hear));
    if (hear != NULL) {
        hear->host = *host;
    }
    return hear;
}

void route_hear_free(struct route_hear *hear)
{
    free(hear);
}

static void say(struct route_hear *hear, uint32_t node, const struct mesh_routes_msg *msg,
                bool is_lost)
{
    struct mesh_seen_msg seen = {.partition = msg->partition,
                                 .term = msg->term,
                                 .sequence = msg->sequence,
                                 .is_lost = is_lost};
    struct buf body = {0};
    if (mesh_seen_encode(&seen, &body) == OK) {
        (void)hear->host.send(hear->host.context, node, msg->partition, buf_bytes(&body));
    }
    buf_deinit(&body);
}

static enum err filters_take(struct route_hear *hear, const struct mesh_routes_msg *msg)
{
    const struct route_hear_host *host = &hear->host;
    struct slice left = msg->filters, filter;
    bool is_wanted;
    while (mesh_routes_next(&left, &filter, &is_wanted)) {
        if (is_wanted) {
            TRY(host->put(host->context, msg->partition, filter));
        } else {
            host->drop(host->context, msg->partition, filter);
        }
    }
    return OK;
}

/* Does it follow what was heard? */
static bool follows(const struct heard *heard, uint32_t node, const struct mesh_routes_msg *msg)
{
    if (msg->part == MESH_FIRST) {
        return true;
    }
    uint64_t next = heard->sequence + (msg->part == MESH_CHANGE);
    bool needs_all = msg->part == MESH_CHECK;
    return heard->has_begun && heard->term == msg->term && heard->node == node &&
           msg->sequence == next && (!needs_all || heard->is_complete);
}

static bool take(struct route_hear *hear, uint32_t node, const struct mesh_routes_msg *msg)
{
    const struct route_hear_host *host = &hear->host;
    struct heard *heard = &hear->heard[msg->partition];
    if (!follows(heard, node, msg)) {
        return false;
    }
    if (msg->part == MESH_FIRST) {
        *heard = (struct heard){.term = msg->term, .node = node, .has_begun = true};
        host->renew(host->context, msg->partition);
    }
    heard->sequence = msg->sequence;
    if (filters_take(hear, msg) != OK) {
        return false;
    }
    if (msg->part == MESH_LAST) {
        host->renewed(host->context, msg->partition);
        heard->is_complete = true;
    }
    return !heard->is_complete || host->digest(host->context, msg->partition) == msg->digest;
}

enum err route_hear(struct route_hear *hear, uint32_t node, struct slice body)
{
    struct mesh_routes_msg msg;
    TRY(mesh_routes_decode(body, &msg));
    struct heard *heard = &hear->heard[msg.partition];
    if (msg.term < heard->term) {
        return OK; /* it leads no more, and will notice */
    }
    if (!take(hear, node, &msg)) {
        bool is_due = !heard->has_asked || msg.part == MESH_CHECK;
        *heard = (struct heard){.term = msg.term, .has_asked = true};
        if (is_due) {
            say(hear, node, &msg, true);
        }
    } else if (heard->is_complete) {
        say(hear, node, &msg, false);
    }
    return OK;
}

void route_hear_lead(struct route_hear *hear, uint32_t partition, uint64_t term)
{
    hear->heard[partition] = (struct heard){.term = term, .is_complete = true};
}

bool route_hear_is_complete(const struct route_hear *hear, uint32_t partition, uint64_t term)
{
    const struct heard *heard = &hear->heard[partition];
    return heard->is_complete && heard->term >= term;
}
