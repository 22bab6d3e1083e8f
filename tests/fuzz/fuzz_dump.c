/*
 * fuzz_dump: no line breaks the reader of JSON lines; what it accepts could have come from clients,
 * and is written again as a line that says the same.
 */
#include "core/base/utf8.h"
#include "core/pubsub/topic.h"
#include "core/wire/props.h"
/* Of storage nothing else is needed: they are taken in here. */
#include "storage/dump.c"
#include "storage/dump_read.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not reached: lines are written one by one. */
enum err machine_read(struct machine *machine, const struct machine_reader *reader, void *context)
{
    (void)machine;
    (void)reader;
    (void)context;
    return ERR_UNSUPPORTED;
}

static void look_at_spec(const struct msg_spec *spec)
{
    struct slice rest = spec->props;
    struct prop_item item;
    ASSERT(utf8_is_valid(spec->topic) && topic_name_check(spec->topic, UINT32_MAX) == OK);
    ASSERT(spec->qos <= 2 && spec->payload.count <= VARINT_MAX);
    while (props_next(&rest, &item)) {
        ASSERT((PROP_BIT(item.prop) & PROPS_FORWARDABLE) != 0);
    }
    ASSERT(rest.count == 0);
}

static enum err keep(void *context, struct slice line)
{
    struct buf *kept = context;
    return buf_append(kept, line);
}

static enum err write_again(struct dumper *dumper, const struct dump_line *line)
{
    switch (line->kind) {
    case DUMP_SESSION:
        return dump_reader.session(dumper, &line->session);
    case DUMP_SUBSCRIPTION:
        return OK; /* the mount point goes another way: test_dump.c */
    case DUMP_PACKET_ID:
        return dump_reader.packet_id(dumper, line->key, (uint16_t)line->number);
    case DUMP_ITEM:
        return dump_reader.item(dumper, line->key, line->number, &line->item);
    case DUMP_RETAINED:
        return dump_reader.retained(dumper, &line->message);
    case DUMP_OUTBOX:
        return dump_reader.outbox(dumper, line->number, &line->outgoing);
    case DUMP_TAKEN:
        return dump_reader.taken(dumper, line->source, line->number, line->key);
    case DUMP_RECEIVED:
        return dump_reader.received(dumper, line->source, line->number);
    case DUMP_EXPORT:
    case DUMP_END:
        break;
    }
    return OK;
}

static void look_at(const struct dump_line *line)
{
    struct topic_filter parts;
    switch (line->kind) {
    case DUMP_SESSION:
        ASSERT(line->session.open.client_id.count > 0 && line->key != 0);
        if (line->session.open.will.message.topic.count > 0) {
            look_at_spec(&line->session.open.will.message);
        }
        break;
    case DUMP_SUBSCRIPTION:
        ASSERT(topic_filter_parse(line->subscription.text, UINT32_MAX, &parts) == OK);
        break;
    case DUMP_ITEM:
        if (!line->item.awaits_pubcomp) {
            look_at_spec(&line->item.spec);
        }
        ASSERT(line->number > 0 && line->item.qos <= 2);
        break;
    case DUMP_RETAINED:
        look_at_spec(&line->message);
        break;
    case DUMP_OUTBOX:
        look_at_spec(&line->outgoing.message);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char problem[DUMP_PROBLEM_BYTES];
    struct dump_line line, again;
    struct buf kept = {0}, twice = {0};
    struct dumper dumper = {.write = keep, .context = &kept};
    enum err err = dump_read(slice_of(data, size), &line, problem);
    ASSERT((err == OK) == (problem[0] == '\0'));
    if (err != OK) {
        return 0;
    }
    look_at(&line);
    dumper.partition = line.partition;
    ASSERT(write_again(&dumper, &line) == OK);
    if (buf_count(&kept) > 0) {
        ASSERT(dump_read(buf_bytes(&kept), &again, problem) == OK);
        ASSERT(again.kind == line.kind && again.key == line.key && again.number == line.number);
        dumper.context = &twice;
        ASSERT(write_again(&dumper, &again) == OK);
        ASSERT(slice_equal(buf_bytes(&kept), buf_bytes(&twice)));
        dump_line_deinit(&again);
    }
    dump_line_deinit(&line);
    buf_deinit(&kept);
    buf_deinit(&twice);
    dumper_deinit(&dumper);
    return 0;
}
