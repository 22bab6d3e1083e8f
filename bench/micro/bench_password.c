/*
 * password: what a wrong password costs, of a user that there is and of one that there is not; and a file of
 * many users: loading, finding. Who looks for an oracle compares the first rows two by two.
 */
#include "bench/micro/micro.h"
#include "core/access/password.h"

#include <malloc.h>

enum { LINE_BYTES = 256 };

struct bench {
    struct passwords *passwords;
    struct slice text, username;
};

static struct passwords *passwords_of(struct slice text)
{
    struct passwords *passwords = NULL;
    struct password_trouble trouble = {0};
    if (passwords_parse(text, &passwords, &trouble) != OK) {
        fprintf(stderr, "line %u: %s\n", trouble.line, trouble.text);
        exit(1);
    }
    return passwords;
}

static void checks(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(password_check(bench->passwords, bench->username, slice_text("wrong")));
    }
}

static void stamps(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(passwords_stamp(bench->passwords, bench->username));
    }
}

static void loads(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        passwords_unref(passwords_of(bench->text));
    }
}

static void wrong_passwords(const char *kind, const char *line, uint64_t ops)
{
    char name[96];
    struct bench bench = {.passwords = passwords_of(slice_text(line))};
    bench.username = slice_text("alice");
    snprintf(name, sizeof(name), "wrong password, %s, of a user", kind);
    micro_run(name, checks, &bench, ops);
    bench.username = slice_text("nobody");
    snprintf(name, sizeof(name), "wrong password, %s, of nobody", kind);
    micro_run(name, checks, &bench, ops);
    passwords_unref(bench.passwords);
}

static const char *line_of(enum password_kind kind)
{
    static char line[PASSWORD_LINE_MAX];
    if (password_line_make(kind, slice_text("alice"), slice_text("right"), line) != OK) {
        exit(1);
    }
    return line;
}

static void many_users(void)
{
    uint32_t users = (uint32_t)micro_scaled(1000000);
    char *text = malloc((size_t)users * LINE_BYTES), name[96];
    const char *hash = strchr(line_of(PASSWORD_SCRYPT), ':');
    size_t used = 0;
    for (uint32_t i = 0; i < users; i++) {
        used += (size_t)snprintf(text + used, LINE_BYTES, "device-%07u%s\n", i, hash);
    }
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    struct bench bench = {.text = slice_of(text, used), .username = slice_text("device-0000042")};
    bench.passwords = passwords_of(bench.text);
    size_t bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    micro_run("a user of a million found, and told by a stamp", stamps, &bench, 2000000);
    snprintf(name, sizeof(name), "load %u users", passwords_count(bench.passwords));
    micro_run(name, loads, &bench, 1);
    fprintf(stderr, "# %u users, file %zu bytes: %zu bytes of memory beside the text\n",
            passwords_count(bench.passwords), used, bytes);
    passwords_unref(bench.passwords);
    free(text);
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    wrong_passwords("scrypt", line_of(PASSWORD_SCRYPT), 20);
    wrong_passwords("SCRAM", line_of(PASSWORD_SCRAM), 200);
    many_users();
    return 0;
}
