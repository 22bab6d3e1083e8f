/*
 * sha1: the digest of FIPS 180-4 that RFC 6455 has in its opening handshake.
 *
 * Floor:  wire; pure.
 * Memory: none.
 *
 * No secret and no signature rests on it: there it shows only that the server has understood the
 * request. Nothing else may use it; digests that matter come from BoringSSL in core/access.
 */
#ifndef TERN_WIRE_SHA1_H
#define TERN_WIRE_SHA1_H

#include "core/base/slice.h"

#include <stdint.h>

enum { SHA1_BYTES = 20 };

void sha1(struct slice in, uint8_t out[SHA1_BYTES]);

#endif
