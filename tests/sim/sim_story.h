/*
 * sim_story: fixed stories, told by the same machine, compared with the text they are known by.
 *
 * Floor:  tests.
 *
 * A story has no chance in it: every delay is the same. Its trace must be tests/sim/<name>.txt.
 */
#ifndef TERN_SIM_SIM_STORY_H
#define TERN_SIM_SIM_STORY_H

#include <stdbool.h>
#include <stdint.h>

typedef void (*story_count)(bool has_passed, const char *what, uint64_t seed, const char *why);

/* writes: store what happened as the expected text, after a change that was meant. */
void stories_run(bool writes, story_count count);

#endif
