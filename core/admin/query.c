#include "core/admin/query.h"

#include "core/base/text.h"

/* ERR_INVALID: '%' without two hexadecimal digits behind it. */
static enum err decode(struct slice in, char *out, size_t *count)
{
    size_t used = 0;
    while (in.count > 0) {
        uint8_t byte = in.data[0];
        size_t taken = 1;
        if (byte == '%') {
            if (in.count < 3 || text_read_hex(slice_of(in.data + 1, 2), &byte) != OK) {
                return ERR_INVALID;
            }
            taken = 3;
        } else if (byte == '+') {
            byte = ' ';
        }
        out[used++] = (char)byte;
        in = slice_skip(in, taken);
    }
    *count = used;
    return OK;
}

static struct query_item *item_find(struct slice name, struct query_item *items,
                                    uint32_t item_count)
{
    for (uint32_t i = 0; i < item_count; i++) {
        if (slice_is(name, items[i].name)) {
            return &items[i];
        }
    }
    return NULL;
}

enum err query_read(struct slice query, struct query_item *items, uint32_t item_count, char *text)
{
    while (query.count > 0) {
        struct slice pair = slice_head(query, slice_find(query, '&'));
        struct slice name = slice_head(pair, slice_find(pair, '='));
        query = slice_skip(query, pair.count < query.count ? pair.count + 1 : pair.count);
        if (pair.count == 0) {
            continue;
        }
        struct query_item *item = item_find(name, items, item_count);
        if (item == NULL || item->is_there || name.count == pair.count) {
            return ERR_INVALID;
        }
        size_t count;
        TRY(decode(slice_skip(pair, name.count + 1), text, &count));
        item->value = slice_of(text, count);
        item->is_there = true;
        text += count;
    }
    return OK;
}
