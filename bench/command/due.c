#include "bench/command/due.h"

#include "core/base/assert.h"

#include <stdlib.h>

struct due {
    uint32_t count, count_max;
    struct slot {
        uint64_t at_ns;
        uint32_t thing;
    } slots[]; /* a binary heap: no slot is before its parent, which is at (i - 1) / 2 */
};

struct due *due_new(uint32_t count)
{
    struct due *due = calloc(1, sizeof(*due) + (size_t)count * sizeof(due->slots[0]));
    if (due != NULL) {
        due->count_max = count;
    }
    return due;
}

void due_free(struct due *due)
{
    free(due);
}

void due_add(struct due *due, uint32_t thing, uint64_t at_ns)
{
    ASSERT(due->count < due->count_max);
    uint32_t at = due->count++;
    while (at > 0 && due->slots[(at - 1) / 2].at_ns > at_ns) {
        due->slots[at] = due->slots[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    due->slots[at] = (struct slot){at_ns, thing};
}

uint64_t due_next_ns(const struct due *due)
{
    return due->count == 0 ? UINT64_MAX : due->slots[0].at_ns;
}

uint32_t due_take(struct due *due, uint64_t *at_ns)
{
    ASSERT(due->count > 0);
    struct slot first = due->slots[0], last = due->slots[--due->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < due->count && due->slots[child + 1].at_ns < due->slots[child].at_ns) {
            child++;
        }
        if (child >= due->count || due->slots[child].at_ns >= last.at_ns) {
            break;
        }
        due->slots[at] = due->slots[child];
        at = child;
    }
    if (due->count > 0) {
        due->slots[at] = last;
    }
    *at_ns = first.at_ns;
    return first.thing;
}
