/*
 * packet: as much of MQTT as a forwarder cannot do without.
 *
 * Floor:  bench.
 * Memory: none.
 *
 * This is no decoder to learn from: it reads what tern-bench writes, bounds-checked, and says what
 * else it does not serve.
 */
#ifndef TERN_BENCH_LIMIT_PACKET_H
#define TERN_BENCH_LIMIT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PACKET_CONNECT = 1,
    PACKET_CONNACK = 2,
    PACKET_PUBLISH = 3,
    PACKET_SUBSCRIBE = 8,
    PACKET_SUBACK = 9,
    PACKET_PINGREQ = 12,
    PACKET_PINGRESP = 13,
    PACKET_DISCONNECT = 14,
    PACKET_HEAD_MAX = 5, /* type and length */
    PACKET_BYTES_BAD = UINT32_MAX,
};

/*
 * Bytes of the whole frame, from its first count bytes; 0: more are needed to tell;
 * PACKET_BYTES_BAD: there is no such length.
 */
static inline uint32_t packet_bytes(const uint8_t *data, size_t count)
{
    if (count >= 2 && data[1] < 0x80) {
        return 2u + data[1];
    }
    uint32_t length = 0;
    for (uint32_t i = 1; i < count && i < PACKET_HEAD_MAX; i++) {
        length |= (uint32_t)(data[i] & 0x7f) << (7 * (i - 1));
        if (data[i] < 0x80) {
            return length + i + 1;
        }
    }
    return count < PACKET_HEAD_MAX ? 0 : PACKET_BYTES_BAD;
}

/* A PUBLISH with QoS 0: such are forwarded as they are, whatever RETAIN says. */
static inline bool packet_is_forwarded(uint8_t first)
{
    return (first & 0xfe) == PACKET_PUBLISH << 4;
}

enum role { ROLE_NONE, ROLE_WRITER, ROLE_READER };

struct connect {
    uint8_t version;
    enum role role;
    uint32_t index; /* of a writer or reader */
};

/* Who tern-bench says it is: "bench-pub-7" writes, "bench-sub-7" reads, others only come and go. */
bool packet_connect(const uint8_t *data, size_t count, struct connect *out);

struct subscribe {
    uint16_t id;
    uint32_t filter_count;
    bool is_all;    /* the (only) filter is bench/+ */
    bool is_number; /* it is bench/N */
    uint32_t number;
};

bool packet_subscribe(const uint8_t *data, size_t count, uint8_t version, struct subscribe *out);

#endif
