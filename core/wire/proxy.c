#include "core/wire/proxy.h"

#include "core/wire/ip.h"

#include <string.h>

/*
 * ----- version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n" -----------------------------------
 */

/* Up to the next blank, which is used up; the last word ends at the end. */
static enum err word_take(struct slice *rest, struct slice *word)
{
    size_t at = slice_find(*rest, ' ');
    if (at == 0) {
        return ERR_MALFORMED;
    }
    *word = slice_head(*rest, at);
    *rest = slice_skip(*rest, at < rest->count ? at + 1 : at);
    return OK;
}

static enum err ip_parse(struct slice word, enum proxy_family family, struct proxy_address *out)
{
    out->family = family;
    return family == PROXY_IP4 ? ip4_parse(word, out->ip) : ip6_parse(word, out->ip);
}

/* Digits without leading zeros, up to 65535. */
static enum err port_parse(struct slice word, struct proxy_address *out)
{
    uint32_t port = 0;
    if (word.count == 0 || word.count > 5 || (word.count > 1 && word.data[0] == '0')) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < word.count; i++) {
        if (word.data[i] < '0' || word.data[i] > '9') {
            return ERR_MALFORMED;
        }
        port = port * 10 + (word.data[i] - '0');
    }
    if (port > UINT16_MAX) {
        return ERR_MALFORMED;
    }
    out->port = (uint16_t)port;
    return OK;
}

static enum err line_parse(struct slice line, struct proxy *out)
{
    struct slice word;
    TRY(word_take(&line, &word)); /* "PROXY" */
    TRY(word_take(&line, &word));
    if (slice_is(word, "UNKNOWN")) {
        out->is_local = true; /* what follows must be ignored */
        return OK;
    }
    enum proxy_family family = slice_is(word, "TCP4")   ? PROXY_IP4
                               : slice_is(word, "TCP6") ? PROXY_IP6
                                                        : PROXY_NONE;
    if (family == PROXY_NONE) {
        return ERR_MALFORMED;
    }
    TRY(word_take(&line, &word));
    TRY(ip_parse(word, family, &out->source));
    TRY(word_take(&line, &word));
    TRY(ip_parse(word, family, &out->target));
    TRY(word_take(&line, &word));
    TRY(port_parse(word, &out->source));
    return port_parse(line, &out->target); /* nothing may follow it */
}

static enum err v1_decode(struct slice in, struct proxy *out, size_t *bytes_used)
{
    size_t limit = in.count < PROXY_V1_BYTES_MAX ? in.count : PROXY_V1_BYTES_MAX;
    size_t at = slice_find(slice_head(in, limit), '\r');
    if (at == limit) {
        return limit == PROXY_V1_BYTES_MAX ? ERR_MALFORMED : ERR_MORE;
    }
    if (at + 1 == limit) {
        return limit == PROXY_V1_BYTES_MAX ? ERR_MALFORMED : ERR_MORE;
    }
    if (in.data[at + 1] != '\n') {
        return ERR_MALFORMED;
    }
    out->version = 1;
    TRY(line_parse(slice_head(in, at), out));
    *bytes_used = at + 2;
    return OK;
}

/*
 * ----- version 2: signature, command, family, length, addresses, TLVs ------------------------------
 */

enum {
    V2_FIXED_BYTES = 16,
    TLV_AUTHORITY = 0x02,
    TLV_CRC32C = 0x03,
    TLV_SSL = 0x20,
    TLV_SSL_CN = 0x22,
    CLIENT_SSL = 0x01,
    CLIENT_CERT_CONN = 0x02,
};

static uint16_t u16_at(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t u32_at(const uint8_t *at)
{
    return (uint32_t)u16_at(at) << 16 | u16_at(at + 2);
}

/* Bit by bit: once per connection over a few hundred bytes needs no table. */
static uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78 & (0 - (crc & 1)));
        }
    }
    return crc;
}

/* Over the whole header with the checksum's own four bytes taken as zero. */
static bool is_checksum_right(struct slice header, const uint8_t *checksum)
{
    static const uint8_t zeros[4];
    size_t before = (size_t)(checksum - header.data);
    uint32_t crc = crc32c(UINT32_MAX, header.data, before);
    crc = crc32c(crc, zeros, sizeof(zeros));
    crc = crc32c(crc, checksum + 4, header.count - before - 4);
    return ~crc == u32_at(checksum);
}

static enum err tlv_take(struct slice *rest, uint8_t *type, struct slice *value)
{
    if (rest->count < 3) {
        return ERR_MALFORMED;
    }
    size_t count = u16_at(rest->data + 1);
    if (rest->count - 3 < count) {
        return ERR_MALFORMED;
    }
    *type = rest->data[0];
    *value = slice_head(slice_skip(*rest, 3), count);
    *rest = slice_skip(*rest, 3 + count);
    return OK;
}

/* u8 client bits, u32 verify (zero: verified), then TLVs of its own. */
static enum err ssl_parse(struct slice rest, struct proxy *out)
{
    if (rest.count < 5) {
        return ERR_MALFORMED;
    }
    out->is_tls = (rest.data[0] & CLIENT_SSL) != 0;
    out->is_certified = (rest.data[0] & CLIENT_CERT_CONN) != 0 && u32_at(rest.data + 1) == 0;
    rest = slice_skip(rest, 5);
    while (rest.count > 0) {
        uint8_t type;
        struct slice value;
        TRY(tlv_take(&rest, &type, &value));
        if (type == TLV_SSL_CN) {
            out->common_name = value;
        }
    }
    return OK;
}

static enum err tlvs_parse(struct slice header, struct slice rest, struct proxy *out)
{
    while (rest.count > 0) {
        uint8_t type;
        struct slice value;
        TRY(tlv_take(&rest, &type, &value));
        if (type == TLV_AUTHORITY) {
            out->authority = value;
        } else if (type == TLV_SSL) {
            TRY(ssl_parse(value, out));
        } else if (type == TLV_CRC32C) {
            if (value.count != 4 || !is_checksum_right(header, value.data)) {
                return ERR_MALFORMED;
            }
        }
    }
    return OK;
}

static struct slice path_of(const uint8_t *field)
{
    return slice_head(slice_of(field, PROXY_PATH_MAX),
                      slice_find(slice_of(field, PROXY_PATH_MAX), 0));
}

/* Source and target stand side by side, then both ports. */
static enum err addresses_parse(enum proxy_family family, struct slice *rest, struct proxy *out)
{
    size_t count = family == PROXY_IP4 ? 4 : family == PROXY_IP6 ? 16 : PROXY_PATH_MAX;
    size_t total = 2 * count + (family == PROXY_UNIX ? 0 : 4);
    if (rest->count < total) {
        return ERR_MALFORMED;
    }
    const uint8_t *source = rest->data, *target = source + count, *ports = target + count;
    out->source.family = family;
    out->target.family = family;
    if (family == PROXY_UNIX) {
        out->source.path = path_of(source);
        out->target.path = path_of(target);
    } else {
        memcpy(out->source.ip, source, count);
        memcpy(out->target.ip, target, count);
        out->source.port = u16_at(ports);
        out->target.port = u16_at(ports + 2);
    }
    *rest = slice_skip(*rest, total);
    return OK;
}

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum err v2_decode(struct slice in, struct proxy *out, size_t *bytes_used)
{
    static const enum proxy_family families[] = {PROXY_NONE, PROXY_IP4, PROXY_IP6, PROXY_UNIX};

    if (in.count < V2_FIXED_BYTES) {
        return ERR_MORE;
    }
    uint8_t command = in.data[12], transport = in.data[13];
    size_t total = V2_FIXED_BYTES + (size_t)u16_at(in.data + 14);
    if (command >> 4 != 2) {
        return ERR_MALFORMED;
    }
    if ((command & 15) > 1 || transport >> 4 > 3) {
        return ERR_UNSUPPORTED;
    }
    if (total > PROXY_V2_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    if (in.count < total) {
        return ERR_MORE;
    }
    struct slice header = slice_head(in, total), rest = slice_skip(header, V2_FIXED_BYTES);
    enum proxy_family family = families[transport >> 4];
    out->version = 2;
    out->is_local = (command & 15) == 0 || family == PROXY_NONE;
    if (!out->is_local) {
        if ((transport & 15) != 1) {
            return ERR_UNSUPPORTED; /* datagrams do not carry MQTT */
        }
        TRY(addresses_parse(family, &rest, out));
        TRY(tlvs_parse(header, rest, out));
    } /* else the rest must be skipped unread, whatever it is */
    *bytes_used = total;
    return OK;
}

/* Does in start as text does, as far as it goes? */
static bool is_prefix(struct slice in, struct slice text)
{
    return slice_equal(slice_head(in, in.count < text.count ? in.count : text.count),
                       slice_head(text, in.count < text.count ? in.count : text.count));
}

enum err proxy_decode(struct slice in, struct proxy *out, size_t *bytes_used)
{
    struct slice text = slice_text("PROXY "), magic = slice_of(signature, sizeof(signature));
    struct proxy proxy = {0};
    size_t used;

    if (in.count == 0) {
        return ERR_MORE;
    }
    if (is_prefix(in, text)) {
        TRY(in.count < text.count ? ERR_MORE : v1_decode(in, &proxy, &used));
    } else if (is_prefix(in, magic)) {
        TRY(in.count < magic.count ? ERR_MORE : v2_decode(in, &proxy, &used));
    } else {
        return ERR_MALFORMED;
    }
    *out = proxy;
    *bytes_used = used;
    return OK;
}
