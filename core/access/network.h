/*
 * network: IP addresses of both families as one kind, and networks of them.
 *
 * Floor:  access; pure.
 * Memory: none.
 *
 * An address is 16 bytes, IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2), so that who comes over a socket
 * of IPv6 with an address of IPv4 is the same as over one of IPv4.
 */
#ifndef TERN_ACCESS_NETWORK_H
#define TERN_ACCESS_NETWORK_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { NETWORK_IP_BYTES = 16, NETWORK_BITS = 128, NETWORK_TEXT_MAX = 56 };

struct network {
    uint8_t ip[NETWORK_IP_BYTES]; /* beyond bits all 0 */
    uint8_t bits;                 /* of NETWORK_BITS, of IPv4 too: 96 + its own */
};

/* ip_bytes: 4 or 16. */
void network_widen(const uint8_t *ip, uint32_t ip_bytes, uint8_t out[NETWORK_IP_BYTES]);

/* "10.1.0.0/16", "192.0.2.7", "2001:db8::/32". ERR_INVALID; bits beyond the length make it so. */
enum err network_parse(struct slice text, struct network *out, bool *has_length);

/* As above; a lone address without its length. Returns out. */
const char *network_text(const struct network *network, char out[NETWORK_TEXT_MAX]);

/* The network of that length which an address is in. */
struct network network_of(const uint8_t ip[NETWORK_IP_BYTES], uint32_t bits);
/* What is usually one customer: the /24 of IPv4, the /64 of IPv6. */
struct network network_prefix(const uint8_t ip[NETWORK_IP_BYTES]);
/* What is usually one host: the address of IPv4, the /64 of IPv6, in which it changes. */
struct network network_host(const uint8_t ip[NETWORK_IP_BYTES]);

bool network_has(const struct network *network, const uint8_t ip[NETWORK_IP_BYTES]);
bool network_equal(const struct network *a, const struct network *b);
bool network_is_ip4(const uint8_t ip[NETWORK_IP_BYTES]);
bool network_is_loopback(const uint8_t ip[NETWORK_IP_BYTES]); /* 127.0.0.0/8, ::1 */

#endif
