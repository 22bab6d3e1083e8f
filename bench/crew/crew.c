#include "bench/crew/crew.h"

#include "bench/crew/crew_room.h"
#include "bench/load/load.h"
#include "core/base/assert.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS ((uint64_t)1000000000)
#define AHEAD_NS  ((uint64_t)200000000)

/* Members begin together; what they may differ in is how long the broker makes each one wait. */
static const struct {
    const char *name;
    uint64_t patience_ns;
} stages[CREW_STAGE_COUNT] = {
    [CREW_READY] = {"ready", 120 * SECOND_NS},
    [CREW_SENT] = {"sent", 60 * SECOND_NS},
    [CREW_DRAINED] = {"drained", 600 * SECOND_NS},
};

struct crew {
    struct crew_room *room;
    uint32_t index;
    uint32_t arrived_count; /* stages this member has arrived at; behind the room's lock */
    char name[CREW_NAME_BYTES];
};

/* Counts per publisher; NULL: nobody gave any. */
struct sums {
    uint64_t *values;
    uint32_t count;
};

struct crew_room {
    struct crew_room_config config; /* immutable */
    struct crew *members;           /* config.count of them */

    /* Read at any time. Release pairs with the acquire of whoever sees it true. */
    atomic_bool is_failed;
    atomic_bool is_passed[CREW_STAGE_COUNT];
    _Atomic int64_t offset_ns; /* relaxed: a number by itself */

    pthread_mutex_t lock; /* for what follows, and for arrived_count of the members */
    uint32_t arrived_count[CREW_STAGE_COUNT];
    uint64_t first_ns[CREW_STAGE_COUNT]; /* when the first one arrived */
    uint64_t begin_common_ns;
    struct sums given;  /* by members here, and whom the relay speaks for */
    struct sums of_all; /* ruled: as the leader says */
    char problem[CREW_PROBLEM_BYTES];
};

/* ---- the room's own work, behind its lock --------------------------------------------------- */

static void fail(struct crew_room *room, const char *why)
{
    if (atomic_load_explicit(&room->is_failed, memory_order_relaxed)) {
        return; /* C3 */
    }
    snprintf(room->problem, sizeof(room->problem), "%s", why);
    atomic_store_explicit(&room->is_failed, true, memory_order_release);
}

static void pass(struct crew_room *room, enum crew_stage stage, uint64_t begin_common_ns)
{
    if (stage == CREW_READY) {
        room->begin_common_ns = begin_common_ns;
    }
    atomic_store_explicit(&room->is_passed[stage], true, memory_order_release);
}

static void arrive(struct crew_room *room, struct crew *member, enum crew_stage stage)
{
    ASSERT(member->arrived_count == (uint32_t)stage); /* C1 */
    uint64_t now_ns = room->config.clock_ns();
    member->arrived_count++;
    if (room->arrived_count[stage]++ == 0) {
        room->first_ns[stage] = now_ns;
    }
    if (!room->config.is_ruled && room->arrived_count[stage] == room->config.count) {
        pass(room, stage, now_ns + room->config.ahead_ns); /* C2; our clock is the common one */
    }
}

static void name_the_missing(struct crew_room *room, enum crew_stage stage)
{
    char why[CREW_PROBLEM_BYTES];
    uint32_t missing_count = room->config.count - room->arrived_count[stage];
    for (uint32_t i = 0; i < room->config.count; i++) {
        struct crew *member = &room->members[i];
        if (member->arrived_count > (uint32_t)stage) {
            continue;
        }
        int length = snprintf(why, sizeof(why), "%s is missing at stage '%s' after %" PRIu64 " s",
                              member->name, stages[stage].name,
                              room->config.patience_ns[stage] / SECOND_NS);
        if (missing_count > 1 && length > 0 && (size_t)length < sizeof(why)) {
            snprintf(why + length, sizeof(why) - (size_t)length, ", and %u others",
                     missing_count - 1);
        }
        fail(room, why);
        return;
    }
}

/* C4: the stage that some have reached and some have not. */
static void watch(struct crew_room *room)
{
    uint64_t now_ns = room->config.clock_ns();
    if (room->config.is_ruled) {
        return; /* the leader does; and a leader that is gone fails us through the relay */
    }
    for (enum crew_stage stage = 0; stage < CREW_STAGE_COUNT; stage++) {
        uint32_t count = room->arrived_count[stage];
        if (count > 0 && count < room->config.count &&
            now_ns - room->first_ns[stage] > room->config.patience_ns[stage]) {
            name_the_missing(room, stage);
        }
    }
}

static enum err sums_add(struct sums *sums, const uint64_t *values, uint32_t count)
{
    if (sums->values == NULL && count > 0) {
        sums->values = calloc(count, sizeof(values[0]));
        if (sums->values == NULL) {
            return ERR_NOMEM;
        }
        sums->count = count;
    }
    if (count != sums->count) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < count; i++) {
        sums->values[i] += values[i];
    }
    return OK;
}

/* ---- what a member sees --------------------------------------------------------------------- */

const char *crew_stage_name(enum crew_stage stage)
{
    ASSERT(stage < CREW_STAGE_COUNT);
    return stages[stage].name;
}

uint32_t crew_index(const struct crew *crew)
{
    return crew == NULL ? 0 : crew->index;
}

uint32_t crew_count(const struct crew *crew)
{
    return crew == NULL ? 1 : crew->room->config.count;
}

bool crew_owns(const struct crew *crew, uint32_t thing)
{
    return thing % crew_count(crew) == crew_index(crew);
}

uint32_t crew_own_count(const struct crew *crew, uint32_t total)
{
    uint32_t index = crew_index(crew), count = crew_count(crew);
    return total / count + (index < total % count ? 1 : 0);
}

void crew_arrive(struct crew *crew, enum crew_stage stage)
{
    ASSERT(stage < CREW_STAGE_COUNT);
    if (crew == NULL) {
        return;
    }
    pthread_mutex_lock(&crew->room->lock);
    if (!crew_is_failed(crew)) {
        arrive(crew->room, crew, stage);
    }
    pthread_mutex_unlock(&crew->room->lock);
}

bool crew_all_arrived(struct crew *crew, enum crew_stage stage)
{
    ASSERT(stage < CREW_STAGE_COUNT);
    if (crew == NULL) {
        return true;
    }
    if (atomic_load_explicit(&crew->room->is_passed[stage], memory_order_acquire)) {
        return true;
    }
    crew_room_watch(crew->room);
    return false;
}

bool crew_is_failed(const struct crew *crew)
{
    return crew != NULL && atomic_load_explicit(&crew->room->is_failed, memory_order_acquire);
}

uint64_t crew_begin_ns(struct crew *crew)
{
    if (crew == NULL) {
        return load_clock_ns();
    }
    struct crew_room *room = crew->room;
    if (!atomic_load_explicit(&room->is_passed[CREW_READY], memory_order_acquire)) {
        ASSERT(crew_is_failed(crew));
        return load_clock_ns();
    }
    return crew_local_ns(crew, room->begin_common_ns); /* written before it was passed */
}

void crew_share_sent(struct crew *crew, const uint64_t *sent, uint32_t count)
{
    if (crew == NULL) {
        return;
    }
    struct crew_room *room = crew->room;
    pthread_mutex_lock(&room->lock);
    ASSERT(crew->arrived_count <= (uint32_t)CREW_SENT);
    enum err err = count <= CREW_PUBLISHERS_MAX ? sums_add(&room->given, sent, count)
                                                : ERR_TOO_LARGE;
    if (err != OK) {
        char why[CREW_PROBLEM_BYTES];
        snprintf(why, sizeof(why), "%s: counts of %u publishers cannot be shared: %s", crew->name,
                 count, err_text(err));
        fail(room, why);
    }
    pthread_mutex_unlock(&room->lock);
}

const uint64_t *crew_sent(struct crew *crew)
{
    if (crew == NULL) {
        return NULL;
    }
    struct crew_room *room = crew->room;
    if (!atomic_load_explicit(&room->is_passed[CREW_SENT], memory_order_acquire)) {
        ASSERT(crew_is_failed(crew));
        return NULL;
    }
    return room->config.is_ruled ? room->of_all.values : room->given.values;
}

void crew_fail(struct crew *crew, const char *why)
{
    char text[CREW_PROBLEM_BYTES];
    if (crew == NULL) {
        return;
    }
    snprintf(text, sizeof(text), "%s: %s", crew->name, why);
    crew_room_fail(crew->room, text);
}

static int64_t offset_ns(const struct crew *crew)
{
    return crew == NULL ? 0 : atomic_load_explicit(&crew->room->offset_ns, memory_order_relaxed);
}

uint64_t crew_common_ns(const struct crew *crew, uint64_t local_ns)
{
    return local_ns + (uint64_t)offset_ns(crew);
}

uint64_t crew_local_ns(const struct crew *crew, uint64_t common_ns)
{
    return common_ns - (uint64_t)offset_ns(crew);
}

uint64_t crew_clock_ns(const struct crew *crew)
{
    return crew_common_ns(crew, load_clock_ns());
}

bool crew_measures(const struct crew *crew)
{
    return crew == NULL || (crew->index == 0 && !crew->room->config.is_ruled);
}

/* ---- what the runner sees ------------------------------------------------------------------- */

struct crew_room *crew_room_new(const struct crew_room_config *config)
{
    ASSERT(config->count >= 1 && config->count <= CREW_MEMBERS_MAX);
    ASSERT(!config->is_ruled || config->first + config->here_count <= config->count);
    struct crew_room *room = calloc(1, sizeof(*room));
    if (room == NULL) {
        return NULL;
    }
    room->members = calloc(config->count, sizeof(room->members[0]));
    if (room->members == NULL) {
        free(room);
        return NULL;
    }
    room->config = *config;
    room->config.ahead_ns = config->ahead_ns == 0 ? AHEAD_NS : config->ahead_ns;
    room->config.clock_ns = config->clock_ns == NULL ? load_clock_ns : config->clock_ns;
    for (enum crew_stage stage = 0; stage < CREW_STAGE_COUNT; stage++) {
        if (config->patience_ns[stage] == 0) {
            room->config.patience_ns[stage] = stages[stage].patience_ns;
        }
    }
    pthread_mutex_init(&room->lock, NULL);
    for (uint32_t i = 0; i < config->count; i++) {
        room->members[i].room = room;
        room->members[i].index = i;
        snprintf(room->members[i].name, CREW_NAME_BYTES, "generator %u", i);
    }
    return room;
}

void crew_room_free(struct crew_room *room)
{
    if (room == NULL) {
        return;
    }
    pthread_mutex_destroy(&room->lock);
    free(room->given.values);
    free(room->of_all.values);
    free(room->members);
    free(room);
}

struct crew *crew_room_member(struct crew_room *room, uint32_t index)
{
    ASSERT(index < room->config.count);
    return &room->members[index];
}

void crew_room_name(struct crew_room *room, uint32_t index, const char *name)
{
    ASSERT(index < room->config.count);
    pthread_mutex_lock(&room->lock);
    snprintf(room->members[index].name, CREW_NAME_BYTES, "%s", name);
    pthread_mutex_unlock(&room->lock);
}

void crew_room_leave(struct crew_room *room, uint32_t index, enum err err)
{
    char why[CREW_PROBLEM_BYTES];
    ASSERT(index < room->config.count);
    struct crew *member = &room->members[index];
    pthread_mutex_lock(&room->lock);
    uint32_t arrived_count = member->arrived_count;
    if (err != OK) {
        snprintf(why, sizeof(why), "%s: %s", member->name, err_text(err));
        fail(room, why);
    } else if (arrived_count > 0 && arrived_count < CREW_STAGE_COUNT) {
        snprintf(why, sizeof(why), "%s ended before stage '%s'", member->name,
                 stages[arrived_count].name);
        fail(room, why);
    }
    pthread_mutex_unlock(&room->lock);
}

void crew_room_fail(struct crew_room *room, const char *why)
{
    pthread_mutex_lock(&room->lock);
    fail(room, why);
    pthread_mutex_unlock(&room->lock);
}

bool crew_room_problem(struct crew_room *room, char out[CREW_PROBLEM_BYTES])
{
    bool is_failed = atomic_load_explicit(&room->is_failed, memory_order_acquire);
    if (is_failed) {
        memcpy(out, room->problem, CREW_PROBLEM_BYTES); /* C3: never written again */
    }
    return is_failed;
}

bool crew_room_here(struct crew_room *room, enum crew_stage stage)
{
    uint32_t wanted = room->config.is_ruled ? room->config.here_count : room->config.count;
    pthread_mutex_lock(&room->lock);
    bool is_here = room->arrived_count[stage] == wanted;
    pthread_mutex_unlock(&room->lock);
    return is_here;
}

bool crew_room_passed(struct crew_room *room, enum crew_stage stage, uint64_t *begin_common_ns)
{
    bool is_passed = atomic_load_explicit(&room->is_passed[stage], memory_order_acquire);
    if (is_passed) {
        *begin_common_ns = room->begin_common_ns;
    }
    return is_passed;
}

void crew_room_watch(struct crew_room *room)
{
    pthread_mutex_lock(&room->lock);
    watch(room);
    pthread_mutex_unlock(&room->lock);
}

void crew_room_pass(struct crew_room *room, enum crew_stage stage, uint64_t begin_common_ns)
{
    ASSERT(room->config.is_ruled);
    pthread_mutex_lock(&room->lock);
    if (!atomic_load_explicit(&room->is_failed, memory_order_relaxed)) {
        pass(room, stage, begin_common_ns);
    }
    pthread_mutex_unlock(&room->lock);
}

enum err crew_room_set_sent(struct crew_room *room, const uint64_t *sent, uint32_t count)
{
    ASSERT(room->config.is_ruled);
    pthread_mutex_lock(&room->lock);
    enum err err = room->of_all.values == NULL ? sums_add(&room->of_all, sent, count) : ERR_EXISTS;
    pthread_mutex_unlock(&room->lock);
    return err;
}

const uint64_t *crew_room_sent(struct crew_room *room, uint32_t *count)
{
    pthread_mutex_lock(&room->lock);
    *count = room->given.count;
    const uint64_t *values = room->given.values;
    pthread_mutex_unlock(&room->lock);
    return values;
}

void crew_room_set_offset(struct crew_room *room, int64_t offset_ns)
{
    atomic_store_explicit(&room->offset_ns, offset_ns, memory_order_relaxed);
}
