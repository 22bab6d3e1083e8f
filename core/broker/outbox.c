#include "core/broker/outbox.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/broker/conn.h"
#include "core/broker/hold.h"
#include "core/broker/receipt.h"
#include "core/broker/retained.h"
#include "core/broker/route.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

#include <stdlib.h>

struct outbox_item {
    struct list link; /* in outbox->items of its partition: oldest first */
    struct shard *shard;
    struct msg *msg;
    uint64_t number;
    uint32_t partition;
    bool is_committed, is_again; /* it was there before a restart */
    bool is_asked, is_set; /* as the retained message of its topic; it is, where it is to be */
};

struct outbox {
    struct list items[PARTITION_COUNT];
    struct outbox_item *next[PARTITION_COUNT]; /* the first one not routed yet; NULL: all are */
    uint64_t number_next[PARTITION_COUNT];     /* see outbox_restore_next() */
    uint64_t received[PARTITION_COUNT][PARTITION_COUNT]; /* by partition, from that source */
};

struct outbox *outbox_new(void)
{
    struct outbox *outbox = calloc(1, sizeof(*outbox));
    for (uint32_t i = 0; outbox != NULL && i < PARTITION_COUNT; i++) {
        list_init(&outbox->items[i]);
        outbox->number_next[i] = 2;
    }
    return outbox;
}

static void item_free(struct outbox_item *item)
{
    list_remove(&item->link);
    msg_unref(item->msg);
    blocks_give(item, sizeof(*item));
}

void outbox_free(struct outbox *outbox)
{
    for (uint32_t i = 0; outbox != NULL && i < PARTITION_COUNT; i++) {
        LIST_EACH_SAFE (&outbox->items[i], link) {
            item_free(CONTAINER_OF(link, struct outbox_item, link));
        }
    }
    free(outbox);
}

static struct outbox_item *item_new(struct shard *shard, uint32_t partition, uint64_t number,
                                    struct msg *msg)
{
    struct outbox_item *item = blocks_take(sizeof(*item));
    if (item == NULL) {
        return NULL;
    }
    *item = (struct outbox_item){
        .shard = shard, .msg = msg_ref(msg), .number = number, .partition = partition};
    struct outbox *outbox = shard->outbox;
    list_push_back(&outbox->items[partition], &item->link);
    outbox->next[partition] = outbox->next[partition] == NULL ? item : outbox->next[partition];
    return item;
}

/*
 * Numbers grow over restarts, also when all that bore the last ones has left the disk: the state of
 * the partition knows (machine_send_next). They are even: a partition that has both the topic of a
 * message and somebody who wants it receives it twice, the second time as number + 1.
 */
static uint64_t number_take(struct shard *shard, uint32_t partition)
{
    uint64_t number = shard->outbox->number_next[partition];
    shard->outbox->number_next[partition] = number + 2;
    return number;
}

/* ---- on its way ---------------------------------------------------------------------------- */

static bool is_routed(const struct outbox_item *item)
{
    const struct outbox_item *next = item->shard->outbox->next[item->partition];
    return next == NULL || item->number < next->number;
}

static void route_next(struct outbox *outbox, struct outbox_item *item)
{
    struct list *behind = item->link.next;
    bool is_last = behind == &outbox->items[item->partition];
    outbox->next[item->partition] = is_last ? NULL : CONTAINER_OF(behind, struct outbox_item, link);
}

/* First it is retained, then routed: twice it waits for all whom that concerns. false: memory. */
static bool go_on(struct outbox_item *item)
{
    struct shard *shard = item->shard;
    struct receipt *receipt = receipt_outbox(shard, item);
    if (receipt == NULL) {
        return false;
    }
    enum err err = OK;
    shard->origin = (struct origin){item->partition, item->is_again, item->number};
    hold_begin(shard);
    if (item->msg->retain && !item->is_asked) {
        item->is_asked = true;
        err = retained_set(shard, item->msg, receipt);
    } else {
        shard->origin.number++; /* see number_next() */
        route_next(shard->outbox, item);
        route_publish(shard, item->msg, receipt);
    }
    hold_begin(shard);
    shard->origin.number = 0;
    receipt_done(receipt, err); /* the item may be gone, and more may have been routed */
    return true;
}

/*
 * In their order: one that overtakes another makes that one look as if it had come already. So what is
 * to be retained holds up what was sent after it, until it is. Where memory lacks it stays, until the
 * next one comes, or the next start.
 */
static void run(struct shard *shard, uint32_t partition)
{
    struct outbox_item *item;
    while ((item = shard->outbox->next[partition]) != NULL && item->is_committed &&
           (!item->is_asked || item->is_set) && go_on(item)) {
    }
}

static void on_committed(void *context, enum err err)
{
    struct outbox_item *item = context;
    if (err == OK) {
        item->is_committed = true;
        run(item->shard, item->partition);
    }
}

enum err outbox_send(struct session *session, struct msg *msg)
{
    struct shard *shard = session->owner;
    uint32_t partition = session->partition;
    struct outbox_item *item = item_new(shard, partition, number_take(shard, partition), msg);
    if (item == NULL) {
        return ERR_NOMEM;
    }
    struct op op = {.kind = OP_SEND, .partition = partition};
    op.send.number = item->number;
    op.send.msg = msg;
    journal_log(shard->journal, &op);
    shard->touched |= UINT64_C(1) << partition;
    enum err err = journal_await(shard->journal, UINT64_C(1) << partition, on_committed, item);
    if (err == OK) {
        on_committed(item, OK);
    }
    return OK; /* who waits for the partition hears of any other error */
}

bool outbox_is_behind(const struct shard *shard, uint32_t partition)
{
    return shard->outbox->next[partition] != NULL;
}

void outbox_item_end(struct outbox_item *item, enum err err)
{
    struct shard *shard = item->shard;
    bool is_closing = shard->journal == NULL;
    if (is_closing || err == ERR_UNAVAILABLE || err == ERR_IO || err == ERR_SHUTDOWN) {
        return; /* the disk does not take it: it stays in the outbox, for the next start */
    }
    if (!is_routed(item)) {
        item->is_set = true;
        run(shard, item->partition);
        return;
    }
    struct op op = {.kind = OP_SENT, .partition = item->partition, .sent = item->number};
    journal_log(shard->journal, &op);
    item_free(item);
}

bool outbox_has_come(const struct shard *shard, uint32_t partition)
{
    const struct origin *origin = &shard->origin;
    return origin->number != 0 &&
           origin->number <= shard->outbox->received[partition][origin->partition];
}

void outbox_received(struct shard *shard, uint64_t partitions)
{
    const struct origin origin = shard->origin;
    for (uint64_t left = origin.number != 0 ? partitions : 0; left != 0; left &= left - 1) {
        uint32_t partition = (uint32_t)__builtin_ctzll(left);
        if (outbox_has_come(shard, partition)) {
            continue;
        }
        struct op op = {.kind = OP_RECEIVED, .partition = partition};
        op.received.partition = origin.partition;
        op.received.number = origin.number;
        journal_log(shard->journal, &op);
        shard->outbox->received[partition][origin.partition] = origin.number;
    }
}

/* ---- after a restart ----------------------------------------------------------------------- */

void outbox_restore_received(struct shard *shard, uint32_t partition, uint32_t source,
                             uint64_t number)
{
    ASSERT(partition < PARTITION_COUNT && source < PARTITION_COUNT);
    shard->outbox->received[partition][source] = number;
}

void outbox_restore_next(struct shard *shard, uint32_t partition, uint64_t number)
{
    shard->outbox->number_next[partition] = number + (number & 1);
}

enum err outbox_restore(struct shard *shard, uint32_t partition, uint64_t number, struct msg *msg)
{
    struct outbox_item *item = item_new(shard, partition, number, msg);
    if (item == NULL) {
        return ERR_NOMEM;
    }
    item->is_committed = item->is_again = true;
    return OK;
}

void outbox_restored(struct shard *shard)
{
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        run(shard, i);
    }
}
