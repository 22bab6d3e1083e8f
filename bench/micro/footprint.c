#include "bench/micro/footprint.h"

#include "core/base/assert.h"
#include "core/limits.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SLOTS = 1 << 20, SITE_SLOTS = 1 << 12, TLS_BYTES = 32768 };

/* An open-addressing table; a slot with number 0 is empty. */
struct line {
    uintptr_t number; /* address / LIMIT_CACHE_LINE_BYTES */
    uint64_t holders; /* shards whose caches have it */
    bool is_dirty;    /* its only holder wrote to it */
    const void *writer;
};

static struct line lines[LINE_SLOTS];
static uint32_t line_count;
static struct footprint_site sites[SITE_SLOTS];
static uint32_t site_count;
static uint64_t moved_total;
static uint32_t actor = FOOTPRINT_NOBODY;
static uintptr_t stack_begin, stack_end;

/* ---- the tables ---------------------------------------------------------------------------- */

static struct line *line_at(uintptr_t number)
{
    uint32_t at = (uint32_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
    for (;; at++) {
        struct line *line = &lines[at & (LINE_SLOTS - 1)];
        if (line->number == number) {
            return line;
        }
        if (line->number == 0) {
            ASSERT(++line_count < LINE_SLOTS / 4 * 3);
            line->number = number;
            return line;
        }
    }
}

static struct footprint_site *site_of(enum footprint_kind kind, const void *at, const void *other)
{
    for (uint32_t i = 0; i < site_count; i++) {
        if (sites[i].at == at && sites[i].other == other && sites[i].kind == kind) {
            return &sites[i];
        }
    }
    ASSERT(site_count < SITE_SLOTS);
    sites[site_count] = (struct footprint_site){.kind = kind, .at = at, .other = other};
    return &sites[site_count++];
}

static bool is_private(uintptr_t address)
{
    uintptr_t thread = (uintptr_t)__builtin_thread_pointer();
    return (address >= stack_begin && address < stack_end) ||
           (address < thread + TLS_BYTES && address >= thread - TLS_BYTES);
}

static void touch_line(uintptr_t number, enum footprint_kind kind, const void *at)
{
    struct line *line = line_at(number);
    uint64_t own = UINT64_C(1) << actor;
    bool is_held_by_others = (line->holders & ~own) != 0;
    bool moves = kind == FOOTPRINT_READ
                     ? (line->holders & own) == 0 && is_held_by_others && line->is_dirty
                     : is_held_by_others;
    if (moves) {
        site_of(kind, at, line->writer)->moved++;
        moved_total++;
    }
    if (kind == FOOTPRINT_READ) {
        line->is_dirty = line->is_dirty && !is_held_by_others;
        line->holders |= own;
        return;
    }
    line->holders = own;
    line->is_dirty = true;
    line->writer = at;
}

static void touch(const volatile void *memory, size_t bytes, enum footprint_kind kind,
                  const void *at)
{
    uintptr_t address = (uintptr_t)memory;
    if (actor == FOOTPRINT_NOBODY || bytes == 0 || is_private(address)) {
        return;
    }
    if (kind == FOOTPRINT_ATOMIC) {
        site_of(kind, at, NULL)->done++;
    }
    uintptr_t last = (address + bytes - 1) / LIMIT_CACHE_LINE_BYTES;
    for (uintptr_t number = address / LIMIT_CACHE_LINE_BYTES; number <= last; number++) {
        touch_line(number, kind, at);
    }
}

static void forget(const void *memory, size_t bytes)
{
    uintptr_t begin = (uintptr_t)memory / LIMIT_CACHE_LINE_BYTES;
    uintptr_t end = ((uintptr_t)memory + bytes) / LIMIT_CACHE_LINE_BYTES;
    for (uintptr_t number = begin; number < end; number++) {
        line_at(number)->holders = 0;
    }
}

void footprint_acts(uint32_t shard)
{
    actor = shard;
}

void footprint_begin(void)
{
    if (stack_end == 0) {
        pthread_attr_t attributes;
        void *begin = NULL;
        size_t bytes = 0;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &begin, &bytes);
        pthread_attr_destroy(&attributes);
        stack_begin = (uintptr_t)begin;
        stack_end = stack_begin + bytes;
    }
    site_count = 0;
    moved_total = 0;
}

const struct footprint_site *footprint_sites(uint32_t *count)
{
    *count = site_count;
    return sites;
}

uint64_t footprint_moved(void)
{
    return moved_total;
}

/* ---- memory, in whole lines (linked with --wrap) --------------------------------------------- */

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);
void *__real_memcpy(void *target, const void *source, size_t bytes);
void *__real_memmove(void *target, const void *source, size_t bytes);
void *__real_memset(void *target, int byte, size_t bytes);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __wrap_free(void *memory);
void *__wrap_memcpy(void *target, const void *source, size_t bytes);
void *__wrap_memmove(void *target, const void *source, size_t bytes);
void *__wrap_memset(void *target, int byte, size_t bytes);

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    size_t line = LIMIT_CACHE_LINE_BYTES;
    alignment = alignment < line ? line : alignment;
    return __real_aligned_alloc(alignment, (bytes + line - 1) / line * line);
}

void *__wrap_malloc(size_t bytes)
{
    return __wrap_aligned_alloc(LIMIT_CACHE_LINE_BYTES, bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *memory = __wrap_malloc(count * bytes);
    return memory != NULL ? __real_memset(memory, 0, count * bytes) : NULL;
}

void __wrap_free(void *memory)
{
    if (memory != NULL) {
        forget(memory, malloc_usable_size(memory));
    }
    __real_free(memory);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    void *moved = __wrap_malloc(bytes);
    if (moved != NULL && memory != NULL) {
        size_t before = malloc_usable_size(memory);
        __real_memcpy(moved, memory, before < bytes ? before : bytes);
        __wrap_free(memory);
    }
    return moved;
}

void *__wrap_memcpy(void *target, const void *source, size_t bytes)
{
    touch(source, bytes, FOOTPRINT_READ, __builtin_return_address(0));
    touch(target, bytes, FOOTPRINT_WRITE, __builtin_return_address(0));
    return __real_memcpy(target, source, bytes);
}

void *__wrap_memmove(void *target, const void *source, size_t bytes)
{
    touch(source, bytes, FOOTPRINT_READ, __builtin_return_address(0));
    touch(target, bytes, FOOTPRINT_WRITE, __builtin_return_address(0));
    return __real_memmove(target, source, bytes);
}

void *__wrap_memset(void *target, int byte, size_t bytes)
{
    touch(target, bytes, FOOTPRINT_WRITE, __builtin_return_address(0));
    return __real_memset(target, byte, bytes);
}

/* ---- what the compiler calls ----------------------------------------------------------------- */

#define ACCESS(name, bytes, kind)                                    \
    void __tsan_##name(void *memory);                                \
    void __tsan_##name(void *memory)                                 \
    {                                                                \
        touch(memory, (bytes), (kind), __builtin_return_address(0)); \
    }

#define RANGE(name, kind)                                          \
    void __tsan_##name(void *memory, size_t bytes);                \
    void __tsan_##name(void *memory, size_t bytes)                 \
    {                                                              \
        touch(memory, bytes, (kind), __builtin_return_address(0)); \
    }

#define SIZES(X, bytes)                               \
    X(read##bytes, bytes, FOOTPRINT_READ)             \
    X(write##bytes, bytes, FOOTPRINT_WRITE)           \
    X(unaligned_read##bytes, bytes, FOOTPRINT_READ)   \
    X(unaligned_write##bytes, bytes, FOOTPRINT_WRITE) \
    X(volatile_read##bytes, bytes, FOOTPRINT_READ)    \
    X(volatile_write##bytes, bytes, FOOTPRINT_WRITE)

SIZES(ACCESS, 1)
SIZES(ACCESS, 2)
SIZES(ACCESS, 4)
SIZES(ACCESS, 8)
SIZES(ACCESS, 16)
RANGE(read_range, FOOTPRINT_READ)
RANGE(write_range, FOOTPRINT_WRITE)

/* There is one thread: the operations need no order among themselves. */
#define READ_MODIFY_WRITE(bits, name, builtin)                                                     \
    uint##bits##_t __tsan_atomic##bits##_##name(uint##bits##_t *at, uint##bits##_t value, int mo); \
    uint##bits##_t __tsan_atomic##bits##_##name(uint##bits##_t *at, uint##bits##_t value, int mo)  \
    {                                                                                              \
        (void)mo;                                                                                  \
        touch(at, (bits) / 8, FOOTPRINT_ATOMIC, __builtin_return_address(0));                      \
        return builtin(at, value, __ATOMIC_SEQ_CST);                                               \
    }

#define COMPARE_EXCHANGE(bits, strength)                                                       \
    int __tsan_atomic##bits##_compare_exchange_##strength(                                     \
        uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t value, int mo, int fail); \
    int __tsan_atomic##bits##_compare_exchange_##strength(                                     \
        uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t value, int mo, int fail)  \
    {                                                                                          \
        (void)mo;                                                                              \
        (void)fail;                                                                            \
        touch(at, (bits) / 8, FOOTPRINT_ATOMIC, __builtin_return_address(0));                  \
        return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,       \
                                           __ATOMIC_SEQ_CST);                                  \
    }

#define ATOMICS(bits)                                                                   \
    uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t *at, int mo);        \
    uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t *at, int mo)         \
    {                                                                                   \
        (void)mo;                                                                       \
        touch(at, (bits) / 8, FOOTPRINT_READ, __builtin_return_address(0));             \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                   \
    }                                                                                   \
    void __tsan_atomic##bits##_store(uint##bits##_t *at, uint##bits##_t value, int mo); \
    void __tsan_atomic##bits##_store(uint##bits##_t *at, uint##bits##_t value, int mo)  \
    {                                                                                   \
        (void)mo;                                                                       \
        touch(at, (bits) / 8, FOOTPRINT_WRITE, __builtin_return_address(0));            \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                  \
    }                                                                                   \
    COMPARE_EXCHANGE(bits, strong)                                                      \
    COMPARE_EXCHANGE(bits, weak)                                                        \
    READ_MODIFY_WRITE(bits, exchange, __atomic_exchange_n)                              \
    READ_MODIFY_WRITE(bits, fetch_add, __atomic_fetch_add)                              \
    READ_MODIFY_WRITE(bits, fetch_sub, __atomic_fetch_sub)                              \
    READ_MODIFY_WRITE(bits, fetch_and, __atomic_fetch_and)                              \
    READ_MODIFY_WRITE(bits, fetch_or, __atomic_fetch_or)

ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_atomic_thread_fence(int mo);
void __tsan_atomic_signal_fence(int mo);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void)
{
}

void __tsan_atomic_thread_fence(int mo)
{
    (void)mo;
}

void __tsan_atomic_signal_fence(int mo)
{
    (void)mo;
}
