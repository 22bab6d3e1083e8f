/*
 * IP addresses as text: is it one, and how is it written in one way only? Sockets are of a higher
 * floor, so we read the few forms ourselves: dotted quads, and RFC 4291 section 2.2; written as
 * RFC 5952 recommends. A test compares with inet_pton() and inet_ntop().
 */
#include "core/base/config_parts.h"

enum { GROUPS = 8 };

/* "127.0.0.1": four numbers without signs, blanks or leading zeros, as inet_pton() wants them. */
static bool quad_read(struct slice text, uint8_t out[4])
{
    for (int i = 0; i < 4; i++) {
        struct slice part = slice_head(text, slice_find(text, '.'));
        uint64_t number;
        bool is_last = part.count == text.count;
        if (part.count > 3 || (part.count > 1 && part.data[0] == '0') ||
            !config_number_parse(part, &number) || number > 255 || is_last != (i == 3)) {
            return false;
        }
        out[i] = (uint8_t)number;
        text = slice_skip(text, is_last ? part.count : part.count + 1);
    }
    return true;
}

/* "1f": one to four hexadecimal digits. */
static bool group_read(struct slice text, uint16_t *out)
{
    uint32_t number = 0;
    if (text.count < 1 || text.count > 4) {
        return false;
    }
    for (size_t i = 0; i < text.count; i++) {
        uint8_t byte = text.data[i];
        bool is_digit = byte >= '0' && byte <= '9';
        uint8_t letter = byte | 0x20;
        if (!is_digit && (letter < 'a' || letter > 'f')) {
            return false;
        }
        number = number * 16 + (uint32_t)(is_digit ? byte - '0' : letter - 'a' + 10);
    }
    *out = (uint16_t)number;
    return true;
}

/* Groups between single colons, the last may be a dotted quad. -1: malformed. */
static int groups_read(struct slice text, uint16_t groups[GROUPS])
{
    int count = 0;
    while (text.count > 0) {
        struct slice part = slice_head(text, slice_find(text, ':'));
        bool is_last = part.count == text.count;
        uint8_t quad[4];
        if (is_last && count <= GROUPS - 2 && quad_read(part, quad)) {
            groups[count++] = (uint16_t)(quad[0] << 8 | quad[1]);
            groups[count++] = (uint16_t)(quad[2] << 8 | quad[3]);
            return count;
        }
        if (count == GROUPS || !group_read(part, &groups[count])) {
            return -1;
        }
        count++;
        if (is_last) {
            return count;
        }
        text = slice_skip(text, part.count + 1);
        if (text.count == 0) {
            return -1; /* a colon at the end */
        }
    }
    return count;
}

static bool ip6_read(struct slice text, uint16_t out[GROUPS])
{
    const uint8_t *gap = text.count == 0 ? NULL : memmem(text.data, text.count, "::", 2);
    uint16_t tail[GROUPS];
    memset(out, 0, GROUPS * sizeof(out[0]));
    if (gap == NULL) {
        return groups_read(text, out) == GROUPS;
    }
    size_t head_bytes = (size_t)(gap - text.data);
    struct slice head_text = slice_head(text, head_bytes);
    struct slice tail_text = slice_skip(text, head_bytes + 2);
    if (slice_find(head_text, '.') < head_text.count) {
        return false; /* a quad stands at the end only */
    }
    int head_count = groups_read(head_text, out);
    int tail_count = groups_read(tail_text, tail);
    if (head_count < 0 || tail_count < 0 || head_count + tail_count >= GROUPS) {
        return false;
    }
    for (int i = head_count; i < GROUPS; i++) {
        int at = i - (GROUPS - tail_count);
        out[i] = at >= 0 ? tail[at] : 0;
    }
    return true;
}

/* Where the longest run of two or more zeros stands: RFC 5952 section 4.2. */
static int zeros_find(const uint16_t groups[GROUPS], int *count)
{
    int best = 0;
    *count = 0;
    for (int i = 0; i < GROUPS; i++) {
        int run = 0;
        while (i + run < GROUPS && groups[i + run] == 0) {
            run++;
        }
        if (run >= 2 && run > *count) {
            best = i;
            *count = run;
        }
        i += run;
    }
    return best;
}

static size_t ip6_write(const uint16_t groups[GROUPS], char out[CONFIG_ADDRESS_BYTES])
{
    int zero_count, zero_at = zeros_find(groups, &zero_count);
    bool holds_quad = zero_at == 0 && (zero_count == 6 || (zero_count == 5 && groups[5] == 0xFFFF));
    int end = holds_quad ? 6 : GROUPS;
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < end; i++) {
        if (zero_count > 0 && i == zero_at) {
            used += (size_t)sprintf(out + used, "::");
            i += zero_count - 1;
            continue;
        }
        bool needs_colon = used > 0 && out[used - 1] != ':';
        used += (size_t)sprintf(out + used, "%s%x", needs_colon ? ":" : "", groups[i]);
    }
    if (holds_quad) {
        bool needs_colon = out[used - 1] != ':';
        used += (size_t)sprintf(out + used, "%s%d.%d.%d.%d", needs_colon ? ":" : "", groups[6] >> 8,
                                groups[6] & 255, groups[7] >> 8, groups[7] & 255);
    }
    return used;
}

/* "%eth0": a link-local address names its device. */
static bool scope_is_good(struct slice scope)
{
    return scope.count >= 2 && scope.count <= LIMIT_DEVICE_NAME_BYTES + 1 &&
           slice_find(scope, '\0') == scope.count && slice_find(scope, ']') == scope.count;
}

bool config_address_read(struct slice text, char out[CONFIG_ADDRESS_BYTES])
{
    uint8_t quad[4];
    uint16_t groups[GROUPS];

    if (quad_read(text, quad)) {
        sprintf(out, "%d.%d.%d.%d", quad[0], quad[1], quad[2], quad[3]);
        return true;
    }
    if (text.count >= 2 && text.data[0] == '[' && text.data[text.count - 1] == ']') {
        text = slice_head(slice_skip(text, 1), text.count - 2);
    }
    struct slice address = slice_head(text, slice_find(text, '%'));
    struct slice scope = slice_skip(text, address.count);
    if ((scope.count > 0 && !scope_is_good(scope)) || !ip6_read(address, groups)) {
        return false;
    }
    size_t used = ip6_write(groups, out);
    if (scope.count > 0) {
        memcpy(out + used, scope.data, scope.count);
    }
    out[used + scope.count] = '\0';
    return true;
}

bool config_address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strncmp(address, "::ffff:127.", 11) == 0;
}

bool config_place_read(struct slice text, char address[CONFIG_ADDRESS_BYTES], uint64_t *port)
{
    const uint8_t *colon = memrchr(text.data, ':', text.count);
    if (colon == NULL) {
        return false;
    }
    struct slice host = slice_head(text, (size_t)(colon - text.data));
    if (!config_number_parse(slice_skip(text, host.count + 1), port) || *port > UINT16_MAX) {
        return false;
    }
    if (slice_is(host, "localhost")) {
        strcpy(address, "127.0.0.1");
        return true;
    }
    bool is_bare_ip6 = slice_find(host, ':') < host.count && host.data[0] != '[';
    return !is_bare_ip6 && config_address_read(host, address);
}
