/*
 * ternctl import: the command. See ternctl_import.h.
 */
#include "cluster/ternctl_import.h"

#include "cluster/ternctl.h"

#include <inttypes.h>

static const char words[] = "import";

/* What was left out, and why: each reason that there is, on a line of its own. */
static void tell_left_out(const struct import_figures *figures)
{
    const struct {
        uint64_t count;
        const char *why;
    } rows[] = {
        {figures->sessions_there, "sessions: the store has one of that client"},
        {figures->sessions_over, "sessions: expired, or ending with their connection"},
        {figures->messages_over, "messages: expired"},
        {figures->messages_qos0, "messages of QoS 0: not kept for who is away"},
        {figures->retained_there, "retained messages: the store has one of that topic"},
        {figures->of_nobody, "entries of sessions that are not there or were left out"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].count > 0) {
            printf("left out %" PRIu64 " %s\n", rows[i].count, rows[i].why);
        }
    }
    if (figures->usernames_left > 0) {
        printf("%" PRIu64 " sessions are nobody's now: the file does not tell for certain whose "
               "they are (mosquitto 2.0.11 repeats the user of another client)\n",
               figures->usernames_left);
    }
    if (figures->packet_ids_changed > 0) {
        printf("%" PRIu64 " messages of QoS 2 in flight have another packet identifier now: they "
               "may come twice\n",
               figures->packet_ids_changed);
    }
    if (figures->perhaps_twice > 0) {
        printf("%" PRIu64 " messages were on their way: those who had been given them already may "
               "be given them twice\n",
               figures->perhaps_twice);
    }
}

static void tell(const struct import_figures *figures)
{
    printf("imported %" PRIu64 " sessions, %" PRIu64 " subscriptions, %" PRIu64
           " messages owed, %" PRIu64 " packet ids, %" PRIu64 " retained, %" PRIu64
           " on their way\n",
           figures->sessions, figures->subscriptions, figures->messages, figures->packet_ids,
           figures->retained, figures->on_their_way);
    tell_left_out(figures);
}

static int run(const char *folder, const char *mosquitto)
{
    struct import_store *store;
    int code = import_store_open(folder, &store);
    if (code != TERNCTL_OK) {
        return code;
    }
    struct import *import = import_store_sink(store);
    code = mosquitto != NULL ? import_mosquitto(import, mosquitto) : import_lines(import, stdin);
    enum err err = code == TERNCTL_OK ? import_finish(import) : OK;
    if (code == TERNCTL_OK && err != OK) {
        code = import_failed(err);
    }
    struct import_figures figures = import->figures;
    bool is_fresh = import->is_fresh;
    bool is_gone = import_store_close(store, code == TERNCTL_OK);
    if (code == TERNCTL_OK) {
        tell(&figures);
    } else if (!is_gone && figures.sessions + figures.retained > 0) {
        fprintf(stderr, "ternctl import: a part of it is in %s: %s before you try again\n", folder,
                is_fresh ? "remove that folder" : "restore your backup of it");
    }
    return code;
}

int ternctl_import(int argument_count, char *const *arguments)
{
    const char *folder, *mosquitto = NULL;
    int code = ternctl_path_and_option(words, "write the folder of a closed store, or a new one",
                                       argument_count, arguments, "mosquitto", &folder, &mosquitto);
    return code != TERNCTL_OK ? code : run(folder, mosquitto);
}
