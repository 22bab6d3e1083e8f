#include "tests/sim/sim_story.h"

void stories_run(bool writes, story_count count)
{
    (void)writes;
    (void)count;
}
