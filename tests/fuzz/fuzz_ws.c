/*
 * fuzz_ws: no bytes break the frame decoder, and how they are cut changes nothing that it says.
 *
 * The first byte picks the direction and seeds the cuts; the rest is the input.
 */
#include "core/wire/ws.h"

#include <stdio.h>
#include <stdlib.h>

enum { STORY_BYTES_MAX = 1 << 17 };

struct story {
    uint8_t *said; /* data and control payloads, joined, a letter before each control payload */
    size_t said_count;
    uint8_t *data;
    size_t data_count;
    enum err err;
    uint16_t close_code;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append(uint8_t *bytes, size_t *count, struct slice more)
{
    ASSERT(*count + more.count <= STORY_BYTES_MAX);
    if (more.count > 0) {
        memcpy(bytes + *count, more.data, more.count);
    }
    *count += more.count;
}

static void feed(struct ws_decoder *d, struct slice piece, struct story *story)
{
    uint8_t *copy = malloc(piece.count + 1), *in = copy;
    size_t in_count = piece.count;
    enum ws_event event = WS_DATA;

    ASSERT(copy != NULL);
    if (piece.count > 0) {
        memcpy(copy, piece.data, piece.count);
    }
    while (story->err == OK && event != WS_MORE) {
        struct slice out = {0};
        size_t before = in_count;
        story->err = ws_decode(d, &in, &in_count, &event, &out, &story->close_code);
        ASSERT(in == copy + (piece.count - in_count));
        if (story->err != OK || event == WS_MORE) {
            continue;
        }
        ASSERT(before > in_count); /* each event uses input, so that the loop ends */
        if (event == WS_DATA) {
            ASSERT(out.count > 0);
            append(story->data, &story->data_count, out);
        } else {
            uint8_t letter = (uint8_t)event;
            ASSERT(out.count <= WS_CONTROL_MAX);
            append(story->said, &story->said_count, slice_of(&letter, 1));
            append(story->said, &story->said_count, out);
        }
    }
    ASSERT(story->err != OK || in_count == 0);
    free(copy);
}

/* Pieces of 1 to piece_max bytes; piece_max 0: all in one. */
static void tell(bool is_client, struct slice in, uint32_t seed, size_t piece_max,
                 struct story *story)
{
    struct ws_decoder d = {.is_client = is_client};
    *story = (struct story){.said = malloc(STORY_BYTES_MAX), .data = malloc(STORY_BYTES_MAX)};
    ASSERT(story->said != NULL && story->data != NULL);
    do {
        size_t count = in.count;
        if (piece_max > 0 && count > 0) {
            seed = seed * 1664525 + 1013904223;
            count = 1 + (seed >> 16) % piece_max;
            count = count < in.count ? count : in.count;
        }
        feed(&d, slice_head(in, count), story);
        in = slice_skip(in, count);
    } while (in.count > 0 && story->err == OK);
    ws_decoder_deinit(&d);
}

static void story_free(struct story *story)
{
    free(story->said);
    free(story->data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces_max[] = {1, 2, 7, 64};
    struct story whole;

    if (size == 0 || size > STORY_BYTES_MAX / 2) {
        return 0;
    }
    bool is_client = (data[0] & 1) != 0;
    struct slice in = slice_of(data + 1, size - 1);
    tell(is_client, in, 0, 0, &whole);
    for (size_t i = 0; i < sizeof(pieces_max) / sizeof(pieces_max[0]); i++) {
        struct story story;
        tell(is_client, in, data[0], pieces_max[i], &story);
        ASSERT(story.err == whole.err);
        ASSERT(story.close_code == whole.close_code);
        ASSERT(slice_equal(slice_of(story.data, story.data_count),
                           slice_of(whole.data, whole.data_count)));
        ASSERT(slice_equal(slice_of(story.said, story.said_count),
                           slice_of(whole.said, whole.said_count)));
        story_free(&story);
    }
    story_free(&whole);
    return 0;
}
