/*
 * banish: a ban was added: whoever it concerns and is connected has to go.
 *
 * Floor:  broker.
 * Thread: any shard's own; the others hear of it by mail and do the same in a turn of theirs.
 */
#ifndef TERN_BROKER_BANISH_H
#define TERN_BROKER_BANISH_H

#include "core/access/bans.h"

struct mail;
struct shard;

/*
 * After bans_add(). A client is looked up; for an address, a network or a user each shard looks once
 * at every connection that it has. ERR_NOMEM: those who are connected stay.
 */
enum err banish(struct shard *shard, const struct ban *ban);

void banish_on_mail(struct shard *shard, struct mail *mail);
void banish_discard(struct mail *mail);

#endif
