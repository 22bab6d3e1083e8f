/*
 * ip: addresses as text, read as strictly as inet_pton() does.
 *
 * Floor:  wire; pure. (Sockets' own headers belong to core/io.)
 * Memory: none.
 */
#ifndef TERN_WIRE_IP_H
#define TERN_WIRE_IP_H

#include "core/base/err.h"
#include "core/base/slice.h"

/* "192.0.2.1": four decimal numbers without leading zeros. ERR_MALFORMED. */
enum err ip4_parse(struct slice text, uint8_t out[4]);

/* "2001:db8::1", "::ffff:192.0.2.1" (RFC 4291 2.2); no scope. ERR_MALFORMED. */
enum err ip6_parse(struct slice text, uint8_t out[16]);

#endif
