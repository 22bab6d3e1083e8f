/*
 * ternctl: the operator's tool. One table of commands; a function for each, in a file for each group.
 *
 *     ternctl.c          the table, help, which command is meant
 *     ternctl_user.c     user add, del, list, check: password files
 *     ternctl_secret.c   a password from a terminal, standard input or a file
 *     ternctl_file.c     a file that is replaced in one step
 *     ternctl_acl.c      acl test: which rule decides
 *     ternctl_explain.c  explain: why was this client refused, closed, ignored
 *     ternctl_ban.c      ban add, del, list
 *     ternctl_backup.c   backup: of a running broker
 *     ternctl_restore.c, ternctl_check.c, ternctl_export.c   of a closed store (ternctl_store.h)
 *     ternctl_import.c   import (ternctl_import.h)
 *     ternctl_cluster.c  cluster init, certificate: who is a node of the cluster
 *
 * Floor:  cluster; a program of its own: only ternctl*.c include this.
 */
#ifndef TERN_CLUSTER_TERNCTL_H
#define TERN_CLUSTER_TERNCTL_H

/* Those of tern (README.md lists them), and one for a question that was answered. */
enum ternctl_exit {
    TERNCTL_OK = 0,
    TERNCTL_NO = 1, /* asked, and the answer is no: a wrong password, a denied topic */
    TERNCTL_USAGE = 64,
    TERNCTL_DATA = 65,          /* a file or an answer that cannot be read */
    TERNCTL_UNAVAILABLE = 69,   /* the broker does not answer */
    TERNCTL_CANNOT_CREATE = 73, /* a file cannot be written */
    TERNCTL_CONFIG = 78,
};

struct ternctl_command {
    const char *words;   /* "user add" */
    const char *usage;   /* what stands behind the words: "FILE NAME [--scram]" */
    const char *summary; /* half a line, for the list of commands */
    const char *help;    /* all of it, in lines of 80 letters that end in newlines */
    /*
     * arguments[0] is the last of the words, as main()'s is the program's name: made for
     * getopt_long(). --help was seen to before. Returns an exit code.
     */
    int (*run)(int argument_count, char *const *arguments);
};

/*
 * "ternctl user add: ...; see: ternctl help user add" on stderr. Returns TERNCTL_USAGE, so that a
 * command may return what this returns.
 */
int ternctl_wrong_usage(const char *words, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * What most commands of a store are written as: one path, and one option with a value. what: what to
 * write, for who did not. *value stays as it is where the option is not given; both point into
 * arguments. TERNCTL_OK, or TERNCTL_USAGE and it has been said.
 */
int ternctl_path_and_option(const char *words, const char *what, int argument_count,
                            char *const *arguments, const char *option, const char **path,
                            const char **value);

/* The commands. */
int ternctl_user_add(int argument_count, char *const *arguments);
int ternctl_user_del(int argument_count, char *const *arguments);
int ternctl_user_list(int argument_count, char *const *arguments);
int ternctl_user_check(int argument_count, char *const *arguments);
int ternctl_acl_test(int argument_count, char *const *arguments);
int ternctl_explain(int argument_count, char *const *arguments);
int ternctl_ban_add(int argument_count, char *const *arguments);
int ternctl_ban_del(int argument_count, char *const *arguments);
int ternctl_ban_list(int argument_count, char *const *arguments);
int ternctl_backup(int argument_count, char *const *arguments);
int ternctl_restore(int argument_count, char *const *arguments);
int ternctl_check(int argument_count, char *const *arguments);
int ternctl_export(int argument_count, char *const *arguments);
int ternctl_import(int argument_count, char *const *arguments);
int ternctl_cluster_init(int argument_count, char *const *arguments);
int ternctl_cluster_certificate(int argument_count, char *const *arguments);

#endif
