#include "core/broker/remote.h"

#include "core/broker/hold.h"
#include "core/broker/receipt.h"
#include "core/broker/retained.h"
#include "core/broker/route.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"

void remote_send(struct shard *shard, const struct mesh_errand *errand, struct receipt *receipt)
{
    struct mesh_errand sent = *errand;
    sent.origin = shard->origin;
    receipt_hold(receipt);
    mesh_forward(shard->mesh, &sent, receipt == NULL ? NULL : receipt_committed, receipt);
}

static enum err serve(struct shard *shard, const struct mesh_errand *errand,
                      struct receipt *receipt)
{
    switch (errand->kind) {
    case MESH_PUBLISH:
        return route_partitions(shard, errand->msg, errand->partitions, receipt);
    case MESH_RETAIN:
        return retained_here(shard, errand->msg, receipt);
    case MESH_GROUP:
        return shares_send(shard, errand->group, errand->msg, receipt);
    }
    return ERR_UNSUPPORTED;
}

void remote_serve(struct shard *shard, const struct mesh_errand *errand, mesh_done done,
                  void *context)
{
    struct receipt *receipt = NULL;
    if (done != NULL) {
        receipt = receipt_mesh(shard, done, context);
        if (receipt == NULL) {
            done(context, ERR_NOMEM);
            return;
        }
    }
    hold_begin(shard);
    shard->origin = errand->origin;
    enum err err = serve(shard, errand, receipt);
    shard->origin.number = 0;
    hold_begin(shard);
    receipt_done(receipt, err);
}
