#include "cluster/replica_parts.h"
#include "core/base/assert.h"

/*
 * A follower that lacks what all logs have cut off:
 *
 *     leader says INSTALL ──> engine ──> image_begin ──> host.fetch ──> replica_may_install
 *                                                            (cluster/transfer.h)     │
 *     begins anew, at the image  <── replica_installed <── state and log are cut to it┘
 *
 * The engine waits until then, applies nothing (E6) and appends nothing. It would go on at the very index
 * that it was asked for; the image is of a later one, as a leader does not keep one at hand. So there is
 * a new engine in its place, as after a start: with term and vote as they are, and with an empty log
 * that begins behind the image. What comes next from the leader tells it how far that is (E4).
 *
 * Nothing happens to the old state and log before an image is accepted: who is stopped before that
 * starts with them again.
 */

static void fetch(struct replica *replica, uint64_t peer)
{
    const struct replica_host *host = replica->config.host;

    replica->image_peer = peer;
    host->fetch(host->context, replica, peer, replica->image_index);
}

enum err image_begin(struct replica *replica, const struct consensus_snapshot *wanted)
{
    if (replica->config.host->fetch == NULL) {
        return ERR_UNSUPPORTED;
    }
    replica->is_installing = true;
    replica->image_index = wanted->index;
    replica->image_peer = 0;
    window_truncate(&replica->window, replica->told + 1); /* the rest is being applied */
    return OK;
}

void image_look(struct replica *replica)
{
    uint64_t leader = consensus_status(replica->consensus).leader;

    if (leader != 0 && leader != replica->image_peer) {
        fetch(replica, leader);
    }
}

bool replica_may_install(struct replica *replica, uint64_t now_ms,
                         const struct consensus_snapshot *image)
{
    struct consensus_status now = consensus_status(replica->consensus);

    if (replica->is_fenced || !replica->is_installing || image->index <= replica->told ||
        image->term == 0 || image->term > now.term || members_check(&image->members) != OK ||
        image->members.index == 0 || image->members.index > image->index) {
        return false;
    }
    replica->now_ms = now_ms;
    if (members_note(replica, &image->members) != OK) {
        replica_fence(replica);
        return false;
    }
    return true;
}

enum err replica_installed(struct replica *replica, uint64_t now_ms,
                           const struct consensus_snapshot *image, struct machine *machine)
{
    struct consensus_status before = consensus_status(replica->consensus);
    struct consensus_start start = {.term = before.term,
                                    .vote = before.vote,
                                    .first_index = image->index + 1,
                                    .snapshot = image};
    struct consensus_update update;
    struct consensus *anew;

    ASSERT(replica->is_installing);
    machine_close(replica->machine);
    replica->machine = machine;
    window_truncate(&replica->window, 0);
    replica->told = replica->applied = image->index;
    replica->members_told = image->members.index;
    enum err err = replica_engine_new(replica, &anew);
    if (err == OK) {
        consensus_keep_links(anew, replica->consensus);
        consensus_free(replica->consensus);
        replica->consensus = anew;
        err = consensus_start(anew, now_ms, &start, &update);
    }
    if (err != OK) {
        replica_fence(replica);
        return err;
    }
    replica->now_ms = now_ms;
    replica->is_installing = false;
    tail_begin(replica, image->index + 1);
    tail_keep(replica);
    return OK;
}

uint64_t replica_told(const struct replica *replica, uint64_t *term)
{
    *term = consensus_term_of(replica->consensus, replica->told);
    return replica->told;
}

bool replica_members_at(const struct replica *replica, uint64_t index,
                        struct consensus_members *out)
{
    consensus_members_committed(replica->consensus, out);
    return index <= replica->told && out->index != 0 && out->index <= index;
}
