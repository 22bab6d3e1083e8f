/*
 * fuzz_registry: no bytes break the reader of REG's commands and snapshots, what it accepts is written
 * and read again without a change, and whatever it accepts can be applied to any state that came so.
 *
 * Input: a flag (1 byte): 1: what follows is a snapshot to begin with. Then, again and again: length
 * (2 bytes), and so many bytes: the snapshot, commands.
 */
#include "cluster/registry_msg.h"
#include "core/base/assert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 64 };

static struct slice next(struct slice *rest)
{
    size_t count = rest->data[0] | (size_t)rest->data[1] << 8;
    *rest = slice_skip(*rest, 2);
    count = count < rest->count ? count : rest->count;
    struct slice bytes = slice_head(*rest, count);
    *rest = slice_skip(*rest, count);
    return bytes;
}

static void check_command(const struct registry_command *command)
{
    struct registry_command again;
    struct buf first = {0}, second = {0};
    ASSERT(registry_command_encode(command, &first) == OK);
    ASSERT(registry_command_decode(buf_bytes(&first), &again) == OK);
    ASSERT(registry_command_encode(&again, &second) == OK);
    ASSERT(slice_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
}

static void check_state(const struct registry_state *state)
{
    struct registry_state *again;
    struct buf first = {0}, second = {0};
    ASSERT(registry_check(state) == OK);
    ASSERT(registry_snapshot_encode(state, &first) == OK);
    ASSERT(registry_snapshot_decode(buf_bytes(&first), &again) == OK);
    ASSERT(registry_snapshot_encode(again, &second) == OK);
    ASSERT(slice_equal(buf_bytes(&first), buf_bytes(&second)));
    registry_free(again);
    buf_deinit(&first);
    buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    struct registry_state *state = NULL;
    if (size < 3) {
        return 0;
    }
    bool is_snapshot = rest.data[0] & 1;
    rest = slice_skip(rest, 1);
    if (!is_snapshot || registry_snapshot_decode(next(&rest), &state) != OK) {
        state = registry_new();
    }
    check_state(state);
    for (int step = 0; step < STEPS_MAX && rest.count >= 2; step++) {
        struct registry_command command;
        struct registry_result result;
        if (registry_command_decode(next(&rest), &command) == OK && state->index < UINT64_MAX) {
            check_command(&command);
            ASSERT(registry_apply(state, state->index + 1, &command, &result) == OK);
        }
    }
    check_state(state);
    registry_free(state);
    return 0;
}
