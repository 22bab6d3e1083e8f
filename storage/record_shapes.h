/*
 * record_shapes: which shape (record_wire.h) belongs to which struct.
 *
 * Floor:  storage; for record.c, record_entry.c and the machine.
 */
#ifndef TERN_STORAGE_RECORD_SHAPES_H
#define TERN_STORAGE_RECORD_SHAPES_H

#include "core/limits.h"
#include "storage/record_wire.h"

enum {
    RECORD_QOS_MAX = 2,
    RECORD_FLAG_MAX = 1,
    /* Topics and filters: the client's, behind the mount point of its listener. */
    RECORD_TEXT_BYTES_MAX = 2 * LIMIT_TEXT_BYTES_MAX,
    /* Whatever a packet holds goes into so many bytes. */
    RECORD_BYTES_MAX = LIMIT_PACKET_BYTES_MAX,
};

extern const struct shape shape_message;   /* struct msg_spec */
extern const struct shape shape_will;      /* struct op_will */
extern const struct shape shape_open;      /* struct op_open */
extern const struct shape shape_subscribe; /* struct op_subscribe */

#endif
