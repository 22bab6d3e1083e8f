#include "core/broker/parting.h"

#include "core/base/blocks.h"
#include "core/broker/conn.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

/* On a full disk it may take any time: then the close says nothing. */
#define PARTING_NS UINT64_C(5000000000)

/* An end that is not on disk, as the journal is fenced or led elsewhere, is no news for the client. */
static void on_committed(void *context, enum err err)
{
    struct awaited *parting = context;
    struct conn *conn = parting->conn;
    blocks_give(parting, sizeof(*parting));
    if (conn == NULL) {
        return;
    }
    conn->awaited = NULL;
    if (err == OK) {
        conn_part(conn); /* else when its time is over */
    }
}

bool parting_await(struct conn *conn, uint32_t partition)
{
    struct shard *shard = conn->shard;
    struct awaited *parting = blocks_take(sizeof(*parting));
    if (parting == NULL) {
        return false;
    }
    parting->conn = conn;
    uint64_t bit = UINT64_C(1) << partition;
    if (journal_await(shard->journal, bit, on_committed, parting) != ERR_AGAIN) {
        blocks_give(parting, sizeof(*parting));
        return false;
    }
    conn->awaited = parting;
    conn->state = CONN_PARTING;
    wheel_set(shard->wheel, &conn->timer, io_now_ns(shard->io) + PARTING_NS);
    return true;
}
