/*
 *      SUBSCRIBE ──> WAIT_SUBACK ──SUBACK──> OVER
 *      QoS 1     ──> WAIT_PUBACK ──PUBACK──> OVER
 *      QoS 2     ──> WAIT_PUBREC ──PUBREC──> WAIT_PUBCOMP ──PUBCOMP──> OVER
 *                              └──PUBREC >= 0x80──> OVER
 *
 * Invariants
 *   I1  serials never repeat; the packet id of one is 1 + serial mod 65535. The serials in
 *       [oldest, next) have a state each, at serial mod size, and are at most 65535: so an id
 *       finds its serial.
 *   I2  oldest is next, or not OVER.
 *   I3  open_count of them are not OVER.
 */
#include "bench/load/exchanges.h"

#include "core/base/assert.h"

#include <stdlib.h>

enum state { OVER, WAIT_SUBACK, WAIT_PUBACK, WAIT_PUBREC, WAIT_PUBCOMP, STATE_COUNT };

enum { IDS = UINT16_MAX, SIZE_MIN = 8 };

static const enum mqtt_type answers[STATE_COUNT] = {
    [WAIT_SUBACK] = MQTT_SUBACK,
    [WAIT_PUBACK] = MQTT_PUBACK,
    [WAIT_PUBREC] = MQTT_PUBREC,
    [WAIT_PUBCOMP] = MQTT_PUBCOMP,
};

static uint8_t *state_of(const struct exchanges *exchanges, uint64_t serial)
{
    return &exchanges->states[serial & (exchanges->size - 1)];
}

static enum err grow(struct exchanges *exchanges)
{
    struct exchanges larger = *exchanges;
    larger.size = exchanges->size == 0 ? SIZE_MIN : 2 * exchanges->size;
    larger.states = malloc(larger.size);
    if (larger.states == NULL) {
        return ERR_NOMEM;
    }
    for (uint64_t serial = exchanges->oldest; serial < exchanges->next; serial++) {
        *state_of(&larger, serial) = *state_of(exchanges, serial);
    }
    free(exchanges->states);
    *exchanges = larger;
    return OK;
}

enum err exchanges_begin(struct exchanges *exchanges, enum mqtt_type type, uint8_t qos,
                         uint16_t *id_out)
{
    ASSERT(type == MQTT_SUBSCRIBE || type == MQTT_PUBLISH);
    ASSERT(type == MQTT_SUBSCRIBE || qos == 1 || qos == 2);
    if (exchanges_room(exchanges) == 0) {
        return ERR_LIMIT; /* I1 */
    }
    if (exchanges->next - exchanges->oldest == exchanges->size) {
        TRY(grow(exchanges));
    }
    uint64_t serial = exchanges->next++;
    exchanges->open_count++;
    enum state of_publish = qos == 1 ? WAIT_PUBACK : WAIT_PUBREC;
    *state_of(exchanges, serial) = type == MQTT_SUBSCRIBE ? WAIT_SUBACK : of_publish;
    *id_out = (uint16_t)(serial % IDS + 1);
    return OK;
}

enum err exchanges_answer(struct exchanges *exchanges, enum mqtt_type type, uint16_t id,
                          bool is_failure, bool *is_over_out)
{
    if (id == 0) {
        return ERR_ID_UNKNOWN;
    }
    uint64_t serial = exchanges->oldest + (id - 1u + IDS - exchanges->oldest % IDS) % IDS; /* I1 */
    if (serial >= exchanges->next) {
        return ERR_ID_UNKNOWN;
    }
    uint8_t *state = state_of(exchanges, serial);
    if (*state == OVER || answers[*state] != type) {
        return ERR_ID_UNKNOWN;
    }
    *state = *state == WAIT_PUBREC && !is_failure ? WAIT_PUBCOMP : OVER;
    *is_over_out = *state == OVER;
    exchanges->open_count -= *state == OVER ? 1 : 0;
    while (exchanges->oldest < exchanges->next && *state_of(exchanges, exchanges->oldest) == OVER) {
        exchanges->oldest++; /* I2 */
    }
    return OK;
}

uint32_t exchanges_room(const struct exchanges *exchanges)
{
    return (uint32_t)(IDS - (exchanges->next - exchanges->oldest));
}

void exchanges_free(struct exchanges *exchanges)
{
    free(exchanges->states);
    *exchanges = (struct exchanges){0};
}
