#include "core/broker/withhold.h"

#include "core/broker/ceiling.h"
#include "core/broker/conn.h"
#include "core/broker/explain.h"
#include "core/broker/partition.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

/*
 * A full disk has a fleet withhold, and space comes back for all of them at once: not all of them are
 * to come back at once, with their handshakes and everything they have not been told. So many are
 * looked at in a step, which is at most a thousand a second.
 */
enum { LOOK_MAX = 100 };
#define LOOK_NS UINT64_C(100000000)

/* Where nobody can tell when there is room, in the queue of somebody who is away say: it may come again
 * and hear the same for days. */
#define BLIND_NS UINT64_C(30000000000)

static bool is_of_disk(enum err why)
{
    return why == ERR_NO_SPACE || why == ERR_UNAVAILABLE || why == ERR_IO;
}

/* Nothing that can be seen stands in the way of a PUBLISH of this connection. */
static bool has_room(const struct conn *conn)
{
    const struct shard *shard = conn->shard;
    bool may_last = shard->journal == NULL ||
                    journal_admit(shard->journal, conn->session->partition) == OK;
    return may_last && !partition_is_missed(shard) && !ceiling_is_reached(shard);
}

/* Who has to wait on goes behind the others. */
static void look(struct timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, withholding_timer);
    uint64_t now_ns = io_now_ns(shard->io);
    const struct list *last = shard->withholding.prev;
    struct list *link = NULL;
    for (uint32_t i = 0; i < LOOK_MAX && link != last; i++) {
        link = list_pop_front(&shard->withholding);
        if (link == NULL) {
            break; /* the last one went with another */
        }
        struct withheld *withheld = CONTAINER_OF(link, struct withheld, link);
        struct conn *conn = CONTAINER_OF(withheld, struct conn_work, withheld)->conn;
        if (now_ns >= withheld->due_ns && has_room(conn)) {
            conn_end(conn, ERR_WITHHELD);
        } else {
            list_push_back(&shard->withholding, &withheld->link);
        }
    }
    if (!list_is_empty(&shard->withholding)) {
        wheel_set(shard->wheel, timer, now_ns + LOOK_NS);
    }
}

void withhold_init(struct shard *shard)
{
    list_init(&shard->withholding);
    timer_init(&shard->withholding_timer, look);
}

void withhold_begin(struct conn *conn, enum err why)
{
    struct shard *shard = conn->shard;
    struct withheld *withheld = &conn->work->withheld;
    uint64_t now_ns = io_now_ns(shard->io);
    if (withheld->why != OK) {
        return;
    }
    bool is_seen = is_of_disk(why) || ceiling_is_reached(shard);
    withheld->why = why;
    withheld->due_ns = is_seen ? now_ns : now_ns + BLIND_NS;
    conn_tell(conn, &(struct trail_event){.what = TRAIL_WITHHELD, .why = why});
    list_push_back(&shard->withholding, &withheld->link);
    if (!timer_is_set(&shard->withholding_timer)) {
        wheel_set(shard->wheel, &shard->withholding_timer, now_ns + LOOK_NS);
    }
}

enum err withhold_why(const struct conn *conn)
{
    return conn->work != NULL ? conn->work->withheld.why : OK;
}

void withhold_drop(struct conn *conn)
{
    list_remove(&conn->work->withheld.link);
}
