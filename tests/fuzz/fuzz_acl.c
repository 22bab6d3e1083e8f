/*
 * fuzz_acl: no file breaks the reader of rules, and what it answers holds together.
 *
 *     client id \n user name (-: none) \n topic or filter \n file...
 *
 * What is asked for all of a filter is asked again for names that the filter matches: if all may be
 * read, each may; if one may be read and no subscribe rule is there, the filter may be subscribed.
 */
#include "core/access/acl.h"
#include "core/base/utf8.h"
#include "core/pubsub/topic.h"

#include <stdlib.h>

enum { NAME_BYTES = 4096, LEVELS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice line_take(struct slice *rest)
{
    struct slice line = slice_head(*rest, slice_find(*rest, '\n'));
    *rest = slice_skip(*rest, line.count < rest->count ? line.count + 1 : line.count);
    return line;
}

static bool ask(const struct acl_subject *subject, struct slice text, bool is_publish,
                struct acl_cache *cache)
{
    struct acl_decision decision;
    bool is_allowed = is_publish ? acl_may_publish(subject, text, &decision)
                                 : acl_may_read(subject, text, &decision);
    ASSERT(decision.is_allowed == is_allowed);
    ASSERT(decision.why[0] != '\0');
    ASSERT((decision.line > 0) == (decision.rule.count > 0));
    ASSERT(decision.line > 0 || !is_allowed);
    ASSERT(utf8_is_valid(decision.rule)); /* touches it */
    for (int i = 0; i < 2; i++) {
        ASSERT(is_allowed == (is_publish ? acl_may_publish_cached(subject, cache, text)
                                         : acl_may_read_cached(subject, cache, text)));
    }
    return is_allowed;
}

/* A name that the filter matches: word for each '+', tail for '#'. Empty: it did not fit. */
static struct slice name_of(struct slice filter, const char *word, const char *tail,
                            uint8_t room[NAME_BYTES])
{
    size_t used = 0;
    for (size_t i = 0; i < filter.count; i++) {
        const char *put = filter.data[i] == '+' ? word : filter.data[i] == '#' ? tail : NULL;
        size_t bytes = put == NULL ? 1 : strlen(put);
        if (used + bytes > NAME_BYTES) {
            return slice_of(NULL, 0);
        }
        if (put != NULL) {
            memcpy(room + used, put, bytes);
        } else {
            room[used] = filter.data[i];
        }
        used += bytes;
    }
    bool is_cut = tail[0] == '\0' && filter.count > 1 && filter.data[filter.count - 1] == '#';
    return slice_of(room, used - is_cut); /* "a/#" also matches "a" */
}

static void ask_names_of(const struct acl_subject *subject, struct slice filter, bool has_subscribe,
                         struct acl_cache *cache)
{
    static const char *const words[] = {"x", "", "a", "dev", "$x"}, *const tails[] = {"", "y",
                                                                                      "a/b"};
    struct acl_decision decision;
    uint8_t room[NAME_BYTES];
    bool reads_all = acl_reads_all(subject, filter);
    bool may_subscribe = acl_may_subscribe(subject, filter, &decision);

    ASSERT(may_subscribe == decision.is_allowed);
    ASSERT(may_subscribe || !reads_all || has_subscribe);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (size_t k = 0; k < sizeof(tails) / sizeof(tails[0]); k++) {
            struct slice name = name_of(filter, words[i], tails[k], room);
            if (topic_name_check(name, LEVELS_MAX) != OK || !topic_matches(filter, name)) {
                continue;
            }
            bool may_read = ask(subject, name, false, cache);
            ASSERT(may_read || !reads_all);
            ASSERT(!may_read || may_subscribe || has_subscribe);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    struct slice client_id = line_take(&rest), username = line_take(&rest), text = line_take(&rest);
    struct acl *acl = NULL;
    struct acl_trouble trouble = {0};
    struct acl_subject subject;
    struct acl_cache cache = {0};
    struct topic_filter filter;

    enum err err = acl_parse(rest, &acl, &trouble);
    if (err != OK) {
        ASSERT(err == ERR_INVALID && acl == NULL);
        ASSERT(trouble.text[0] != '\0' && strnlen(trouble.text, sizeof(trouble.text)) < 256);
        ASSERT(utf8_is_valid(slice_text(trouble.text)) || strlen(trouble.text) == 255);
        return 0;
    }
    acl_subject_init(&subject, acl, !slice_is(username, "-"), username, client_id);
    if (topic_name_check(text, UINT32_MAX) == OK) {
        ask(&subject, text, true, &cache);
        ask(&subject, text, false, &cache);
    }
    if (topic_filter_parse(text, UINT32_MAX, &filter) == OK) {
        bool has_subscribe = rest.count > 0 &&
                             memmem(rest.data, rest.count, "subscribe", 9) != NULL;
        ask_names_of(&subject, filter.filter, has_subscribe, &cache);
    }
    acl_unref(acl);
    return 0;
}
