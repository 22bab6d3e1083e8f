/*
 * ternctl explain: what happened to a client, and why, as the broker's trail has it.
 */
#include "cluster/ternctl.h"
#include "cluster/ternctl_http.h"
#include "core/base/text.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char words[] = "explain";

enum { LIMIT_MAX = 200 };

struct question {
    const char *where, *name; /* whom: a client, or an address */
    uint64_t limit;
    bool is_address, is_json;
};

/* ---- telling ------------------------------------------------------------------------------- */

static void print_text(struct slice text)
{
    ternctl_print_safe(stdout, text);
}

/* "2026-11-21T15:03:11.123Z" as "2026-11-21 15:03:11.123": UTC, as the log has it. */
static void print_time(struct slice time)
{
    size_t t = slice_find(time, 'T');
    print_text(slice_head(time, t));
    if (t < time.count) {
        printf(" ");
        print_text(slice_head(slice_skip(time, t + 1), slice_find(slice_skip(time, t + 1), 'Z')));
    }
}

/* "; topic a/b": what is not there is left out. */
static void print_part(bool *is_first, const char *label, struct slice text)
{
    if (text.count > 0) {
        printf("%s%s", *is_first ? "    " : "; ", label);
        print_text(text);
        *is_first = false;
    }
}

static void print_event(const struct json *event)
{
    struct slice reason = ternctl_text(event, "reason");
    uint64_t count = ternctl_number(event, "count");
    bool is_first = true;

    print_time(ternctl_text(event, "time"));
    printf("  ");
    print_text(ternctl_text(event, "text"));
    if (reason.count > 0) {
        printf(": ");
        print_text(reason);
    }
    if (count > 1) {
        printf(" (%llu times since ", (unsigned long long)count);
        print_time(ternctl_text(event, "first"));
        printf(")");
    }
    printf("\n");
    print_part(&is_first, "", ternctl_text(event, "detail"));
    print_part(&is_first, "topic ", ternctl_text(event, "topic"));
    if (json_member(event, "packet_id") != NULL) {
        printf("%spacket %llu, QoS %llu", is_first ? "    " : "; ",
               (unsigned long long)ternctl_number(event, "packet_id"),
               (unsigned long long)ternctl_number(event, "qos"));
        is_first = false;
    }
    print_part(&is_first, "client ", ternctl_text(event, "client"));
    print_part(&is_first, "user ", ternctl_text(event, "user"));
    print_part(&is_first, "from ", ternctl_text(event, "address"));
    printf(is_first ? "" : "\n");
}

static bool is_true(const struct json *object, const char *key)
{
    bool value = false;
    (void)json_get_bool(json_member(object, key), &value);
    return value;
}

static void print_state(const struct json *story)
{
    print_text(ternctl_text(story, "client"));
    if (!is_true(story, "session")) {
        printf(" is not connected and has no session.\n");
        return;
    }
    printf(" is %s; its session has %llu subscription%s and %llu queued message%s.\n",
           is_true(story, "connected") ? "connected" : "away",
           (unsigned long long)ternctl_number(story, "subscriptions"),
           ternctl_number(story, "subscriptions") == 1 ? "" : "s",
           (unsigned long long)ternctl_number(story, "queued"),
           ternctl_number(story, "queued") == 1 ? "" : "s");
}

/* A shard that was too busy: what it knows is missing. */
static void print_gaps(const struct json *story)
{
    uint64_t shards = ternctl_number(story, "shards");
    uint64_t answered = ternctl_number(story, "answered");
    if (answered < shards) {
        fprintf(stderr, "ternctl: %llu of %llu shards did not answer in time: ask again\n",
                (unsigned long long)(shards - answered), (unsigned long long)shards);
    }
}

/* The broker tells newest first; a story is read from its beginning. */
static int print_story(const struct question *question, const struct json *story)
{
    const struct json *events = json_member(story, "events");
    print_gaps(story);
    if (json_count(events) == 0 && !is_true(story, "session")) {
        printf("Nothing is known of %s ", question->is_address ? "address" : "client");
        print_text(slice_text(question->name));
        printf(": neither a session nor anything that was refused, lost or ended of late.\n");
        return TERNCTL_NO;
    }
    if (!question->is_address) {
        print_state(story);
    }
    for (size_t i = json_count(events); i > 0; i--) {
        print_event(json_item(events, i - 1));
    }
    return TERNCTL_OK;
}

/* As the broker told it, newest first. */
static int print_json(const struct ternctl_answer *answer)
{
    fwrite(answer->body.data, 1, answer->body.count, stdout);
    bool is_known = json_count(json_member(answer->document, "events")) > 0 ||
                    is_true(answer->document, "session");
    return is_known ? TERNCTL_OK : TERNCTL_NO;
}

/* ---- asking -------------------------------------------------------------------------------- */

static enum err target_write(struct buf *out, const struct question *question)
{
    char limit[32];
    snprintf(limit, sizeof(limit), "&limit=%llu", (unsigned long long)question->limit);
    TRY(buf_append(out, slice_text(question->is_address ? "/api/v1/explain?address="
                                                        : "/api/v1/explain?client=")));
    TRY(ternctl_encode(slice_text(question->name), out));
    return buf_append(out, slice_of(limit, strlen(limit) + 1)); /* a C string from here on */
}

static int ask(const struct question *question)
{
    struct ternctl_answer answer;
    struct buf target = {0};
    if (target_write(&target, question) != OK) {
        buf_deinit(&target);
        fprintf(stderr, "ternctl: memory is exhausted\n");
        return TERNCTL_UNAVAILABLE;
    }
    int code = ternctl_ask(question->where, "GET", (const char *)buf_bytes(&target).data,
                           slice_of(NULL, 0), &answer);
    buf_deinit(&target);
    if (code != TERNCTL_OK) {
        return code == TERNCTL_NO ? TERNCTL_UNAVAILABLE : code; /* 404: a broker without a trail */
    }
    code = question->is_json ? print_json(&answer) : print_story(question, answer.document);
    ternctl_answer_deinit(&answer);
    return code;
}

int ternctl_explain(int argument_count, char *const *arguments)
{
    static const struct option options[] = {
        {"http", required_argument, NULL, 'h'},
        {"json", no_argument, NULL, 'j'},
        {"limit", required_argument, NULL, 'l'},
        {"address", no_argument, NULL, 'a'},
        {NULL, 0, NULL, 0},
    };
    struct question question = {.where = TERNCTL_HTTP_DEFAULT, .limit = 100};
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argument_count, arguments, "", options, NULL)) != -1) {
        switch (letter) {
        case 'h':
            question.where = optarg;
            break;
        case 'j':
            question.is_json = true;
            break;
        case 'a':
            question.is_address = true;
            break;
        case 'l':
            if (text_read_u64(slice_text(optarg), &question.limit) != OK || question.limit == 0 ||
                question.limit > LIMIT_MAX) {
                return ternctl_wrong_usage(words, "--limit is a number from 1 to %d", LIMIT_MAX);
            }
            break;
        default:
            return ternctl_wrong_usage(words, "unknown option %s, or its value is missing",
                                       arguments[optind - 1]);
        }
    }
    if (argument_count - optind != 1 || arguments[optind][0] == '\0') {
        return ternctl_wrong_usage(words, "write one client identifier, or --address and an IP "
                                          "address");
    }
    question.name = arguments[optind];
    return ask(&question);
}
