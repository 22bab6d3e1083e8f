#include "cluster/errands_parts.h"
#include "core/base/blocks.h"

#include <stdlib.h>
#include <string.h>

static struct slice node_of(const void *value)
{
    return slice_of(&((const struct sender *)value)->node, sizeof(uint32_t));
}

static void answer(struct errands *errands, const struct sender *sender, uint64_t number,
                   uint64_t partitions, enum mesh_verdict verdict)
{
    struct mesh_answer_msg msg = {.number = number,
                                  .partitions = partitions,
                                  .verdict = verdict,
                                  .incarnation = sender->incarnation};
    if (number == 0 || partitions == 0) {
        return;
    }
    buf_consume(&errands->scratch, buf_count(&errands->scratch));
    if (mesh_answer_encode(&msg, &errands->scratch) == OK) {
        /* If it does not arrive, the errand comes again. */
        (void)errands->host.send(errands->host.context, sender->node, true,
                                 errands_lowest(partitions), buf_bytes(&errands->scratch));
    }
}

static void served_free(struct served *served)
{
    list_remove(&served->link);
    blocks_give(served, sizeof(*served));
}

static void sender_clear(struct sender *sender)
{
    LIST_EACH (&sender->serving, link) {
        CONTAINER_OF(link, struct served, link)->sender = NULL; /* nobody hears of it any more */
    }
    struct list *link;
    while ((link = list_pop_front(&sender->serving)) != NULL) {
    }
    LIST_EACH_SAFE (&sender->refused, refused) {
        served_free(CONTAINER_OF(refused, struct served, link));
    }
    memset(sender->seen, 0, sizeof(sender->seen));
    sender->shut = UINT64_MAX;
}

/* NULL: memory. */
static struct sender *sender_of(struct errands *errands, uint32_t node, uint64_t incarnation)
{
    struct sender *sender = map_get(errands->senders, slice_of(&node, sizeof(node)));
    if (sender == NULL) {
        sender = calloc(1, sizeof(*sender));
        if (sender == NULL) {
            return NULL;
        }
        sender->node = node;
        sender->incarnation = incarnation;
        list_init(&sender->serving);
        list_init(&sender->refused);
        sender->shut = UINT64_MAX;
        if (map_put(errands->senders, sender) != OK) {
            free(sender);
            return NULL;
        }
    }
    if (sender->incarnation != incarnation) {
        sender_clear(sender);
        sender->incarnation = incarnation;
    }
    return sender;
}

static struct served *served_find(const struct list *list, uint64_t number, uint32_t partition)
{
    LIST_EACH (list, link) {
        struct served *served = CONTAINER_OF(link, struct served, link);
        if (served->number == number && (served->partitions & errands_bit(partition)) != 0) {
            return served;
        }
    }
    return NULL;
}

uint64_t errands_led_here(struct errands *errands, uint64_t partitions)
{
    uint64_t led = 0;
    for (; partitions != 0; partitions &= partitions - 1) {
        uint32_t partition = errands_lowest(partitions);
        bool is_here = errands->host.leader(errands->host.context, partition) == errands->node;
        led |= is_here ? errands_bit(partition) : 0;
    }
    return led;
}

/* remote_serve() is done when all has been told: what is led here still has committed. */
static void on_lost(struct served *served, enum err err)
{
    struct errands *errands = served->errands;
    struct sender *sender = served->sender;
    uint64_t here = err == ERR_SHUTDOWN ? 0 : errands_led_here(errands, served->partitions);
    uint64_t lost = served->partitions & ~here;
    answer(errands, sender, served->number, lost, MESH_NOT_HERE);
    sender->shut |= lost; /* E2 */
    served->partitions &= ~lost;
}

static void on_served(void *context, enum err err)
{
    struct served *served = context;
    struct sender *sender = served->sender;
    if (sender == NULL) {
        blocks_give(served, sizeof(*served)); /* it stands in no list */
        return;
    }
    if (err == ERR_UNAVAILABLE || err == ERR_SHUTDOWN) {
        on_lost(served, err);
        err = OK;
    }
    answer(served->errands, sender, served->number, served->partitions, mesh_verdict_of(err));
    list_remove(&served->link);
    if (err == OK) {
        blocks_give(served, sizeof(*served));
        return;
    }
    served->err = err; /* it may come again, if this answer does not arrive */
    list_push_back(&sender->refused, &served->link);
}

/* What its sender has heard of is forgotten. */
static void refused_forget(struct sender *sender, uint64_t below)
{
    LIST_EACH_SAFE (&sender->refused, link) {
        struct served *served = CONTAINER_OF(link, struct served, link);
        if (served->number < below) {
            served_free(served);
        }
    }
}

/* E3: of these partitions it was seen before; what became of it? */
static void answer_again(struct errands *errands, struct sender *sender, uint64_t number,
                         uint64_t partitions)
{
    for (; partitions != 0; partitions &= partitions - 1) {
        uint32_t partition = errands_lowest(partitions);
        const struct served *refused = served_find(&sender->refused, number, partition);
        if (served_find(&sender->serving, number, partition) == NULL) {
            answer(errands, sender, number, errands_bit(partition),
                   refused != NULL ? mesh_verdict_of(refused->err) : MESH_DONE);
        }
    }
}

static enum err serve(struct errands *errands, struct sender *sender,
                      const struct mesh_errand_msg *from, uint64_t partitions)
{
    struct served *served = NULL;
    struct msg *msg = msg_new(&from->message);
    if (msg == NULL) {
        return ERR_NOMEM;
    }
    if (from->number != 0) {
        served = blocks_take(sizeof(*served));
        if (served == NULL) {
            msg_unref(msg);
            return ERR_NOMEM;
        }
        *served = (struct served){
            .errands = errands, .sender = sender, .number = from->number, .partitions = partitions};
        list_push_back(&sender->serving, &served->link);
    }
    struct mesh_errand errand = {.kind = from->kind,
                                 .partitions = partitions,
                                 .msg = msg,
                                 .group = from->group,
                                 .origin = from->origin};
    errands->host.serve(errands->host.context, &errand, served == NULL ? NULL : on_served, served);
    msg_unref(msg);
    return OK;
}

enum err errands_receive(struct errands *errands, uint32_t node, uint64_t incarnation,
                         struct slice body)
{
    struct mesh_errand_msg from;
    TRY(mesh_errand_decode(body, &from));
    struct sender *sender = sender_of(errands, node, incarnation);
    if (sender == NULL) {
        struct sender nobody = {.node = node, .incarnation = incarnation};
        answer(errands, &nobody, from.number, from.partitions, MESH_NOT_HERE);
        return OK;
    }
    uint64_t led = errands_led_here(errands, from.partitions), seen = 0;
    if (from.number == 0) { /* nobody waits: it need not be in step */
        if (led == 0 || serve(errands, sender, &from, led) != OK) {
            errands->host.dropped(errands->host.context, from.message.topic);
        }
        return OK;
    }
    refused_forget(sender, from.number - from.open);
    sender->shut &= ~(from.restarts & led);
    uint64_t taken = led & ~sender->shut;
    for (uint64_t left = taken; left != 0; left &= left - 1) {
        seen |= sender->seen[errands_lowest(left)] >= from.number
                    ? errands_bit(errands_lowest(left))
                    : 0;
    }
    answer_again(errands, sender, from.number, seen);
    uint64_t refused = from.partitions & ~taken;
    taken &= ~seen;
    if (taken != 0 && serve(errands, sender, &from, taken) != OK) {
        refused |= taken;
        taken = 0;
    }
    for (; taken != 0; taken &= taken - 1) {
        sender->seen[errands_lowest(taken)] = from.number;
    }
    sender->shut |= refused; /* E2 */
    answer(errands, sender, from.number, refused, MESH_NOT_HERE);
    return OK;
}

/* What is being served for it is told now: by the time it is done, all of it may be led here again. */
static void serving_give_up(struct errands *errands, struct sender *sender, uint64_t partitions)
{
    LIST_EACH (&sender->serving, link) {
        struct served *served = CONTAINER_OF(link, struct served, link);
        answer(errands, sender, served->number, served->partitions & partitions, MESH_NOT_HERE);
        served->partitions &= ~partitions;
    }
}

void errands_given_up(struct errands *errands, uint64_t partitions)
{
    uint64_t cursor = 0;
    struct sender *sender;
    while ((sender = map_next(errands->senders, &cursor)) != NULL) {
        serving_give_up(errands, sender, partitions);
        sender->shut |= partitions;
        for (uint64_t left = partitions; left != 0; left &= left - 1) {
            sender->seen[errands_lowest(left)] = 0;
        }
    }
    for (uint64_t left = partitions; left != 0; left &= left - 1) {
        errands->target[errands_lowest(left)] = 0;
    }
    LIST_EACH (&errands->local, link) {
        CONTAINER_OF(link, struct served, link)->partitions &= ~partitions;
    }
}

/* ---- life --------------------------------------------------------------------------------------- */

struct map *errands_senders_new(void)
{
    return map_new(node_of, 1);
}

void errands_senders_free(struct map *senders)
{
    uint64_t cursor = 0;
    struct sender *sender;
    while (senders != NULL && (sender = map_next(senders, &cursor)) != NULL) {
        map_remove(senders, node_of(sender));
        sender_clear(sender);
        free(sender);
    }
    map_free(senders);
}
