/*
 * auth: who is this? A chain of methods; enhanced authentication (MQTT 5, 4.12) as an exchange.
 *
 * Floor:  access; knows packets, knows no connection.
 * Thread: a struct auth is immutable while shards use it; an exchange belongs to one connection.
 *
 * A method is a row: name, begin, go on, end. The one built in besides "anonymous" is TERN-TEST, for
 * tests of the exchange itself: it is offered only where the configuration asks for it.
 */
#ifndef TERN_ACCESS_AUTH_H
#define TERN_ACCESS_AUTH_H

#include "core/base/err.h"
#include "core/base/rng.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { AUTH_DATA_MAX = 256 };

/* What a connection shows at CONNECT. Borrowed for the call. */
struct auth_request {
    struct slice client_id, username, password;
    bool has_username, has_password;
    bool allow_anonymous; /* of the listener */
    struct slice method;  /* v5 Authentication Method; empty: none */
    struct slice data;    /* v5 Authentication Data */
};

struct auth_policy {
    bool allow_test_method; /* TERN-TEST is offered */
};

/* One enhanced exchange under way, or the finished one (for re-authentication). */
struct auth_exchange;

/* What to answer. */
struct auth_reply {
    uint8_t data[AUTH_DATA_MAX]; /* Authentication Data */
    uint32_t data_bytes;
};

/*
 * CONNECT. OK: accepted; ERR_MORE: an AUTH packet with reply is to be sent, *exchange goes on.
 * ERR_AUTH_METHOD: unknown method [MQTT-4.12.0-1]; ERR_CREDENTIALS, ERR_NOT_AUTHORIZED; ERR_NOMEM.
 * With a method, *exchange is set on OK and ERR_MORE; the caller frees it.
 */
enum err auth_begin(const struct auth_policy *policy, const struct auth_request *request,
                    struct rng *rng, struct auth_exchange **exchange, struct auth_reply *reply);

/*
 * The client's next AUTH packet; again: it starts a re-authentication (0x19). Verdicts as above.
 * ERR_PROTOCOL: another method than at CONNECT [MQTT-4.12.0-5] [MQTT-4.12.1-1], or out of turn.
 */
enum err auth_continue(struct auth_exchange *exchange, bool again, struct slice method,
                       struct slice data, struct rng *rng, struct auth_reply *reply);

struct slice auth_exchange_method(const struct auth_exchange *exchange);
void auth_exchange_free(struct auth_exchange *exchange); /* accepts NULL */

#endif
