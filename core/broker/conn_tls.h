/*
 * conn_tls: what a TLS connection has on top of a plain one: the transform, and the cipher bytes on
 * both sides of it.
 *
 *     socket ──> conn_tls_receive ──> [steps of the handshake, a few per turn] ──> conn_feed
 *     socket <── conn_tls_take <── conn->out
 *
 * Floor:  broker.
 * Thread: the shard the connection lives on; it moves with the connection.
 * Memory: made when the first bytes come; while nothing is said it holds keys and no buffer.
 *
 * Steps of a handshake wait in a queue of the shard, HANDSHAKE_BUDGET of them are taken per turn: a
 * storm of handshakes costs those who are connected a fraction of a millisecond, and not more.
 */
#ifndef TERN_BROKER_CONN_TLS_H
#define TERN_BROKER_CONN_TLS_H

#include "core/base/list.h"
#include "core/broker/conn.h"
#include "core/io/tls.h"

#include <stdbool.h>
#include <stdint.h>

struct shard;
struct signing;

struct conn_tls {
    struct conn *conn;
    struct tls *tls;
    struct conn_out cipher;  /* sealed: in flight, or to be sent next */
    struct partial waiting;  /* came from the socket, and waits for the next step */
    struct list queue_link;  /* in shard->handshakes */
    struct signing *signing; /* made by a worker; NULL: none */
    bool has_said_goodbye;
};

/* Does this listener speak TLS? */
bool conn_wants_tls(const struct conn *conn);

/* Cipher bytes from the socket. */
void conn_tls_receive(struct conn *conn, struct slice bytes);

/* Seal what conn->out holds (a bounded part of it), and take what is to be sent next, as out_take(). */
uint32_t conn_tls_take(struct conn *conn, struct slice *parts, uint32_t parts_max, uint64_t *bytes);

/* It lives on that shard from now on, as part of conn; conn NULL: it is on its way. */
void conn_tls_carry(struct conn_tls *link, struct shard *from, struct conn *conn);

/* Accepts NULL. output_bytes of the shard, as out_clear() wants it. */
void conn_tls_free(struct conn_tls *link, uint64_t *output_bytes);

/* Steps of handshakes that wait, as many as a turn may take. Once per turn. */
void handshakes_run(struct shard *shard);

#endif
