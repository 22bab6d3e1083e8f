/*
 * dump: what a store holds, as JSON lines that people and other programs can read, and back.
 *
 * Floor:  storage; pure, but for what the caller does with a line.
 * Thread: the owner's.
 *
 * One object a line, and no newline within. What can be left out is (false, 0, nothing). Members are
 * added, never changed; a reader steps over members that it does not know, and refuses a type that it
 * does not know.
 *
 *   {"type":"export","format":1,"program":"tern 0.1.0","time_ms":1795286165000}             first
 *   {"type":"session","session":"00c0ffee00000001","client":"lamp-1","user":"alice","listener":0,
 *    "expiry_s":3600,"opened_ms":..,"closed_ms":..,"sent_sequence":12,
 *    "will":{"topic":..,"payload":..,"delay_s":30,"will_expiry_s":60}}
 *        expiry_s: from the end of the connection; null: never. closed_ms: not there while connected
 *   {"type":"subscription","session":..,"filter":"a/#","mount":"house/","qos":1,"id":7,
 *    "no_local":true,"retain_as_published":true}
 *        filter: as the client wrote it ("$share/name/..." too)
 *   {"type":"packet_id","session":..,"packet_id":77}           of a QoS 2 message of the client
 *   {"type":"message","session":..,"sequence":12,"qos":1,"retain":true,"ids":[7],"share":"$share/..",
 *    "message":{..}}                                            owed to the session
 *   {"type":"message","session":..,"sequence":12,"qos":2,"awaits_pubcomp":true}
 *        packet id on the wire: 1 + sequence modulo 65535
 *   {"type":"retained","message":{..}}
 *   {"type":"outbox","partition":3,"number":9,"group":"name/filter","message":{..}}
 *        to be given to all who want it, or to a member of that share group
 *   {"type":"received","partition":3,"source":5,"number":9}     of the outbox of source, up to it
 *   {"type":"taken","partition":3,"source":5,"number":9,"group":"7d1c5fc2b84e1f06"}
 *        that one message of the outbox, for the group whose name has that XXH3
 *   {"type":"end","lines":123}                                  last: the lines before this one
 *   {"type":"end"}                                              the same of a file that people made
 *
 * A message is
 *   {"topic":"a/b","qos":1,"retain":true,"payload":"text" or "payload_base64":"AP8=",
 *    "properties_base64":"..","publisher":"00c0ffee00000001","expires_ms":..,"expiry_s":60}
 *        payload: where it is text; properties: as MQTT 5 has them on the wire, without their length
 *
 * Keys of sessions are 16 hexadecimal digits; times are milliseconds since 1970. Passwords and what
 * proves them are not in it.
 */
#ifndef TERN_STORAGE_DUMP_H
#define TERN_STORAGE_DUMP_H

#include "core/base/json.h"
#include "storage/machine.h"

#include <stdbool.h>
#include <stdint.h>

enum { DUMP_FORMAT = 1, DUMP_LINE_MAX = 1 << 30, DUMP_PROBLEM_BYTES = 256, DUMP_KEY_DIGITS = 16 };

/* ---- writing ------------------------------------------------------------------------------- */

/* Zero-initialised but for write and context. */
struct dumper {
    /* A line with its newline; an error ends the dump. */
    enum err (*write)(void *context, struct slice line);
    void *context;
    uint32_t partition; /* whose machine is read */
    uint64_t line_count, session_count, subscription_count, item_count, retained_count;
    struct buf buf; /* private */
};

enum err dump_begin(struct dumper *dumper, uint64_t wall_ms);
/* All of a partition. */
enum err dump_machine(struct dumper *dumper, uint32_t partition, struct machine *machine);
enum err dump_end(struct dumper *dumper);
void dumper_deinit(struct dumper *dumper);

/* The same piece by piece; context is the dumper. */
extern const struct machine_reader dump_reader;

/* ---- reading ------------------------------------------------------------------------------- */

enum dump_kind {
    DUMP_EXPORT,
    DUMP_SESSION,
    DUMP_SUBSCRIPTION,
    DUMP_PACKET_ID,
    DUMP_ITEM,
    DUMP_RETAINED,
    DUMP_OUTBOX,
    DUMP_RECEIVED,
    DUMP_TAKEN,
    DUMP_END
};

struct dump_line {
    enum dump_kind kind;
    uint64_t key;       /* of the session it is of; the group of a taken */
    uint32_t partition; /* of an outbox, of a received, of a taken */
    uint32_t source;
    uint64_t number; /* sequence, packet id, number in an outbox, lines (0: not counted), format */
    union {
        struct session_record session;
        struct op_subscribe subscription;
        struct item_record item; /* as if its message were its own */
        struct msg_spec message; /* retained */
        struct outgoing_record outgoing;
    };
    struct json *document; /* private */
    uint8_t *bytes;        /* private: decoded base64 */
    uint32_t *ids;         /* private */
};

/*
 * Read a line (with or without its newline). What the slices point to is the line's own until
 * dump_line_deinit(). Topics, filters and client ids are such that a client could have sent them.
 * ERR_INVALID, ERR_TOO_LARGE: problem says what is wrong; ERR_UNSUPPORTED: a type or a format that is
 * not known; ERR_NOMEM.
 */
enum err dump_read(struct slice line, struct dump_line *out, char problem[DUMP_PROBLEM_BYTES]);
void dump_line_deinit(struct dump_line *line);

#endif
