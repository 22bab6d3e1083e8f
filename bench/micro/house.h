/*
 * house: a whole broker behind the door in memory, and guests who speak MQTT to it.
 *
 * Floor:  bench.
 * Thread: one takes the turns of all shards, one after the other.
 * Memory: all of house and guests is allocated when they are made; what is counted while they talk
 *         is the broker's.
 *
 *     house_new ──> guest_new ... ──> guest_subscribe ... ──> house_settle
 *               ──> guest_publish ... ──> house_settle ... ──> house_free
 *
 * A guest answers as a client has to: PUBACK, PUBREC, PUBREL, PUBCOMP, and counts what it hears.
 * A refusal by the broker is a mistake of ours here, and asserted.
 */
#ifndef TERN_BENCH_MICRO_HOUSE_H
#define TERN_BENCH_MICRO_HOUSE_H

#include "core/broker/shard.h"
#include "core/wire/mqtt.h"

#include <stdint.h>

struct house;
struct guest;

/*
 * shard_count shards, a room for guest_count guests, each with room for guest_bytes of what it says
 * between two turns and for one packet of that size it hears. lines: more of the configuration.
 * Aborts when there is no memory: nothing here is worth going on without it.
 */
struct house *house_new(uint32_t shard_count, uint32_t guest_count, uint32_t guest_bytes,
                        const char *lines);
/* The same on a journal: ports are those of broker.h, context too. */
struct house *house_new_on(const struct broker_ports *ports, uint32_t shard_count,
                           uint32_t guest_count, uint32_t guest_bytes, const char *lines);
void house_free(struct house *house);

struct shard *house_shard(struct house *house, uint32_t index);

/* Guests say at most so many bytes a turn, wherever a packet is cut by that; 0: all at once. */
void house_cut(struct house *house, uint32_t bytes_max);

/* One turn of each shard; what guests have said goes in, what they hear is answered. */
void house_turn(struct house *house);

/* acts(shard) is called before each shard's turn, and with HOUSE_NOBODY after it. */
#define HOUSE_NOBODY UINT32_MAX
void house_watch_turns(struct house *house, void (*acts)(uint32_t shard));

/* Turns until nobody says or hears anything any more. */
void house_settle(struct house *house);

/* A guest who has connected and whose session lives on that shard. The house owns it. */
struct guest *guest_new(struct house *house, uint32_t shard, enum mqtt_version version);

/* Said with the next turn; there must be room. id: Subscription Identifier of MQTT 5, 0: none. */
void guest_subscribe(struct guest *guest, const char *filter, uint8_t qos, uint32_t id);
void guest_publish(struct guest *guest, struct slice topic, struct slice payload, uint8_t qos,
                   bool retain);

struct guest_counts {
    uint64_t heard[3]; /* PUBLISH packets by QoS */
    uint64_t heard_bytes;
    uint64_t acked; /* own messages of QoS 1 and 2 that are through */
};
const struct guest_counts *guest_counts(const struct guest *guest);

/* PUBLISH packets of that QoS, heard by all guests together. */
uint64_t house_heard(const struct house *house, uint8_t qos);

#endif
