#include "cluster/errands_parts.h"
#include "core/base/assert.h"
#include "core/base/blocks.h"

#include <stdlib.h>
#include <string.h>

/* A message that is kept. */
struct errand {
    struct list link; /* in errands->kept */
    uint64_t number;
    uint64_t open;        /* partitions that have not answered */
    uint64_t deadline_ms; /* UINT64_MAX: never */
    struct msg *msg;
    mesh_done done; /* NULL: nobody waits, it is kept all the same */
    void *context;
    struct origin origin;
    enum err err; /* the first refusal */
    uint8_t kind;
    uint32_t group_bytes;
    uint8_t group[];
};

static struct slice number_of(const void *value)
{
    return slice_of(&((const struct errand *)value)->number, sizeof(uint64_t));
}

struct errands *errands_new(uint32_t node, uint64_t incarnation, const struct errands_host *host)
{
    struct errands *errands = calloc(1, sizeof(*errands));
    if (errands == NULL) {
        return NULL;
    }
    errands->node = node;
    errands->incarnation = incarnation;
    errands->host = *host;
    errands->retry_ms = errands->deadline_ms = UINT64_MAX;
    errands->fresh = UINT64_MAX;
    list_init(&errands->kept);
    list_init(&errands->local);
    errands->by_number = map_new(number_of, 1);
    errands->senders = errands_senders_new();
    if (errands->by_number == NULL || errands->senders == NULL) {
        errands_free(errands);
        return NULL;
    }
    return errands;
}

/* ---- what is kept ------------------------------------------------------------------------------- */

static size_t errand_bytes(const struct errand *errand)
{
    return sizeof(*errand) + errand->group_bytes;
}

static void errand_free(struct errands *errands, struct errand *errand)
{
    for (uint64_t left = errand->open; left != 0; left &= left - 1) {
        errands->open_count[errands_lowest(left)]--;
    }
    map_remove(errands->by_number, number_of(errand));
    list_remove(&errand->link);
    errands->kept_bytes -= msg_bytes(errand->msg) + errand_bytes(errand);
    msg_unref(errand->msg);
    blocks_give(errand, errand_bytes(errand));
}

static void errand_end(struct errands *errands, struct errand *errand, enum err err)
{
    mesh_done done = errand->done;
    void *context = errand->context;
    errand_free(errands, errand);
    if (done != NULL) {
        done(context, err);
    }
}

/* NULL: memory. */
static struct errand *errand_keep(struct errands *errands, const struct mesh_errand *from,
                                  mesh_done done, void *context)
{
    struct errand *errand = blocks_take(sizeof(*errand) + from->group.count);
    if (errand == NULL) {
        return NULL;
    }
    bool is_patient = from->origin.number != 0;
    *errand = (struct errand){.number = ++errands->number_last,
                              .open = from->partitions,
                              .deadline_ms = is_patient ? UINT64_MAX
                                                        : errands->now_ms + ERRANDS_WAIT_MS,
                              .msg = from->msg,
                              .done = done,
                              .context = context,
                              .origin = from->origin,
                              .kind = (uint8_t)from->kind,
                              .group_bytes = (uint32_t)from->group.count};
    if (from->group.count > 0) {
        memcpy(errand->group, from->group.data, from->group.count);
    }
    if (map_put(errands->by_number, errand) != OK) {
        blocks_give(errand, errand_bytes(errand));
        return NULL;
    }
    if (errand->deadline_ms < errands->deadline_ms) {
        errands->deadline_ms = errand->deadline_ms;
    }
    msg_ref(errand->msg);
    list_push_back(&errands->kept, &errand->link);
    errands->kept_bytes += msg_bytes(errand->msg) + errand_bytes(errand);
    for (uint64_t left = errand->open; left != 0; left &= left - 1) {
        errands->open_count[errands_lowest(left)]++;
    }
    return errand;
}

static void answered(struct errands *errands, struct errand *errand, uint64_t partitions,
                     enum err err)
{
    partitions &= errand->open;
    errand->open &= ~partitions;
    errand->err = errand->err == OK ? err : errand->err;
    for (; partitions != 0; partitions &= partitions - 1) {
        errands->open_count[errands_lowest(partitions)]--;
    }
    if (errand->open == 0) {
        errand_end(errands, errand, errand->err);
    }
}

/* They go to nobody, until it is looked again who leads them. */
static void block(struct errands *errands, uint64_t partitions)
{
    for (; partitions != 0; partitions &= partitions - 1) {
        errands->target[errands_lowest(partitions)] = 0;
    }
    if (errands->retry_ms == UINT64_MAX) {
        errands->retry_ms = errands->now_ms + ERRANDS_RETRY_MS;
    }
}

/* ---- sending ------------------------------------------------------------------------------------ */

static void on_served_here(void *context, enum err err);

/* Its partitions are led here by now. */
static void serve_here(struct errands *errands, const struct mesh_errand *errand, uint64_t number)
{
    struct served *served = number == 0 ? NULL : blocks_take(sizeof(*served));
    if (number != 0 && served == NULL) {
        block(errands, errand->partitions);
        return;
    }
    if (served != NULL) {
        *served = (struct served){
            .errands = errands, .number = number, .partitions = errand->partitions};
        list_push_back(&errands->local, &served->link);
    }
    errands->host.serve(errands->host.context, errand, served == NULL ? NULL : on_served_here,
                        served);
}

static void send_to(struct errands *errands, uint32_t node, const struct mesh_errand *errand,
                    uint64_t number)
{
    struct mesh_errand_msg msg = {.number = number,
                                  .partitions = errand->partitions,
                                  .kind = errand->kind,
                                  .message = msg_spec_of(errand->msg),
                                  .group = errand->group,
                                  .origin = errand->origin};
    if (number != 0) {
        const struct errand *oldest = CONTAINER_OF(errands->kept.next, struct errand, link);
        msg.open = number - oldest->number;
        msg.restarts = errand->partitions & errands->fresh;
    }
    buf_consume(&errands->scratch, buf_count(&errands->scratch));
    if (mesh_errand_encode(&msg, &errands->scratch) == OK &&
        errands->host.send(errands->host.context, node, false, errands_lowest(errand->partitions),
                           buf_bytes(&errands->scratch)) == OK) {
        errands->fresh &= ~msg.restarts;
    } else if (number == 0) {
        errands->host.dropped(errands->host.context, errand->msg->topic);
    }
}

/* Those of these partitions that go the same way as the first of them. */
static uint64_t same_way(const struct errands *errands, uint64_t partitions)
{
    uint32_t first = errands_lowest(partitions), node = errands->target[first];
    uint64_t same = 0;
    if (node == 0 || node == errands->node) {
        for (uint64_t left = partitions; left != 0; left &= left - 1) {
            same |= errands->target[errands_lowest(left)] == node
                        ? errands_bit(errands_lowest(left))
                        : 0;
        }
        return same;
    }
    uint32_t place = errands->host.place(errands->host.context, node, first);
    for (uint64_t left = partitions; left != 0; left &= left - 1) {
        uint32_t partition = errands_lowest(left);
        bool is_same = errands->target[partition] == node &&
                       errands->host.place(errands->host.context, node, partition) == place;
        same |= is_same ? errands_bit(partition) : 0;
    }
    return same;
}

/* To each shard that its partitions go to, once; those that go to nobody wait, or are dropped. */
static void send(struct errands *errands, const struct mesh_errand *errand, uint64_t partitions,
                 uint64_t number)
{
    bool is_dropped = false;
    while (partitions != 0) {
        uint32_t node = errands->target[errands_lowest(partitions)];
        struct mesh_errand part = *errand;
        part.partitions = same_way(errands, partitions);
        partitions &= ~part.partitions;
        if (node == errands->node) {
            serve_here(errands, &part, number);
        } else if (node != 0) {
            send_to(errands, node, &part, number);
        } else {
            is_dropped = number == 0;
        }
    }
    if (is_dropped) {
        errands->host.dropped(errands->host.context, errand->msg->topic);
    }
}

static struct mesh_errand errand_of(const struct errand *errand)
{
    return (struct mesh_errand){.kind = errand->kind,
                                .partitions = errand->open,
                                .msg = errand->msg,
                                .group = slice_of(errand->group, errand->group_bytes),
                                .origin = errand->origin};
}

void errands_moved(struct errands *errands, uint64_t now_ms, uint64_t partitions)
{
    uint64_t blocked = 0, again = 0;
    errands->now_ms = now_ms;
    for (uint64_t left = partitions; left != 0; left &= left - 1) {
        uint32_t partition = errands_lowest(left);
        uint32_t node = errands->host.leader(errands->host.context, partition);
        if (node == errands->node && errands->target[partition] == node) {
            continue; /* nothing is lost on the way here */
        }
        errands->target[partition] = node;
        blocked |= node == 0 && errands->open_count[partition] > 0 ? errands_bit(partition) : 0;
        again |= node != 0 && errands->open_count[partition] > 0 ? errands_bit(partition) : 0;
    }
    errands->fresh |= partitions; /* E2 */
    if (blocked != 0) {
        block(errands, blocked);
    }
    if (again == 0) {
        return;
    }
    LIST_EACH_SAFE (&errands->kept, link) {
        struct errand *errand = CONTAINER_OF(link, struct errand, link);
        uint64_t concerned = errand->open & again;
        if (concerned != 0) {
            struct mesh_errand sent = errand_of(errand);
            errands->sent_again++;
            send(errands, &sent, concerned, errand->number);
        }
    }
}

/* Where nothing of a partition is open, who leads it is looked up anew. */
static void aim(struct errands *errands, uint64_t partitions)
{
    for (; partitions != 0; partitions &= partitions - 1) {
        uint32_t partition = errands_lowest(partitions);
        if (errands->open_count[partition] > 0) {
            continue;
        }
        uint32_t node = errands->host.leader(errands->host.context, partition);
        errands->fresh |= node != errands->target[partition] ? errands_bit(partition) : 0;
        errands->target[partition] = node;
    }
}

void errands_forward(struct errands *errands, uint64_t now_ms, const struct mesh_errand *errand,
                     mesh_done done, void *context)
{
    uint64_t waiting = 0;
    ASSERT(errand->partitions != 0);
    errands->now_ms = now_ms;
    aim(errands, errand->partitions);
    if (done == NULL && errand->kind != MESH_RETAIN) {
        send(errands, errand, errand->partitions, 0);
        return;
    }
    bool is_bounded = errand->origin.number == 0 && errands->kept_bytes >= ERRANDS_BYTES_MAX;
    struct errand *kept = is_bounded ? NULL : errand_keep(errands, errand, done, context);
    if (kept == NULL) {
        if (done != NULL) {
            done(context, is_bounded ? ERR_UNAVAILABLE : ERR_NOMEM);
        }
        return;
    }
    for (uint64_t left = errand->partitions; left != 0; left &= left - 1) {
        waiting |= errands->target[errands_lowest(left)] == 0 ? errands_bit(errands_lowest(left))
                                                              : 0;
    }
    if (waiting != 0) {
        block(errands, waiting);
    }
    send(errands, errand, errand->partitions, kept->number);
}

static struct errand *errand_find(const struct errands *errands, uint64_t number)
{
    return map_get(errands->by_number, slice_of(&number, sizeof(number)));
}

enum err errands_answered(struct errands *errands, uint64_t now_ms, uint32_t node,
                          struct slice body)
{
    struct mesh_answer_msg answer;
    errands->now_ms = now_ms;
    TRY(mesh_answer_decode(body, &answer));
    struct errand *errand = errand_find(errands, answer.number);
    if (errand == NULL || answer.incarnation != errands->incarnation) {
        return OK; /* its time was over, or another has answered; or it was in another life */
    }
    if (answer.verdict == MESH_DONE) {
        answered(errands, errand, answer.partitions,
                 OK); /* committed is committed, whoever says so */
        return OK;
    }
    uint64_t told = 0;
    for (uint64_t left = answer.partitions & errand->open; left != 0; left &= left - 1) {
        told |= errands->target[errands_lowest(left)] == node ? errands_bit(errands_lowest(left))
                                                              : 0;
    }
    if (answer.verdict == MESH_NOT_HERE) {
        block(errands, told);
    } else if (told != 0) {
        answered(errands, errand, told, mesh_verdict_err(answer.verdict));
    }
    return OK;
}

static void on_served_here(void *context, enum err err)
{
    struct served served = *(struct served *)context;
    list_remove(&((struct served *)context)->link);
    blocks_give(context, sizeof(served));
    if (served.errands == NULL) {
        return;
    }
    struct errand *errand = errand_find(served.errands, served.number);
    if (errand == NULL) {
        return;
    }
    if (err == ERR_UNAVAILABLE) { /* as in errands_serve.c: what is led here still has committed */
        uint64_t kept = errands_led_here(served.errands, served.partitions);
        block(served.errands, served.partitions & ~kept & errand->open);
        served.partitions = kept;
        err = OK;
    }
    answered(served.errands, errand, served.partitions, err);
}

uint64_t errands_wake_ms(const struct errands *errands)
{
    return errands->retry_ms < errands->deadline_ms ? errands->retry_ms : errands->deadline_ms;
}

/* Those that came later have later ones. */
static void expire(struct errands *errands)
{
    errands->deadline_ms = UINT64_MAX;
    LIST_EACH_SAFE (&errands->kept, link) {
        struct errand *errand = CONTAINER_OF(link, struct errand, link);
        if (errand->deadline_ms <= errands->now_ms) {
            errand_end(errands, errand, ERR_UNAVAILABLE);
        } else if (errand->deadline_ms != UINT64_MAX) {
            errands->deadline_ms = errand->deadline_ms;
            return;
        }
    }
}

void errands_run(struct errands *errands, uint64_t now_ms)
{
    uint64_t blocked = 0;
    errands->now_ms = now_ms;
    if (now_ms >= errands->deadline_ms) {
        expire(errands);
    }
    if (now_ms < errands->retry_ms) {
        return;
    }
    errands->retry_ms = UINT64_MAX;
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        blocked |= errands->target[i] == 0 && errands->open_count[i] > 0 ? errands_bit(i) : 0;
    }
    errands_moved(errands, now_ms, blocked);
}

void errands_look(const struct errands *errands, struct errands_figures *out)
{
    *out = (struct errands_figures){.kept_count = map_count(errands->by_number),
                                    .kept_bytes = errands->kept_bytes,
                                    .sent_again = errands->sent_again};
}

/* ---- the end ------------------------------------------------------------------------------------ */

void errands_free(struct errands *errands)
{
    if (errands == NULL) {
        return;
    }
    LIST_EACH_SAFE (&errands->local, link) {
        CONTAINER_OF(link, struct served, link)->errands = NULL; /* it is told, and frees itself */
        list_remove(link);
    }
    LIST_EACH_SAFE (&errands->kept, link) {
        errand_end(errands, CONTAINER_OF(link, struct errand, link), ERR_SHUTDOWN);
    }
    errands_senders_free(errands->senders);
    map_free(errands->by_number);
    buf_deinit(&errands->scratch);
    free(errands);
}
