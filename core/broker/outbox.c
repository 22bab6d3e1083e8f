#include "core/broker/outbox.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/hold.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/retained.h"
#include "core/broker/route.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/broker/taken.h"
#include "core/session/journal.h"

#include <stdlib.h>
#include <string.h>

struct outbox_item {
    struct list link; /* in outbox->items of its partition: oldest first */
    struct shard *shard;
    struct msg *msg;
    uint64_t number;
    uint32_t partition;
    uint32_t view;               /* when it was routed */
    struct receipt *receipt;     /* under way; it points back */
    bool is_committed, is_again; /* it was there before a restart, or was routed and refused */
    bool is_over;                /* its partition went while it was under way */
    bool is_asked, is_set; /* as the retained message of its topic; it is, where it is to be */
    uint32_t group_bytes;  /* 0: it is for all */
    uint8_t group[];       /* "name/filter" */
};

/* What a partition has from the outbox of another, on disk when it was loaded. */
struct source {
    uint64_t received;    /* up to that number */
    uint32_t taken_count; /* notes for share groups since some were forgotten */
};

enum { TAKEN_FORGET_EVERY = 256 }; /* a range, which costs the state lane more than a key */

/* What this shard has routed of an outbox since then: up to that number, to those partitions. */
struct served {
    uint64_t number, partitions;
};

struct outbox {
    struct list items[PARTITION_COUNT];
    struct list leaving; /* of partitions that went: they wait for their receipts */
    struct outbox_item *next[PARTITION_COUNT]; /* the first one not routed yet; NULL: all are */
    uint64_t number_next[PARTITION_COUNT];     /* see outbox_restore_next() */
    uint64_t done_below[PARTITION_COUNT];      /* all lower ones have left, committed */
    uint64_t is_asking;                        /* a bit each: done_ask() will be answered */
    uint32_t view[PARTITION_COUNT];            /* of those that are under way: */
    uint32_t under_way[PARTITION_COUNT];       /* items with a receipt */
    uint64_t has_failed; /* a bit each: something is to be routed again, and all behind it, ... */
    uint64_t left_over;  /* a bit each: something is, when a partition comes */
    uint64_t may_again;  /* ... as soon as nothing of it is under way */
    struct source sources[PARTITION_COUNT][PARTITION_COUNT]; /* by partition, and source */
    struct served served[PARTITION_COUNT];                   /* by source */
};

struct outbox *outbox_new(void)
{
    struct outbox *outbox = calloc(1, sizeof(*outbox));
    for (uint32_t i = 0; outbox != NULL && i < PARTITION_COUNT; i++) {
        list_init(&outbox->items[i]);
        outbox->number_next[i] = 2;
    }
    if (outbox != NULL) {
        list_init(&outbox->leaving);
    }
    return outbox;
}

static void item_free(struct outbox_item *item)
{
    list_remove(&item->link);
    if (item->receipt != NULL) {
        item->receipt->item = NULL; /* the shard ends: nobody asks for it */
    }
    msg_unref(item->msg);
    blocks_give(item, sizeof(*item) + item->group_bytes);
}

static void items_free(struct list *items)
{
    LIST_EACH_SAFE (items, link) {
        item_free(CONTAINER_OF(link, struct outbox_item, link));
    }
}

void outbox_free(struct outbox *outbox)
{
    for (uint32_t i = 0; outbox != NULL && i < PARTITION_COUNT; i++) {
        items_free(&outbox->items[i]);
    }
    if (outbox != NULL) {
        items_free(&outbox->leaving);
    }
    free(outbox);
}

/* The group's name is for the caller to fill in. */
static struct outbox_item *item_new(struct shard *shard, uint32_t partition, uint64_t number,
                                    struct msg *msg, size_t group_bytes)
{
    struct outbox_item *item = blocks_take(sizeof(*item) + group_bytes);
    if (item == NULL) {
        return NULL;
    }
    *item = (struct outbox_item){.shard = shard,
                                 .msg = msg_ref(msg),
                                 .number = number,
                                 .partition = partition,
                                 .group_bytes = (uint32_t)group_bytes};
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

static struct slice group_of(const struct outbox_item *item)
{
    return slice_of(item->group, item->group_bytes);
}

static struct origin origin_of(const struct outbox_item *item)
{
    uint64_t behind = item->number + 1 - item->shard->outbox->done_below[item->partition];
    return (struct origin){.number = item->number,
                           .behind = behind < BEHIND_UNKNOWN ? (uint32_t)behind : BEHIND_UNKNOWN,
                           .partition = (uint8_t)item->partition,
                           .is_again = item->is_again};
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
    item->receipt = receipt;
    item->view = shard->outbox->view[item->partition] = shard->partitions.view_seen;
    shard->outbox->under_way[item->partition]++;
    shard->origin = origin_of(item);
    hold_begin(shard);
    bool is_for_all = item->group_bytes == 0;
    if (item->msg->retain && is_for_all && !item->is_asked) {
        item->is_asked = true;
        err = retained_set(shard, item->msg, receipt);
    } else {
        shard->origin.number++; /* see number_take() */
        route_next(shard->outbox, item);
        if (is_for_all) {
            route_publish(shard, item->msg, receipt);
        } else {
            err = shares_send(shard, group_of(item), item->msg, receipt);
        }
    }
    hold_begin(shard);
    shard->origin.number = 0;
    receipt_done(receipt, err); /* the item may be gone, and more may have been routed */
    return true;
}

/* If not, outboxes_go_on() sees to it. */
static bool may_run(const struct shard *shard, uint32_t partition)
{
    const struct outbox *outbox = shard->outbox;
    uint32_t view = shard->partitions.view_seen;
    bool has_failed = (outbox->has_failed & UINT64_C(1) << partition) != 0;
    bool may_fail = outbox->under_way[partition] > 0 && outbox->view[partition] != view;
    return shard->has_begun && !has_failed && !may_fail && partition_is_led(shard, partition) &&
           partition_view(shard) == view && !partition_is_missed(shard);
}

/*
 * In their order: one that overtakes another makes that one look as if it had come already. So what is
 * to be retained holds up what was sent after it, until it is. Where memory lacks it stays, until the
 * next one comes, or the next start.
 */
static void run(struct shard *shard, uint32_t partition)
{
    struct outbox_item *item;
    while (may_run(shard, partition) && (item = shard->outbox->next[partition]) != NULL &&
           item->is_committed && (!item->is_asked || item->is_set) && go_on(item)) {
    }
}

/* Also when its partition goes: then whoever waits is told before outbox_end(). */
static void on_committed(void *context, enum err err)
{
    struct outbox_item *item = context;
    if (err == OK) {
        item->is_committed = true;
        run(item->shard, item->partition);
    }
}

/* ---- in and out ---------------------------------------------------------------------------- */

enum err outbox_send(struct session *session, struct msg *msg, const struct subscription *shared)
{
    struct shard *shard = session->owner;
    uint32_t partition = session->partition;
    size_t group_bytes = shared == NULL ? 0 : shared->share_name.count + 1 + shared->filter.count;
    struct outbox_item *item = item_new(shard, partition, number_take(shard, partition), msg,
                                        group_bytes);
    if (item == NULL) {
        return ERR_NOMEM;
    }
    if (shared != NULL) {
        shares_name(shared, item->group);
    }
    struct op op = {.kind = OP_SEND, .partition = partition};
    op.send.number = item->number;
    op.send.msg = msg;
    op.send.group = group_of(item);
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

static uint64_t oldest(const struct outbox *outbox, uint32_t partition)
{
    const struct list *items = &outbox->items[partition];
    return list_is_empty(items) ? outbox->number_next[partition]
                                : CONTAINER_OF(items->next, struct outbox_item, link)->number;
}

struct asking {
    struct shard *shard;
    uint64_t number;
    uint32_t partition;
};

static void on_done(void *context, enum err err);

/* One question at a time: when is it certain that all below the oldest one have left? */
static void done_ask(struct shard *shard, uint32_t partition)
{
    struct outbox *outbox = shard->outbox;
    uint64_t bit = UINT64_C(1) << partition, number = oldest(outbox, partition);
    if ((outbox->is_asking & bit) != 0 || number == outbox->done_below[partition]) {
        return;
    }
    struct asking *asking = blocks_take(sizeof(*asking));
    if (asking == NULL) {
        return; /* the next one that leaves asks */
    }
    *asking = (struct asking){shard, number, partition};
    outbox->is_asking |= bit;
    enum err err = journal_await(shard->journal, bit, on_done, asking);
    if (err != ERR_AGAIN) {
        on_done(asking, err);
    }
}

static void on_done(void *context, enum err err)
{
    struct asking asking = *(struct asking *)context;
    struct outbox *outbox = asking.shard->outbox;
    blocks_give(context, sizeof(asking));
    outbox->is_asking &= ~(UINT64_C(1) << asking.partition);
    if (err == OK) {
        outbox->done_below[asking.partition] = asking.number;
        done_ask(asking.shard, asking.partition);
    }
}

/*
 * From the oldest one on, when all that was under way has been answered: so nothing overtakes what was
 * refused. Who had them already is known (outbox_has_come(), taken.h).
 */
static void again(struct shard *shard, uint32_t partition)
{
    struct outbox *outbox = shard->outbox;
    uint64_t bit = UINT64_C(1) << partition;
    bool may = (outbox->has_failed & outbox->may_again & bit) != 0;
    if (!may || outbox->under_way[partition] > 0 || partition_is_missed(shard)) {
        return;
    }
    outbox->has_failed &= ~bit;
    outbox->may_again &= ~bit;
    LIST_EACH (&outbox->items[partition], link) {
        struct outbox_item *item = CONTAINER_OF(link, struct outbox_item, link);
        item->is_again |= item->is_asked || is_routed(item);
        item->is_asked = item->is_set;
    }
    const struct list *items = &outbox->items[partition];
    outbox->next[partition] = list_is_empty(items)
                                  ? NULL
                                  : CONTAINER_OF(items->next, struct outbox_item, link);
    run(shard, partition);
}

/*
 * It stays in the outbox. What came or went since it was routed may be the reason: then it holds up what
 * is behind it. Else the disk does not take it, or memory lacks: until a partition comes, or the next start.
 */
static void fail(struct outbox_item *item)
{
    struct shard *shard = item->shard;
    uint64_t bit = UINT64_C(1) << item->partition;
    if (item->view == partition_view(shard)) {
        shard->outbox->left_over |= bit;
        return;
    }
    shard->outbox->has_failed |= bit;
    shard->outbox->may_again |= bit;
    again(shard, item->partition);
}

void outbox_item_end(struct outbox_item *item, enum err err)
{
    if (item == NULL) {
        return;
    }
    struct shard *shard = item->shard;
    uint32_t partition = item->partition;
    bool is_closing = shard->journal == NULL;
    item->receipt = NULL;
    if (item->is_over) {
        item_free(item);
        return;
    }
    shard->outbox->under_way[partition]--;
    if (is_closing) {
        return;
    }
    if (err == ERR_UNAVAILABLE || err == ERR_IO || err == ERR_SHUTDOWN) {
        fail(item);
        return;
    }
    if (!is_routed(item)) {
        item->is_set = true;
        run(shard, partition);
        return;
    }
    struct op op = {.kind = OP_SENT, .partition = partition, .sent = item->number};
    journal_log(shard->journal, &op);
    item_free(item);
    done_ask(shard, partition);
    again(shard, partition);
    if (shard->outbox->under_way[partition] == 0) {
        run(shard, partition); /* what waited for an older view to be answered */
    }
}

/* ---- who has it ---------------------------------------------------------------------------- */

bool outbox_has_come(const struct shard *shard, uint32_t partition)
{
    const struct origin *origin = &shard->origin;
    if (origin->number == 0) {
        return false;
    }
    const struct served *served = &shard->outbox->served[origin->partition];
    bool was_served = (served->partitions & UINT64_C(1) << partition) != 0 &&
                      origin->number <= served->number;
    return was_served ||
           origin->number <= shard->outbox->sources[partition][origin->partition].received;
}

/* At first all that are led here have it; later those that have come since, and some alone. */
void outbox_served(struct shard *shard, uint64_t partitions)
{
    const struct origin *origin = &shard->origin;
    if (origin->number == 0) {
        return;
    }
    struct served *served = &shard->outbox->served[origin->partition];
    uint64_t left = partitions & partitions_led(shard);
    if (origin->number > served->number && left == partitions_led(shard)) {
        *served = (struct served){origin->number, left};
        return;
    }
    for (left &= origin->number > served->number ? UINT64_MAX : ~served->partitions; left != 0;
         left &= left - 1) {
        struct source *source = &shard->outbox->sources[__builtin_ctzll(left)][origin->partition];
        source->received = source->received < origin->number ? origin->number : source->received;
    }
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
    }
}

void outbox_take(struct shard *shard, uint32_t partition, uint64_t group)
{
    const struct origin *origin = &shard->origin;
    struct source *source = &shard->outbox->sources[partition][origin->partition];
    struct op op = {.kind = OP_RECEIVED, .partition = partition};
    op.received = (struct op_received){
        .partition = origin->partition, .number = origin->number, .group = group};
    source->taken_count++;
    if (source->taken_count >= TAKEN_FORGET_EVERY && origin->behind != BEHIND_UNKNOWN) {
        source->taken_count = 0;
        op.received.done_below = origin->number - origin->behind;
        taken_forget_below(shard->broker->taken, partition, origin->partition,
                           op.received.done_below);
    }
    /* Without memory for the note another member may have it, too, if it has to be routed again. */
    (void)taken_add(shard->broker->taken, partition, origin->partition, origin->number, group);
    journal_log(shard->journal, &op);
    shard->touched |= UINT64_C(1) << partition;
}

bool outbox_was_taken(const struct shard *shard, uint64_t group)
{
    const struct origin *origin = &shard->origin;
    return origin->number != 0 && origin->is_again &&
           taken_has(shard->broker->taken, origin->partition, origin->number, group);
}

/* ---- a partition goes, and comes ------------------------------------------------------------- */

/* A mail lends the group's name of what is under way: that one goes when it is answered. */
void outbox_end(struct shard *shard, uint32_t partition)
{
    struct outbox *outbox = shard->outbox;
    uint64_t bit = UINT64_C(1) << partition;
    LIST_EACH_SAFE (&outbox->items[partition], link) {
        struct outbox_item *item = CONTAINER_OF(link, struct outbox_item, link);
        if (item->receipt == NULL) {
            item_free(item);
            continue;
        }
        item->is_over = true;
        list_remove(&item->link);
        list_push_back(&outbox->leaving, &item->link);
    }
    outbox->next[partition] = NULL;
    outbox->number_next[partition] = 2;
    outbox->done_below[partition] = 0;
    outbox->under_way[partition] = 0;
    outbox->is_asking &= ~bit;
    outbox->has_failed &= ~bit;
    outbox->may_again &= ~bit;
    outbox->left_over &= ~bit;
    memset(outbox->sources[partition], 0, sizeof(outbox->sources[partition]));
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        outbox->served[i].partitions &= ~bit;
    }
}

void outbox_restore_received(struct shard *shard, uint32_t partition, uint32_t source,
                             uint64_t number)
{
    ASSERT(partition < PARTITION_COUNT && source < PARTITION_COUNT);
    shard->outbox->sources[partition][source].received = number;
}

void outbox_restore_next(struct shard *shard, uint32_t partition, uint64_t number)
{
    shard->outbox->number_next[partition] = number + (number & 1);
}

enum err outbox_restore(struct shard *shard, uint32_t partition, uint64_t number, struct msg *msg,
                        struct slice group)
{
    struct outbox_item *item = item_new(shard, partition, number, msg, group.count);
    if (item == NULL) {
        return ERR_NOMEM;
    }
    if (group.count > 0) {
        memcpy(item->group, group.data, group.count);
    }
    item->is_committed = item->is_again = true;
    return OK;
}

void outbox_restored(struct shard *shard, uint64_t partitions)
{
    for (; partitions != 0; partitions &= partitions - 1) {
        uint32_t partition = (uint32_t)__builtin_ctzll(partitions);
        shard->outbox->done_below[partition] = oldest(shard->outbox, partition);
    }
}

void outboxes_go_on(struct shard *shard)
{
    if (shard->outbox == NULL || partition_is_missed(shard)) {
        return;
    }
    struct outbox *outbox = shard->outbox;
    outbox->has_failed |= outbox->left_over;
    outbox->may_again |= outbox->has_failed;
    outbox->left_over = 0;
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        again(shard, i);
        run(shard, i);
    }
}
