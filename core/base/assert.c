#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "tern: broken assertion, please report it: %s:%d: %s\n", file, line, condition);
    abort();
}
