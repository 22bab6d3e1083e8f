/*
 * mail: what a shard does with each kind of mail, and how to drop one that nobody will read.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_MAIL_H
#define TERN_BROKER_MAIL_H

struct mail;
struct shard;

void mail_handle(struct shard *shard, struct mail *mail);

/* Give back what it owns: the broker ends. */
void mail_discard(struct mail *mail);

#endif
