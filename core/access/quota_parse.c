/*
 * `limit SCOPE[=NAME] WHAT COUNT [burst COUNT]`, read.
 */
#include "core/access/network.h"
#include "core/access/quota_rules.h"
#include "core/base/text.h"

#include <stdio.h>

#define COUNT_MAX (UINT64_C(1) << 53)

/* clang-format off */
static const char *const scope_words[QUOTA_SCOPE_COUNT] = {
    [QUOTA_LISTENER] = "listener",
    [QUOTA_ADDRESS ] = "address",
    [QUOTA_PREFIX  ] = "prefix",
    [QUOTA_USER    ] = "user",
    [QUOTA_CLIENT  ] = "client",
};
static const char *const what_words[QUOTA_WHAT_COUNT] = {
    [QUOTA_CONNECTIONS  ] = "connections",
    [QUOTA_CONNECTS     ] = "connects",
    [QUOTA_MESSAGES     ] = "messages",
    [QUOTA_BYTES        ] = "bytes",
    [QUOTA_SUBSCRIPTIONS] = "subscriptions",
    [QUOTA_INFLIGHT     ] = "inflight",
    [QUOTA_RETAINED     ] = "retained",
};
/* clang-format on */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The next word; in quotes after a = it may have blanks, which quotes do not belong to. */
static bool word_next(struct slice *rest, struct slice *word, struct slice *name, bool *has_name)
{
    size_t at = 0, equals;
    while (rest->count > 0 && is_blank(rest->data[0])) {
        *rest = slice_skip(*rest, 1);
    }
    while (at < rest->count && !is_blank(rest->data[at]) && rest->data[at] != '"') {
        at++;
    }
    bool is_quoted = at < rest->count && rest->data[at] == '"';
    *word = slice_head(*rest, at);
    equals = slice_find(*word, '=');
    *has_name = equals < word->count;
    *name = *has_name ? slice_skip(*word, equals + 1) : slice_of(NULL, 0);
    *word = slice_head(*word, equals);
    *rest = slice_skip(*rest, at);
    if (!is_quoted) {
        return word->count > 0;
    }
    struct slice inside = slice_skip(*rest, 1);
    size_t end = slice_find(inside, '"');
    if (!*has_name || name->count > 0 || end == inside.count ||
        (end + 1 < inside.count && !is_blank(inside.data[end + 1]))) {
        return false;
    }
    *name = slice_head(inside, end);
    *rest = slice_skip(inside, end + 1);
    return word->count > 0;
}

static int word_find(const char *const *words, int count, struct slice word)
{
    for (int i = 0; i < count; i++) {
        if (slice_is(word, words[i])) {
            return i;
        }
    }
    return -1;
}

/* What was written, fit for a message. */
struct quoted {
    char text[48];
};

static const char *quote(struct slice text, struct quoted *out)
{
    size_t count = text.count < sizeof(out->text) - 4 ? text.count : sizeof(out->text) - 4;
    for (size_t i = 0; i < count; i++) {
        uint8_t c = text.data[i];
        out->text[i] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    strcpy(out->text + count, count < text.count ? "..." : "");
    return out->text;
}

enum { WHY_BYTES = 256 };

#define SAY(...) (snprintf(why, WHY_BYTES, __VA_ARGS__), ERR_INVALID)

static enum err name_check(const struct quota_rule *rule, char why[WHY_BYTES])
{
    struct network network;
    bool has_length = false;
    struct quoted quoted;
    if (rule->name.count == 0) {
        return SAY("no name after the =: write for instance %s=%s", scope_words[rule->scope],
                   rule->scope == QUOTA_ADDRESS    ? "192.0.2.7"
                   : rule->scope == QUOTA_PREFIX   ? "10.1.0.0/16"
                   : rule->scope == QUOTA_LISTENER ? "8883"
                                                   : "NAME, or leave the = away");
    }
    if (rule->scope != QUOTA_ADDRESS && rule->scope != QUOTA_PREFIX) {
        return OK;
    }
    if (rule->scope == QUOTA_ADDRESS && slice_is(rule->name, "unix")) {
        return OK;
    }
    if (network_parse(rule->name, &network, &has_length) != OK) {
        return SAY("\"%s\" is no address or network (its bits beyond the length have to be 0): "
                   "write for instance 192.0.2.7, 10.1.0.0/16 or 2001:db8::/32",
                   quote(rule->name, &quoted));
    }
    if (rule->scope == QUOTA_PREFIX && !has_length) {
        return SAY("\"%s\" is one address: write address=%s, or a network such as 10.1.0.0/16",
                   quote(rule->name, &quoted), quote(rule->name, &quoted));
    }
    return OK;
}

static enum err count_parse(struct slice word, enum quota_what what, uint64_t *out,
                            char why[WHY_BYTES])
{
    struct quoted quoted;
    enum err err = what == QUOTA_BYTES ? text_read_bytes(word, out) : text_read_u64(word, out);
    uint64_t count_max = quota_is_rate(what) ? COUNT_MAX : UINT32_MAX;
    if (err == OK && *out <= count_max) {
        return OK;
    }
    return SAY("\"%s\" is no count of %s: write a number such as %s, or 0 for no limit",
               quote(word, &quoted), what_words[what], what == QUOTA_BYTES ? "64K or 10M" : "500");
}

enum err quota_rule_parse(struct slice text, struct quota_rule *out, char why[256])
{
    struct quota_rule rule = {0};
    struct slice rest = text, word, name, none;
    struct quoted quoted;
    bool has_name, no_name;
    if (!word_next(&rest, &word, &name, &has_name)) {
        return SAY("whose limit is missing, or a quote is not closed: write for instance "
                   "address connections 1000");
    }
    int scope = word_find(scope_words, QUOTA_SCOPE_COUNT, word);
    if (scope < 0) {
        return SAY("\"%s\" is not known: write listener, address, prefix, user or client, then "
                   "=NAME for one of them",
                   quote(word, &quoted));
    }
    rule.scope = (enum quota_scope)scope;
    rule.name = name;
    if (has_name) {
        TRY(name_check(&rule, why));
    }
    bool has_what = word_next(&rest, &word, &none, &no_name) && !no_name;
    int what = has_what ? word_find(what_words, QUOTA_WHAT_COUNT, word) : -1;
    if (what < 0) {
        return SAY(
            "what is limited is missing or not known: write connections, connects, messages, "
            "bytes, subscriptions, inflight or retained, then a count");
    }
    rule.what = (enum quota_what)what;
    if (!word_next(&rest, &word, &none, &no_name) || no_name) {
        return SAY("the count is missing: write for instance %s %s %s", scope_words[scope],
                   what_words[what], what == QUOTA_BYTES ? "1M" : "500");
    }
    TRY(count_parse(word, rule.what, &rule.count, why));
    if (word_next(&rest, &word, &none, &no_name)) {
        if (!slice_is(word, "burst") || no_name || !word_next(&rest, &word, &none, &no_name)) {
            return SAY("\"%s\" after the count: write burst COUNT, or nothing",
                       quote(word, &quoted));
        }
        if (!quota_is_rate(rule.what)) {
            return SAY("%s are not counted by the second and have no burst: leave it away",
                       what_words[what]);
        }
        TRY(count_parse(word, rule.what, &rule.burst, why));
        if (rule.burst == 0) {
            return SAY("a burst of 0 lets nothing through: write 1 or more");
        }
    }
    if (word_next(&rest, &word, &none, &no_name) || rest.count > 0) {
        return SAY("there is more than a limit: write SCOPE[=NAME] WHAT COUNT [burst COUNT]");
    }
    *out = rule;
    return OK;
}

const char *quota_refusal(const struct quota_holder *holder)
{
#define ROW(scope)                                                                                \
    {                                                                                             \
        "limit " scope " connections", "limit " scope " connects", "limit " scope " messages",    \
            "limit " scope " bytes", "limit " scope " subscriptions", "limit " scope " inflight", \
            "limit " scope " retained"                                                            \
    }
    static const char *const texts[QUOTA_SLOT_COUNT][QUOTA_WHAT_COUNT] = {
        ROW("listener"), ROW("address"), ROW("prefix"), ROW("user"), ROW("client"), ROW("prefix")};
#undef ROW
    ASSERT(holder->refused_slot < QUOTA_SLOT_COUNT);
    ASSERT(holder->refused_what < QUOTA_WHAT_COUNT);
    return texts[holder->refused_slot][holder->refused_what];
}
