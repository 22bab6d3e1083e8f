/*
 * sim_story: fixed stories, told by the same machine, compared with the text they are known by.
 *
 * Floor:  tests.
 *
 * A story has no chance in it but the fixed seed's: every delay is the same, nothing breaks unless
 * it says so. Its trace must be the file <name>.txt beside it. The promises are checked as well.
 */
#ifndef TERN_SIM_SIM_STORY_H
#define TERN_SIM_SIM_STORY_H

#include "tests/sim/sim.h"
#include "tests/sim/sim_client.h"

#include <stdbool.h>
#include <stdint.h>

enum { STORY_CLIENTS_MAX = 8 };

/* Two shards and some clients. */
struct story {
    struct sim *sim;
    struct check *check;
    struct client *clients[STORY_CLIENTS_MAX];
    uint32_t client_count;
};

/* A client whose session lives on that shard; its name begins so. */
struct client *story_client(struct story *story, const char *name, uint32_t shard,
                            const struct client_character *character);

/* It reads, but acknowledges nothing until it does again. */
void story_falls_silent(struct client *client);
void story_answers(struct client *client);

void story_connect(struct story *story, struct client *client, bool clean);
void story_wait_ms(struct story *story, uint64_t ms);
void story_tell(struct story *story, const char *text);

/* The stories. */
void story_takeover(struct story *story);
void story_member_leaves(struct story *story);
void story_full_mailbox(struct story *story);

typedef void (*story_count)(bool has_passed, const char *what, uint64_t seed, const char *why);

/* writes: store what happened as the expected text, after a change that was meant. */
void stories_run(bool writes, story_count count);

#endif
