/*
 * err: what can go wrong, in one table.
 *
 * Floor:  base.
 * Memory: none; names and texts are constants.
 *
 * Whoever can act on an error handles it, whoever cannot returns it, and it is logged once, where
 * client, topic or file is known. Which MQTT reason code an error becomes is decided in one place
 * only: core/wire/reason.c.
 */
#ifndef TERN_BASE_ERR_H
#define TERN_BASE_ERR_H

/* clang-format off */
#define ERR_TABLE(X)                                                                                \
    /* name               text */                                                                   \
    X(OK,                 "no error")                                                               \
    X(ERR_MORE,           "more bytes are needed")                                                  \
    X(ERR_NOMEM,          "memory is exhausted")                                                    \
    X(ERR_NOT_FOUND,      "not found")                                                              \
    X(ERR_EXISTS,         "exists already")                                                         \
    X(ERR_INVALID,        "invalid value")                                                          \
    X(ERR_RANGE,          "value out of range")                                                     \
    X(ERR_LIMIT,          "a limit is reached")                                                     \
    X(ERR_UNSUPPORTED,    "not supported")                                                          \
    X(ERR_PERMISSION,     "permission denied by the system")                                        \
    X(ERR_IO,             "input or output failed")                                                 \
    X(ERR_CLOSED,         "the other side closed the connection")                                   \
    X(ERR_RESET,          "the connection was reset")                                               \
    X(ERR_REFUSED,        "connection refused")                                                     \
    X(ERR_UNREACHABLE,    "host or network unreachable")                                            \
    X(ERR_TIMEOUT,        "time ran out")                                                           \
    X(ERR_AGAIN,          "not now, try again")                                                     \
    X(ERR_NO_SPACE,       "no space left on the disk")                                              \
    X(ERR_CORRUPT,        "stored data are damaged")                                                \
    /* the rest are the protocol's own words */                                                     \
    X(ERR_MALFORMED,      "malformed packet")                                                       \
    X(ERR_PROTOCOL,       "protocol error")                                                         \
    X(ERR_IMPLEMENTATION, "implementation specific error")                                          \
    X(ERR_VERSION,        "unsupported protocol version")                                           \
    X(ERR_CLIENT_ID,      "client identifier not valid")                                            \
    X(ERR_CREDENTIALS,    "bad user name or password")                                              \
    X(ERR_NOT_AUTHORIZED, "not authorized")                                                         \
    X(ERR_UNAVAILABLE,    "server unavailable")                                                     \
    X(ERR_BUSY,           "server busy")                                                            \
    X(ERR_BANNED,         "banned")                                                                 \
    X(ERR_SHUTDOWN,       "server shutting down")                                                   \
    X(ERR_AUTH_METHOD,    "bad authentication method")                                              \
    X(ERR_KEEPALIVE,      "keep alive timeout")                                                     \
    X(ERR_TAKEN_OVER,     "session taken over")                                                     \
    X(ERR_FILTER,         "topic filter invalid")                                                   \
    X(ERR_TOPIC,          "topic name invalid")                                                     \
    X(ERR_ID_IN_USE,      "packet identifier in use")                                               \
    X(ERR_ID_UNKNOWN,     "packet identifier not found")                                            \
    X(ERR_RECEIVE_MAX,    "receive maximum exceeded")                                               \
    X(ERR_TOPIC_ALIAS,    "topic alias invalid")                                                    \
    X(ERR_TOO_LARGE,      "packet too large")                                                       \
    X(ERR_RATE,           "message rate too high")                                                  \
    X(ERR_QUOTA,          "quota exceeded")                                                         \
    X(ERR_ADMIN,          "administrative action")                                                  \
    X(ERR_PAYLOAD_FORMAT, "payload format invalid")                                                 \
    X(ERR_RETAIN,         "retain not supported")                                                   \
    X(ERR_QOS,            "QoS not supported")                                                      \
    X(ERR_USE_ANOTHER,    "use another server")                                                     \
    X(ERR_SERVER_MOVED,   "server moved")                                                           \
    X(ERR_SHARED,         "shared subscriptions not supported")                                     \
    X(ERR_CONNECT_RATE,   "connection rate exceeded")                                               \
    X(ERR_CONNECT_TIME,   "maximum connect time")                                                   \
    X(ERR_TLS,            "TLS failed")                                                             \
    X(ERR_SUBSCRIPTION_ID,"subscription identifiers not supported")                                 \
    X(ERR_WILDCARD,       "wildcard subscriptions not supported")                                   \
    X(ERR_WITHHELD,       "acknowledgements were withheld, it may send again")
/* clang-format on */

#define ERR_NAME(name, text) name,
enum err { ERR_TABLE(ERR_NAME) ERR_COUNT };
#undef ERR_NAME

/* "ERR_MORE": the name as written in code, for logs. Never NULL. */
const char *err_name(enum err err);

/* "more bytes are needed": a phrase for people. Never NULL. */
const char *err_text(enum err err);

/* The error that an errno stands for; ERR_IO when there is no closer one. errno_value > 0. */
enum err err_from_errno(int errno_value);

/* Return what the expression returned unless it is OK: decoders read like the grammar. */
#define TRY(expression)                   \
    do {                                  \
        enum err try_err_ = (expression); \
        if (try_err_ != OK) {             \
            return try_err_;              \
        }                                 \
    } while (0)

#endif
