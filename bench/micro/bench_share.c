/* bench_share: who of a share group gets the next message, in small groups and in large ones. */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/pubsub/share.h"

enum { OPS = 2000000, WINDOW = 20 };

struct scene {
    struct share_group *group;
    uint32_t count;
    uint64_t *flying; /* keys that were picked and are not settled, as a ring */
    uint64_t picked;
};

/* The pick, and the settling of the message that was picked WINDOW rounds before. */
static void picks(void *context, uint64_t ops)
{
    struct scene *scene = context;
    uint64_t ring = (uint64_t)scene->count * WINDOW / 2;
    for (uint64_t i = 0; i < ops; i++) {
        struct share_member *member = share_group_next(scene->group, 0);
        ASSERT(member != NULL);
        member->outstanding++;
        uint64_t *slot = &scene->flying[scene->picked++ % ring];
        struct share_member *settled = *slot != 0 ? share_group_find(scene->group, *slot) : NULL;
        *slot = member->key;
        if (settled != NULL) {
            settled->outstanding--;
        }
    }
}

static void picks_while_all_are_full(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct share_member *member = share_group_next(scene->group, 0);
        ASSERT(member != NULL);
        micro_keep(member->key);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {2, 5, 1000};
    micro_begin(argc, argv);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct scene scene = {.group = share_group_new(), .count = counts[i]};
        char name[64];
        ASSERT(scene.group != NULL);
        scene.flying = calloc((size_t)counts[i] * WINDOW, sizeof(*scene.flying));
        ASSERT(scene.flying != NULL);
        for (uint32_t k = 0; k < counts[i]; k++) {
            struct share_member member = {.key = k + 1, .window = WINDOW, .is_present = true};
            enum err err = share_group_put(scene.group, &member);
            ASSERT(err == OK);
        }
        snprintf(name, sizeof(name), "share pick and settle, %u members", counts[i]);
        micro_run(name, picks, &scene, OPS);
        for (uint32_t k = 0; k < counts[i]; k++) {
            share_group_find(scene.group, k + 1)->outstanding = WINDOW;
        }
        snprintf(name, sizeof(name), "share pick, all of %u full", counts[i]);
        micro_run(name, picks_while_all_are_full, &scene, OPS / 100);
        share_group_free(scene.group);
        free(scene.flying);
    }
    return 0;
}
