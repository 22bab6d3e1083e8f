/*
 * How a broker starts: all shards find their part of the disk in order, or nobody is let in.
 */
#include "core/base/config.h"
#include "core/broker/broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SHARDS = 2 };

/* What one start is to meet, and what it met. */
static struct start {
    char folder[64], socket[96];
    uint32_t damaged; /* the shard that cannot load; SHARDS: none */
    bool was_listening;
} start;

/* One journal per shard, which nothing is asked of before it serves. */
static bool no_news(const struct journal *journal)
{
    (void)journal;
    return false;
}

static void nothing(struct journal *journal)
{
    (void)journal;
}

static const struct journal_calls calls = {.is_congested = no_news,
                                           .collect = nothing,
                                           .flush = nothing,
                                           .has_news = no_news,
                                           .leave_io = nothing};
static struct journal journals[SHARDS];

static enum err make_journal(void *context, struct io *io, uint32_t shard, struct journal **out,
                             uint64_t *wall_ms, struct broker_failure *failure)
{
    (void)context, (void)io, (void)wall_ms, (void)failure;
    journals[shard].calls = &calls;
    *out = &journals[shard];
    return OK;
}

/* The damaged one takes its time to find out: long enough for another that does not wait for it. */
static enum err load(void *context, struct journal *journal, struct shard *shard,
                     struct broker_failure *failure)
{
    (void)context, (void)shard;
    if (journal != &journals[start.damaged % SHARDS] || start.damaged == SHARDS) {
        return OK;
    }
    for (int i = 0; i < 100 && !start.was_listening; i++) {
        start.was_listening = access(start.socket, F_OK) == 0;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    snprintf(failure->text, sizeof(failure->text), "shard %u is damaged", start.damaged);
    return ERR_CORRUPT;
}

static enum err started_with(uint32_t damaged, struct broker_failure *failure)
{
    start = (struct start){.folder = "/tmp/tern-start-XXXXXX", .damaged = damaged};
    assert_non_null(mkdtemp(start.folder));
    snprintf(start.socket, sizeof(start.socket), "%s/s", start.folder);
    char text[256];
    snprintf(text, sizeof(text), "listener 0 %s\nallow_anonymous true\n", start.socket);
    struct config_sources sources = {.text = slice_text(text)};
    struct config_report report;
    struct config *config = NULL;
    config_report_init(&report);
    assert_int_equal(config_load(&sources, &config, &report), OK);
    config_report_deinit(&report);

    struct broker_ports ports = {
        .journal_new = make_journal, .journal_load = load, .journal_free = nothing};
    struct broker_config wish = {.config = config,
                                 .ports = &ports,
                                 .shard_count = SHARDS,
                                 .seed = 1,
                                 .stream_count_max = 64};
    struct broker *broker = NULL;
    assert_int_equal(broker_new(&wish, &broker), OK);
    enum err err = broker_start(broker, failure);
    if (err == OK) {
        start.was_listening = access(start.socket, F_OK) == 0;
        broker_stop(broker, false);
        broker_join(broker);
    }
    broker_free(broker);
    config_free(config);
    unlink(start.socket);
    assert_int_equal(rmdir(start.folder), 0);
    return err;
}

static void nobody_is_let_in_while_a_shard_may_find_damage(void **state)
{
    (void)state;
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        struct broker_failure failure;
        assert_int_equal(started_with(shard, &failure), ERR_CORRUPT);
        assert_non_null(strstr(failure.text, "is damaged"));
        assert_false(start.was_listening);
    }
}

static void all_listen_when_all_have_loaded(void **state)
{
    (void)state;
    struct broker_failure failure;
    assert_int_equal(started_with(SHARDS, &failure), OK);
    assert_true(start.was_listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_let_in_while_a_shard_may_find_damage),
        cmocka_unit_test(all_listen_when_all_have_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
