/* bench_topic: the checks of names and filters, and of UTF-8 beneath them. */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/base/utf8.h"
#include "core/pubsub/topic.h"

enum { OPS = 5000000, LEVELS_MAX = 200 };

struct scene {
    struct slice text, name;
};

static void names(void *context, uint64_t ops)
{
    const struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(topic_name_check(scene->text, LEVELS_MAX));
    }
}

static void filters(void *context, uint64_t ops)
{
    const struct scene *scene = context;
    struct topic_filter filter;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(topic_filter_parse(scene->text, LEVELS_MAX, &filter));
    }
}

static void matches(void *context, uint64_t ops)
{
    const struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(topic_matches(scene->text, scene->name));
    }
}

static void validities(void *context, uint64_t ops)
{
    const struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(utf8_is_valid(scene->text));
    }
}

int main(int argc, char **argv)
{
    static uint8_t kilobyte[1024];
    struct scene scene = {.name = slice_text("factory/7/line/3/sensor/temperature")};
    micro_begin(argc, argv);
    scene.text = scene.name;
    micro_run("topic name check, 35 B in 6 levels", names, &scene, OPS);
    micro_run("UTF-8, 35 B of ASCII", validities, &scene, OPS);
    memset(kilobyte, 'x', sizeof(kilobyte));
    scene.text = slice_of(kilobyte, sizeof(kilobyte));
    micro_run("UTF-8, 1 KiB of ASCII", validities, &scene, OPS / 10);
    for (size_t i = 0; i < sizeof(kilobyte); i += 2) {
        memcpy(kilobyte + i, "\xc3\xa9", 2);
    }
    micro_run("UTF-8, 1 KiB of two-byte characters", validities, &scene, OPS / 50);
    scene.text = slice_text("factory/+/line/+/sensor/#");
    micro_run("topic filter parse", filters, &scene, OPS);
    micro_run("topic matches, filter of 6 levels", matches, &scene, OPS);
    scene.text = slice_text("$share/group/factory/+/line/#");
    micro_run("topic filter parse, shared", filters, &scene, OPS);
    return 0;
}
