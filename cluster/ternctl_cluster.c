/*
 * ternctl cluster init, certificate: the CA of a cluster, and what its nodes prove themselves by.
 */
#include "cluster/ca.h"
#include "cluster/link.h"
#include "cluster/ternctl.h"
#include "core/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DAYS_DEFAULT = 825, FILE_BYTES_MAX = 64 * 1024 };

static const char ca_name[] = "ca";

/* ---- files -------------------------------------------------------------------------------------- */

static int cannot(const char *words, const char *path, const char *what, const char *fix)
{
    fprintf(stderr, "ternctl %s: %s: %s: %s\n", words, path, what, fix);
    return TERNCTL_CANNOT_CREATE;
}

/* "FOLDER/name.pem"; false: too long. */
static bool path_make(char out[PATH_MAX], const char *folder, const char *name, const char *kind)
{
    return snprintf(out, PATH_MAX, "%s/%s.%s", folder, name, kind) < PATH_MAX;
}

/* A new file, its owner's alone; what is there is never written over. */
static int file_write(const char *words, const char *path, struct slice text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        return cannot(words, path, strerror(errno),
                      errno == EEXIST ? "keep it, or move it away first"
                                      : "name a folder that you may write to");
    }
    size_t done = 0;
    ssize_t written = 0;
    while (done < text.count && written >= 0) {
        written = write(fd, text.data + done, text.count - done);
        done += written > 0 ? (size_t)written : 0;
    }
    bool is_good = done == text.count && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0 || !is_good) {
        unlink(path);
        return cannot(words, path, strerror(why), "nothing was kept, try again");
    }
    return TERNCTL_OK;
}

/* Both or none. */
static int pair_write(const char *words, const char *folder, const char *name,
                      const struct ca_pair *pair)
{
    char certificate[PATH_MAX], key[PATH_MAX];
    if (!path_make(certificate, folder, name, "pem") || !path_make(key, folder, name, "key")) {
        return cannot(words, folder, "the path is too long", "name another folder");
    }
    int status = file_write(words, key, buf_bytes(&pair->key));
    if (status != TERNCTL_OK) {
        return status;
    }
    status = file_write(words, certificate, buf_bytes(&pair->certificate));
    if (status != TERNCTL_OK) {
        unlink(key);
    }
    return status;
}

static int file_read(const char *words, const char *folder, const char *name, const char *kind,
                     struct buf *out)
{
    char path[PATH_MAX];
    if (!path_make(path, folder, name, kind)) {
        return cannot(words, folder, "the path is too long", "name another folder");
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_good = fd >= 0 && buf_reserve(out, FILE_BYTES_MAX) == OK;
    ssize_t count = 1;
    while (is_good && count > 0 && buf_count(out) < FILE_BYTES_MAX) {
        count = read(fd, buf_tail(out), FILE_BYTES_MAX - buf_count(out));
        if (count > 0) {
            buf_commit(out, (size_t)count);
        }
    }
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (is_good && count >= 0) {
        return TERNCTL_OK;
    }
    fprintf(stderr, "ternctl %s: %s: %s: name the folder that ternctl cluster init made\n", words,
            path, strerror(why));
    return TERNCTL_DATA;
}

/* ---- cluster init ------------------------------------------------------------------------------- */

static int init_run(const char *folder, const char *name)
{
    static const char words[] = "cluster init";
    struct tls_trouble trouble = {""};
    struct ca_cluster cluster;
    struct ca_pair pair = {0};
    if (mkdir(folder, S_IRWXU) != 0 && errno != EEXIST) {
        return cannot(words, folder, strerror(errno), "name a folder that you may make");
    }
    if (ca_create(name, time(NULL), &pair) != OK ||
        ca_read(buf_bytes(&pair.certificate), &cluster, &trouble) != OK) {
        ca_wipe(&pair);
        return cannot(words, folder, err_text(ERR_NOMEM), "try again");
    }
    int status = pair_write(words, folder, ca_name, &pair);
    ca_wipe(&pair);
    if (status != TERNCTL_OK) {
        return status;
    }
    printf("cluster %s, id ", cluster.name);
    for (uint32_t i = 0; i < LINK_CLUSTER_BYTES; i++) {
        printf("%02x", cluster.id[i]);
    }
    printf("\n"
           "  %s/ca.pem  its CA: every node has a copy\n"
           "  %s/ca.key  who has this makes nodes of the cluster: keep it where no broker runs\n"
           "next, for each node: ternctl cluster certificate %s NODE --address ADDRESS\n",
           folder, folder, folder);
    return TERNCTL_OK;
}

int ternctl_cluster_init(int argument_count, char *const *arguments)
{
    static const char words[] = "cluster init";
    const char *folder = NULL, *name = NULL;
    int status = ternctl_path_and_option(words, "write the folder for its files, and --name NAME",
                                         argument_count, arguments, "name", &folder, &name);
    if (status != TERNCTL_OK) {
        return status;
    }
    if (name == NULL || !link_name_is_valid(slice_text(name))) {
        return ternctl_wrong_usage(words,
                                   "write --name NAME, of letters, digits, and . - _, %d at "
                                   "most",
                                   LINK_NAME_MAX);
    }
    return init_run(folder, name);
}

/* ---- cluster certificate ------------------------------------------------------------------------ */

static int issue(const char *folder, const struct ca_wish *wish)
{
    static const char words[] = "cluster certificate";
    struct tls_trouble trouble = {""};
    struct ca_pair ca = {0}, node = {0};
    int64_t until_s = 0;
    char date[32];
    int status = file_read(words, folder, ca_name, "pem", &ca.certificate);
    status = status == TERNCTL_OK ? file_read(words, folder, ca_name, "key", &ca.key) : status;
    if (status == TERNCTL_OK) {
        enum err err = ca_issue(buf_bytes(&ca.certificate), buf_bytes(&ca.key), wish, time(NULL),
                                &node, &until_s, &trouble);
        if (err != OK) {
            fprintf(stderr, "ternctl %s: %s: %s\n", words, folder,
                    err == ERR_INVALID ? trouble.text : err_text(err));
            status = TERNCTL_DATA;
        } else {
            status = pair_write(words, folder, wish->node, &node);
        }
    }
    ca_wipe(&ca);
    ca_wipe(&node);
    if (status != TERNCTL_OK) {
        return status;
    }
    time_t until = (time_t)until_s;
    struct tm parts;
    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&until, &parts));
    printf("node %s, until %s; give it these three, and into its configuration\n"
           "  cluster_ca           %s/ca.pem\n"
           "  cluster_certificate  %s/%s.pem\n"
           "  cluster_key          %s/%s.key\n",
           wish->node, date, folder, folder, wish->node, folder, wish->node);
    return TERNCTL_OK;
}

int ternctl_cluster_certificate(int argument_count, char *const *arguments)
{
    static const char words[] = "cluster certificate";
    static const struct option options[] = {
        {"address", required_argument, NULL, 'a'},
        {"days", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    const char *addresses[CA_ADDRESSES_MAX];
    struct ca_wish wish = {.addresses = addresses, .days = DAYS_DEFAULT};
    uint64_t days;
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argument_count, arguments, "", options, NULL)) != -1) {
        if (letter == '?') {
            return ternctl_wrong_usage(words, "unknown option %s, or its value is missing",
                                       arguments[optind - 1]);
        }
        if (letter == 'd') {
            if (text_read_u64(slice_text(optarg), &days) != OK || days < 1 || days > CA_DAYS_MAX) {
                return ternctl_wrong_usage(words, "--days: write 1 to %d", CA_DAYS_MAX);
            }
            wish.days = (uint32_t)days;
        } else if (wish.address_count == CA_ADDRESSES_MAX) {
            return ternctl_wrong_usage(words, "--address: at most %d", CA_ADDRESSES_MAX);
        } else {
            addresses[wish.address_count++] = optarg;
        }
    }
    if (argument_count - optind != 2) {
        return ternctl_wrong_usage(words, "write the folder of cluster init, and the node's name");
    }
    wish.node = arguments[optind + 1];
    if (!link_name_is_valid(slice_text(wish.node)) || strcmp(wish.node, ca_name) == 0) {
        return ternctl_wrong_usage(words,
                                   "a node's name has letters, digits, and . - _, %d at most, "
                                   "and is not \"ca\"",
                                   LINK_NAME_MAX);
    }
    return issue(arguments[optind], &wish);
}
