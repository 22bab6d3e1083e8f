/*
 * frame: where one packet ends and the next begins.
 *
 * Floor:  wire; pure.
 * Memory: a frame borrows from the bytes it was found in.
 */
#ifndef TERN_WIRE_FRAME_H
#define TERN_WIRE_FRAME_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

#include <stdint.h>

struct frame {
    uint8_t type, flags;  /* enum mqtt_type, and the low half of the first byte */
    struct slice body;    /* what Remaining Length counts */
    uint32_t total_bytes; /* fixed header and body */
};

/*
 * Look at the packet that starts at in.data.
 *
 * bytes_max  our Maximum Packet Size: the largest total_bytes we take [MQTT-3.2.2-15]
 *
 * OK             a whole packet; *out is filled, the next packet starts after total_bytes
 * ERR_MORE       not whole yet. When the fixed header is complete, type, flags and total_bytes are
 *                set (body is empty), so the caller can make room; else all of *out is zero
 * ERR_MALFORMED  Remaining Length is longer than four bytes or not in the fewest bytes
 *                [MQTT-1.5.5-1], the type is 0, or reserved flags are wrong for the type
 *                [MQTT-2.1.3-1]; seen as soon as the byte is there; *out is zero
 * ERR_TOO_LARGE  total_bytes > bytes_max, said as soon as the length is known; type, flags and
 *                total_bytes are set
 *
 * AUTH is framed here: that 3.1.1 does not have it is mqtt_control_decode()'s to say.
 */
enum err frame_next(struct slice in, uint32_t bytes_max, struct frame *out);

/*
 * The same for a connection that said MQTT 3.1: there PUBREL, SUBSCRIBE and UNSUBSCRIBE may carry
 * DUP, and the other flags are "not used". Flags are passed on unchecked.
 */
enum err frame_next_3_1(struct slice in, uint32_t bytes_max, struct frame *out);

/* Bytes of a packet with that Remaining Length; remaining <= MQTT_REMAINING_MAX. */
static inline size_t frame_size(size_t remaining)
{
    return 1 + varint_size(remaining) + remaining;
}

/* The fixed header. first_byte is type << 4 | flags. */
static inline void frame_head_encode(struct writer *w, uint8_t first_byte, size_t remaining)
{
    writer_u8(w, first_byte);
    writer_varint(w, remaining);
}

/* As the specification writes it, "PUBLISH"; "RESERVED" for what is no type. Never NULL. */
const char *mqtt_type_name(uint8_t type);

#endif
