/*
 * wire_case: packets written down so that a person can read them, for tests of the codec.
 *
 *      "00 04 'MQTT' 05 02"     hexadecimal bytes, spaces, and 'text'
 *
 * Each case is decoded from a heap block of exactly its size, so that a read beyond it is seen by
 * the address sanitizer.
 */
#ifndef TERN_TESTS_WIRE_CASE_H
#define TERN_TESTS_WIRE_CASE_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wire_case {
    const char *what;
    const char *bytes;
    enum err want;
};

static inline uint8_t wire_digit(char c)
{
    ASSERT((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* The bytes, in a heap block of exactly that size; free((void *)result.data). */
static inline struct slice wire_bytes(const char *text)
{
    uint8_t buffer[4096];
    size_t count = 0;
    for (const char *at = text; *at != '\0'; at++) {
        ASSERT(count < sizeof(buffer));
        if (*at == '\'') {
            for (at++; *at != '\''; at++) {
                buffer[count++] = (uint8_t)*at;
            }
        } else if (*at != ' ') {
            buffer[count++] = (uint8_t)(wire_digit(at[0]) << 4 | wire_digit(at[1]));
            at++;
        }
    }
    uint8_t *copy = malloc(count == 0 ? 1 : count);
    ASSERT(copy != NULL);
    memcpy(copy, buffer, count);
    return slice_of(copy, count);
}

/* How many of the cases got another answer than the one wanted; each is named on stderr. */
static inline unsigned wire_cases_failed(const struct wire_case *cases, size_t count,
                                         enum err (*decode)(struct slice))
{
    unsigned failed = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice in = wire_bytes(cases[i].bytes);
        enum err got = decode(in);
        if (got != cases[i].want) {
            fprintf(stderr, "%s: got %s, want %s\n", cases[i].what, err_name(got),
                    err_name(cases[i].want));
            failed++;
        }
        free((void *)in.data);
    }
    return failed;
}

/* Decode every strict prefix, each in a block of its own size; how many were accepted. */
static inline unsigned wire_prefixes_accepted(struct slice in, enum err (*decode)(struct slice))
{
    unsigned accepted = 0;
    for (size_t count = 0; count < in.count; count++) {
        uint8_t *copy = malloc(count == 0 ? 1 : count);
        ASSERT(copy != NULL);
        memcpy(copy, in.data, count);
        accepted += decode(slice_of(copy, count)) == OK;
        free(copy);
    }
    return accepted;
}

#endif
