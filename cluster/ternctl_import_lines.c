#include "cluster/ternctl.h"
#include "cluster/ternctl_http.h"
#include "cluster/ternctl_import.h"

#include <stdlib.h>

/* Where the reading stands. */
struct lines {
    struct import *import; /* NULL: they are only looked at */
    uint64_t number;       /* of the line, from 1 */
    bool has_begun, has_ended;
    uint64_t key;                   /* of the session that the last session line told of; 0: none */
    uint64_t sequence;              /* of its last message; 0: none yet */
    struct import_session *session; /* NULL: it is left out */
    char problem[DUMP_PROBLEM_BYTES];
};

int import_failed(enum err err)
{
    static const char *const ways_out[ERR_COUNT] = {
        [ERR_NO_SPACE] = ": make room and try again",
        [ERR_UNAVAILABLE] = ": the disk failed: see what the system's log says of it",
        [ERR_IO] = ": the disk failed: see what the system's log says of it",
        [ERR_CORRUPT] = ": ternctl check says what is damaged",
    };
    fprintf(stderr, "ternctl import: %s%s\n", err_text(err),
            ways_out[err] == NULL ? "" : ways_out[err]);
    return err == ERR_CORRUPT ? TERNCTL_DATA : TERNCTL_CANNOT_CREATE;
}

static enum err session_end(struct lines *lines)
{
    struct import_session *session = lines->session;
    lines->session = NULL;
    return session == NULL ? OK : import_close(lines->import, session);
}

static enum err session_begin(struct lines *lines, const struct dump_line *line)
{
    TRY(session_end(lines));
    lines->key = line->key;
    lines->sequence = 0;
    if (lines->import == NULL) {
        return OK;
    }
    enum err err = import_open(lines->import, &line->session, &lines->session);
    return err == ERR_EXISTS ? OK : err;
}

/* What is owed to a session has a sequence of its own (core/session/op.h), and the queue is in that order. */
static enum err sequence_check(struct lines *lines, const struct dump_line *line)
{
    if (line->number <= lines->sequence) {
        snprintf(lines->problem, sizeof(lines->problem),
                 "its \"sequence\" is %llu, and the message before it has %llu: let them grow from "
                 "one message of a session to the next",
                 (unsigned long long)line->number, (unsigned long long)lines->sequence);
        return ERR_INVALID;
    }
    lines->sequence = line->number;
    return OK;
}

/* A line of a session has to follow it: nothing is kept to look it up. */
static enum err session_part(struct lines *lines, const struct dump_line *line)
{
    if (line->key != lines->key) {
        snprintf(lines->problem, sizeof(lines->problem),
                 "it belongs to another session than the lines before it: put it behind that one's "
                 "line");
        return ERR_INVALID;
    }
    if (line->kind == DUMP_ITEM) {
        TRY(sequence_check(lines, line));
    }
    if (lines->import == NULL) {
        return OK;
    }
    if (lines->session == NULL) {
        lines->import->figures.of_nobody++;
        return OK;
    }
    switch (line->kind) {
    case DUMP_SUBSCRIPTION:
        return import_subscribe(lines->import, lines->session, &line->subscription);
    case DUMP_PACKET_ID:
        return import_packet_id(lines->import, lines->session, (uint16_t)line->number);
    default:
        return import_item(lines->import, lines->session, line->number, &line->item);
    }
}

static enum err end_check(struct lines *lines, const struct dump_line *line)
{
    lines->has_ended = true;
    if (line->number != 0 && line->number != lines->number - 1) {
        snprintf(lines->problem, sizeof(lines->problem),
                 "it says that %llu lines come before it, and %llu do: export again, or, if you "
                 "have changed the file, let this line be {\"type\":\"end\"}",
                 (unsigned long long)line->number, (unsigned long long)(lines->number - 1));
        return ERR_INVALID;
    }
    return OK;
}

static enum err nobodys_take(struct import *import, const struct dump_line *line)
{
    switch (line->kind) {
    case DUMP_RETAINED:
        return import_retained(import, &line->message);
    case DUMP_OUTBOX:
        return import_send(import, line->partition, line->number, &line->outgoing);
    case DUMP_TAKEN:
        return import_taken(import, line->partition, line->source, line->number, line->key);
    default:
        return import_received(import, line->partition, line->source, line->number);
    }
}

static enum err line_take(struct lines *lines, const struct dump_line *line)
{
    if (!lines->has_begun && line->kind != DUMP_EXPORT) {
        snprintf(lines->problem, sizeof(lines->problem),
                 "the first line has to be {\"type\":\"export\",\"format\":%d}", DUMP_FORMAT);
        return ERR_INVALID;
    }
    if (lines->has_ended) {
        snprintf(lines->problem, sizeof(lines->problem),
                 "the line of type \"end\" before it has to be the last one: import files one by "
                 "one, or remove that line");
        return ERR_INVALID;
    }
    lines->has_begun = true;
    switch (line->kind) {
    case DUMP_EXPORT:
        return OK;
    case DUMP_SESSION:
        return session_begin(lines, line);
    case DUMP_SUBSCRIPTION:
    case DUMP_PACKET_ID:
    case DUMP_ITEM:
        return session_part(lines, line);
    case DUMP_END:
        return end_check(lines, line);
    case DUMP_RETAINED:
    case DUMP_OUTBOX:
    case DUMP_RECEIVED:
    case DUMP_TAKEN:
        return lines->import == NULL ? OK : nobodys_take(lines->import, line);
    }
    return OK;
}

static int line_failed(const struct lines *lines, enum err err)
{
    if (lines->problem[0] == '\0') {
        return import_failed(err);
    }
    fprintf(stderr, "ternctl import: line %llu: ", (unsigned long long)lines->number);
    ternctl_print_safe(stderr, slice_text(lines->problem));
    fprintf(stderr, "\n");
    return TERNCTL_DATA;
}

static int line_run(struct lines *lines, struct slice text)
{
    struct dump_line line;
    enum err err = dump_read(text, &line, lines->problem);
    if (err == OK) {
        err = line_take(lines, &line);
        dump_line_deinit(&line);
    }
    return err == OK ? TERNCTL_OK : line_failed(lines, err);
}

static int run(struct lines *lines, FILE *in)
{
    char *bytes = NULL;
    size_t capacity = 0;
    ssize_t count;
    int status = TERNCTL_OK;

    while (status == TERNCTL_OK && (count = getline(&bytes, &capacity, in)) >= 0) {
        lines->number++;
        status = line_run(lines, slice_of(bytes, (size_t)count));
    }
    free(bytes);
    if (status == TERNCTL_OK && ferror(in)) {
        fprintf(stderr, "ternctl import: standard input cannot be read: try again\n");
        return TERNCTL_DATA;
    }
    if (status == TERNCTL_OK && !lines->has_begun) {
        fprintf(stderr, "ternctl import: standard input is empty: give it what ternctl export "
                        "wrote\n");
        return TERNCTL_DATA;
    }
    if (status == TERNCTL_OK && !lines->has_ended) {
        fprintf(stderr,
                "ternctl import: the last line, of type \"end\", is missing, so it is not all that "
                "was exported: export again, or, if you want what there is, add the line "
                "{\"type\":\"end\"}\n");
        return TERNCTL_DATA;
    }
    return status;
}

int import_lines(struct import *import, FILE *in)
{
    struct lines lines = {.import = import};
    off_t begin = ftello(in);
    /* Of a file the wrong line is found before anything is changed; a pipe is read once. */
    if (begin >= 0) {
        struct lines only_looked_at = {.import = NULL};
        int looked = run(&only_looked_at, in);
        if (looked != TERNCTL_OK) {
            return looked;
        }
        clearerr(in);
        if (fseeko(in, begin, SEEK_SET) != 0) {
            return import_failed(ERR_IO);
        }
    }
    int status = run(&lines, in);
    enum err err = status == TERNCTL_OK ? session_end(&lines) : OK;
    return err == OK ? status : import_failed(err);
}
