#include "core/wire/reason.h"

#include "core/base/assert.h"
#include "core/wire/in.h"

static const struct {
    const char *name;
    uint16_t packets;
    uint8_t v3;
} codes[256] = {
#define REASON(name, code, packets, v3, text) [code] = {text, packets, v3},
#include "core/wire/reason.def"
#undef REASON
};

/*
 * What to say, best first. The first code that the packet may carry is taken; when none fits it is
 * "unspecified error", which all but PUBREL and PUBCOMP know.
 */
enum { TRIES = 3 };

/* clang-format off */
static const uint8_t words[ERR_COUNT][TRIES] = {
    [ERR_MORE]            = {REASON_MALFORMED},
    [ERR_NOMEM]           = {REASON_UNAVAILABLE,     REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_NOT_FOUND]       = {REASON_NO_SUBSCRIBERS,  REASON_NO_SUBSCRIPTION, REASON_ID_UNKNOWN},
    [ERR_EXISTS]          = {REASON_IMPLEMENTATION},
    [ERR_INVALID]         = {REASON_IMPLEMENTATION},
    [ERR_RANGE]           = {REASON_IMPLEMENTATION},
    [ERR_LIMIT]           = {REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_UNSUPPORTED]     = {REASON_IMPLEMENTATION},
    [ERR_IO]              = {REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_REFUSED]         = {REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_UNREACHABLE]     = {REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_TIMEOUT]         = {REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_AGAIN]           = {REASON_BUSY,            REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_NO_SPACE]        = {REASON_QUOTA,           REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_CORRUPT]         = {REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_MALFORMED]       = {REASON_MALFORMED},
    [ERR_PROTOCOL]        = {REASON_PROTOCOL},
    [ERR_IMPLEMENTATION]  = {REASON_IMPLEMENTATION},
    [ERR_VERSION]         = {REASON_VERSION,         REASON_PROTOCOL},
    [ERR_CLIENT_ID]       = {REASON_CLIENT_ID,       REASON_PROTOCOL},
    [ERR_CREDENTIALS]     = {REASON_CREDENTIALS,     REASON_NOT_AUTHORIZED},
    [ERR_NOT_AUTHORIZED]  = {REASON_NOT_AUTHORIZED},
    [ERR_UNAVAILABLE]     = {REASON_UNAVAILABLE,     REASON_BUSY,            REASON_IMPLEMENTATION},
    [ERR_BUSY]            = {REASON_BUSY,            REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_BANNED]          = {REASON_BANNED,          REASON_ADMIN,           REASON_NOT_AUTHORIZED},
    [ERR_SHUTDOWN]        = {REASON_SHUTDOWN,        REASON_UNAVAILABLE,     REASON_IMPLEMENTATION},
    [ERR_AUTH_METHOD]     = {REASON_AUTH_METHOD},
    [ERR_KEEPALIVE]       = {REASON_KEEPALIVE},
    [ERR_TAKEN_OVER]      = {REASON_TAKEN_OVER},
    [ERR_FILTER]          = {REASON_FILTER},
    [ERR_TOPIC]           = {REASON_TOPIC},
    [ERR_ID_IN_USE]       = {REASON_ID_IN_USE,       REASON_PROTOCOL},
    [ERR_ID_UNKNOWN]      = {REASON_ID_UNKNOWN,      REASON_PROTOCOL},
    [ERR_RECEIVE_MAX]     = {REASON_RECEIVE_MAX,     REASON_QUOTA},
    [ERR_TOPIC_ALIAS]     = {REASON_TOPIC_ALIAS,     REASON_PROTOCOL},
    [ERR_TOO_LARGE]       = {REASON_TOO_LARGE,       REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_RATE]            = {REASON_RATE,            REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_QUOTA]           = {REASON_QUOTA,           REASON_IMPLEMENTATION},
    [ERR_ADMIN]           = {REASON_ADMIN,           REASON_NOT_AUTHORIZED},
    [ERR_PAYLOAD_FORMAT]  = {REASON_PAYLOAD_FORMAT},
    [ERR_RETAIN]          = {REASON_RETAIN,          REASON_IMPLEMENTATION},
    [ERR_QOS]             = {REASON_QOS,             REASON_IMPLEMENTATION},
    [ERR_USE_ANOTHER]     = {REASON_USE_ANOTHER},
    [ERR_SERVER_MOVED]    = {REASON_SERVER_MOVED},
    [ERR_SHARED]          = {REASON_SHARED,          REASON_IMPLEMENTATION},
    [ERR_CONNECT_RATE]    = {REASON_CONNECT_RATE,    REASON_BUSY},
    [ERR_CONNECT_TIME]    = {REASON_CONNECT_TIME},
    [ERR_SUBSCRIPTION_ID] = {REASON_SUBSCRIPTION_ID, REASON_IMPLEMENTATION},
    [ERR_TLS]             = {REASON_PROTOCOL,        REASON_IMPLEMENTATION},
    [ERR_WILDCARD]        = {REASON_WILDCARD,        REASON_IMPLEMENTATION},
};
/* clang-format on */

uint8_t reason_from_err(enum err err, enum mqtt_type packet)
{
    ASSERT(err < ERR_COUNT);
    ASSERT(reason_is_allowed(packet, REASON_SUCCESS));
    if (err == OK) {
        return REASON_SUCCESS;
    }
    ASSERT(packet != MQTT_AUTH);
    for (unsigned i = 0; i < TRIES && words[err][i] != 0; i++) {
        if (reason_is_allowed(packet, words[err][i])) {
            return words[err][i];
        }
    }
    if (packet == MQTT_PUBREL || packet == MQTT_PUBCOMP) {
        return REASON_ID_UNKNOWN; /* the only failure they have */
    }
    return REASON_UNSPECIFIED;
}

uint8_t reason_v3_connack(uint8_t reason)
{
    enum { V3_SERVER_UNAVAILABLE = 3 };
    if (codes[reason].name == NULL) {
        return V3_SERVER_UNAVAILABLE;
    }
    return codes[reason].v3;
}

const char *reason_name(uint8_t reason)
{
    return codes[reason].name == NULL ? "Reserved" : codes[reason].name;
}

bool reason_is_allowed(enum mqtt_type packet, uint8_t reason)
{
    return packet != MQTT_RESERVED && packet < MQTT_TYPE_COUNT &&
           (codes[reason].packets & 1u << packet) != 0;
}
