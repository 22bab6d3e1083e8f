/*
 * shares: shared subscriptions. A group lives on one shard, chosen by its name; its members' sessions
 * live wherever they live.
 *
 *     publisher's shard ──PUBLISH──> group's shard ──OFFER──> member's shard ──> client
 *                                         ^                         │
 *                                         └── SETTLE / RETURN ──────┘
 *
 * The group hangs in the trie as one subscriber, so a message reaches it once, and it chooses
 * (pubsub/share.h). What a member did not finish when it leaves goes to another: give_back.h.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_SHARES_H
#define TERN_BROKER_SHARES_H

#include "core/base/err.h"
#include "core/session/session.h"

#include <stdbool.h>
#include <stdint.h>

struct shard;
struct share;
struct shares;
struct suback;
struct mail;
struct receipt;

struct shares *shares_new(uint64_t seed);
/* Takes its groups off the trie. Accepts NULL. */
void shares_free(struct shares *shares, struct shard *shard);

/*
 * Join, or change the settings of, the group of a shared subscription. OK: joined. ERR_AGAIN: asked
 * another shard; suback hears suback_done() later. ERR_NOMEM.
 */
enum err shares_join(struct shard *shard, struct subscription *subscription, uint32_t window,
                     struct suback *suback, uint32_t suback_index);

/* The subscription goes. Its messages have been given back before. */
void shares_leave(struct shard *shard, struct subscription *subscription);

/* The session came or went: its groups prefer those who are there. */
void shares_presence(struct shard *shard, struct session *session, bool is_present);

/*
 * A message matched the group: choose a member other than not_key, if there is one. What it promises
 * on other shards is added to receipt (NULL: nobody waits); of this one shard->touched tells.
 */
enum err shares_dispatch(struct shard *shard, struct share *share, struct msg *msg,
                         uint64_t not_key, struct receipt *receipt);

/* The same for a message that an outbox has for the group of that name; it is lent until receipt is
 * done. Here, or on the group's shard. */
enum err shares_send(struct shard *shard, struct slice group, struct msg *msg,
                     struct receipt *receipt);

/* The name of the group into out: share_name, a slash, filter. */
void shares_name(const struct subscription *shared, uint8_t *out);

/* Member's side: finished, or given back for somebody else to take (msg: one reference taken). */
void shares_settled(struct shard *shard, uint64_t share_id, uint64_t session_key);
void shares_return(struct shard *shard, uint64_t share_id, uint64_t session_key, struct msg *msg,
                   struct receipt *receipt);

/*
 * A message that came by a shared subscription before a restart bears a mark of that subscription
 * until its group is known again. text empty: 0.
 */
uint64_t shares_mark(struct slice text);

/* The group that a delivery came by; 0: none, or it is not known yet. */
uint64_t shares_group(const struct session *session, const struct delivery *delivery);

/* The subscription of the session that a delivery came by; NULL: it is gone. */
const struct subscription *shares_subscription(const struct session *session,
                                               const struct delivery *delivery);

/* All deliveries of the session bear their groups from now on, or none: it may leave them. */
void shares_recall(struct session *session);

/* The session is gone: nothing can be offered to it any more. */
void shares_forget_session(struct shard *shard, struct session *session);

/*
 * Groups live in the partitions of their names. shares_rejoin(): those (a bit each) have come, here or to
 * another shard: sessions of this shard join the groups they were in before. shares_forget_groups(): they
 * have gone, and their groups with them. shares_end(): on the shard that had them.
 */
bool shares_is_here(const struct shard *shard, struct slice share_name, struct slice filter);
void shares_rejoin(struct shard *shard, uint64_t partitions);
void shares_forget_groups(struct shard *shard, uint64_t partitions);
void shares_end(struct shard *shard, uint32_t partition);

/* Mail of the kinds MAIL_SHARE_. */
void shares_on_mail(struct shard *shard, struct mail *mail);

/* What travels with a join. Heap; freed by whoever holds it last. */
struct share_mail {
    struct suback *suback; /* of the asking shard; not looked into elsewhere */
    uint32_t suback_index;
    uint64_t session_key;
    uint32_t window, id;
    uint8_t qos;
    bool retain_as_published, is_present;
    uint32_t name_bytes, filter_bytes;
    uint8_t bytes[]; /* "name/filter" */
};

#endif
