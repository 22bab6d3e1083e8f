/*
 * share: which member of a shared subscription gets the next message.
 *
 * Floor:  pubsub; pure choice, knows no sessions.
 * Thread: the shard that owns the group.
 *
 * Choice: round robin over members that are present and have room (outstanding < window); else
 * over present members; else over members that are away but keep a session; else nobody.
 */
#ifndef TERN_PUBSUB_SHARE_H
#define TERN_PUBSUB_SHARE_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct share_member {
    uint64_t key;         /* names the member: unique in the group */
    uint32_t shard;       /* where its session lives */
    uint32_t outstanding; /* sent to it by the group and not settled */
    uint32_t window;      /* as many as it takes at once (its Receive Maximum) */
    uint32_t id;          /* v5 Subscription Identifier; 0: none */
    uint8_t qos;
    bool retain_as_published;
    bool is_present;
    void *owner; /* the broker's */
};

struct share_group; /* members of one group */

struct share_group *share_group_new(void);
void share_group_free(struct share_group *group); /* accepts NULL */

/* Add, or replace the settings of the member with that key. ERR_NOMEM. */
enum err share_group_put(struct share_group *group, const struct share_member *member);
bool share_group_remove(struct share_group *group, uint64_t key);
struct share_member *share_group_find(struct share_group *group, uint64_t key);
uint32_t share_group_count(const struct share_group *group);

/*
 * The next member, never the one whose key is `not_key` (0: no exception) unless nobody else is
 * there. NULL: nobody. The caller counts outstanding. Valid until the group changes.
 */
struct share_member *share_group_next(struct share_group *group, uint64_t not_key);

#endif
