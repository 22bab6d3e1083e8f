/*
 * ternctl user: who is in a password file. Lines that are not the user's stay as they are, comments,
 * mistakes and all.
 */
#include "cluster/ternctl.h"
#include "cluster/ternctl_file.h"
#include "cluster/ternctl_secret.h"
#include "core/access/password.h"
#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/map.h"
#include "core/base/rng.h"
#include "core/base/text.h"
#include "core/io/sys.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum { SCRYPT_COST_MIN = 10, SCRYPT_COST_MAX = 16, SHOWN_BYTES = 100 };

static struct ternctl_secret secret;

static int out_of_memory(void)
{
    fprintf(stderr, "ternctl: memory is exhausted: nothing was changed\n");
    return TERNCTL_UNAVAILABLE;
}

/* ---- arguments ------------------------------------------------------------------------------- */

struct request {
    const char *words, *file, *password_file;
    struct slice name;
    uint64_t scrypt_cost;
    bool with_scram, as_json;
};

static int refuse_password(const char *words)
{
    return ternctl_wrong_usage(words,
                               "a password is never an argument, as everybody on this machine "
                               "can read those: type it when asked, pipe it in, or use "
                               "--password-file");
}

static int read_option(int option, struct request *out)
{
    switch (option) {
    case 'f':
        out->password_file = optarg;
        return TERNCTL_OK;
    case 's':
        out->with_scram = true;
        return TERNCTL_OK;
    case 'j':
        out->as_json = true;
        return TERNCTL_OK;
    case 'c':
        if (text_read_u64(slice_text(optarg), &out->scrypt_cost) != OK ||
            out->scrypt_cost < SCRYPT_COST_MIN || out->scrypt_cost > SCRYPT_COST_MAX) {
            return ternctl_wrong_usage(out->words, "--scrypt-cost: give a number from %d to %d",
                                       SCRYPT_COST_MIN, SCRYPT_COST_MAX);
        }
        return TERNCTL_OK;
    default:
        return refuse_password(out->words);
    }
}

/* options: those of the command; all refuse a password. name_count: 1 if a NAME is to follow FILE. */
static int read_arguments(int count, char *const *arguments, const struct option *options,
                          int name_count, struct request *out)
{
    opterr = 0;
    optind = 0;
    for (int option; (option = getopt_long(count, arguments, ":b:p:P:", options, NULL)) != -1;) {
        if (option == '?' && optopt != 0) {
            return ternctl_wrong_usage(out->words, "-%c: there is no such option", optopt);
        }
        if (option == '?' || option == ':') {
            const char *which = arguments[optind - 1];
            return ternctl_wrong_usage(out->words, "%.*s: %s", (int)strcspn(which, "="), which,
                                       option == ':' ? "a value is missing"
                                                     : "there is no such option");
        }
        int status = read_option(option, out);
        if (status != TERNCTL_OK) {
            return status;
        }
    }
    int left = count - optind;
    if (left > 1 + name_count) {
        return name_count == 1 && left == 3 ? refuse_password(out->words)
                                            : ternctl_wrong_usage(out->words, "too many arguments");
    }
    if (left < 1 + name_count) {
        return ternctl_wrong_usage(out->words, left < 1 ? "FILE is missing" : "NAME is missing");
    }
    out->file = arguments[optind];
    out->name = name_count == 1 ? slice_text(arguments[optind + 1]) : out->name;
    return TERNCTL_OK;
}

#define REFUSED_OPTIONS                         \
    {"password", required_argument, NULL, 'P'}, \
    {                                           \
        0                                       \
    }

/* A name for a terminal: what would move its cursor as '?'. */
static const char *shown(struct slice name)
{
    static char out[SHOWN_BYTES + 1];
    size_t count = name.count < SHOWN_BYTES ? name.count : SHOWN_BYTES;
    for (size_t i = 0; i < count; i++) {
        bool is_control = name.data[i] < ' ' || name.data[i] == 0x7F;
        out[i] = is_control ? '?' : (char)name.data[i];
    }
    out[count] = '\0';
    return out;
}

/* ---- lines of a file ------------------------------------------------------------------------- */

static struct slice file_text(const struct ternctl_file *file)
{
    return slice_of(file->text, file->text_bytes);
}

/* With its newline; the last may have none. */
static bool next_line(struct slice *rest, struct slice *line)
{
    if (rest->count == 0) {
        return false;
    }
    size_t end = slice_find(*rest, '\n');
    *line = slice_head(*rest, end < rest->count ? end + 1 : end);
    *rest = slice_skip(*rest, line->count);
    return true;
}

/* The whole, read as the broker will. false: said why on stderr. */
static bool parse(const char *path, struct slice text, struct passwords **out)
{
    struct password_trouble trouble;
    enum err err = passwords_parse(text, out, &trouble);
    if (err == ERR_INVALID && trouble.line > 0) {
        fprintf(stderr, "ternctl: %s: line %u: %s\n", path, trouble.line, trouble.text);
    } else if (err != OK) {
        fprintf(stderr, "ternctl: %s: %s\n", path,
                err == ERR_INVALID ? trouble.text : err_text(err));
    }
    return err == OK;
}

/* What is written is written; what the broker will say to it is said now. */
static void warn_of_others(const char *path, struct slice text)
{
    struct passwords *passwords;
    if (parse(path, text, &passwords)) {
        passwords_unref(passwords);
    } else {
        fprintf(stderr, "ternctl: the broker takes the file when that is mended\n");
    }
}

/* ---- changing a file ------------------------------------------------------------------------- */

struct edit {
    struct buf out;
    const char *newline; /* as the file's first line has it */
    uint32_t removed;    /* lines of the user */
    bool had_scram;
    enum err err;
};

static void put(struct edit *edit, struct slice text)
{
    edit->err = edit->err == OK ? buf_append(&edit->out, text) : edit->err;
}

static void put_lines(struct edit *edit, const char *const lines[2])
{
    for (int i = 0; i < 2 && lines[i] != NULL; i++) {
        put(edit, slice_text(lines[i]));
        put(edit, slice_text(edit->newline));
    }
}

/* The user's lines become these, where the first of them stood, or at the end. */
static void replace_lines(struct slice text, struct slice name, const char *const lines[2],
                          struct edit *edit)
{
    struct slice rest = text, line, other;
    size_t first_end = slice_find(text, '\n');
    bool is_crlf = first_end > 0 && first_end < text.count && text.data[first_end - 1] == '\r';
    edit->newline = is_crlf ? "\r\n" : "\n";
    edit->err = buf_reserve(&edit->out, text.count + 2 * PASSWORD_LINE_MAX);
    while (next_line(&rest, &line)) {
        if (!password_line_name(line, &other) || !slice_equal(other, name)) {
            put(edit, line);
            continue;
        }
        edit->had_scram |= password_line_kind(line) == PASSWORD_SCRAM;
        if (edit->removed++ == 0) {
            put_lines(edit, lines);
        }
    }
    if (edit->removed == 0) {
        bool is_open = text.count > 0 && text.data[text.count - 1] != '\n';
        put(edit, slice_text(is_open ? edit->newline : ""));
        put_lines(edit, lines);
    }
}

static int edit_end(struct edit *edit, int status)
{
    buf_deinit(&edit->out);
    return status;
}

/* ---- user add -------------------------------------------------------------------------------- */

static int save_user(const struct request *request, const char *const lines[2])
{
    struct ternctl_file file;
    struct edit edit = {.err = OK};
    int status = ternctl_file_open(request->file, TERNCTL_MAKE, PASSWORD_FILE_BYTES_MAX, &file);
    if (status != TERNCTL_OK) {
        return status;
    }
    replace_lines(file_text(&file), request->name, lines, &edit);
    status = edit.err == OK ? ternctl_file_replace(&file, buf_bytes(&edit.out)) : out_of_memory();
    ternctl_file_close(&file);
    if (status != TERNCTL_OK) {
        return edit_end(&edit, status);
    }
    printf("%s %s %s\n", shown(request->name),
           edit.removed > 0 ? "has a new password in" : "is added to", request->file);
    if (edit.had_scram && !request->with_scram) {
        printf("the line for SCRAM is gone, as its password was the old one: --scram makes one\n");
    }
    warn_of_others(request->file, buf_bytes(&edit.out));
    return edit_end(&edit, status);
}

static int make_lines(const struct request *request, char *const lines[2])
{
    struct slice password = ternctl_secret_bytes(&secret);
    enum err err = password_line_make(PASSWORD_SCRYPT, request->name, password, lines[0]);
    if (err == OK && request->with_scram) {
        err = password_line_make(PASSWORD_SCRAM, request->name, password, lines[1]);
    }
    ternctl_secret_forget(&secret);
    ASSERT(err == OK || err == ERR_NOMEM); /* name and password were checked */
    return err == OK ? TERNCTL_OK : out_of_memory();
}

int ternctl_user_add(int argument_count, char *const *arguments)
{
    static const struct option options[] = {{"password-file", required_argument, NULL, 'f'},
                                            {"scram", no_argument, NULL, 's'},
                                            {"scrypt-cost", required_argument, NULL, 'c'},
                                            REFUSED_OPTIONS};
    static char scrypt_line[PASSWORD_LINE_MAX], scram_line[PASSWORD_LINE_MAX];
    struct request request = {.words = "user add"};
    char why[256];
    int status = read_arguments(argument_count, arguments, options, 1, &request);
    if (status != TERNCTL_OK) {
        return status;
    }
    if (password_name_check(request.name, why) != OK) {
        return ternctl_wrong_usage(request.words, "the name: %s", why);
    }
    sys_set_dumpable(false);
    status = ternctl_secret_read(request.password_file, true, &secret);
    if (status != TERNCTL_OK) {
        return status;
    }
    password_cost_set((uint32_t)request.scrypt_cost, 0);
    char *const lines[2] = {scrypt_line, scram_line};
    status = make_lines(&request, lines);
    if (status != TERNCTL_OK) {
        return status;
    }
    return save_user(&request,
                     (const char *const[2]){scrypt_line, request.with_scram ? scram_line : NULL});
}

/* ---- user del -------------------------------------------------------------------------------- */

int ternctl_user_del(int argument_count, char *const *arguments)
{
    static const struct option options[] = {REFUSED_OPTIONS};
    struct request request = {.words = "user del"};
    struct ternctl_file file;
    struct edit edit = {.err = OK};
    int status = read_arguments(argument_count, arguments, options, 1, &request);
    if (status != TERNCTL_OK) {
        return status;
    }
    status = ternctl_file_open(request.file, TERNCTL_CHANGE, PASSWORD_FILE_BYTES_MAX, &file);
    if (status != TERNCTL_OK) {
        return status;
    }
    replace_lines(file_text(&file), request.name, (const char *const[2]){NULL}, &edit);
    if (edit.err == OK && edit.removed == 0) {
        fprintf(stderr, "ternctl: %s: there is no user %s: see ternctl user list\n", request.file,
                shown(request.name));
        status = TERNCTL_NO;
    } else {
        status = edit.err == OK ? ternctl_file_replace(&file, buf_bytes(&edit.out))
                                : out_of_memory();
    }
    ternctl_file_close(&file);
    if (status == TERNCTL_OK) {
        printf("%s is removed from %s\n", shown(request.name), request.file);
        warn_of_others(request.file, buf_bytes(&edit.out));
    }
    return edit_end(&edit, status);
}

/* ---- user list ------------------------------------------------------------------------------- */

struct user {
    struct user *next; /* in the order of the file */
    struct slice name;
    uint32_t kinds; /* a bit per enum password_kind; PASSWORD_KIND_COUNT: none of them */
};

static struct slice user_name(const void *value)
{
    return ((const struct user *)value)->name;
}

static const char *kind_name(int kind)
{
    return kind == PASSWORD_KIND_COUNT ? "unknown" : password_kind_name((enum password_kind)kind);
}

static void print_user(const struct user *user)
{
    const char *comma = "";
    for (size_t i = 0; i < user->name.count; i++) {
        uint8_t byte = user->name.data[i];
        putchar(byte < ' ' || byte == 0x7F ? '?' : byte);
    }
    printf("  ");
    for (int kind = 0; kind <= PASSWORD_KIND_COUNT; kind++) {
        if (user->kinds >> kind & 1) {
            printf("%s%s", comma, kind_name(kind));
            comma = ", ";
        }
    }
    putchar('\n');
}

static bool print_json(const struct user *first)
{
    struct buf out = {0};
    struct json_writer writer = json_writer(&out, SIZE_MAX / 2);
    json_array_begin(&writer, NULL);
    for (const struct user *user = first; user != NULL; user = user->next) {
        json_object_begin(&writer, NULL);
        json_add_text(&writer, "user", user->name);
        json_array_begin(&writer, "kinds");
        for (int kind = 0; kind <= PASSWORD_KIND_COUNT; kind++) {
            if (user->kinds >> kind & 1) {
                json_add_text(&writer, NULL, slice_text(kind_name(kind)));
            }
        }
        json_array_end(&writer);
        json_object_end(&writer);
    }
    json_array_end(&writer);
    bool is_whole = json_writer_end(&writer) == OK;
    if (is_whole) {
        struct slice text = buf_bytes(&out);
        fwrite(text.data, 1, text.count, stdout);
        putchar('\n');
    }
    buf_deinit(&out);
    return is_whole;
}

/* All users, first to last; false: memory is exhausted. *first is owned by the caller. */
static bool collect(struct slice text, struct user **first)
{
    struct map *map = map_new(user_name, rng_system_seed());
    struct user **last = first;
    struct slice line, name;
    bool is_whole = map != NULL;
    *first = NULL;
    while (is_whole && next_line(&text, &line)) {
        if (!password_line_name(line, &name)) {
            continue;
        }
        struct user *user = map_get(map, name);
        if (user == NULL) {
            user = calloc(1, sizeof(*user));
            is_whole = user != NULL;
            if (is_whole) {
                user->name = name;
                *last = user;
                last = &user->next;
                is_whole = map_put(map, user) == OK;
            }
        }
        if (is_whole) {
            user->kinds |= 1u << password_line_kind(line);
        }
    }
    map_free(map);
    return is_whole;
}

static int list(const struct request *request, struct slice text)
{
    struct user *first;
    struct passwords *passwords = NULL;
    bool is_whole = collect(text, &first);
    if (is_whole && request->as_json) {
        is_whole = print_json(first);
    }
    for (struct user *user = first, *next; user != NULL; user = next) {
        next = user->next;
        if (is_whole && !request->as_json) {
            print_user(user);
        }
        free(user);
    }
    if (!is_whole) {
        return out_of_memory();
    }
    fflush(stdout);
    bool is_good = parse(request->file, text, &passwords);
    passwords_unref(passwords);
    return is_good ? TERNCTL_OK : TERNCTL_DATA;
}

int ternctl_user_list(int argument_count, char *const *arguments)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, REFUSED_OPTIONS};
    struct request request = {.words = "user list"};
    struct ternctl_file file;
    int status = read_arguments(argument_count, arguments, options, 0, &request);
    if (status != TERNCTL_OK) {
        return status;
    }
    status = ternctl_file_open(request.file, TERNCTL_READ, PASSWORD_FILE_BYTES_MAX, &file);
    if (status != TERNCTL_OK) {
        return status;
    }
    status = list(&request, file_text(&file));
    ternctl_file_close(&file);
    return status;
}

/* ---- user check ------------------------------------------------------------------------------ */

static int check(const struct request *request, const struct passwords *passwords)
{
    enum err err = password_check(passwords, request->name, ternctl_secret_bytes(&secret));
    if (err != OK && err != ERR_CREDENTIALS) {
        return out_of_memory();
    }
    printf("%s\n", err == OK ? "yes" : "no");
    return err == OK ? TERNCTL_OK : TERNCTL_NO;
}

int ternctl_user_check(int argument_count, char *const *arguments)
{
    static const struct option options[] = {{"password-file", required_argument, NULL, 'f'},
                                            REFUSED_OPTIONS};
    struct request request = {.words = "user check"};
    struct passwords *passwords = NULL;
    struct ternctl_file file;
    int status = read_arguments(argument_count, arguments, options, 1, &request);
    if (status != TERNCTL_OK) {
        return status;
    }
    status = ternctl_file_open(request.file, TERNCTL_READ, PASSWORD_FILE_BYTES_MAX, &file);
    if (status != TERNCTL_OK) {
        return status;
    }
    bool is_good = parse(request.file, file_text(&file), &passwords);
    ternctl_file_close(&file);
    if (!is_good) {
        return TERNCTL_DATA;
    }
    sys_set_dumpable(false);
    status = ternctl_secret_read(request.password_file, false, &secret);
    if (status == TERNCTL_OK) {
        status = check(&request, passwords);
    }
    ternctl_secret_forget(&secret);
    passwords_unref(passwords);
    return status;
}
