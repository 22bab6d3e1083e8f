/*
 * query: "client=d%2F1&limit=10" as names and values.
 *
 * Floor:  admin; pure.
 */
#ifndef TERN_ADMIN_QUERY_H
#define TERN_ADMIN_QUERY_H

#include "core/base/err.h"
#include "core/base/slice.h"

enum { QUERY_ITEMS_MAX = 8 };

/* One that is allowed. value is empty when it is not in the query. */
struct query_item {
    const char *name;
    struct slice value; /* decoded; lies in text */
    bool is_there;
};

/*
 * Percent-decode the values into text, which holds query.count bytes; '+' is a space, as forms have
 * it. ERR_INVALID: a name that is not among the items, or twice, or a bad escape.
 */
enum err query_read(struct slice query, struct query_item *items, uint32_t item_count, char *text);

#endif
