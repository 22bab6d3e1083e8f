#include "core/wire/sha1.h"

#include <string.h>

/* FIPS 180-4, sections 4 to 6; the words below carry its names. */

enum { BLOCK_BYTES = 64 };

static uint32_t rotate_left(uint32_t x, unsigned count)
{
    return x << count | x >> (32 - count);
}

static void block_mix(uint32_t h[5], const uint8_t block[BLOCK_BYTES])
{
    uint32_t w[80];
    for (unsigned t = 0; t < 16; t++) {
        const uint8_t *at = block + 4 * (size_t)t;
        w[t] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    for (unsigned t = 16; t < 80; t++) {
        w[t] = rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    }
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20) {
            f = (b & c) ^ (~b & d);
            k = 0x5a827999;
        } else if (t < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (t < 60) {
            f = (b & c) ^ (b & d) ^ (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t next = rotate_left(a, 5) + f + e + k + w[t];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

void sha1(struct slice in, uint8_t out[SHA1_BYTES])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint64_t bits = (uint64_t)in.count * 8;

    while (in.count >= BLOCK_BYTES) {
        block_mix(h, in.data);
        in = slice_skip(in, BLOCK_BYTES);
    }
    /* What is left, a one bit, zeros, and the length in bits: in one block or in two. */
    uint8_t last[2 * BLOCK_BYTES] = {0};
    if (in.count > 0) {
        memcpy(last, in.data, in.count);
    }
    last[in.count] = 0x80;
    size_t last_bytes = in.count + 9 <= BLOCK_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES;
    for (size_t i = 0; i < 8; i++) {
        last[last_bytes - 1 - i] = (uint8_t)(bits >> (8 * i));
    }
    block_mix(h, last);
    if (last_bytes > BLOCK_BYTES) {
        block_mix(h, last + BLOCK_BYTES);
    }
    for (size_t i = 0; i < SHA1_BYTES; i++) {
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
    }
}
