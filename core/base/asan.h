/*
 * asan: tell AddressSanitizer which of our memory may not be touched just now.
 *
 * Floor:  base. Nothing at all in builds without ASan.
 */
#ifndef TERN_BASE_ASAN_H
#define TERN_BASE_ASAN_H

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>

/* Where memory comes from is hidden, or gcc warns that poisoning reads what nobody wrote yet. */
static inline void *asan_hidden(void *memory)
{
    __asm__("" : "+r"(memory));
    return memory;
}

#define ASAN_POISON(memory, bytes)   __asan_poison_memory_region(asan_hidden(memory), (bytes))
#define ASAN_UNPOISON(memory, bytes) __asan_unpoison_memory_region((memory), (bytes))
#else
#define ASAN_POISON(memory, bytes)   ((void)(memory), (void)(bytes))
#define ASAN_UNPOISON(memory, bytes) ((void)(memory), (void)(bytes))
#endif

#endif
