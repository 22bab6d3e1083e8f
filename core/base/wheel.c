/*
 * Time is counted in ticks of 1 ms. A timer waits at the lowest level that reaches as far as it is
 * away, in the slot of its own tick there:
 *
 *      level 0     64 slots of 1 ms     what is due within 63 ms
 *      level 1   4096 slots of 64 ms    within 4 min: where keep alive waits
 *      level 2     64 slots of 4 min    within 4 h
 *      level 6     64 slots of 139 y    beyond what 64 bits of nanoseconds can say
 *
 * When now reaches the first tick of a slot of a higher level, its timers cascade: they are placed
 * again, lower. All that is in one slot moves in one turn, and a turn is what others wait for: so
 * the level of keep alive has short slots and many of them. (Placed by the highest digit in which
 * the tick differs from now, all timers beyond a border of 4 min cascaded there at once.)
 *
 * Invariants
 *   I1  a set timer with tick > now is in a slot of its own tick, at a level whose slots reached
 *       that far when it was placed. At each level that slot is after the one of now, by less than
 *       the level's count of slots: so an index stands for one time only. (While wheel_run() is at a
 *       tick where slots of several levels begin, the lower ones are those of now.)
 *   I2  what is in a slot is not due before the slot's first tick, so the occupied slot with the
 *       earliest first tick over all levels is the next thing to happen.
 *   I3  a bit of occupied is set exactly for slots that are not empty; words has a bit exactly for
 *       those words of occupied, within a level, that are not 0.
 *   I4  a set timer with tick <= now is in `late`, or waits in wheel_run() for its turn.
 */
#include "core/base/wheel.h"

#include "core/base/assert.h"

#include <stdlib.h>

enum { TICK_NS = 1000000, WORD_BITS = 64, LEVEL_COUNT = 7, SLOT_TOTAL = 4096 + 6 * 64 };

static const struct level {
    uint32_t shift;      /* a slot is 2^shift ticks long */
    uint32_t slot_count; /* a power of two; 64 words of 64 bits at most */
    uint32_t first;      /* of its slots, within wheel->slots */
} levels[LEVEL_COUNT] = {
    {0, 64, 0},     {6, 4096, 64},  {18, 64, 4160}, {24, 64, 4224},
    {30, 64, 4288}, {36, 64, 4352}, {42, 64, 4416},
};
_Static_assert(42 + 6 >= 45, "2^64 ns are less than 2^45 ticks");
_Static_assert(4416 + 64 == SLOT_TOTAL, "each level has its slots");

struct wheel {
    uint64_t now;                              /* in ticks */
    uint64_t words[LEVEL_COUNT];               /* I3 */
    uint64_t occupied[SLOT_TOTAL / WORD_BITS]; /* I3 */
    struct list late;
    struct list slots[SLOT_TOTAL];
};

/* Rounded up: a timer never fires early. */
static uint64_t tick_of(const struct timer *timer)
{
    return timer->at_ns / TICK_NS + (timer->at_ns % TICK_NS != 0);
}

struct wheel *wheel_new(uint64_t now_ns)
{
    struct wheel *wheel = calloc(1, sizeof(*wheel));
    if (wheel == NULL) {
        return NULL;
    }
    wheel->now = now_ns / TICK_NS;
    list_init(&wheel->late);
    for (uint32_t slot = 0; slot < SLOT_TOTAL; slot++) {
        list_init(&wheel->slots[slot]);
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

/* Of a slot, by its place in wheel->slots. Level 1 begins with the second word. */
static uint32_t level_of(uint32_t slot)
{
    uint32_t level = LEVEL_COUNT - 1;
    while (slot < levels[level].first) {
        level--;
    }
    return level;
}

static void slot_mark_empty(struct wheel *wheel, uint32_t slot)
{
    uint32_t level = level_of(slot), word = slot / WORD_BITS;
    wheel->occupied[word] &= ~(UINT64_C(1) << slot % WORD_BITS);
    if (wheel->occupied[word] == 0) {
        wheel->words[level] &= ~(UINT64_C(1) << (word - levels[level].first / WORD_BITS));
    }
}

/* tick > now */
static void timer_place(struct wheel *wheel, struct timer *timer, uint64_t tick)
{
    const struct level *level = levels;
    while ((tick >> level->shift) - (wheel->now >> level->shift) >= level->slot_count) { /* I1 */
        level++;
        ASSERT(level < levels + LEVEL_COUNT);
    }
    uint32_t index = (uint32_t)(tick >> level->shift) & (level->slot_count - 1);
    uint32_t slot = level->first + index;
    list_push_back(&wheel->slots[slot], &timer->link);
    wheel->occupied[slot / WORD_BITS] |= UINT64_C(1) << slot % WORD_BITS; /* I3 */
    wheel->words[level - levels] |= UINT64_C(1) << index / WORD_BITS;
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
    const struct list *head = timer->link.next; /* if the timer is alone in its list */
    bool is_alone = head == timer->link.prev;
    list_remove(&timer->link);
    timer->at_ns = 0;
    if (is_alone && head >= wheel->slots && head < wheel->slots + SLOT_TOTAL) {
        slot_mark_empty(wheel, (uint32_t)(head - wheel->slots)); /* I3 */
    }
}

/* The first bit of bits at or after `from`, and around; bits is not 0. */
static uint32_t bit_after(uint64_t bits, uint32_t from)
{
    uint64_t above = bits >> from << from;
    return (uint32_t)__builtin_ctzll(above != 0 ? above : bits);
}

/* The first occupied slot of a level, from the one of now on, as an index of the level; there is one. */
static uint32_t level_next(const struct wheel *wheel, uint32_t number)
{
    const struct level *level = &levels[number];
    const uint64_t *occupied = wheel->occupied + level->first / WORD_BITS;
    uint32_t from = (uint32_t)(wheel->now >> level->shift) & (level->slot_count - 1);
    uint32_t word = from / WORD_BITS;
    uint64_t rest = occupied[word] >> from % WORD_BITS << from % WORD_BITS;
    if (rest == 0) { /* the next word that has any, perhaps this one's beginning */
        uint32_t word_count = level->slot_count / WORD_BITS;
        word = bit_after(wheel->words[number], (word + 1) & (word_count - 1));
        rest = occupied[word];
    }
    return word * WORD_BITS + (uint32_t)__builtin_ctzll(rest);
}

/*
 * The occupied slot with the earliest first tick (I2), of equals the one of the highest level: what
 * it holds may belong lower. false: there is none.
 */
static bool next_slot(const struct wheel *wheel, uint32_t *slot, uint64_t *tick)
{
    *tick = UINT64_MAX;
    for (uint32_t number = 0; number < LEVEL_COUNT; number++) {
        const struct level *level = &levels[number];
        if (wheel->words[number] == 0) {
            continue;
        }
        uint32_t index = level_next(wheel, number);
        uint64_t now = wheel->now >> level->shift;
        uint64_t away = (index - now) & (level->slot_count - 1); /* I1 */
        uint64_t first = (now + away) << level->shift;
        if (first <= *tick) {
            *tick = first;
            *slot = level->first + index;
        }
    }
    return *tick != UINT64_MAX;
}

uint64_t wheel_next_ns(const struct wheel *wheel)
{
    uint32_t slot;
    uint64_t tick;
    if (!list_is_empty(&wheel->late)) {
        return wheel->now * TICK_NS;
    }
    if (!next_slot(wheel, &slot, &tick)) {
        return UINT64_MAX;
    }
    return tick > UINT64_MAX / TICK_NS ? UINT64_MAX : tick * TICK_NS;
}

/* now has reached the first tick of the slot: its timers are due, or wait lower. */
static void slot_reached(struct wheel *wheel, uint32_t slot, struct list *due)
{
    struct list reached;
    list_init(&reached);
    list_append(&reached, &wheel->slots[slot]);
    slot_mark_empty(wheel, slot);
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
    uint32_t slot;
    uint64_t tick;
    while (next_slot(wheel, &slot, &tick) && tick <= target) {
        wheel->now = tick;
        slot_reached(wheel, slot, &due);
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
