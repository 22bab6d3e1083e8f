#include "tests/sim/sim_story.h"

#include "core/base/assert.h"
#include "core/session/session.h"
#include "tests/sim/sim_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STORY_TEXT_MAX = 256 * 1024, STORY_SHARDS = 2 };

static const struct {
    const char *name;
    void (*tell)(struct story *story);
} stories[] = {
    {"story_takeover", story_takeover},
    {"story_member_leaves", story_member_leaves},
    {"story_full_mailbox", story_full_mailbox},
};

/* ---- what a story is told with ------------------------------------------------------------- */

static uint64_t wants_ns(void *object)
{
    return client_wants_ns(object);
}

static void turn(void *object)
{
    struct client *client = object;
    client_read(client);
    if (client->sim->now_ns >= client->acks_from_ns) {
        client_flush_acks(client, CLIENT_ACKS_MAX);
    }
    client_write(client);
}

struct client *story_client(struct story *story, const char *name, uint32_t shard,
                            const struct client_character *character)
{
    char id[16];
    uint32_t number = 1;
    do {
        snprintf(id, sizeof(id), "%s%u", name, number++);
    } while (partition_of(slice_text(id)) % STORY_SHARDS != shard);
    ASSERT(story->client_count < STORY_CLIENTS_MAX);
    struct client *client = client_new(story->sim, story->check, story->client_count, id,
                                       character);
    client->actor = sim_actor_add(story->sim, id, client, wants_ns, turn);
    story->clients[story->client_count++] = client;
    return client;
}

void story_falls_silent(struct client *client)
{
    client->acks_from_ns = UINT64_MAX;
}

void story_answers(struct client *client)
{
    client->acks_from_ns = 0;
}

void story_wait_ms(struct story *story, uint64_t ms)
{
    sim_run_until(story->sim, story->sim->now_ns + ms * SIM_MS);
}

void story_connect(struct story *story, struct client *client, bool clean)
{
    bool is_taken = client_connect(client, clean);
    ASSERT(is_taken);
    story_wait_ms(story, 20);
}

void story_tell(struct story *story, const char *text)
{
    sim_trace(story->sim, "%s", text);
}

/* ---- telling one and comparing ------------------------------------------------------------- */

static void path_of(const char *name, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s/%s.txt", TERN_SIM_FOLDER, name);
}

static size_t load(const char *name, char *text)
{
    char path[1024];
    path_of(name, path, sizeof(path));
    FILE *file = fopen(path, "r");
    size_t count = file != NULL ? fread(text, 1, STORY_TEXT_MAX - 1, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    text[count] = 0;
    return count;
}

static void store(const char *name, const char *text)
{
    char path[1024];
    path_of(name, path, sizeof(path));
    FILE *file = fopen(path, "w");
    ASSERT(file != NULL);
    fputs(text, file);
    fclose(file);
}

/* The number of the first line that differs. */
static uint32_t first_difference(const char *a, const char *b)
{
    uint32_t line = 1;
    while (*a != 0 && *a == *b) {
        line += *a == '\n';
        a++;
        b++;
    }
    return line;
}

static void run(uint32_t number, char *why, size_t why_bytes, char **told)
{
    size_t told_bytes = 0;
    FILE *trace = open_memstream(told, &told_bytes);
    ASSERT(trace != NULL);
    struct sim_options options = {.seed = 1,
                                  .shard_count = STORY_SHARDS,
                                  .show = true,
                                  .trace = trace,
                                  .is_still = true,
                                  .config = "max_queued_messages 0"};
    struct story story = {.sim = sim_new(&options)};
    story.check = check_new(story.sim, STORY_CLIENTS_MAX);
    stories[number].tell(&story);
    if (!story.sim->has_failed) {
        check_all_paid(story.check);
    }
    story.sim->is_mute = true;
    sim_node_stop(story.sim->node, false);
    snprintf(why, why_bytes, "%s", story.sim->why);
    for (uint32_t i = 0; i < story.client_count; i++) {
        client_free(story.clients[i]);
    }
    check_free(story.check);
    sim_free(story.sim);
    fclose(trace);
}

void stories_run(bool writes, story_count count)
{
    char *expected = malloc(STORY_TEXT_MAX);
    ASSERT(expected != NULL);
    for (uint32_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        char why[SIM_WHY_MAX];
        char *told = NULL;
        run(i, why, sizeof(why), &told);
        if (writes) {
            store(stories[i].name, told);
        }
        load(stories[i].name, expected);
        if (why[0] == 0 && strcmp(told, expected) != 0) {
            snprintf(why, sizeof(why), "it went another way from line %u of %s.txt on",
                     first_difference(told, expected), stories[i].name);
        }
        if (why[0] != 0) {
            printf("---- %s, as it went:\n%s----\n", stories[i].name, told);
        }
        count(why[0] == 0, stories[i].name, 1, why);
        free(told);
    }
    free(expected);
}
