/*
 * scram: SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), without channel binding.
 *
 *     client-first   n,,n=user,r=nonce          scram_begin   ──> server-first  r=,s=,i=
 *     client-final   c=biws,r=nonce,p=proof     scram_finish  ──> server-final  v=signature
 *
 * Floor:  access.
 * Thread: the connection's. Cheap (four HMACs): what is slow was done by the client.
 * Memory: one heap object per exchange.
 *
 * User names are prepared as SASLprep wants where they are ASCII; others are taken as they are.
 */
#ifndef TERN_ACCESS_SCRAM_H
#define TERN_ACCESS_SCRAM_H

#include "core/access/password.h"
#include "core/base/err.h"
#include "core/base/rng.h"
#include "core/base/slice.h"

#include <stdint.h>

enum { SCRAM_MESSAGE_MAX = 1024, SCRAM_NAME_MAX = 512 };

struct scram;

/*
 * The client's first message. ERR_MORE: *out lives, reply (of *reply_bytes) goes to the client.
 * ERR_CREDENTIALS: it cannot be read, or asks for what we do not do; ERR_NOMEM. Nonces come from
 * BoringSSL.
 */
enum err scram_begin(const struct passwords *passwords, struct slice message, struct scram **out,
                     char reply[SCRAM_MESSAGE_MAX], uint32_t *reply_bytes);

/* The same with a nonce of the caller's choice, printable and without a comma: for test vectors. */
enum err scram_begin_with(const struct passwords *passwords, struct slice message,
                          struct slice nonce, struct scram **out, char reply[SCRAM_MESSAGE_MAX],
                          uint32_t *reply_bytes);

/*
 * The client's last message. OK: proven, reply is the server's own proof. ERR_CREDENTIALS: the proof
 * is wrong, there is no such user, or the message cannot be read; also of a second try.
 */
enum err scram_finish(struct scram *scram, struct slice message, char reply[SCRAM_MESSAGE_MAX],
                      uint32_t *reply_bytes);

/* Who it says it is; proven after scram_finish() said OK. Lives as long as the exchange. */
struct slice scram_username(const struct scram *scram);
void scram_free(struct scram *scram); /* accepts NULL */

#endif
