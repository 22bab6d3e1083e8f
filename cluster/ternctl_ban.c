/*
 * ternctl ban: who may not come in. The list is the running broker's.
 */
#include "cluster/ternctl.h"
#include "cluster/ternctl_http.h"
#include "core/base/text.h"

#include <getopt.h>
#include <string.h>

enum { BODY_BYTES_MAX = 65536 };

struct options {
    const char *where, *reason;
    uint64_t seconds; /* 0: for good */
    bool is_json;
};

/* "1h", "90s", "2d": whole seconds, 1 at least. */
static enum err duration_read(const char *text, uint64_t *seconds)
{
    uint64_t ms;
    TRY(text_read_duration_ms(slice_text(text), &ms));
    *seconds = (ms + 999) / 1000;
    return *seconds == 0 ? ERR_RANGE : OK;
}

/* Those of allowed, of the letters h j f r. TERNCTL_OK: the rest begins at arguments[optind]. */
static int options_read(const char *words, const char *allowed, int argument_count,
                        char *const *arguments, struct options *out)
{
    static const struct option options[] = {
        {"http", required_argument, NULL, 'h'},
        {"json", no_argument, NULL, 'j'},
        {"for", required_argument, NULL, 'f'},
        {"reason", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    *out = (struct options){.where = TERNCTL_HTTP_DEFAULT, .reason = ""};
    opterr = 0;
    while ((letter = getopt_long(argument_count, arguments, "", options, NULL)) != -1) {
        if (letter == '?' || strchr(allowed, letter) == NULL) {
            return ternctl_wrong_usage(words, "unknown option %s, or its value is missing",
                                       arguments[optind - 1]);
        }
        if (letter == 'f' && duration_read(optarg, &out->seconds) != OK) {
            return ternctl_wrong_usage(words, "--for %s is no time: write 90s, 10m, 1h or 2d",
                                       optarg);
        }
        out->where = letter == 'h' ? optarg : out->where;
        out->reason = letter == 'r' ? optarg : out->reason;
        out->is_json |= letter == 'j';
    }
    return TERNCTL_OK;
}

/* ---- add ----------------------------------------------------------------------------------- */

static enum err ban_write(struct buf *out, const char *kind, const char *value,
                          const struct options *options)
{
    struct json_writer w = json_writer(out, BODY_BYTES_MAX);
    json_object_begin(&w, NULL);
    json_add_text(&w, "kind", slice_text(kind));
    json_add_text(&w, "value", slice_text(value));
    if (options->seconds > 0) {
        json_add_u64(&w, "seconds", options->seconds);
    }
    if (options->reason[0] != '\0') {
        json_add_text(&w, "reason", slice_text(options->reason));
    }
    json_object_end(&w);
    return json_writer_end(&w);
}

int ternctl_ban_add(int argument_count, char *const *arguments)
{
    static const char words[] = "ban add";
    struct options options;
    struct ternctl_answer answer;
    struct buf body = {0};
    int code = options_read(words, "hfr", argument_count, arguments, &options);
    if (code != TERNCTL_OK) {
        return code;
    }
    if (argument_count - optind != 2) {
        return ternctl_wrong_usage(words, "write address, network, client or user, and its value");
    }
    if (ban_write(&body, arguments[optind], arguments[optind + 1], &options) != OK) {
        buf_deinit(&body);
        return ternctl_wrong_usage(words, "this is too long for the broker");
    }
    code = ternctl_ask(options.where, "POST", "/api/v1/bans", buf_bytes(&body), &answer);
    buf_deinit(&body);
    if (code != TERNCTL_OK) {
        return code;
    }
    printf("ban %llu\n", (unsigned long long)ternctl_number(answer.document, "id"));
    ternctl_answer_deinit(&answer);
    return TERNCTL_OK;
}

/* ---- del ----------------------------------------------------------------------------------- */

int ternctl_ban_del(int argument_count, char *const *arguments)
{
    static const char words[] = "ban del";
    struct options options;
    struct ternctl_answer answer;
    uint64_t id;
    char target[64];
    int code = options_read(words, "h", argument_count, arguments, &options);
    if (code != TERNCTL_OK) {
        return code;
    }
    if (argument_count - optind != 1 || text_read_u64(slice_text(arguments[optind]), &id) != OK) {
        return ternctl_wrong_usage(words, "write the number that ban list shows");
    }
    snprintf(target, sizeof(target), "/api/v1/bans/%llu", (unsigned long long)id);
    code = ternctl_ask(options.where, "DELETE", target, slice_of(NULL, 0), &answer);
    ternctl_answer_deinit(&answer);
    return code;
}

/* ---- list ---------------------------------------------------------------------------------- */

static void print_ban(const struct json *ban)
{
    struct slice until = ternctl_text(ban, "until"), reason = ternctl_text(ban, "reason");
    printf("%llu  ", (unsigned long long)ternctl_number(ban, "id"));
    ternctl_print_safe(stdout, ternctl_text(ban, "kind"));
    printf(" ");
    ternctl_print_safe(stdout, ternctl_text(ban, "value"));
    printf("  %s", until.count > 0 ? "until " : "for good");
    ternctl_print_safe(stdout, until);
    printf("  by ");
    ternctl_print_safe(stdout, ternctl_text(ban, "by"));
    if (reason.count > 0) {
        printf("  ");
        ternctl_print_safe(stdout, reason);
    }
    printf("\n");
}

/* Print those after that ban; *after: where the next page begins, 0: there is none. */
static int page_print(const struct options *options, uint64_t *after)
{
    struct ternctl_answer answer;
    char target[64];
    snprintf(target, sizeof(target), "/api/v1/bans?after=%llu", (unsigned long long)*after);
    int code = ternctl_ask(options->where, "GET", target, slice_of(NULL, 0), &answer);
    if (code != TERNCTL_OK) {
        return code;
    }
    const struct json *bans = json_member(answer.document, "bans");
    if (options->is_json) {
        fwrite(answer.body.data, 1, answer.body.count, stdout);
    }
    for (size_t i = 0; !options->is_json && i < json_count(bans); i++) {
        print_ban(json_item(bans, i));
    }
    uint64_t next = ternctl_number(answer.document, "next");
    *after = next > *after ? next : 0;
    ternctl_answer_deinit(&answer);
    return TERNCTL_OK;
}

int ternctl_ban_list(int argument_count, char *const *arguments)
{
    static const char words[] = "ban list";
    struct options options;
    int code = options_read(words, "hj", argument_count, arguments, &options);
    if (code != TERNCTL_OK) {
        return code;
    }
    if (argument_count != optind) {
        return ternctl_wrong_usage(words, "it has no arguments");
    }
    uint64_t after = 0;
    do {
        code = page_print(&options, &after);
    } while (code == TERNCTL_OK && after > 0);
    return code;
}
