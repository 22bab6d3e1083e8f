/*
 * parting: a client has said DISCONNECT, and its connection waits until what that changed is on disk.
 *
 * DISCONNECT has no answer; what a client sees of it is that the broker closes. So that is what waits:
 * whoever has seen it knows that his will is gone for good, and that his session has its last expiry.
 * The session and every place that is counted were given back before: only the socket stays, for no
 * longer than a client that reads slowly would be waited for.
 *
 * Floor:  broker.
 * Thread: the shard's.
 */
#ifndef TERN_BROKER_PARTING_H
#define TERN_BROKER_PARTING_H

#include <stdbool.h>
#include <stdint.h>

struct conn;

/*
 * true: the connection is in CONN_PARTING, and closed when everything logged so far in that partition
 * is committed. false: there is nothing to wait for.
 */
bool parting_await(struct conn *conn, uint32_t partition);

#endif
