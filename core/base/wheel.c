/*
 * Time is counted in ticks of 1 ms, written with digits of six bits. A timer waits in the level of
 * the highest digit in which its tick differs from now, in the slot of its own digit there:
 *
 *      level 0   64 slots of 1 ms      what is due within this window of 64 ms
 *      level 1   64 slots of 64 ms     later windows of the same 4 s
 *      level 2   64 slots of 4 s       ...
 *      level 7   64 slots of 139 y     beyond what 64 bits of nanoseconds can say
 *
 * When now reaches the first tick of a slot of a higher level, its timers cascade: they are placed
 * again, lower. All 64 bits of nanoseconds fit, so no timer is ever too far away.
 *
 * Invariants
 *   I1  a set timer with tick > now is in the slot that place_of(tick ^ now, tick) names, for the
 *       now of this moment: steps of now that cross no occupied slot keep it true, the others
 *       cascade. So a timer's slot need not be remembered.
 *   I2  every occupied slot of a level is after the digit of now there, so the lowest occupied
 *       slot of the lowest occupied level is the next thing to happen.
 *   I3  occupied[level] has a bit exactly for slots that are not empty; levels has a bit exactly
 *       for levels whose occupied is not 0.
 *   I4  a set timer with tick <= now is in `late`, or waits in wheel_run() for its turn.
 */
#include "core/base/wheel.h"

#include "core/base/assert.h"

#include <stdlib.h>

enum { TICK_NS = 1000000, DIGIT_BITS = 6, SLOT_COUNT = 1 << DIGIT_BITS, LEVEL_COUNT = 8 };
_Static_assert(DIGIT_BITS *LEVEL_COUNT >= 45, "2^64 ns are less than 2^45 ticks");

struct wheel {
    uint64_t now; /* in ticks */
    uint32_t levels;
    uint64_t occupied[LEVEL_COUNT];
    struct list late;
    struct list slots[LEVEL_COUNT][SLOT_COUNT];
};

struct place {
    uint32_t level, slot;
};

/* Rounded up: a timer never fires early. */
static uint64_t tick_of(const struct timer *timer)
{
    return timer->at_ns / TICK_NS + (timer->at_ns % TICK_NS != 0);
}

static struct place place_of(const struct wheel *wheel, uint64_t tick)
{
    ASSERT(tick > wheel->now);
    uint32_t bit = 63 - (uint32_t)__builtin_clzll(tick ^ wheel->now);
    uint32_t level = bit / DIGIT_BITS;
    return (struct place){level, (uint32_t)(tick >> (level * DIGIT_BITS)) & (SLOT_COUNT - 1)};
}

struct wheel *wheel_new(uint64_t now_ns)
{
    struct wheel *wheel = calloc(1, sizeof(*wheel));
    if (wheel == NULL) {
        return NULL;
    }
    wheel->now = now_ns / TICK_NS;
    list_init(&wheel->late);
    for (uint32_t level = 0; level < LEVEL_COUNT; level++) {
        for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
            list_init(&wheel->slots[level][slot]);
        }
    }
    return wheel;
}

void wheel_free(struct wheel *wheel)
{
    free(wheel);
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer))
{
    ASSERT(fire != NULL);
    list_init(&timer->link);
    timer->at_ns = 0;
    timer->fire = fire;
}

bool timer_is_set(const struct timer *timer)
{
    return timer->at_ns != 0;
}

static void slot_mark_empty(struct wheel *wheel, struct place place)
{
    wheel->occupied[place.level] &= ~(1ULL << place.slot); /* I3 */
    if (wheel->occupied[place.level] == 0) {
        wheel->levels &= ~(1u << place.level);
    }
}

/* tick > now */
static void timer_place(struct wheel *wheel, struct timer *timer, uint64_t tick)
{
    struct place place = place_of(wheel, tick); /* I1 */
    list_push_back(&wheel->slots[place.level][place.slot], &timer->link);
    wheel->occupied[place.level] |= 1ULL << place.slot; /* I3 */
    wheel->levels |= 1u << place.level;
}

void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t at_ns)
{
    wheel_unset(wheel, timer);
    timer->at_ns = at_ns == 0 ? 1 : at_ns; /* 0 means not set; either is past */
    uint64_t tick = tick_of(timer);
    if (tick > wheel->now) {
        timer_place(wheel, timer, tick);
    } else {
        list_push_back(&wheel->late, &timer->link); /* I4 */
    }
}

void wheel_unset(struct wheel *wheel, struct timer *timer)
{
    if (timer->at_ns == 0) {
        return;
    }
    uint64_t tick = tick_of(timer);
    list_remove(&timer->link);
    timer->at_ns = 0;
    if (tick > wheel->now) {
        struct place place = place_of(wheel, tick); /* I1 */
        if (list_is_empty(&wheel->slots[place.level][place.slot])) {
            slot_mark_empty(wheel, place);
        }
    }
}

/* The next occupied slot, and the first tick of it. At least one level is occupied. */
static struct place next_place(const struct wheel *wheel, uint64_t *tick)
{
    uint32_t level = (uint32_t)__builtin_ctz(wheel->levels); /* I2 */
    uint32_t slot = (uint32_t)__builtin_ctzll(wheel->occupied[level]);
    uint32_t shift = level * DIGIT_BITS;
    uint64_t above = wheel->now >> (shift + DIGIT_BITS) << DIGIT_BITS;
    *tick = (above | slot) << shift;
    return (struct place){level, slot};
}

uint64_t wheel_next_ns(const struct wheel *wheel)
{
    uint64_t tick;
    if (!list_is_empty(&wheel->late)) {
        return wheel->now * TICK_NS;
    }
    if (wheel->levels == 0) {
        return UINT64_MAX;
    }
    next_place(wheel, &tick);
    return tick > UINT64_MAX / TICK_NS ? UINT64_MAX : tick * TICK_NS;
}

/* now has reached the first tick of the slot: its timers are due, or wait lower. */
static void slot_reached(struct wheel *wheel, struct place place, struct list *due)
{
    struct list reached;
    list_init(&reached);
    list_append(&reached, &wheel->slots[place.level][place.slot]);
    slot_mark_empty(wheel, place);
    for (struct list *link; (link = list_pop_front(&reached)) != NULL;) {
        struct timer *timer = CONTAINER_OF(link, struct timer, link);
        uint64_t tick = tick_of(timer);
        if (tick > wheel->now) {
            timer_place(wheel, timer, tick);
        } else {
            list_push_back(due, link);
        }
    }
}

uint32_t wheel_run(struct wheel *wheel, uint64_t now_ns)
{
    /* First all that is due, then the calls: what they set, even in the past, is for next time, so
       no timer can keep a turn from ending. */
    uint64_t target = now_ns / TICK_NS;
    struct list due;
    list_init(&due);
    list_append(&due, &wheel->late);
    while (wheel->levels != 0) {
        uint64_t tick;
        struct place place = next_place(wheel, &tick);
        if (tick > target) {
            break;
        }
        wheel->now = tick;
        slot_reached(wheel, place, &due);
    }
    if (target > wheel->now) {
        wheel->now = target;
    }

    uint32_t count = 0;
    for (struct list *link; (link = list_pop_front(&due)) != NULL;) {
        struct timer *timer = CONTAINER_OF(link, struct timer, link);
        timer->at_ns = 0;
        timer->fire(timer);
        count++;
    }
    return count;
}
