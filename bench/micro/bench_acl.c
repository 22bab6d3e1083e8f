/* acl: one decision with and without the cache, and a file of many users: loading, finding, memory. */
#include "bench/micro/micro.h"
#include "core/access/acl.h"

enum { TOPICS = 4, LINE_BYTES = 64 };

struct bench {
    struct acl *acl;
    struct acl_subject subject;
    struct acl_cache cache;
    struct slice topics[TOPICS];
    uint32_t topic_count;
    struct slice text;
};

static struct acl *acl_of(struct slice text)
{
    struct acl *acl = NULL;
    struct acl_trouble trouble = {0};
    if (acl_parse(text, &acl, &trouble) != OK) {
        fprintf(stderr, "line %u: %s\n", trouble.line, trouble.text);
        exit(1);
    }
    return acl;
}

static void publishes(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct slice topic = bench->topics[i % bench->topic_count];
        micro_keep(acl_may_publish(&bench->subject, topic, NULL));
    }
}

static void cached_publishes(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct slice topic = bench->topics[i % bench->topic_count];
        micro_keep(acl_may_publish_cached(&bench->subject, &bench->cache, topic));
    }
}

static void subjects(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct acl_subject subject;
        acl_subject_init(&subject, bench->acl, true, bench->subject.username,
                         bench->subject.client_id);
        micro_keep((uintptr_t)subject.user);
    }
}

static void loads(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        acl_unref(acl_of(bench->text));
    }
}

static void subject_is(struct bench *bench, const char *username, const char *client_id)
{
    acl_subject_init(&bench->subject, bench->acl, true, slice_text(username),
                     slice_text(client_id));
    memset(&bench->cache, 0, sizeof(bench->cache));
}

static void one_user(void)
{
    static const char text[] = "user device-4711\n"
                               "topic deny site/4711/admin/#\n"
                               "topic deny firmware/internal/#\n"
                               "topic read site/4711/command/#\n"
                               "topic read firmware/public/#\n"
                               "topic read time/+/utc\n"
                               "topic write site/4711/state\n"
                               "topic write site/4711/sensor/+/value\n"
                               "topic write site/4711/log/#\n"
                               "topic readwrite site/4711/shared/#\n"
                               "topic write alarms/4711/+\n"
                               "pattern write devices/%c/up/#\n"
                               "pattern read users/%u/%c/down\n";
    struct bench bench = {.acl = acl_of(slice_text(text)), .topic_count = 1};
    subject_is(&bench, "device-4711", "client-4711");
    bench.topics[0] = slice_text("site/4711/sensor/temperature/value");
    micro_run("acl publish, 7th of 10 rules", publishes, &bench, 2000000);
    bench.topics[0] = slice_text("devices/client-4711/up/temperature");
    micro_run("acl publish, the 1st pattern after 10 rules", publishes, &bench, 2000000);
    bench.topics[0] = slice_text("devices/client-4712/up/temperature");
    micro_run("acl publish, denied: no rule of 12", publishes, &bench, 2000000);
    bench.topics[0] = slice_text("site/4711/sensor/temperature/value");
    micro_run("acl publish, cached, one topic", cached_publishes, &bench, 5000000);
    bench.topics[1] = slice_text("devices/client-4711/up/temperature");
    bench.topics[2] = slice_text("site/4711/state");
    bench.topics[3] = slice_text("alarms/4711/smoke");
    bench.topic_count = 4;
    micro_run("acl publish, cached, four topics in turn", cached_publishes, &bench, 5000000);
    acl_unref(bench.acl);
}

static void many_rules(void)
{
    uint32_t rules = (uint32_t)micro_scaled(5000);
    char *text = malloc((size_t)rules * LINE_BYTES + LINE_BYTES);
    size_t used = (size_t)sprintf(text, "user gateway\n");
    for (uint32_t i = 0; i < rules; i++) {
        const char *tail = i % 3 == 0 ? "/#" : i % 3 == 1 ? "/+/value" : "/state";
        used += (size_t)sprintf(text + used, "topic write site/%u/device%s\n", i, tail);
    }
    struct bench bench = {.acl = acl_of(slice_of(text, used)), .topic_count = 1};
    subject_is(&bench, "gateway", "g");
    bench.topics[0] = slice_text("site/4000/device/x/value");
    micro_run("acl publish, one of 5000 rules", publishes, &bench, 1000000);
    acl_unref(bench.acl);
    free(text);
}

static void many_users(void)
{
    uint32_t users = (uint32_t)micro_scaled(100000);
    char *text = malloc((size_t)users * 6 * LINE_BYTES), name[64];
    size_t used = 0;
    for (uint32_t i = 0; i < users; i++) {
        used += (size_t)sprintf(text + used, "user device-%06u\n", i);
        for (uint32_t k = 0; k < 5; k++) {
            used += (size_t)sprintf(text + used, "topic %s site/%06u/part-%u/#\n",
                                    k == 0 ? "deny" : "readwrite", i, k);
        }
    }
    struct bench bench = {.acl = acl_of(slice_of(text, used)), .text = slice_of(text, used)};
    struct acl_size size = acl_size(bench.acl);
    subject_is(&bench, "device-000042", "c");
    micro_run("acl: a user of 100,000 found", subjects, &bench, 2000000);
    snprintf(name, sizeof(name), "acl: load %u users x 5 rules, %.0f MB", size.user_count,
             (double)size.bytes / 1e6);
    micro_run(name, loads, &bench, 1);
    fprintf(stderr, "# %u users, %u rules, file %zu bytes: %zu bytes of memory\n", size.user_count,
            size.rule_count, used, size.bytes);
    acl_unref(bench.acl);
    free(text);
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    one_user();
    many_rules();
    many_users();
    return 0;
}
