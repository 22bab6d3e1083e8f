#include "cluster/node_backup.h"

#include "core/base/log.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/*
 * The thread is there from the start: one made by a shard would share the core that it is pinned to.
 *
 * Invariants, all under the lock
 *   B1  is_wanted or in the thread's hands: exactly while last.state is RUNNING.
 *   B2  folder changes only while state is not RUNNING.
 */
struct node_backup {
    struct store *store;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct admin_backup last;
    bool is_wanted, is_ending;
    pthread_t thread;
};

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Without the lock: folder stands still (B2). */
static void make(struct node_backup *backup)
{
    struct kv_failure failure = {""};
    const char *folder = backup->last.folder;
    enum err err = store_backup(backup->store, folder, &failure);
    if (err != OK && failure.text[0] == '\0') {
        snprintf(failure.text, sizeof(failure.text), "%s", err_text(err));
    }
    if (err == OK) {
        log_event(LOG_NOTICE, "backup made", LOG_TEXT("folder", folder));
    } else {
        log_event(LOG_ERROR, "backup failed", LOG_TEXT("folder", folder),
                  LOG_TEXT("why", failure.text));
    }
    pthread_mutex_lock(&backup->lock);
    backup->last.state = err == OK ? ADMIN_BACKUP_DONE : ADMIN_BACKUP_FAILED;
    backup->last.until_wall_ms = wall_ms();
    snprintf(backup->last.why, sizeof(backup->last.why), "%s", failure.text);
    pthread_mutex_unlock(&backup->lock);
}

static void *run(void *argument)
{
    struct node_backup *backup = argument;
    pthread_setname_np(pthread_self(), "backup");
    pthread_mutex_lock(&backup->lock);
    while (!backup->is_ending || backup->is_wanted) {
        if (backup->is_wanted) {
            backup->is_wanted = false;
            pthread_mutex_unlock(&backup->lock);
            make(backup);
            pthread_mutex_lock(&backup->lock);
        } else {
            pthread_cond_wait(&backup->changed, &backup->lock);
        }
    }
    pthread_mutex_unlock(&backup->lock);
    return NULL;
}

struct node_backup *node_backup_new(struct store *store)
{
    struct node_backup *backup = calloc(1, sizeof(*backup));
    if (backup == NULL) {
        return NULL;
    }
    backup->store = store;
    pthread_mutex_init(&backup->lock, NULL);
    pthread_cond_init(&backup->changed, NULL);
    if (pthread_create(&backup->thread, NULL, run, backup) != 0) {
        pthread_cond_destroy(&backup->changed);
        pthread_mutex_destroy(&backup->lock);
        free(backup);
        return NULL;
    }
    return backup;
}

void node_backup_free(struct node_backup *backup)
{
    if (backup == NULL) {
        return;
    }
    pthread_mutex_lock(&backup->lock);
    backup->is_ending = true;
    pthread_cond_signal(&backup->changed);
    pthread_mutex_unlock(&backup->lock);
    pthread_join(backup->thread, NULL);
    pthread_cond_destroy(&backup->changed);
    pthread_mutex_destroy(&backup->lock);
    free(backup);
}

enum err node_backup_begin(struct node_backup *backup, const char *folder)
{
    enum err err = ERR_BUSY;
    pthread_mutex_lock(&backup->lock);
    if (backup->last.state != ADMIN_BACKUP_RUNNING) { /* B1 */
        backup->last = (struct admin_backup){.state = ADMIN_BACKUP_RUNNING,
                                             .since_wall_ms = wall_ms()};
        snprintf(backup->last.folder, sizeof(backup->last.folder), "%s", folder);
        backup->is_wanted = true;
        pthread_cond_signal(&backup->changed);
        err = OK;
    }
    pthread_mutex_unlock(&backup->lock);
    return err;
}

void node_backup_look(struct node_backup *backup, struct admin_backup *out)
{
    pthread_mutex_lock(&backup->lock);
    *out = backup->last;
    pthread_mutex_unlock(&backup->lock);
}
