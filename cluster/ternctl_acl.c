/*
 * ternctl acl test: which rule decides. It works on the file alone; a broker is not asked.
 */
#include "cluster/ternctl.h"
#include "core/access/acl.h"
#include "core/base/config.h"
#include "core/base/json.h"
#include "core/base/utf8.h"
#include "core/io/resolve.h"
#include "core/io/sys.h"
#include "core/pubsub/topic.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char words[] = "acl test";

/* What is asked of one client. */
static const struct action {
    const char *name;
    bool is_filter; /* else a topic name */
    bool (*may)(const struct acl_subject *subject, struct slice topic,
                struct acl_decision *decision);
} actions[] = {
    {"publish", false, acl_may_publish},
    {"subscribe", true, acl_may_subscribe},
    {"read", false, acl_may_read},
};

enum { ACTION_COUNT = sizeof(actions) / sizeof(actions[0]), ANSWER_BYTES_MAX = 1024 * 1024 };

/* CLIENT USER ACTION TOPIC, as arguments or as a line of standard input. */
enum { PART_CLIENT, PART_USER, PART_ACTION, PART_TOPIC, PART_COUNT };

struct question {
    struct slice parts[PART_COUNT];
    const struct action *action;
    struct slice filter; /* the topic without $share/NAME/ */
};

/* ---- questions ----------------------------------------------------------------------------- */

static bool is_nobody(const struct question *question)
{
    return slice_is(question->parts[PART_USER], "-");
}

/* NULL: it is a question; else what is wrong with it. */
static const char *question_trouble(struct question *question)
{
    struct slice topic = question->parts[PART_TOPIC];
    struct topic_filter filter;

    for (uint32_t i = 0; i < ACTION_COUNT; i++) {
        if (slice_is(question->parts[PART_ACTION], actions[i].name)) {
            question->action = &actions[i];
        }
    }
    if (question->action == NULL) {
        return "the third word is publish, subscribe or read";
    }
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        if (!utf8_is_valid(question->parts[i])) {
            return "not UTF-8, as no client could send it";
        }
    }
    if (!question->action->is_filter) {
        question->filter = topic;
        return topic_name_check(topic, UINT32_MAX) == OK
                   ? NULL
                   : "the topic is no name: it has 1 to 65535 bytes and neither + nor #";
    }
    if (topic_filter_parse(topic, UINT32_MAX, &filter) != OK) {
        return "the topic is no filter: + and # fill a whole level, # only the last one";
    }
    question->filter = filter.filter;
    return NULL;
}

/* ---- answers ------------------------------------------------------------------------------- */

static void print_json(const struct question *question, const struct acl_decision *decision)
{
    static const char *const keys[PART_COUNT] = {"client", "user", "action", "topic"};
    struct buf out = {0};
    struct json_writer writer = json_writer(&out, ANSWER_BYTES_MAX);

    json_object_begin(&writer, NULL);
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        if (i == PART_USER && is_nobody(question)) {
            json_add_null(&writer, keys[i]);
        } else {
            json_add_text(&writer, keys[i], question->parts[i]);
        }
    }
    json_add_bool(&writer, "allowed", decision->is_allowed);
    if (decision->line > 0) {
        json_add_u64(&writer, "line", decision->line);
        json_add_text(&writer, "rule", decision->rule);
    }
    json_add_text(&writer, "why", slice_text(decision->why));
    json_object_end(&writer);
    if (json_writer_end(&writer) == OK) {
        printf("%.*s\n", (int)buf_count(&out), (const char *)buf_bytes(&out).data);
    } else {
        printf("{}\n"); /* memory is exhausted; still one line for each question */
    }
    buf_deinit(&out);
}

/* A rule may hold any character; a terminal shall not obey it. */
static void print_plainly(struct slice text)
{
    while (text.count > 0) {
        uint32_t code_point = 0, bytes = utf8_first(text, &code_point);
        bool is_plain = bytes > 0 && code_point >= ' ' && (code_point < 0x7F || code_point > 0x9F);
        printf("%.*s", is_plain ? (int)bytes : 1, is_plain ? (const char *)text.data : "?");
        text = slice_skip(text, bytes > 0 ? bytes : 1);
    }
}

static void print_words(const struct acl_decision *decision)
{
    printf(decision->is_allowed ? "allowed" : "denied");
    if (decision->line > 0) {
        printf(" by line %u: ", decision->line);
        print_plainly(decision->rule);
        printf("\n");
        return;
    }
    printf(": %s\n", decision->why);
}

/* Ask, and print the answer. */
static bool answer(const struct acl *acl, const struct question *question, bool is_json)
{
    struct acl_subject subject;
    struct acl_decision decision;
    bool has_username = !is_nobody(question);
    struct slice username = has_username ? question->parts[PART_USER] : slice_of(NULL, 0);

    acl_subject_init(&subject, acl, has_username, username, question->parts[PART_CLIENT]);
    bool is_allowed = question->action->may(&subject, question->filter, &decision);
    if (is_json) {
        print_json(question, &decision);
    } else {
        print_words(&decision);
    }
    return is_allowed;
}

/* ---- one question, or many ----------------------------------------------------------------- */

static int answer_arguments(const struct acl *acl, char *const *arguments, bool is_json)
{
    struct question question = {0};
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        question.parts[i] = slice_text(arguments[i]);
    }
    const char *trouble = question_trouble(&question);
    if (trouble != NULL) {
        return ternctl_wrong_usage(words, "%s", trouble);
    }
    return answer(acl, &question, is_json) ? TERNCTL_OK : TERNCTL_NO;
}

/* The parts of a line; the last takes what is left. */
static bool line_split(struct slice line, struct question *question)
{
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        size_t end = i == PART_TOPIC ? line.count : slice_find(line, '\t');
        if (i != PART_TOPIC && end == line.count) {
            return false;
        }
        question->parts[i] = slice_head(line, end);
        line = slice_skip(line, end < line.count ? end + 1 : end);
    }
    return true;
}

static int answer_lines(const struct acl *acl, bool is_json)
{
    char *bytes = NULL;
    size_t capacity = 0;
    ssize_t count;
    int status = TERNCTL_OK;

    for (uint64_t number = 1; (count = getline(&bytes, &capacity, stdin)) >= 0; number++) {
        struct question question = {0};
        struct slice line = slice_of(bytes, (size_t)count);
        line.count -= line.count > 0 && line.data[line.count - 1] == '\n';
        const char *trouble = line_split(line, &question)
                                  ? question_trouble(&question)
                                  : "write CLIENT, USER, ACTION and TOPIC with tabs between them";
        if (trouble != NULL) {
            fprintf(stderr, "ternctl acl test: line %llu: %s\n", (unsigned long long)number,
                    trouble);
            printf(is_json ? "{\"error\":\"%s\"}\n" : "wrong question: %s\n", trouble);
            status = TERNCTL_USAGE;
        } else {
            answer(acl, &question, is_json);
        }
        fflush(stdout); /* who asks one after the other is waiting for it */
    }
    free(bytes);
    return status;
}

/* ---- the file ------------------------------------------------------------------------------ */

/* Exit code; OK with *out written. */
static int file_read(const char *path, struct acl **out)
{
    struct acl_trouble trouble = {0};
    char *text = NULL;
    size_t bytes = 0;
    enum err err = sys_load_file(path, ACL_FILE_BYTES_MAX, &text, &bytes);

    if (err != OK) {
        fprintf(stderr, "ternctl acl test: cannot read %s: %s\n", path,
                err == ERR_TOO_LARGE   ? "it is larger than 64 MiB: is this an ACL file?"
                : err == ERR_NOT_FOUND ? "there is no such file: check the path"
                                       : err_text(err));
        return TERNCTL_DATA;
    }
    err = acl_parse(slice_of(text, bytes), out, &trouble);
    free(text);
    if (err == OK) {
        return TERNCTL_OK;
    }
    if (err == ERR_INVALID) {
        fprintf(stderr, "ternctl acl test: %s:%u: %s\n", path, trouble.line, trouble.text);
    } else {
        fprintf(stderr, "ternctl acl test: cannot read %s: %s\n", path, err_text(err));
    }
    return TERNCTL_DATA;
}

/* ---- the file that a configuration names --------------------------------------------------- */

/* "1883 127.0.0.1" is meant by that, and by "1883" if no other listener is. */
static bool is_meant(const struct listener_config *listener, const char *name)
{
    size_t bytes = strlen(name);
    return strncmp(listener->name, name, bytes) == 0 &&
           (listener->name[bytes] == '\0' || listener->name[bytes] == ' ');
}

/* The acl_file of the listeners meant (name NULL: of all), or NULL: none is meant, or they differ. */
static const char *acl_file_of(const struct config *config, const char *name)
{
    const char *found = NULL;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        bool is_other = name != NULL && !is_meant(listener, name);
        if (is_other || listener->is_inside) {
            continue;
        }
        if (found != NULL && strcmp(found, listener->acl_file) != 0) {
            return NULL;
        }
        found = listener->acl_file;
    }
    return found;
}

static int refuse_listener(const struct config *config, const char *name)
{
    fprintf(stderr, "ternctl acl test: %s; write --listener with one of:",
            name == NULL ? "listeners have rules of their own" : "no listener, or more than one");
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (!config->listeners[i].is_inside) {
            fprintf(stderr, "%s \"%s\"", i > 0 ? "," : "", config->listeners[i].name);
        }
    }
    fprintf(stderr, "\n");
    return TERNCTL_USAGE;
}

/* Exit code; OK with *out written: NULL if there are no rules. */
static int config_read(const char *path, const char *listener, struct acl **out)
{
    struct config_sources sources = {.path = path, .resolve = resolve_name};
    struct config_report report = {0};
    struct config *config = NULL;

    if (config_load(&sources, &config, &report) != OK) {
        config_report_print(&report, stderr);
        config_report_deinit(&report);
        return TERNCTL_CONFIG;
    }
    const char *file = acl_file_of(config, listener);
    int status = TERNCTL_OK;
    if (file == NULL) {
        status = refuse_listener(config, listener);
    } else if (file[0] != '\0') {
        status = file_read(file, out);
    }
    config_free(config);
    config_report_deinit(&report);
    return status;
}

/* ---- the command --------------------------------------------------------------------------- */

int ternctl_acl_test(int argument_count, char *const *arguments)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"stdin", no_argument, NULL, 's'},
        {"config", required_argument, NULL, 'c'},
        {"listener", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    const char *config = NULL, *listener = NULL;
    bool is_json = false, is_many = false;
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argument_count, arguments, "", options, NULL)) != -1) {
        if (letter == '?') {
            return ternctl_wrong_usage(words,
                                       "%s is no option, or lacks its value (write -- before a "
                                       "word that begins with -)",
                                       arguments[optind - 1]);
        }
        is_json |= letter == 'j';
        is_many |= letter == 's';
        config = letter == 'c' ? optarg : config;
        listener = letter == 'l' ? optarg : listener;
    }
    int count = argument_count - optind, file_count = config == NULL;
    if (config == NULL && listener != NULL) {
        return ternctl_wrong_usage(words, "--listener is of a configuration: write --config too");
    }
    if (count != file_count + (is_many ? 0 : PART_COUNT)) {
        return ternctl_wrong_usage(words, is_many
                                              ? "write FILE --stdin, or --config TERN.CONF --stdin"
                                              : "write FILE CLIENT USER ACTION TOPIC (- as USER: a "
                                                "client without a user name)");
    }
    struct acl *acl = NULL;
    int status = config != NULL ? config_read(config, listener, &acl)
                                : file_read(arguments[optind], &acl);
    if (status != TERNCTL_OK) {
        return status;
    }
    status = is_many ? answer_lines(acl, is_json)
                     : answer_arguments(acl, arguments + optind + file_count, is_json);
    acl_unref(acl);
    return status;
}
