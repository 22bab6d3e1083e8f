/*
 * kv_witness: a map that can be judged from outside, for tests of the loss of power.
 *
 *     kv_witness write FOLDER logged|unlogged     until it is killed; a line for each number that is durable
 *     kv_witness check FOLDER logged|unlogged     prints the last number; 1: the map is none that was written
 *
 * Number n puts key n and deletes key n - KEPT in one batch, so at any moment the map holds the last
 * KEPT numbers and nothing else, each with a value that follows from it.
 */
#include "storage/kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 3000, VALUE_MAX = 1500, EACH_SYNC = 16, EACH_FLUSH = 700 };

static void write_key(uint64_t number, uint8_t out[8])
{
    for (int at = 0; at < 8; at++) {
        out[at] = (uint8_t)(number >> (56 - 8 * at));
    }
}

static uint64_t read_key(struct slice key)
{
    uint64_t number = 0;
    for (size_t at = 0; at < key.count; at++) {
        number = number << 8 | key.data[at];
    }
    return number;
}

static size_t write_value(uint64_t number, uint8_t out[VALUE_MAX])
{
    uint64_t chance = (number + 1) * UINT64_C(0x9E3779B97F4A7C15);
    size_t count = 20 + chance % (VALUE_MAX - 20);
    for (size_t at = 0; at < count; at++) {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        out[at] = (uint8_t)chance;
    }
    return count;
}

static int trouble(const char *what, enum err err, const char *text)
{
    printf("%s: %s %s\n", what, err_name(err), text);
    return 1;
}

/* The last number; UINT64_MAX: it is empty. false: it is none of those that were written. */
static bool look(struct kv *kv, uint64_t *last)
{
    uint8_t wanted[VALUE_MAX];
    struct slice key, value;
    uint64_t count = 0;
    *last = UINT64_MAX;
    struct kv_iter *iter = kv_iter_new(kv, slice_text(""), slice_text(""), true);
    while (kv_iter_next(iter, &key, &value)) {
        uint64_t number = read_key(key);
        size_t bytes = write_value(number, wanted);
        bool is_next = *last == UINT64_MAX || number == *last + 1;
        if (!is_next || value.count != bytes || memcmp(value.data, wanted, bytes) != 0) {
            printf("%" PRIu64 " after %" PRIu64 ", %zu bytes\n", number, *last, value.count);
            kv_iter_end(iter);
            return false;
        }
        *last = number;
        count++;
    }
    enum err err = kv_iter_end(iter);
    bool is_whole = *last == UINT64_MAX || count == (*last < KEPT ? *last + 1 : KEPT);
    if (err != OK || !is_whole) {
        printf("%s, %" PRIu64 " numbers up to %" PRIu64 "\n", err_name(err), count, *last);
        return false;
    }
    return true;
}

static int write_on(struct kv *kv, bool is_logged, uint64_t number)
{
    uint8_t key[8], value[VALUE_MAX];
    struct kv_batch *batch = kv_batch_new();
    for (;; number++) {
        write_key(number, key);
        kv_batch_clear(batch);
        kv_batch_put(batch, (struct slice){key, 8},
                     (struct slice){value, write_value(number, value)});
        if (number >= KEPT) {
            write_key(number - KEPT, key);
            kv_batch_delete(batch, (struct slice){key, 8});
        }
        enum err err = kv_write(kv, batch);
        uint64_t each = is_logged ? EACH_SYNC : EACH_FLUSH;
        if (err == OK && number % each == each - 1) {
            err = is_logged ? kv_sync(kv, true) : kv_flush(kv);
            if (err == OK) {
                printf("%" PRIu64 "\n", number);
                fflush(stdout);
            }
        }
        if (err != OK) {
            kv_batch_free(batch);
            kv_close(kv);
            return trouble("write", err, "");
        }
    }
}

int main(int count, char **words)
{
    if (count != 4) {
        return 64;
    }
    bool is_logged = strcmp(words[3], "logged") == 0;
    struct kv_failure failure = {0};
    struct kv *kv = NULL;
    uint64_t last;
    struct kv_config config = {
        .folder = words[2],
        .way = is_logged ? KV_LOGGED : KV_UNLOGGED,
        .buffer_bytes = 1 << 20, /* so that files are written and merged within a test */
    };
    enum err err = kv_open(&config, &kv, &failure);
    if (err != OK) {
        return trouble("open", err, failure.text);
    }
    if (!look(kv, &last)) {
        return 1;
    }
    if (strcmp(words[1], "write") == 0) {
        return write_on(kv, is_logged, last + 1);
    }
    printf("%" PRIu64 "\n", last + 1);
    kv_close(kv);
    return 0;
}
