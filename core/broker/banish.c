#include "core/broker/banish.h"

#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/mailbox.h"
#include "core/broker/shard.h"

#include <stdlib.h>

/* What a shard has to know; the list itself is shared. */
struct banishment {
    enum ban_kind kind;
    size_t client_bytes;
    uint8_t client[];
};

static struct banishment *banishment_new(const struct ban *ban)
{
    size_t client_bytes = ban->kind == BAN_CLIENT ? ban->value.count : 0;
    struct banishment *out = malloc(sizeof(*out) + client_bytes);
    if (out != NULL) {
        *out = (struct banishment){.kind = ban->kind, .client_bytes = client_bytes};
        if (client_bytes > 0) {
            memcpy(out->client, ban->value.data, client_bytes);
        }
    }
    return out;
}

/* The list says it, as it would when the connection came anew. */
static bool is_banned(struct shard *shard, const struct conn *conn, enum ban_kind kind)
{
    struct bans *bans = shard->broker->limits.bans;
    uint64_t wall_ms = io_wall_ms(shard->io);
    if (kind == BAN_USER) {
        const struct session *session = conn->session;
        return session != NULL && session->username.data != NULL &&
               bans_find_client(bans, session->client_id, true, session->username, wall_ms) !=
                   BAN_KIND_COUNT;
    }
    uint32_t ip_bytes = conn->peer.kind == ADDRESS_IP4   ? 4
                        : conn->peer.kind == ADDRESS_IP6 ? 16
                                                         : 0;
    return bans_find_address(bans, conn->peer.ip, ip_bytes, wall_ms) != BAN_KIND_COUNT;
}

static void banish_here(struct shard *shard, const struct banishment *banishment)
{
    if (banishment->kind == BAN_CLIENT) {
        struct session *session = map_get(shard->sessions,
                                          slice_of(banishment->client, banishment->client_bytes));
        if (session != NULL && session->conn != NULL) {
            conn_end(session->conn, ERR_BANNED);
        }
        return;
    }
    LIST_EACH_SAFE (&shard->conns, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        if (is_banned(shard, conn, banishment->kind)) {
            conn_end(conn, ERR_BANNED);
        }
    }
}

enum err banish(struct shard *shard, const struct ban *ban)
{
    for (uint32_t i = 0; i < shard->broker_shard_count; i++) {
        struct banishment *banishment = banishment_new(ban);
        if (banishment == NULL) {
            return ERR_NOMEM;
        }
        if (i == shard->index) {
            banish_here(shard, banishment);
            free(banishment);
            continue;
        }
        struct mail mail = {.kind = MAIL_BANISH, .banishment = banishment};
        mailbox_post(shard->mailbox, i, &mail);
    }
    return OK;
}

void banish_on_mail(struct shard *shard, struct mail *mail)
{
    banish_here(shard, mail->banishment);
    free(mail->banishment);
}

void banish_discard(struct mail *mail)
{
    free(mail->banishment);
}
