/*
 * bench_mailbox: mail from shard to shard: posted, flushed, read and handled, by how many come in one
 * turn; in one thread, so without the price of moving a cache line (bench_sharing
 * has that).
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/broker/mailbox.h"
#include "core/broker/shard.h"

enum { OPS = 4000000, SHARDS = 2 };

struct scene {
    struct shard shards[SHARDS];
    uint32_t batch;
};

static void handle(struct shard *shard, struct mail *mail)
{
    (void)shard;
    micro_keep(mail->a);
}

static void mails(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t done = 0; done < ops; done += scene->batch) {
        for (uint32_t i = 0; i < scene->batch; i++) {
            struct mail mail = {.kind = MAIL_SHARE_SETTLE, .a = i, .b = 7};
            mailbox_post(scene->shards[0].mailbox, 1, &mail);
        }
        mailbox_flush(scene->shards[0].mailbox);
        while (mailbox_read(scene->shards[1].mailbox, handle) > 0) {
            mailbox_flush(scene->shards[0].mailbox); /* what did not fit into the ring */
        }
    }
}

static void looks(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(mailbox_read(scene->shards[1].mailbox, handle));
        mailbox_flush(scene->shards[1].mailbox);
    }
}

static void naps(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(mailbox_may_sleep(scene->shards[1].mailbox));
        mailbox_awake(scene->shards[1].mailbox);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t batches[] = {1, 16, 256, 2048};
    static struct scene scene;
    struct mail_rings *rings = mail_rings_new(SHARDS);
    ASSERT(rings != NULL);
    micro_begin(argc, argv);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &scene.shards[i];
        shard->index = i;
        shard->metrics = metrics_new();
        ASSERT(shard->metrics != NULL);
        shard->mailbox = mailbox_new(shard, rings);
        ASSERT(shard->mailbox != NULL);
    }
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        char name[64];
        scene.batch = batches[i];
        snprintf(name, sizeof(name), "mail post, flush, read; %u a turn%s", batches[i],
                 batches[i] > 1024 ? ", overflows" : "");
        micro_run(name, mails, &scene, OPS);
    }
    micro_run("mail, a turn without any", looks, &scene, OPS);
    micro_run("mail: may sleep, awake", naps, &scene, OPS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        mailbox_free(scene.shards[i].mailbox);
        metrics_free(scene.shards[i].metrics);
    }
    mail_rings_free(rings);
    return 0;
}
