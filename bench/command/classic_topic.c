#include "bench/command/classic_topic.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text of a variable that begins at `at`; *used: how many characters its name has, or 0. */
static const char *variable(const char *at, const struct classic_names *names, char digits[24],
                            size_t *used)
{
    static const char random_name[] = "%rand_";
    *used = 2;
    switch (at[1]) {
    case 'i':
        snprintf(digits, 24, "%u", names->number);
        return digits;
    case 'c':
        return names->client_id;
    case 'u':
        return names->username == NULL ? "" : names->username;
    case 's':
        snprintf(digits, 24, "%" PRIu64, names->sequence);
        return digits;
    default:
        break;
    }
    size_t count = strlen(random_name);
    *used = 0;
    if (strncmp(at, random_name, count) == 0 && isdigit((unsigned char)at[count])) {
        char *end;
        uint64_t high = strtoull(at + count, &end, 10);
        *used = (size_t)(end - at);
        snprintf(digits, 24, "%" PRIu64, 1 + names->random % (high == 0 ? 1 : high));
    }
    return digits;
}

bool classic_topic(const char *pattern, const struct classic_names *names, char *out,
                   size_t out_bytes)
{
    char digits[24];
    size_t count = 0;

    for (const char *at = pattern; *at != '\0';) {
        size_t used = 0;
        const char *piece = at[0] == '%' ? variable(at, names, digits, &used) : at;
        size_t piece_count = used == 0 ? 1 : strlen(piece);
        if (count + piece_count >= out_bytes) {
            return false;
        }
        memcpy(out + count, used == 0 ? at : piece, piece_count);
        count += piece_count;
        at += used == 0 ? 1 : used;
    }
    out[count] = '\0';
    return true;
}

bool classic_topic_varies(const char *pattern)
{
    return strstr(pattern, "%s") != NULL || strstr(pattern, "%rand_") != NULL;
}
