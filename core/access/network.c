#include "core/access/network.h"

#include "core/base/text.h"
#include "core/wire/ip.h"

#include <stdio.h>

enum { IP4_AT = 12, IP4_BITS_AT = 96, PREFIX_BITS_IP4 = 96 + 24, PREFIX_BITS_IP6 = 64 };

static const uint8_t ip4_mapped[IP4_AT] = {[10] = 0xff, [11] = 0xff};

void network_widen(const uint8_t *ip, uint32_t ip_bytes, uint8_t out[NETWORK_IP_BYTES])
{
    ASSERT(ip_bytes == 4 || ip_bytes == NETWORK_IP_BYTES);
    if (ip_bytes == NETWORK_IP_BYTES) {
        memcpy(out, ip, NETWORK_IP_BYTES);
        return;
    }
    memcpy(out, ip4_mapped, IP4_AT);
    memcpy(out + IP4_AT, ip, 4);
}

struct network network_of(const uint8_t ip[NETWORK_IP_BYTES], uint32_t bits)
{
    struct network network = {.bits = (uint8_t)bits};
    ASSERT(bits <= NETWORK_BITS);
    for (uint32_t i = 0; i < NETWORK_IP_BYTES; i++) {
        uint32_t used = bits > 8 * i ? bits - 8 * i : 0;
        network.ip[i] = used >= 8 ? ip[i] : (uint8_t)(ip[i] & ~(0xff >> used));
    }
    return network;
}

struct network network_prefix(const uint8_t ip[NETWORK_IP_BYTES])
{
    return network_of(ip, network_is_ip4(ip) ? PREFIX_BITS_IP4 : PREFIX_BITS_IP6);
}

struct network network_host(const uint8_t ip[NETWORK_IP_BYTES])
{
    return network_of(ip, network_is_ip4(ip) ? NETWORK_BITS : PREFIX_BITS_IP6);
}

bool network_equal(const struct network *a, const struct network *b)
{
    return a->bits == b->bits && memcmp(a->ip, b->ip, NETWORK_IP_BYTES) == 0;
}

bool network_has(const struct network *network, const uint8_t ip[NETWORK_IP_BYTES])
{
    struct network other = network_of(ip, network->bits);
    return network_equal(network, &other);
}

bool network_is_ip4(const uint8_t ip[NETWORK_IP_BYTES])
{
    return memcmp(ip, ip4_mapped, IP4_AT) == 0;
}

bool network_is_loopback(const uint8_t ip[NETWORK_IP_BYTES])
{
    static const uint8_t loopback[NETWORK_IP_BYTES] = {[15] = 1};
    return network_is_ip4(ip) ? ip[IP4_AT] == 127 : memcmp(ip, loopback, NETWORK_IP_BYTES) == 0;
}

enum err network_parse(struct slice text, struct network *out, bool *has_length)
{
    size_t slash = slice_find(text, '/');
    struct slice host = slice_head(text, slash);
    uint8_t ip4[4], ip[NETWORK_IP_BYTES];
    bool is_ip4 = ip4_parse(host, ip4) == OK;
    uint64_t length = is_ip4 ? NETWORK_BITS - IP4_BITS_AT : NETWORK_BITS, length_max = length;
    if (is_ip4) {
        network_widen(ip4, 4, ip);
    } else if (ip6_parse(host, ip) != OK) {
        return ERR_INVALID;
    }
    if (slash < text.count &&
        (text_read_u64(slice_skip(text, slash + 1), &length) != OK || length > length_max)) {
        return ERR_INVALID;
    }
    struct network network = network_of(ip, (uint32_t)length + (is_ip4 ? IP4_BITS_AT : 0));
    if (memcmp(network.ip, ip, NETWORK_IP_BYTES) != 0) {
        return ERR_INVALID; /* 10.1.2.3/16 may mean one thing or another */
    }
    *out = network;
    *has_length = slash < text.count;
    return OK;
}

/* RFC 5952: the longest run of zeros, of two groups or more, becomes "::". */
static size_t ip6_text(const uint8_t *ip, char *out, size_t room)
{
    int gap = -1, gap_count = 1;
    size_t at = 0;
    for (int i = 0; i < 8; i++) {
        int count = 0;
        while (i + count < 8 && ip[2 * (i + count)] == 0 && ip[2 * (i + count) + 1] == 0) {
            count++;
        }
        if (count > gap_count) {
            gap = i;
            gap_count = count;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == gap) {
            at += (size_t)snprintf(out + at, room - at, "::");
            i += gap_count - 1;
            continue;
        }
        const char *colon = i == 0 || (gap >= 0 && i == gap + gap_count) ? "" : ":";
        at += (size_t)snprintf(out + at, room - at, "%s%x", colon, ip[2 * i] << 8 | ip[2 * i + 1]);
    }
    return at;
}

const char *network_text(const struct network *network, char out[NETWORK_TEXT_MAX])
{
    const uint8_t *ip = network->ip;
    bool is_ip4 = network_is_ip4(ip) && network->bits >= IP4_BITS_AT;
    size_t at = is_ip4 ? (size_t)snprintf(out, NETWORK_TEXT_MAX, "%u.%u.%u.%u", ip[12], ip[13],
                                          ip[14], ip[15])
                       : ip6_text(ip, out, NETWORK_TEXT_MAX);
    if (network->bits < NETWORK_BITS) {
        snprintf(out + at, NETWORK_TEXT_MAX - at, "/%d",
                 network->bits - (is_ip4 ? IP4_BITS_AT : 0));
    }
    return out;
}
