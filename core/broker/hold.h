/*
 * hold: a publisher keeps to the pace of receivers that are behind.
 *
 *     on_publish ──> route ──> deliver: half of a receiver's queue waits ──> hold_note
 *         └──> hold_publisher: nothing more of this connection is read or handled ...
 *                                       ... until the receiver has caught up ──> holds_run
 *
 * So a burst, or more than this shard can do, becomes back-pressure on the sockets of those who
 * publish (and in the end TCP's on their machines), where it would else become drops.
 *
 * One slow receiver must not set the pace of all: it is waited for only while it gets rid of an
 * eighth of what makes it count as behind in every publish_hold_ms. One that does not is slow for a second:
 * nobody waits for it, and what finds its queue full is treated by queue_policy, as ever. So a slow
 * receiver costs its publishers a tenth of their time, not more. Nobody waits for itself.
 *
 * A client that leaves while it is held is heard out: its connection stays, without a stream.
 *
 * Floor:  broker.
 * Thread: the shard; behind_ns of struct shard is read by the others.
 * Memory: what had arrived already stays with the connection, at most what the receive buffers held.
 */
#ifndef TERN_BROKER_HOLD_H
#define TERN_BROKER_HOLD_H

#include "core/base/list.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct blob;
struct conn;
struct session;
struct shard;

/* A receiver that is waited for: what it had to get rid of when this step of time began. */
struct pace {
    struct session *receiver; /* NULL: nobody */
    uint64_t count, bytes;
    uint64_t until_ns; /* the end of the step */
};

/* What one connection needs for it. Zero-initialised, with its link initialised, is not held. */
struct hold {
    struct list link; /* in shard->held while conn->is_held */
    struct pace pace;
    uint64_t shards;   /* on which others somebody is waited for */
    struct blob *blob; /* bytes [begin, end) have arrived and are not handled yet; NULL: none */
    uint32_t begin, end;
    struct blob *source; /* while they are handled after all: what hold_keep() need not copy */
};

/* A message was left waiting for this session: is it one to be waited for? */
void hold_note(struct session *receiver);

/* What is noted from here on is about the next message. */
void hold_begin(struct shard *shard);

/* A message of conn was routed since hold_begin(): hold it if one of its receivers is behind. */
void hold_publisher(struct conn *conn);

/* A message of another shard's publisher was routed since hold_begin(): let that shard know. */
void hold_remote_publisher(struct shard *shard);

/* The message goes to shard `target`: is somebody behind there? */
void hold_look_at(struct shard *shard, uint32_t target);

/* Keep bytes of a held connection, behind those kept already. false: memory is exhausted. */
bool hold_keep(struct conn *conn, struct slice bytes);

/* Once per turn: let go of those who need not wait any more. */
void holds_run(struct shard *shard);

/*
 * The connection is about to be ended: handle what it sent before that, a DISCONNECT perhaps, without
 * further waiting. It may have ended itself with that.
 */
void hold_hear_out(struct conn *conn);

/* The connection is over: forget what is kept. */
void hold_drop(struct conn *conn);

/* Nobody waits for this session any more: its connection is gone. */
void hold_forget(struct shard *shard, const struct session *receiver);

#endif
