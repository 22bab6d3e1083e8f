#include "tests/sim/sim_fiber.h"

#include "core/base/asan.h"
#include "core/base/assert.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#else
/* Without the sanitizer nobody has to be told that the stack changes. */
#define __sanitizer_start_switch_fiber(save, bottom, size)  ((void)(save))
#define __sanitizer_finish_switch_fiber(save, bottom, size) ((void)0)
#endif

enum { STACK_BYTES = 1024 * 1024 };

struct fiber {
    ucontext_t here, there; /* the fiber's own, and that of who resumes it */
    void (*run)(void *context);
    void *context;
    void *stack;
    void *fake_here, *fake_there; /* what the sanitizer keeps beside each stack */
    const void *there_bottom;
    size_t there_size;
    bool has_ended;
};

/* The C library's own: the one of the sanitizer warns that it is not told what we tell it. */
static int switch_stacks(ucontext_t *from, const ucontext_t *to)
{
    static int (*swap)(ucontext_t * from, const ucontext_t *to);
    if (swap == NULL) {
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        void *found = libc != NULL ? dlsym(libc, "swapcontext") : NULL;
        swap = swapcontext;
        if (found != NULL) {
            memcpy(&swap, &found, sizeof(swap));
        }
    }
    return swap(from, to);
}

static void enter(unsigned int low, unsigned int high)
{
    struct fiber *fiber = (struct fiber *)(uintptr_t)(low | (uint64_t)high << 32);
    __sanitizer_finish_switch_fiber(NULL, &fiber->there_bottom, &fiber->there_size);
    fiber->run(fiber->context);
    fiber->has_ended = true;
    __sanitizer_start_switch_fiber(NULL, fiber->there_bottom, fiber->there_size);
    switch_stacks(&fiber->here, &fiber->there);
}

struct fiber *fiber_new(void (*run)(void *context), void *context)
{
    struct fiber *fiber = calloc(1, sizeof(*fiber));
    ASSERT(fiber != NULL);
    fiber->run = run;
    fiber->context = context;
    fiber->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);
    ASSERT(fiber->stack != MAP_FAILED);
    getcontext(&fiber->here);
    fiber->here.uc_stack.ss_sp = fiber->stack;
    fiber->here.uc_stack.ss_size = STACK_BYTES;
    uint64_t self = (uintptr_t)fiber;
    makecontext(&fiber->here, (void (*)(void))enter, 2, (unsigned int)self,
                (unsigned int)(self >> 32));
    return fiber;
}

/* What the sanitizer keeps beside a stack goes when its fiber ends; one that a crash ended never does:
 * so we step on that stack, for the sanitizer's eyes only, and leave it for good. */
static void forget_fake(struct fiber *fiber)
{
    void *fake = NULL;
    if (!fiber->has_ended && fiber->fake_here != NULL) {
        __sanitizer_start_switch_fiber(&fake, fiber->stack, STACK_BYTES);
        __sanitizer_finish_switch_fiber(fiber->fake_here, &fiber->there_bottom, &fiber->there_size);
        __sanitizer_start_switch_fiber(NULL, fiber->there_bottom, fiber->there_size);
        __sanitizer_finish_switch_fiber(fake, NULL, NULL);
    }
}

void fiber_free(struct fiber *fiber)
{
    if (fiber != NULL) {
        forget_fake(fiber);
        ASAN_UNPOISON(fiber->stack, STACK_BYTES); /* one that never ended left its marks */
        munmap(fiber->stack, STACK_BYTES);
        free(fiber);
    }
}

bool fiber_resume(struct fiber *fiber)
{
    ASSERT(!fiber->has_ended);
    __sanitizer_start_switch_fiber(&fiber->fake_there, fiber->stack, STACK_BYTES);
    switch_stacks(&fiber->there, &fiber->here);
    __sanitizer_finish_switch_fiber(fiber->fake_there, NULL, NULL);
    return !fiber->has_ended;
}

void fiber_rest(struct fiber *fiber)
{
    __sanitizer_start_switch_fiber(&fiber->fake_here, fiber->there_bottom, fiber->there_size);
    switch_stacks(&fiber->here, &fiber->there);
    __sanitizer_finish_switch_fiber(fiber->fake_here, &fiber->there_bottom, &fiber->there_size);
}
