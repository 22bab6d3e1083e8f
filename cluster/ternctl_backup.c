/*
 * ternctl backup: a copy of a running broker's store. The broker makes it; we ask until it is done.
 */
#include "cluster/ternctl.h"
#include "cluster/ternctl_http.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char words[] = "backup", target[] = "/api/v1/backup";

enum { BODY_BYTES_MAX = 65536, PAUSE_MS_MIN = 20, PAUSE_MS_MAX = 1000 };

/* The broker was started elsewhere: it needs the whole path. false: it cannot be told. */
static bool path_whole(const char *folder, char out[PATH_MAX])
{
    char here[PATH_MAX];
    if (folder[0] == '/') {
        return snprintf(out, PATH_MAX, "%s", folder) < PATH_MAX;
    }
    return getcwd(here, sizeof(here)) != NULL &&
           snprintf(out, PATH_MAX, "%s/%s", here, folder) < PATH_MAX;
}

static int begin(const char *where, const char *folder)
{
    struct buf body = {0};
    struct ternctl_answer answer;
    struct json_writer w = json_writer(&body, BODY_BYTES_MAX);
    json_object_begin(&w, NULL);
    json_add_text(&w, "folder", slice_text(folder));
    json_object_end(&w);
    if (json_writer_end(&w) != OK) {
        buf_deinit(&body);
        return ternctl_wrong_usage(words, "this is too long for the broker");
    }
    int code = ternctl_ask(where, "POST", target, buf_bytes(&body), &answer);
    buf_deinit(&body);
    ternctl_answer_deinit(&answer);
    return code == TERNCTL_NO ? TERNCTL_UNAVAILABLE : code; /* 404: it keeps nothing on disk */
}

static void pause_ms(uint32_t ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

/* Of the backup into that folder. TERNCTL_OK with *is_running false: it is made. */
static int look(const char *where, const char *folder, bool *is_running)
{
    struct ternctl_answer answer;
    *is_running = false;
    int code = ternctl_ask(where, "GET", target, slice_of(NULL, 0), &answer);
    if (code != TERNCTL_OK) {
        fprintf(stderr, "ternctl backup: whether the backup was made is not known: it is complete "
                        "if there is a file SUMS in the folder\n");
        return code;
    }
    struct slice state = ternctl_text(answer.document, "state");
    if (!slice_is(ternctl_text(answer.document, "folder"), folder)) {
        fprintf(stderr, "ternctl backup: the broker was started anew meanwhile: remove the folder "
                        "and try again\n");
        code = TERNCTL_UNAVAILABLE;
    } else if (slice_is(state, "running")) {
        *is_running = true;
    } else if (!slice_is(state, "done")) {
        fprintf(stderr, "ternctl backup: ");
        ternctl_print_safe(stderr, ternctl_text(answer.document, "why"));
        fprintf(stderr, "\n");
        code = TERNCTL_CANNOT_CREATE;
    }
    ternctl_answer_deinit(&answer);
    return code;
}

static int make(const char *where, const char *folder)
{
    bool is_running = true;
    int code = begin(where, folder);
    for (uint32_t ms = PAUSE_MS_MIN; code == TERNCTL_OK && is_running;) {
        pause_ms(ms);
        code = look(where, folder, &is_running);
        ms = ms * 2 < PAUSE_MS_MAX ? ms * 2 : PAUSE_MS_MAX;
    }
    return code;
}

int ternctl_backup(int argument_count, char *const *arguments)
{
    const char *where = TERNCTL_HTTP_DEFAULT, *path;
    char folder[PATH_MAX];
    int code = ternctl_path_and_option(words, "write one folder, that is not there yet",
                                       argument_count, arguments, "http", &path, &where);
    if (code != TERNCTL_OK) {
        return code;
    }
    if (!path_whole(path, folder)) {
        return ternctl_wrong_usage(words, "this path is too long");
    }
    code = make(where, folder);
    if (code == TERNCTL_OK) {
        printf("backup in %s\n", folder);
    }
    return code;
}
