#include "core/wire/ip.h"

#include <stdbool.h>

enum { GROUPS = 8 };

enum err ip4_parse(struct slice text, uint8_t out[4])
{
    uint8_t ip[4];
    for (size_t i = 0; i < 4; i++) {
        size_t end = slice_find(text, '.');
        if (end == 0 || end > 3 || (i < 3) != (end < text.count) ||
            (end > 1 && text.data[0] == '0')) {
            return ERR_MALFORMED;
        }
        uint32_t number = 0;
        for (size_t k = 0; k < end; k++) {
            if (text.data[k] < '0' || text.data[k] > '9') {
                return ERR_MALFORMED;
            }
            number = number * 10 + (text.data[k] - '0');
        }
        if (number > 255) {
            return ERR_MALFORMED;
        }
        ip[i] = (uint8_t)number;
        text = slice_skip(text, i < 3 ? end + 1 : end);
    }
    memcpy(out, ip, sizeof(ip));
    return OK;
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One to four hexadecimal digits. */
static enum err group_parse(struct slice text, uint8_t out[2])
{
    uint32_t group = 0;
    if (text.count == 0 || text.count > 4) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < text.count; i++) {
        int digit = hex_digit(text.data[i]);
        if (digit < 0) {
            return ERR_MALFORMED;
        }
        group = group << 4 | (uint32_t)digit;
    }
    out[0] = (uint8_t)(group >> 8);
    out[1] = (uint8_t)group;
    return OK;
}

/*
 * "a:b:c" or nothing: groups up to *count, which becomes how many there were. An IPv4 address may
 * stand for the last two.
 */
static enum err groups_parse(struct slice text, bool may_end_in_ip4, uint8_t *out, size_t *count)
{
    size_t room = *count, used = 0;
    while (text.count > 0) {
        size_t end = slice_find(text, ':');
        bool is_last = end == text.count;
        if (is_last && may_end_in_ip4 && slice_find(text, '.') < text.count) {
            if (used + 2 > room) {
                return ERR_MALFORMED;
            }
            TRY(ip4_parse(text, out + 2 * used));
            used += 2;
            break;
        }
        if (used == room || end + 1 == text.count) {
            return ERR_MALFORMED; /* too many, or a colon at the end */
        }
        TRY(group_parse(slice_head(text, end), out + 2 * used));
        used++;
        text = slice_skip(text, is_last ? end : end + 1);
    }
    *count = used;
    return OK;
}

/* Index of the first "::", or count. */
static size_t gap_find(struct slice text)
{
    for (size_t i = 0; i + 1 < text.count; i++) {
        if (text.data[i] == ':' && text.data[i + 1] == ':') {
            return i;
        }
    }
    return text.count;
}

enum err ip6_parse(struct slice text, uint8_t out[16])
{
    uint8_t before[2 * GROUPS], after[2 * GROUPS];
    size_t gap = gap_find(text), before_count = GROUPS, after_count = 0;
    bool has_gap = gap < text.count;

    TRY(groups_parse(slice_head(text, gap), !has_gap, before, &before_count));
    if (has_gap) {
        after_count = GROUPS;
        TRY(groups_parse(slice_skip(text, gap + 2), true, after, &after_count));
    }
    /* A gap stands for one group of zeros at least. */
    if (has_gap ? before_count + after_count >= GROUPS : before_count != GROUPS) {
        return ERR_MALFORMED;
    }
    memset(out, 0, 2 * GROUPS);
    memcpy(out, before, 2 * before_count);
    memcpy(out + 2 * (GROUPS - after_count), after, 2 * after_count);
    return OK;
}
