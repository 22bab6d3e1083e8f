/*
 * apply: a committed op -> session, retained, trie. The only place where lasting state changes.
 *
 * Floor:  broker.
 * Thread: the shard of the op's session.
 */
#ifndef TERN_BROKER_APPLY_H
#define TERN_BROKER_APPLY_H

#include "core/base/err.h"
#include "core/session/op.h"

/* As the journal calls it; shard is a struct shard *. */
enum err apply_op(void *shard, const struct op *op);

#endif
