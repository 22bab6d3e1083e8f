/*
 * A copy of the store, made while the broker runs.
 *
 *     POST   /api/v1/backup    {"folder":"/var/backups/tern/2026-11-21"}
 *                              202: it begins. The folder is made; its parent has to be there
 *     GET    /api/v1/backup    {"state":"running","folder":"/var/...","since":1795286165000}
 *                              none, running, done or failed, of the last one since the start;
 *                              "until": when it ended; "why": of one that failed
 *
 * It may take long: the answer says that it began, and whoever wants to know asks until it is done.
 */
#include "core/admin/routes.h"
#include "core/base/json.h"

#include <string.h>

static void state_answer(uint16_t status, const struct admin_backup *backup, struct answer *answer)
{
    static const char *const names[] = {
        [ADMIN_BACKUP_NONE] = "none",
        [ADMIN_BACKUP_RUNNING] = "running",
        [ADMIN_BACKUP_DONE] = "done",
        [ADMIN_BACKUP_FAILED] = "failed",
    };
    struct buf out = {0};
    struct json_writer w = json_writer(&out, BODY_BYTES_MAX - 1);
    json_object_begin(&w, NULL);
    json_add_text(&w, "state", slice_text(names[backup->state]));
    if (backup->state != ADMIN_BACKUP_NONE) {
        json_add_text(&w, "folder", slice_text(backup->folder));
        json_add_u64(&w, "since", backup->since_wall_ms);
    }
    if (backup->until_wall_ms != 0) {
        json_add_u64(&w, "until", backup->until_wall_ms);
    }
    if (backup->state == ADMIN_BACKUP_FAILED) {
        json_add_text(&w, "why", slice_text(backup->why));
    }
    json_object_end(&w);
    answer->status = status;
    answer->content_type = "application/json";
    answer->body.err = json_writer_end(&w);
    body_add_slice(&answer->body, buf_bytes(&out));
    body_add(&answer->body, "\n");
    buf_deinit(&out);
}

/* A path that a program started elsewhere understands as its reader does. ERR_INVALID. */
static enum err folder_read(const struct json *document, char out[ADMIN_BACKUP_PATH_BYTES])
{
    struct slice folder, key;
    void *cursor = NULL;
    while (json_next(document, &cursor, &key) != NULL) {
        if (!slice_is(key, "folder")) {
            return ERR_INVALID;
        }
    }
    TRY(json_get_text(json_member(document, "folder"), &folder));
    if (folder.count < 2 || folder.data[0] != '/' || folder.count >= ADMIN_BACKUP_PATH_BYTES) {
        return ERR_INVALID;
    }
    memcpy(out, folder.data, folder.count);
    out[folder.count] = '\0';
    return OK;
}

static void begin_answer(const struct request *request, struct answer *answer)
{
    static const struct json_limits limits = {.bytes_max = ADMIN_BODY_BYTES_MAX, .depth_max = 2};
    const struct admin_sources *sources = request->sources;
    char problem[JSON_PROBLEM_BYTES], folder[ADMIN_BACKUP_PATH_BYTES];
    struct admin_backup backup;
    struct json *document;
    enum err err = json_read(request->body, &limits, &document, problem);
    if (err != OK) {
        problem_answer(answer, err == ERR_NOMEM ? 503 : 400, "the body is not what is needed: %s",
                       problem);
        return;
    }
    err = folder_read(document, folder);
    json_free(document);
    if (err != OK) {
        problem_answer(answer, 400, "write {\"folder\":\"/...\"}: the whole path of a new folder");
        return;
    }
    err = sources->backup_begin(sources->context, folder);
    if (err == ERR_BUSY) {
        problem_answer(answer, 409, "a backup is being made: wait until it is done");
    } else if (err != OK) {
        problem_answer(answer, 503, "%s: try again", err_text(err));
    } else {
        sources->backup_look(sources->context, &backup);
        state_answer(202, &backup, answer);
    }
}

void api_backup(const struct request *request, struct answer *answer)
{
    struct admin_backup backup;
    if (request->sources->backup_begin == NULL) {
        problem_answer(answer, 404, "this broker keeps nothing on disk: persistence is off");
    } else if (request->method == HTTP_POST) {
        begin_answer(request, answer);
    } else {
        request->sources->backup_look(request->sources->context, &backup);
        state_answer(200, &backup, answer);
    }
}
