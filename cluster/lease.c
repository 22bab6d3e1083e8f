#include "cluster/lease.h"

#include "core/base/assert.h"

#include <stddef.h>

struct lease_config lease_config(void)
{
    return (struct lease_config){
        .suspect_ms = 1000, .lease_ms = 2000, .gone_ms = 4000, .away_ms = 500, .guard_ms = 10000};
}

/* ---- the leader's table ----------------------------------------------------------------------- */

void lease_begin(struct lease_table *table, const struct lease_config *config, uint64_t now_ms)
{
    ASSERT(config->suspect_ms <= config->lease_ms);
    ASSERT(config->gone_ms > config->lease_ms); /* I1 */
    *table = (struct lease_table){.config = *config, .looked_ms = now_ms};
}

static struct lease_row *find(const struct lease_table *table, uint64_t number)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->rows[i].number == number) {
            return (struct lease_row *)&table->rows[i];
        }
    }
    return NULL;
}

enum err lease_add(struct lease_table *table, uint64_t number, uint64_t incarnation,
                   uint64_t now_ms)
{
    struct lease_row *row = find(table, number);
    if (row != NULL && row->incarnation == incarnation) {
        return OK;
    }
    if (row == NULL) {
        if (table->count == REGISTRY_MEMBERS_MAX) {
            return ERR_LIMIT;
        }
        row = &table->rows[table->count++];
    }
    *row = (struct lease_row){number, incarnation, now_ms, now_ms}; /* I2 */
    return OK;
}

void lease_forget(struct lease_table *table, uint64_t number)
{
    struct lease_row *row = find(table, number);
    if (row != NULL) {
        *row = table->rows[--table->count];
    }
}

/* Times only grow: who is told late by a caller's older clock takes nothing back. */
static void later(uint64_t *at_ms, uint64_t now_ms)
{
    *at_ms = now_ms > *at_ms ? now_ms : *at_ms;
}

enum err lease_renew(struct lease_table *table, uint64_t number, uint64_t incarnation,
                     uint64_t now_ms)
{
    struct lease_row *row = find(table, number);
    if (row == NULL) {
        return ERR_NOT_FOUND;
    }
    if (row->incarnation != incarnation) {
        return ERR_INVALID; /* I5 */
    }
    later(&row->heard_ms, now_ms);
    later(&row->renewed_ms, now_ms);
    return OK;
}

void lease_heard(struct lease_table *table, uint64_t number, uint64_t now_ms)
{
    struct lease_row *row = find(table, number);
    if (row != NULL) {
        later(&row->heard_ms, now_ms);
    }
}

static uint64_t since(uint64_t at_ms, uint64_t now_ms)
{
    return now_ms > at_ms ? now_ms - at_ms : 0;
}

static enum lease_state state_of(const struct lease_table *table, const struct lease_row *row,
                                 uint64_t now_ms)
{
    const struct lease_config *config = &table->config;
    uint64_t silent_ms = since(row->renewed_ms, now_ms);
    if (silent_ms >= config->gone_ms) {
        return LEASE_GONE;
    }
    if (silent_ms >= config->lease_ms) {
        return LEASE_LAPSED;
    }
    return since(row->heard_ms, now_ms) >= config->suspect_ms ? LEASE_SUSPECT : LEASE_LIVE;
}

enum err lease_look(const struct lease_table *table, uint64_t number, uint64_t now_ms,
                    enum lease_state *out)
{
    const struct lease_row *row = find(table, number);
    if (row == NULL) {
        return ERR_NOT_FOUND;
    }
    *out = state_of(table, row, now_ms);
    return OK;
}

bool lease_are_too_many(uint32_t lapsed, uint32_t all)
{
    return 3 * (uint64_t)lapsed > all;
}

/* I3: as if it had just been elected. */
static void start_over(struct lease_table *table, uint64_t now_ms)
{
    for (uint32_t i = 0; i < table->count; i++) {
        later(&table->rows[i].heard_ms, now_ms);
        later(&table->rows[i].renewed_ms, now_ms);
    }
    table->held_ms = 0;
    table->away_count++;
}

/* I4: true while it holds. It begins when too many have lapsed, and ends with its time or with them. */
static bool guard_holds(struct lease_table *table, uint32_t lapsed, uint64_t now_ms)
{
    if (!lease_are_too_many(lapsed, table->count + 1)) {
        table->held_ms = 0;
        return false;
    }
    if (table->held_ms == 0) {
        table->held_ms = now_ms;
        table->held_count++;
    }
    return since(table->held_ms, now_ms) < table->config.guard_ms;
}

void lease_turn(struct lease_table *table, uint64_t now_ms, struct lease_verdict *out)
{
    *out = (struct lease_verdict){.all = table->count + 1};
    out->was_away = since(table->looked_ms, now_ms) > table->config.away_ms;
    later(&table->looked_ms, now_ms);
    if (out->was_away) {
        start_over(table, now_ms);
        return;
    }
    uint32_t lapsed = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        enum lease_state state = state_of(table, &table->rows[i], now_ms);
        lapsed += state >= LEASE_LAPSED; /* those who follow in a moment count, too */
        if (state == LEASE_GONE) {
            out->numbers[out->count] = table->rows[i].number;
            out->incarnations[out->count++] = table->rows[i].incarnation;
        }
    }
    if (guard_holds(table, lapsed, now_ms)) {
        out->is_held = true;
        out->held_of = lapsed;
        out->count = 0;
    }
}

/* ---- the node's own side ---------------------------------------------------------------------- */

void lease_own_begin(struct lease_own *own, uint64_t incarnation)
{
    uint64_t asked_last = own->asked_last; /* ids go on: an answer to an older one is none to us */
    *own = (struct lease_own){.incarnation = incarnation, .asked_last = asked_last};
}

uint64_t lease_own_ask(struct lease_own *own, uint64_t now_ms)
{
    uint64_t id = ++own->asked_last;
    own->asked[id % LEASE_ASKED_MAX].id = id;
    own->asked[id % LEASE_ASKED_MAX].at_ms = now_ms;
    return id;
}

enum err lease_own_granted(struct lease_own *own, uint64_t id, uint64_t incarnation,
                           uint32_t lease_ms)
{
    if (incarnation != own->incarnation) {
        return ERR_INVALID;
    }
    if (id == 0 || own->asked[id % LEASE_ASKED_MAX].id != id) {
        return ERR_NOT_FOUND;
    }
    later(&own->until_ms, own->asked[id % LEASE_ASKED_MAX].at_ms + lease_ms);
    return OK;
}

bool lease_own_is_live(const struct lease_own *own, uint64_t now_ms)
{
    return now_ms < own->until_ms;
}
