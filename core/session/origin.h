/*
 * origin: where a message that is being routed came from: an outbox (broker/outbox.h), or nowhere.
 *
 * Floor:  session.
 */
#ifndef TERN_SESSION_ORIGIN_H
#define TERN_SESSION_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

/* number 0: from no outbox. */
struct origin {
    uint64_t number;
    uint32_t behind; /* all below number - behind have left that outbox for good; BEHIND_UNKNOWN */
    uint8_t partition;
    bool is_again; /* it was routed before: who takes it at QoS 0 may have it */
};
#define BEHIND_UNKNOWN UINT32_MAX

#endif
