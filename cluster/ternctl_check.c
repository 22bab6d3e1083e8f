/*
 * ternctl check: is a closed store, or a backup, whole? One line for each finding, and what to do.
 */
#include "cluster/ternctl.h"
#include "cluster/ternctl_store.h"
#include "storage/check.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdio.h>

static const char words[] = "check";

enum { FINDINGS_TOLD = 100 };

static void on_finding(void *context, const char *text)
{
    uint64_t *told = context;
    if (++*told <= FINDINGS_TOLD) {
        printf("%s\n", text);
    }
}

static int partitions_check(struct closed_store *store)
{
    uint64_t told = 0;
    struct check check = {.finding = on_finding, .context = &told};
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        enum err err = check_partition(store->log, store->state, i, &check);
        if (err != OK) {
            fprintf(stderr, "ternctl check: partition %u cannot be read: %s\n", i, err_text(err));
            return TERNCTL_DATA;
        }
    }
    if (told > FINDINGS_TOLD) {
        printf("and %" PRIu64 " more\n", told - FINDINGS_TOLD);
    }
    const struct check_figures *figures = &check.figures;
    printf("%" PRIu64 " sessions, %" PRIu64 " subscriptions, %" PRIu64 " messages owed, %" PRIu64
           " packet ids, %" PRIu64 " retained, %" PRIu64 " on their way, %" PRIu64
           " entries of the log",
           figures->sessions, figures->subscriptions, figures->items, figures->packet_ids,
           figures->retained, figures->outbox, figures->entries);
    if (figures->waiting > 0) {
        printf(" (%" PRIu64 " of them are not in these counts before a start, or an export)",
               figures->waiting);
    }
    printf(": %s\n", check.finding_count == 0 ? "whole" : "damaged");
    return check.finding_count == 0 ? TERNCTL_OK : TERNCTL_DATA;
}

int ternctl_check(int argument_count, char *const *arguments)
{
    struct closed_store store;
    if (argument_count != 2 || arguments[1][0] == '\0' || arguments[1][0] == '-') {
        return ternctl_wrong_usage(words, "write the folder of a store, or of a backup");
    }
    int code = closed_store_open(words, arguments[1], &store);
    if (code != TERNCTL_OK) {
        return code;
    }
    int files = closed_store_verify(words, &store);
    code = partitions_check(&store); /* also where files are damaged: it says of whom */
    closed_store_close(&store);
    return code == TERNCTL_OK ? files : code;
}
