/* blocks for AddressSanitizer, which can tell of a block only if it knows when it was let go. */
#include "core/base/blocks.h"

#include <stdlib.h>

void *blocks_take(size_t count)
{
    return malloc(count);
}

void blocks_give(void *block, size_t count)
{
    (void)count;
    free(block);
}

void blocks_thread_end(void)
{
}

void blocks_end(void)
{
}
