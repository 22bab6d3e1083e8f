/*
 * pile: things put on top of each other by some threads, and taken whole by one, the first put first.
 *
 * Floor:  base.
 * Thread: pile_push() by any, pile_take() by the owner.
 * Memory: none; the link lies in the thing, which belongs to the pile until it is taken.
 */
#ifndef TERN_BASE_PILE_H
#define TERN_BASE_PILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct pile_link {
    struct pile_link *next;
};

/* Zero-initialised is empty. */
struct pile {
    _Atomic(struct pile_link *) top; /* pushed: release, taken: acquire */
};

/*
 * true: it was empty, so the owner may have to be woken. What the caller did to the thing before is
 * seen by who takes it; not a word of it may be read any more, as it may be done with and freed.
 */
static inline bool pile_push(struct pile *pile, struct pile_link *link)
{
    struct pile_link *below = atomic_load_explicit(&pile->top, memory_order_relaxed);
    do { /* the owner only ever takes all: what is below cannot have gone and come back */
        link->next = below;
    } while (!atomic_compare_exchange_weak_explicit(&pile->top, &below, link, memory_order_release,
                                                    memory_order_relaxed));
    return below == NULL;
}

/* Everything, a chain in the order of pile_push(). NULL: nothing is there. */
static inline struct pile_link *pile_take(struct pile *pile)
{
    struct pile_link *newest = atomic_exchange_explicit(&pile->top, NULL, memory_order_acquire);
    struct pile_link *oldest = NULL;
    while (newest != NULL) {
        struct pile_link *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* Relaxed: a hint. */
static inline bool pile_is_empty(const struct pile *pile)
{
    return atomic_load_explicit(&pile->top, memory_order_relaxed) == NULL;
}

#endif
