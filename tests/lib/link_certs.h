/*
 * link_certs: clusters with a CA and nodes with certificates, made for a test in a folder of its own.
 */
#ifndef TERN_TESTS_LIB_LINK_CERTS_H
#define TERN_TESTS_LIB_LINK_CERTS_H

#include "cluster/ca.h"
#include "cluster/link_tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { CERTS_PATH = 160, CERTS_DAY_S = 24 * 3600, CERTS_PATHS = 64 };

static char certs_folder[] = "/tmp/tern-links-XXXXXX";
static bool certs_is_made;
static char certs_written[CERTS_PATHS][CERTS_PATH];
static uint32_t certs_written_count;

/* "FOLDER/name"; a few may be in use at a time. */
static inline const char *certs_path(const char *name)
{
    static char paths[16][CERTS_PATH];
    static uint32_t next;
    if (!certs_is_made) {
        assert_non_null(mkdtemp(certs_folder));
        certs_is_made = true;
    }
    char *path = paths[next++ % 16];
    snprintf(path, CERTS_PATH, "%s/%.100s", certs_folder, name);
    return path;
}

static inline const char *certs_write(const char *name, struct slice text)
{
    const char *path = certs_path(name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.count, file), text.count);
    assert_int_equal(fclose(file), 0);
    assert_true(certs_written_count < CERTS_PATHS);
    snprintf(certs_written[certs_written_count++], CERTS_PATH, "%s", path);
    return path;
}

static inline void certs_remove(void)
{
    for (uint32_t i = 0; i < certs_written_count; i++) {
        unlink(certs_written[i]);
    }
    certs_written_count = 0;
    if (certs_is_made) {
        rmdir(certs_folder);
    }
}

/* A CA: its files are NAME.ca.pem, and who signs. */
static inline void certs_authority(const char *name, const char *cluster, struct ca_pair *out)
{
    char file[CERTS_PATH];
    *out = (struct ca_pair){0};
    assert_int_equal(ca_create(cluster, time(NULL), out), OK);
    snprintf(file, sizeof(file), "%s.ca.pem", name);
    certs_write(file, buf_bytes(&out->certificate));
}

/* FILE.pem and FILE.key, for that node, made so many days ago for one day (0: valid for 30 from now). */
static inline void certs_node(const struct ca_pair *ca, const char *file, const char *node,
                              int64_t days_ago)
{
    struct ca_wish wish = {.node = node, .days = days_ago > 0 ? 1 : 30};
    struct tls_trouble trouble = {""};
    struct ca_pair pair = {0};
    char name[CERTS_PATH];
    int64_t until_s;
    enum err err = ca_issue(buf_bytes(&ca->certificate), buf_bytes(&ca->key), &wish,
                            time(NULL) - days_ago * CERTS_DAY_S, &pair, &until_s, &trouble);
    assert_string_equal(trouble.text, "");
    assert_int_equal(err, OK);
    snprintf(name, sizeof(name), "%s.pem", file);
    certs_write(name, buf_bytes(&pair.certificate));
    snprintf(name, sizeof(name), "%s.key", file);
    certs_write(name, buf_bytes(&pair.key));
    ca_wipe(&pair);
}

static inline enum err certs_try(const char *ca, const char *file, const char *crl,
                                 int64_t days_ago, struct link_tls *out,
                                 struct tls_trouble *trouble)
{
    char names[3][CERTS_PATH];
    snprintf(names[0], CERTS_PATH, "%s.ca.pem", ca);
    snprintf(names[1], CERTS_PATH, "%s.pem", file);
    snprintf(names[2], CERTS_PATH, "%s.key", file);
    struct link_tls_settings settings = {.cafile = certs_path(names[0]),
                                         .certfile = certs_path(names[1]),
                                         .keyfile = certs_path(names[2]),
                                         .crlfile = crl == NULL ? NULL : certs_path(crl)};
    uint64_t wall_ms = (uint64_t)(time(NULL) - days_ago * CERTS_DAY_S) * 1000;
    return link_tls_new(&settings, wall_ms, out, trouble);
}

static inline void certs_open(const char *ca, const char *file, const char *crl, int64_t days_ago,
                              struct link_tls *out)
{
    struct tls_trouble trouble = {""};
    enum err err = certs_try(ca, file, crl, days_ago, out, &trouble);
    assert_string_equal(trouble.text, "");
    assert_int_equal(err, OK);
}

#endif
