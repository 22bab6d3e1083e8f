/*
 * From a file's text to lists of rules.
 *
 * Lines are read as mosquitto reads them: blanks at the end (tabs too) go; a '#' is a comment only as
 * the very first letter; words are parted by blanks, a filter or a name is the rest of the line and
 * may hold blanks. What differs is that we want UTF-8 and know `subscribe`.
 *
 * The text is walked twice. The first walk counts, so that users never move (the map points to them)
 * and rules stand in one piece. The second reads rules in the order of the file and notes whose they
 * are; then each goes to its place: all of a user together, denials first.
 */
#include "core/access/acl_parts.h"
#include "core/base/rng.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/pubsub/topic.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_BYTES_MAX = 65535, QUOTED_BYTES = 48 };

struct parser {
    struct acl *acl;
    struct acl_trouble *trouble;
    uint32_t line;
    uint32_t user;          /* whose the next topic lines are */
    struct acl_rule *rules; /* in the order of the file */
    uint32_t *owners;       /* of each rule */
};

/* ---- what is wrong ------------------------------------------------------------------------- */

/* "'topick'": what fits of a text from the file, fit for a terminal; never broken UTF-8. */
struct quoted {
    char text[QUOTED_BYTES + 8];
};

static struct quoted quote(struct slice text)
{
    struct quoted out = {"'"};
    size_t used = 1;
    while (text.count > 0) {
        uint32_t code_point = 0, bytes = utf8_first(text, &code_point);
        if (used + (bytes > 0 ? bytes : 1) > QUOTED_BYTES) {
            memcpy(out.text + used, "...", 3);
            used += 3;
            break;
        }
        bool is_plain = bytes > 0 && code_point >= ' ' && (code_point < 0x7F || code_point > 0x9F);
        if (is_plain) {
            memcpy(out.text + used, text.data, bytes);
        } else {
            out.text[used] = '?';
        }
        used += is_plain ? bytes : 1;
        text = slice_skip(text, bytes > 0 ? bytes : 1);
    }
    out.text[used] = '\'';
    return out;
}

static enum err wrong(const struct parser *parser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum err wrong(const struct parser *parser, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    parser->trouble->line = parser->line;
    vsnprintf(parser->trouble->text, sizeof(parser->trouble->text), format, values);
    va_end(values);
    return ERR_INVALID;
}

/* ---- words --------------------------------------------------------------------------------- */

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static struct slice without_spaces_behind(struct slice text)
{
    while (text.count > 0 && is_space(text.data[text.count - 1])) {
        text.count--;
    }
    return text;
}

static struct slice without_blanks_before(struct slice text)
{
    while (text.count > 0 && text.data[0] == ' ') {
        text = slice_skip(text, 1);
    }
    return text;
}

/* The next word, parted by blanks only; "": there is none. */
static struct slice word_next(struct slice *rest)
{
    *rest = without_blanks_before(*rest);
    struct slice word = slice_head(*rest, slice_find(*rest, ' '));
    *rest = without_blanks_before(slice_skip(*rest, word.count));
    return word;
}

/* The next line with something in it, without blanks around it; false: the text is over. */
static bool line_next(struct slice *text, uint32_t *number, struct slice *line)
{
    while (text->count > 0) {
        size_t end = slice_find(*text, '\n');
        bool is_comment = text->data[0] == '#';
        *line = without_blanks_before(without_spaces_behind(slice_head(*text, end)));
        *text = slice_skip(*text, end < text->count ? end + 1 : end);
        (*number)++;
        if (!is_comment && line->count > 0) {
            return true;
        }
    }
    return false;
}

/* ---- a rule -------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    uint8_t access;
} accesses[] = {
    {"read", ACL_READ}, {"write", ACL_WRITE},         {"readwrite", ACL_READ | ACL_WRITE},
    {"deny", ACL_DENY}, {"subscribe", ACL_SUBSCRIBE},
};

static enum err read_access(const struct parser *parser, struct slice word, uint8_t *out)
{
    struct text_nearest nearest = text_nearest(word);
    for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        if (slice_is(word, accesses[i].word)) {
            *out = accesses[i].access;
            return OK;
        }
        text_nearest_offer(&nearest, accesses[i].word);
    }
    if (nearest.word != NULL) {
        return wrong(parser, "%s is no kind of access: did you mean %s?", quote(word).text,
                     nearest.word);
    }
    return wrong(parser,
                 "%s is no kind of access: write read, write, readwrite, deny or subscribe before "
                 "the filter (always, if the filter has blanks)",
                 quote(word).text);
}

static bool is_name_mark(struct slice filter, size_t at)
{
    return filter.data[at] == '%' && at + 1 < filter.count &&
           (filter.data[at + 1] == 'c' || filter.data[at + 1] == 'u');
}

/* Traits and head of the rule's filter. */
static void rule_look(struct acl_rule *rule, struct slice filter, bool is_pattern)
{
    size_t level_start = 0, head_end = 0;
    bool is_literal = true; /* as far as we have come */

    for (size_t at = 0; at < filter.count; at++) {
        uint8_t byte = filter.data[at];
        if (byte == '/') {
            head_end = is_literal ? at : head_end;
            level_start = at + 1;
        } else if ((byte == '+' || byte == '#') && level_start == at) {
            rule->traits |= ACL_HAS_WILDCARD; /* fills its level: the filter was checked */
            is_literal = false;
        } else if (is_pattern && is_name_mark(filter, at)) {
            bool is_client_id = filter.data[at + 1] == 'c';
            rule->traits |= is_client_id ? ACL_TAKES_CLIENT_ID : ACL_TAKES_USERNAME;
            rule->traits |= at == 0 ? ACL_BEGINS_WITH_NAME : 0;
            is_literal = false;
            at++;
        }
    }
    rule->head_bytes = (uint16_t)(is_literal ? filter.count : head_end);
}

static enum err read_rule(struct parser *parser, struct slice line, struct slice rest,
                          bool is_pattern)
{
    const char *kind = is_pattern ? "pattern" : "topic";
    struct acl *acl = parser->acl;
    struct acl_rule rule = {
        .line = parser->line,
        .line_at = (uint32_t)(line.data - acl->text),
        .line_bytes = (uint32_t)line.count,
        .access = ACL_READ | ACL_WRITE,
    };
    struct slice word = word_next(&rest), filter = rest;
    if (word.count == 0) {
        return wrong(parser, "%s without a filter: write %s readwrite FILTER", kind, kind);
    }
    if (rest.count == 0) {
        filter = word; /* the only word, even "read" */
    } else {
        TRY(read_access(parser, word, &rule.access));
    }
    if (topic_filter_check(filter) != OK) {
        return wrong(parser,
                     filter.count > NAME_BYTES_MAX
                         ? "the filter %s is too long: a topic has at most 65535 bytes"
                         : "%s is no topic filter: + and # fill a whole level, # only the last one",
                     quote(filter).text);
    }
    rule.filter_bytes = (uint16_t)filter.count;
    rule_look(&rule, filter, is_pattern);
    parser->owners[acl->rule_count] = is_pattern ? ACL_USER_PATTERNS : parser->user;
    parser->rules[acl->rule_count++] = rule;
    return OK;
}

static enum err read_user(struct parser *parser, struct slice rest)
{
    struct acl *acl = parser->acl;
    while (rest.count > 0 && is_space(rest.data[0])) {
        rest = slice_skip(rest, 1);
    }
    if (rest.count == 0) {
        return wrong(parser, "user without a name: write user NAME");
    }
    if (rest.count > NAME_BYTES_MAX) {
        return wrong(parser, "the user name %s is too long: it has at most 65535 bytes",
                     quote(rest).text);
    }
    const struct acl_user *known = map_get(acl->by_name, rest);
    if (known != NULL) {
        parser->user = (uint32_t)(known - acl->users);
        return OK;
    }
    acl->users[acl->user_count].name = rest;
    TRY(map_put(acl->by_name, &acl->users[acl->user_count]));
    parser->user = acl->user_count++;
    return OK;
}

/* ---- lines --------------------------------------------------------------------------------- */

static enum err refuse_word(const struct parser *parser, struct slice word)
{
    if (word.data[0] == '#') {
        return wrong(parser, "a comment has its # at the very beginning of the line: remove the "
                             "blanks before it");
    }
    if (slice_find(word, '\t') < word.count) {
        return wrong(parser, "a tab in %s: words are parted by blanks, write a blank",
                     quote(word).text);
    }
    if (slice_find(word, ':') < word.count) { /* not quoted: there may be a hash behind it */
        return wrong(parser, "a name with a colon: is this a password file? A line begins with "
                             "topic, pattern, user or #");
    }
    return wrong(parser, "unknown word %s: a line begins with topic, pattern, user or #",
                 quote(word).text);
}

static enum err read_line(struct parser *parser, struct slice line)
{
    struct slice rest = line, word = word_next(&rest);

    if (!utf8_is_valid(line)) {
        return wrong(parser, slice_find(line, 0) < line.count
                                 ? "the line holds a NUL byte: is this a text file?"
                                 : "the line is no UTF-8, as topics are: save the file as UTF-8");
    }
    if (slice_is(word, "topic")) {
        return read_rule(parser, line, rest, false);
    }
    if (slice_is(word, "pattern")) {
        return read_rule(parser, line, rest, true);
    }
    if (slice_is(word, "user")) {
        return read_user(parser, rest);
    }
    return refuse_word(parser, word);
}

static enum err read_lines(struct parser *parser)
{
    struct slice text = slice_of(parser->acl->text, parser->acl->text_bytes), line;
    while (line_next(&text, &parser->line, &line)) {
        TRY(read_line(parser, line));
    }
    return OK;
}

/* Each rule to its place: lists one after the other, denials first in each. */
static void rules_sort(const struct parser *parser)
{
    struct acl *acl = parser->acl;
    uint32_t first = 0;

    for (uint32_t i = 0; i < acl->rule_count; i++) {
        struct acl_user *user = &acl->users[parser->owners[i]];
        user->rule_count++;
        user->deny_count += parser->rules[i].access == ACL_DENY;
        user->access_all |= parser->rules[i].access;
    }
    for (uint32_t i = 0; i < acl->user_count; i++) {
        acl->users[i].rules = acl->rules + first;
        first += acl->users[i].rule_count;
    }
    for (int is_deny = 1; is_deny >= 0; is_deny--) {
        for (uint32_t i = 0; i < acl->rule_count; i++) {
            struct acl_user *user = &acl->users[parser->owners[i]];
            if ((parser->rules[i].access == ACL_DENY) == is_deny) {
                *user->rules++ = parser->rules[i];
            }
        }
    }
    for (uint32_t i = 0; i < acl->user_count; i++) {
        acl->users[i].rules -= acl->users[i].rule_count;
    }
}

/* ---- the whole ----------------------------------------------------------------------------- */

static struct slice user_key(const void *value)
{
    return ((const struct acl_user *)value)->name;
}

/* Room for as many users and rules as the text can have. */
static enum err room_make(struct acl *acl, struct parser *parser)
{
    struct slice text = slice_of(acl->text, acl->text_bytes), line;
    uint32_t number = 0, user_max = ACL_USER_NAMED, rule_max = 0;

    while (line_next(&text, &number, &line)) {
        user_max += line.data[0] == 'u';
        rule_max += line.data[0] != 'u';
    }
    acl->users = calloc(user_max, sizeof(acl->users[0]));
    acl->rules = calloc((size_t)rule_max + 1, sizeof(acl->rules[0]));
    acl->by_name = map_new(user_key, acl->seed);
    parser->rules = calloc((size_t)rule_max + 1, sizeof(parser->rules[0]));
    parser->owners = calloc((size_t)rule_max + 1, sizeof(parser->owners[0]));
    acl->user_count = ACL_USER_NAMED;
    bool has_all = acl->users != NULL && acl->rules != NULL && acl->by_name != NULL &&
                   parser->rules != NULL && parser->owners != NULL;
    return has_all ? OK : ERR_NOMEM;
}

static enum err acl_fill(struct acl *acl, struct slice text, struct parser *parser)
{
    static const struct slice bom = SLICE("\xEF\xBB\xBF");

    if (text.count > ACL_FILE_BYTES_MAX) {
        return wrong(parser, "the file is larger than 64 MiB: is this an ACL file?");
    }
    if (slice_starts_with(text, bom)) {
        text = slice_skip(text, bom.count);
    }
    acl->seed = rng_system_seed();
    acl->text = malloc(text.count + 1);
    if (acl->text == NULL) {
        return ERR_NOMEM;
    }
    if (text.count > 0) {
        memcpy(acl->text, text.data, text.count);
    }
    acl->text_bytes = text.count;
    TRY(room_make(acl, parser));
    TRY(read_lines(parser));
    rules_sort(parser);
    for (uint32_t i = 0; i < acl->user_count; i++) {
        TRY(acl_index_new(acl, &acl->users[i]));
    }
    return OK;
}

enum err acl_parse(struct slice text, struct acl **out, struct acl_trouble *trouble)
{
    ASSERT(trouble != NULL);
    struct acl *acl = calloc(1, sizeof(*acl));
    struct parser parser = {.acl = acl, .trouble = trouble};

    if (acl == NULL) {
        return ERR_NOMEM;
    }
    atomic_init(&acl->refs, 1);
    enum err err = acl_fill(acl, text, &parser);
    free(parser.rules);
    free(parser.owners);
    if (err != OK) {
        acl_unref(acl);
        return err;
    }
    *out = acl;
    return OK;
}
