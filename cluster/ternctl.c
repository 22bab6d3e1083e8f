/*
 * The table of ternctl's commands, and which of them is meant.
 */
#include "cluster/ternctl.h"

#include "core/base/text.h"
#include "core/io/sys.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct ternctl_command commands[] = {
    {"user add", "FILE NAME [--password-file F] [--scram] [--scrypt-cost LN]",
     "add a user to a password file, or give one a new password",
     "The password is asked for twice at a terminal; else it is the first line of standard\n"
     "input. It is never an argument: everybody on the machine can read those. What is kept is\n"
     "a scrypt hash. The file is replaced as a whole; it is made if there is none, readable for\n"
     "its owner alone. Hashes that the user had before are replaced.\n"
     "\n"
     "  --password-file F   the password is the first line of F\n"
     "  --scram             also keep what MQTT 5 clients with SCRAM-SHA-256 need. Not by default:\n"
     "                      it is cheaper to guess from a stolen file than scrypt is\n"
     "  --scrypt-cost LN    memory 2^LN KiB a check, and time likewise; 14 is the default,\n"
     "                      10 to 16 are allowed\n",
     ternctl_user_add},
    {"user del", "FILE NAME", "remove a user from a password file",
     "All lines of the user go. 1: there is no such user.\n", ternctl_user_del},
    {"user list", "FILE [--json]", "who is in a password file",
     "Names and kinds of their hashes, in the order of the file; never a hash.\n"
     "\n"
     "  --json   an array of {\"user\", \"kinds\"}\n",
     ternctl_user_list},
    {"user check", "FILE NAME [--password-file F]", "is this the user's password?",
     "The password is read as `user add` reads it. 0: yes; 1: no, or there is no such user.\n"
     "\n"
     "  --password-file F   the password is the first line of F\n",
     ternctl_user_check},
    {"acl test", "FILE CLIENT USER ACTION TOPIC [--json]",
     "may this client do that, and which rule decides?",
     "ACTION is publish or read, of a topic name, or subscribe, of a filter. USER is the\n"
     "user name, or - for a client without one. 0: it is allowed; 1: it is denied; 65: the\n"
     "file cannot be read or has a wrong line.\n"
     "\n"
     "  ternctl acl test acl.conf lamp-1 alice publish home/lamp\n"
     "  allowed by line 12: topic readwrite home/#\n"
     "\n"
     "  --config TERN.CONF [--listener NAME]   instead of FILE: the acl_file of a listener\n"
     "  --json    an object with \"allowed\", \"why\" and, of the rule, \"line\" and \"rule\"\n"
     "  --stdin   only FILE is an argument: each line of standard input is a question,\n"
     "            CLIENT, USER, ACTION and TOPIC with tabs between them, and gets an answer\n"
     "            of one line. 0: all were answered; 64: some were no questions\n",
     ternctl_acl_test},
    {"explain", "CLIENT [--http WHERE] [--limit N] [--json]", "what happened to a client, and why",
     "Asks the running broker for what it refused, dropped and ended of this client: when, why, by\n"
     "which rule, from where; oldest first, in UTC. 1: nothing is known of it.\n"
     "\n"
     "  --http WHERE   ADDRESS:PORT of its http_listener, or the path of its http_socket;\n"
     "                 127.0.0.1:8888 is the default\n"
     "  --limit N      the last N events; 100 is the default, 200 the most\n"
     "  --address      CLIENT is an IP address: connections from there that were refused, or\n"
     "                 failed before a client was known\n"
     "  --json         the broker's answer as it is, newest first\n",
     ternctl_explain},
    {"ban add", "address|network|client|user VALUE [--for TIME] [--reason TEXT] [--http WHERE]",
     "keep an address, a network, a client or a user out",
     "Who is connected is disconnected. A network is written 203.0.113.0/24. Prints the ban's\n"
     "number. It holds until it ends or the broker does; the lines `ban` of the configuration are\n"
     "for those that stay.\n"
     "\n"
     "  --for TIME     90s, 10m, 1h, 2d; without it the ban is for good\n"
     "  --reason TEXT  for ban list, and for the story of who was kept out\n"
     "  --http WHERE   as of explain\n",
     ternctl_ban_add},
    {"ban del", "NUMBER [--http WHERE]", "let in again", "1: there is no such ban.\n",
     ternctl_ban_del},
    {"ban list", "[--json] [--http WHERE]", "who is kept out",
     "Numbers, whom, until when (UTC), by whom, and why.\n"
     "\n"
     "  --json   the broker's answer as it is: an object for each 1000 bans\n",
     ternctl_ban_list},
    {"backup", "FOLDER [--http WHERE]", "copy the store of a running broker",
     "The broker writes a consistent copy into a new folder on its machine, as its user, and goes\n"
     "on serving meanwhile. A file SUMS is written last: a folder without it is no backup. It can\n"
     "be copied elsewhere, and checked with `xxhsum -c SUMS` or ternctl check.\n"
     "\n"
     "  --http WHERE   as of explain\n",
     ternctl_backup},
    {"restore", "BACKUP --into FOLDER", "make a store from a backup",
     "The backup is compared with its sums, and copied. FOLDER is made, or is empty: nothing is\n"
     "ever written over. Give it to the user that tern runs as, and let persistence_location\n"
     "name it.\n",
     ternctl_restore},
    {"check", "FOLDER", "is a store, or a backup, whole?",
     "Of a store that no broker runs on: reads every file, compares its sums, decodes every\n"
     "record, and compares what belongs together. One line for each finding, and what to do.\n"
     "0: it is whole; 65: it is damaged, or no store; 69: a broker runs on it.\n",
     ternctl_check},
    {"export", "FOLDER", "what a store, or a backup, holds, as JSON lines",
     "Of a store that no broker runs on. Sessions, their subscriptions, what is owed to them,\n"
     "retained messages: an object a line, on standard output. Passwords are not in it. Of a\n"
     "damaged store what can be read is written, without the last line, and the exit code is 65.\n",
     ternctl_export},
    {"import", "FOLDER [--mosquitto FILE]", "put sessions and messages into a store",
     "Reads what ternctl export wrote from standard input. FOLDER is a store that no broker runs\n"
     "on, or a new one. What the store has already stays as it is. 65: a line is wrong, or the last\n"
     "one, {\"type\":\"end\",\"lines\":N}, is missing: a file that was written or changed by hand\n"
     "ends with {\"type\":\"end\"}. Then a file has changed nothing (a pipe is read but once), and\n"
     "a new store is removed again.\n"
     "\n"
     "  --mosquitto FILE   from mosquitto's persistence file (mosquitto.db) instead: sessions,\n"
     "                     subscriptions, queued and retained messages. Stop mosquitto first, so\n"
     "                     that it writes the file. mosquitto keeps no wills and, in 2.0.11, no\n"
     "                     shared subscriptions there\n",
     ternctl_import},
    {"cluster init", "FOLDER --name NAME", "make the CA of a new cluster",
     "FOLDER gets ca.pem and ca.key; it is made if it is missing, and nothing in it is written over.\n"
     "Every node has a copy of ca.pem. Whoever has ca.key can make nodes of the cluster: keep it\n"
     "where no broker runs. Both are ECDSA P-256, for 20 years.\n"
     "\n"
     "  --name NAME   of the cluster: letters, digits, and . - _, 64 at most\n",
     ternctl_cluster_init},
    {"cluster certificate", "FOLDER NODE [--address ADDRESS]... [--days N]",
     "make the certificate of a node",
     "FOLDER is that of cluster init, and gets NODE.pem and NODE.key. By them the node proves to the\n"
     "others, and to clients if listeners are given them too, that it is NODE of this cluster: its\n"
     "name is the URI tern://CLUSTER/NODE. No two nodes have the same name.\n"
     "\n"
     "  --address ADDRESS   a host name or IP address of the node, without a port; may be repeated\n"
     "  --days N            how long it is valid, 825 by default, 7300 at most\n",
     ternctl_cluster_certificate},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]), WANTED_BYTES = 256 };

/* ---- help ------------------------------------------------------------------------------------ */

static int print_help(void)
{
    printf("Usage: ternctl COMMAND [ARGUMENT]...\n"
           "\n"
           "What operators do with Tern, an MQTT broker.\n"
           "\n");
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-12s %s\n", commands[i].words, commands[i].summary);
    }
    printf(
        "  %-12s %s\n"
        "  %-12s %s\n"
        "\n"
        "Exit codes: 0 done or yes, 1 the answer is no, 64 wrong arguments, 65 a file that cannot\n"
        "be read, 69 the broker does not answer, 73 a file cannot be written, 78 wrong\n"
        "configuration.\n",
        "help COMMAND", "how a command is written", "--version", "print the version");
    return TERNCTL_OK;
}

static int print_command_help(const struct ternctl_command *command)
{
    printf("Usage: ternctl %s %s\n\n%s: %s\n\n%s", command->words, command->usage, command->words,
           command->summary, command->help);
    return TERNCTL_OK;
}

int ternctl_wrong_usage(const char *words, const char *format, ...)
{
    va_list values;
    fprintf(stderr, "ternctl %s: ", words);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fprintf(stderr, "; see: ternctl help %s\n", words);
    return TERNCTL_USAGE;
}

int ternctl_path_and_option(const char *words, const char *what, int argument_count,
                            char *const *arguments, const char *option, const char **path,
                            const char **value)
{
    const struct option options[] = {
        {option, required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argument_count, arguments, "", options, NULL)) != -1) {
        if (letter == '?') {
            return ternctl_wrong_usage(words, "unknown option %s, or its value is missing",
                                       arguments[optind - 1]);
        }
        *value = optarg;
    }
    if (argument_count - optind != 1 || arguments[optind][0] == '\0') {
        return ternctl_wrong_usage(words, "%s", what);
    }
    *path = arguments[optind];
    return TERNCTL_OK;
}

/* ---- which command --------------------------------------------------------------------------- */

/* How many arguments are the command's words; 0: they are others. */
static int words_taken(const struct ternctl_command *command, int count, char *const *arguments)
{
    const char *words = command->words;
    for (int taken = 0; taken < count; taken++) {
        size_t length = strcspn(words, " ");
        if (strlen(arguments[taken]) != length || memcmp(arguments[taken], words, length) != 0) {
            return 0;
        }
        words += length;
        if (*words == '\0') {
            return taken + 1;
        }
        words++;
    }
    return 0;
}

static const struct ternctl_command *command_find(int count, char *const *arguments, int *taken)
{
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        *taken = words_taken(&commands[i], count, arguments);
        if (*taken > 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/* "user" alone: a group. The commands in it, on stderr; false: no such group. */
static bool group_explain(const char *group)
{
    bool is_known = false;
    size_t length = strlen(group);
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        const char *words = commands[i].words;
        if (strncmp(words, group, length) == 0 && words[length] == ' ') {
            fprintf(stderr, "%s%s", is_known ? ", " : "ternctl: say which one: ", words);
            is_known = true;
        }
    }
    if (is_known) {
        fputc('\n', stderr);
    }
    return is_known;
}

/* The known command that looks like the first one or two arguments, or NULL. */
static const char *command_nearest(int count, char *const *arguments)
{
    const char *found = NULL;
    for (int words = 1; words <= 2 && words <= count; words++) {
        char wanted[WANTED_BYTES];
        snprintf(wanted, sizeof(wanted), "%s%s%s", arguments[0], words == 2 ? " " : "",
                 words == 2 ? arguments[1] : "");
        struct text_nearest nearest = text_nearest(slice_text(wanted));
        for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
            text_nearest_offer(&nearest, commands[i].words);
        }
        found = nearest.word == NULL ? found : nearest.word;
    }
    return found;
}

static int refuse(int count, char *const *arguments)
{
    if (count == 1 && group_explain(arguments[0])) {
        return TERNCTL_USAGE;
    }
    const char *nearest = command_nearest(count, arguments);
    bool has_second = count > 1 && arguments[1][0] != '-';
    fprintf(stderr, "ternctl: there is no command \"%.60s%s%.60s\": ", arguments[0],
            has_second ? " " : "", has_second ? arguments[1] : "");
    if (nearest != NULL) {
        fprintf(stderr, "did you mean %s? ", nearest);
    }
    fprintf(stderr, "see ternctl --help\n");
    return TERNCTL_USAGE;
}

static bool is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static bool asks_for_help(int count, char *const *arguments)
{
    for (int i = 0; i < count && strcmp(arguments[i], "--") != 0; i++) {
        if (is_help(arguments[i])) {
            return true;
        }
    }
    return false;
}

/* arguments: those behind the program's name. */
static int run(int count, char *const *arguments)
{
    bool is_asking = count > 0 && strcmp(arguments[0], "help") == 0;
    if (is_asking) {
        count--;
        arguments++;
    }
    if (count == 0 || is_help(arguments[0])) {
        return is_asking || count > 0 ? print_help() : (print_help(), TERNCTL_USAGE);
    }
    if (strcmp(arguments[0], "--version") == 0) {
        printf("ternctl %s\n", TERN_VERSION);
        return TERNCTL_OK;
    }
    int taken;
    const struct ternctl_command *command = command_find(count, arguments, &taken);
    if (command == NULL) {
        return refuse(count, arguments);
    }
    if (is_asking || asks_for_help(count - taken, arguments + taken)) {
        return print_command_help(command);
    }
    return command->run(count - taken + 1, arguments + taken - 1);
}

int main(int argument_count, char **arguments)
{
    if (sys_open_standard_files() != OK) {
        return TERNCTL_UNAVAILABLE; /* and nowhere to say it */
    }
    int status = argument_count > 0 ? run(argument_count - 1, arguments + 1) : TERNCTL_USAGE;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "ternctl: what it had to say could not be written: is the disk full?\n");
        return status == TERNCTL_OK ? TERNCTL_CANNOT_CREATE : status;
    }
    return status;
}
