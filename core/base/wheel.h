/*
 * wheel: timers of one shard, hierarchical timing wheel (G. Varghese, A. Lauck, 1987, scheme 7).
 *
 * Floor:  base; reads no clock: now is handed in.
 * Thread: the shard that owns it.
 * Memory: a timer lives inside the object it times; the wheel owns nothing but itself.
 *
 * Resolution 1 ms; a timer never fires early, and at most 1 ms plus the length of a turn late.
 */
#ifndef TERN_BASE_WHEEL_H
#define TERN_BASE_WHEEL_H

#include "core/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct wheel;

struct timer {
    struct list link;
    uint64_t at_ns; /* 0: not set */
    void (*fire)(struct timer *timer);
};

struct wheel *wheel_new(uint64_t now_ns);
void wheel_free(struct wheel *wheel);

/* Before the first wheel_set(). fire is called by wheel_run() with the timer already unset. */
void timer_init(struct timer *timer, void (*fire)(struct timer *timer));
bool timer_is_set(const struct timer *timer);

/* Set or move. at_ns in the past fires at the next wheel_run(). O(1). */
void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t at_ns);
void wheel_unset(struct wheel *wheel, struct timer *timer);

/* Fire what is due, in order of milliseconds. `fire` may set and unset any timer. Returns count. */
uint32_t wheel_run(struct wheel *wheel, uint64_t now_ns);

/*
 * When wheel_run() must be called next: UINT64_MAX when no timer is set. May be earlier than the
 * earliest timer (a cascade), never later.
 */
uint64_t wheel_next_ns(const struct wheel *wheel);

#endif
