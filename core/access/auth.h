/*
 * auth: who is this? What a connection shows, judged in one place; enhanced authentication (MQTT 5,
 * 4.12) as an exchange.
 *
 *     shown at CONNECT                          judged by
 *     Authentication Method                     its row in the table of methods (SCRAM-SHA-256)
 *     a certificate, where its name is wanted   TLS has proved it: its name is the user
 *     user name, password                       password file, by a worker: ERR_AGAIN
 *     nothing, or a name that nobody can prove  allow_anonymous; the client has no name then
 *
 * Floor:  access; knows packets, knows no connection.
 * Thread: a policy is made for one call; an exchange belongs to one connection.
 *
 * A method is a row: name, begin, go on. TERN-TEST, for tests of the exchange itself, is offered only
 * where the configuration asks for it.
 */
#ifndef TERN_ACCESS_AUTH_H
#define TERN_ACCESS_AUTH_H

#include "core/access/password.h"
#include "core/access/scram.h"
#include "core/base/err.h"
#include "core/base/rng.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { AUTH_DATA_MAX = SCRAM_MESSAGE_MAX };

/* How somebody proved who he is. */
enum auth_how {
    AUTH_ANONYMOUS,
    AUTH_PASSWORD,
    AUTH_CERTIFICATE,
    AUTH_SCRAM,
    AUTH_TEST,
    AUTH_HOW_COUNT
};
const char *auth_how_text(enum auth_how how);

/* What a connection shows at CONNECT. Borrowed for the call. */
struct auth_request {
    struct slice client_id, username, password;
    bool has_username, has_password;
    struct slice method; /* v5 Authentication Method; empty: none */
    struct slice data;   /* v5 Authentication Data */
};

/* What its listener wants, and what TLS found out. Borrowed for the call. */
struct auth_policy {
    bool allow_anonymous;
    bool allow_test_method;      /* TERN-TEST is offered */
    bool is_exposed;             /* in clear, beyond this machine: passwords are refused */
    struct passwords *passwords; /* NULL: no file */
    bool wants_certificate_name; /* of a client that showed a certificate */
    bool has_certificate;
    struct slice certificate_name; /* empty: it has none that can be a user's */
};

/* One enhanced exchange under way, or the finished one (for re-authentication). */
struct auth_exchange;

/* What to answer, and what was found. */
struct auth_reply {
    uint8_t data[AUTH_DATA_MAX]; /* Authentication Data */
    uint32_t data_bytes;
    enum auth_how how;  /* on OK and ERR_AGAIN */
    const char *detail; /* on an error: why, for log and trail; a constant */
};

/*
 * CONNECT. OK: accepted; ERR_MORE: an AUTH packet with reply is to be sent, *exchange goes on;
 * ERR_AGAIN: password_check() with the request's name and password has to say so, elsewhere.
 * ERR_AUTH_METHOD: unknown method [MQTT-4.12.0-1]; ERR_CREDENTIALS, ERR_NOT_AUTHORIZED; ERR_NOMEM.
 * With a method, *exchange is set on OK and ERR_MORE; the caller frees it. Else it is NULL.
 */
enum err auth_begin(const struct auth_policy *policy, const struct auth_request *request,
                    struct rng *rng, struct auth_exchange **exchange, struct auth_reply *reply);

/*
 * The client's next AUTH packet; again: it starts a re-authentication (0x19). Verdicts as above.
 * ERR_PROTOCOL: another method than at CONNECT [MQTT-4.12.0-5] [MQTT-4.12.1-1], or out of turn.
 * ERR_NOT_AUTHORIZED: a re-authentication as somebody else.
 */
enum err auth_continue(const struct auth_policy *policy, struct auth_exchange *exchange, bool again,
                       struct slice method, struct slice data, struct rng *rng,
                       struct auth_reply *reply);

struct slice auth_exchange_method(const struct auth_exchange *exchange);

/* Who he says he is, proven once the exchange is finished. false: the method knows no names. */
bool auth_exchange_username(const struct auth_exchange *exchange, struct slice *out);
void auth_exchange_free(struct auth_exchange *exchange); /* accepts NULL */

#endif
