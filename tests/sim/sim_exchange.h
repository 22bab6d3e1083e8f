/*
 * sim_exchange: what a simulated client says and hears once it has a link: its half of every exchange.
 *
 * Floor:  tests; between sim_client.c, which owns the connection, and itself.
 */
#ifndef TERN_SIM_SIM_EXCHANGE_H
#define TERN_SIM_SIM_EXCHANGE_H

#include "core/wire/frame.h"
#include "core/wire/reader.h"
#include "tests/sim/sim_client.h"

/* A whole packet has come. */
void exchange_on_packet(struct client *client, const struct frame *frame);

/* Of sim_client.c: room for a packet that will leave, a line of the trace, a session thrown away. */
struct writer client_packet(struct client *client, size_t size);
void client_say(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void client_session_forget(struct client *client);

#endif
