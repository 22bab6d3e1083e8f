/*
 * exchanges: which packet ids a client has under way, and which answer each of them waits for.
 *
 * A broker that answers twice, or with the id of another message, hides one that it never answered:
 * counting answers is not enough, so each has to find its question.
 *
 * Floor:  bench; knows the packet types of core/wire.
 * Thread: the owner.
 * Memory: one byte for each id from the oldest unanswered to the newest, in a ring that doubles.
 */
#ifndef TERN_BENCH_EXCHANGES_H
#define TERN_BENCH_EXCHANGES_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: nothing is under way. */
struct exchanges {
    uint64_t oldest, next; /* serials from the oldest unanswered one to the one to come */
    uint8_t *states;       /* NULL when size is 0 */
    uint32_t size;         /* a power of two, or 0 */
    uint32_t open_count;   /* unanswered ones */
};

/*
 * Give an id to a SUBSCRIBE (MQTT_SUBSCRIBE, qos ignored) or to a PUBLISH of QoS 1 or 2; ids follow
 * each other, 1 after 65535.
 *
 * ERR_LIMIT  the oldest unanswered one has this id
 * ERR_NOMEM
 */
enum err exchanges_begin(struct exchanges *exchanges, enum mqtt_type type, uint8_t qos,
                         uint16_t *id_out);

/*
 * The broker answered: SUBACK, PUBACK, PUBREC (is_failure: with a reason of 0x80 or more, which ends
 * the exchange) or PUBCOMP. *is_over_out: whether that was the last of its exchange.
 *
 * ERR_ID_UNKNOWN  nothing with this id waits for such an answer; nothing has changed
 */
enum err exchanges_answer(struct exchanges *exchanges, enum mqtt_type type, uint16_t id,
                          bool is_failure, bool *is_over_out);

/* How many ids can be given before an answer has to come. */
uint32_t exchanges_room(const struct exchanges *exchanges);

/* Forget everything; what is zeroed may be freed, too. */
void exchanges_free(struct exchanges *exchanges);

#endif
