#include "core/access/quota.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S          UINT64_C(1000000000)
#define START_NS   (1000 * S)
#define RULES(...) rules_set(quota, (const char *const[]){__VA_ARGS__, NULL})

static struct quota_rule rule_of(const char *text)
{
    struct quota_rule rule;
    char why[256] = "";
    if (quota_rule_parse(slice_text(text), &rule, why) != OK) {
        fail_msg("%s: %s", text, why);
    }
    return rule;
}

static bool rules_set(struct quota *quota, const char *const *texts)
{
    struct quota_rule rules[16];
    uint32_t count = 0;
    bool changed = false;
    for (; texts[count] != NULL; count++) {
        rules[count] = rule_of(texts[count]);
    }
    assert_int_equal(quota_set_rules(quota, rules, count, &changed), OK);
    return changed;
}

/* "10.1.2.3" */
static struct quota_who from(const char *address, uint8_t ip[16])
{
    struct quota_who who = {.listener = slice_text("1883 127.0.0.1"), .ip = ip, .ip_bytes = 4};
    unsigned a = 0, b = 0, c = 0, d = 0;
    assert_int_equal(sscanf(address, "%u.%u.%u.%u", &a, &b, &c, &d), 4);
    ip[0] = (uint8_t)a;
    ip[1] = (uint8_t)b;
    ip[2] = (uint8_t)c;
    ip[3] = (uint8_t)d;
    return who;
}

static enum err admit(struct quota *quota, const char *address, uint64_t now_ns,
                      struct quota_holder *holder)
{
    uint8_t ip[16];
    struct quota_who who = from(address, ip);
    *holder = (struct quota_holder){0};
    return quota_admit(quota, &who, now_ns, holder);
}

static struct quota_who client(const char *user, const char *client_id)
{
    return (struct quota_who){.is_identified = true,
                              .has_user = user != NULL,
                              .username = slice_text(user != NULL ? user : ""),
                              .client_id = slice_text(client_id)};
}

/* ---- reading ------------------------------------------------------------------------------- */

static void assert_refused(const char *text, const char *reason)
{
    struct quota_rule rule;
    char why[256] = "";
    assert_int_equal(quota_rule_parse(slice_text(text), &rule, why), ERR_INVALID);
    if (strstr(why, reason) == NULL || strchr(why, ':') == NULL) {
        fail_msg("%s: said \"%s\", wanted \"%s\"", text, why, reason);
    }
}

static void rules_are_read(void **state)
{
    (void)state;
    struct quota_rule rule = rule_of("address connections 1000");
    assert_int_equal(rule.scope, QUOTA_ADDRESS);
    assert_int_equal(rule.what, QUOTA_CONNECTIONS);
    assert_int_equal(rule.name.count, 0);
    assert_int_equal(rule.count, 1000);
    assert_int_equal(rule.burst, 0);
    rule = rule_of("  user=alice \t messages 500  burst 2000");
    assert_int_equal(rule.scope, QUOTA_USER);
    assert_int_equal(rule.what, QUOTA_MESSAGES);
    assert_true(slice_is(rule.name, "alice"));
    assert_int_equal(rule.count, 500);
    assert_int_equal(rule.burst, 2000);
    rule = rule_of("client=\"a b=c\" bytes 10M burst 64K");
    assert_true(slice_is(rule.name, "a b=c"));
    assert_int_equal(rule.count, 10 * 1024 * 1024);
    assert_int_equal(rule.burst, 64 * 1024);
    rule = rule_of("prefix=2001:db8::/32 connects 5");
    assert_true(slice_is(rule.name, "2001:db8::/32"));
    rule_of("address=10.0.0.0/8 connections 5");
    rule_of("address=unix inflight 7");
    rule_of("listener=8883 subscriptions 7");
    rule_of("listener=\"8883 0.0.0.0\" retained 7");
}

static void a_wrong_rule_is_told_with_its_reason(void **state)
{
    (void)state;
    assert_refused("", "missing");
    assert_refused("   ", "missing");
    assert_refused("everybody connects 5", "\"everybody\" is not known");
    assert_refused("address", "what is limited is missing");
    assert_refused("address speed 5", "what is limited is missing or not known");
    assert_refused("address connects", "count is missing");
    assert_refused("address connects many", "\"many\" is no count");
    assert_refused("address connects -1", "no count");
    assert_refused("address connects 10M", "no count");
    assert_refused("address connections 4294967296", "no count");
    assert_refused("address bytes 99999999999999999999", "no count");
    assert_refused("address bytes 1X", "no count of bytes");
    assert_refused("address connects 5 burst", "write burst COUNT");
    assert_refused("address connects 5 burst 0", "lets nothing through");
    assert_refused("address connects 5 bust 9", "after the count");
    assert_refused("address connections 5 burst 9", "have no burst");
    assert_refused("address connects 5 burst 9 please", "more than a limit");
    assert_refused("address= connects 5", "no name");
    assert_refused("user=\"\" connects 5", "no name");
    assert_refused("address=10.1.2.3.4 connects 5", "no address or network");
    assert_refused("address=10.1.2.3/16 connects 5", "bits beyond");
    assert_refused("prefix=10.1.0.0/33 connects 5", "no address or network");
    assert_refused("prefix=10.1.0.0 connects 5", "is one address");
    assert_refused("user=\"a connects 5", "quote is not closed");
    assert_refused("user=\"a\"b connects 5", "quote is not closed");
    assert_refused("address=10.0.0.\x01 connects 5", "10.0.0.?");
}

/* ---- connections --------------------------------------------------------------------------- */

static void connections_are_counted_and_given_back(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder a, b, c, d;
    (void)state;
    assert_true(RULES("address connections 2"));
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &a), OK);
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &b), OK);
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &c), ERR_QUOTA);
    assert_string_equal(quota_refusal(&c), "limit address connections");
    assert_false(c.is_counted);
    assert_int_equal(admit(quota, "10.0.0.2", START_NS, &d), OK);
    quota_leave(&a);
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &c), OK);
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &a), ERR_QUOTA);
    quota_leave(&a); /* an empty one: nothing */
    quota_leave(&b);
    quota_leave(&c);
    quota_leave(&d);
    quota_free(quota);
}

static void each_scope_counts_by_its_own_name(void **state)
{
    static const struct {
        const char *rule, *refusal;
        int same[5]; /* which of the connections below count with the first one */
    } rows[] = {
        {"listener connections 1", "limit listener connections", {1, 1, 1, 1, 1}},
        {"listener=1883 connections 1", "limit listener connections", {1, 1, 1, 1, 1}},
        {"address connections 1", "limit address connections", {1, 1, 0, 0, 0}},
        {"prefix connections 1", "limit prefix connections", {1, 1, 1, 0, 0}},
        {"prefix=10.0.0.0/16 connections 1", "limit prefix connections", {1, 1, 1, 1, 0}},
        {"user connections 1", "limit user connections", {1, 0, 1, 0, 1}},
        {"client connections 1", "limit client connections", {1, 0, 0, 1, 0}},
    };
    static const char *const who[5][3] = {
        {"10.0.0.1", "alice", "a"}, {"10.0.0.1", "bob", "b"},   {"10.0.0.2", "alice", "c"},
        {"10.0.1.1", NULL, "a"},    {"10.1.0.1", "alice", "e"},
    };
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct quota *quota = quota_new(1, 1000);
        struct quota_holder first, other;
        RULES(rows[row].rule);
        struct quota_who first_who = client("alice", "a");
        assert_int_equal(admit(quota, "10.0.0.1", START_NS, &first), OK);
        assert_int_equal(quota_identify(quota, &first_who, START_NS, &first), OK);
        for (int i = 1; i < 5; i++) {
            struct quota_who other_who = client(who[i][1], who[i][2]);
            enum err err = admit(quota, who[i][0], START_NS, &other);
            if (err == OK) {
                err = quota_identify(quota, &other_who, START_NS, &other);
            }
            if ((err != OK) != rows[row].same[i]) {
                fail_msg("%s: connection %d: %s", rows[row].rule, i, err_name(err));
            }
            if (err != OK) {
                assert_string_equal(quota_refusal(&other), rows[row].refusal);
            }
            quota_leave(&other);
        }
        quota_leave(&first);
        quota_free(quota);
    }
}

static void a_refusal_counts_nowhere(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder a, b;
    struct quota_who alice = client("alice", "a");
    (void)state;
    RULES("address connects 100 burst 2", "prefix connections 1", "client connections 0",
          "user=alice connects 1 burst 1");
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &a), OK);
    for (int i = 0; i < 10; i++) { /* the address would be over its rate, had these counted */
        assert_int_equal(admit(quota, "10.0.0.1", START_NS, &b), ERR_QUOTA);
    }
    assert_int_equal(quota_identify(quota, &alice, START_NS, &a), OK);
    quota_leave(&a);
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &a), OK);
    assert_int_equal(quota_identify(quota, &alice, START_NS, &a), ERR_CONNECT_RATE);
    assert_string_equal(quota_refusal(&a), "limit user connects");
    assert_true(a.is_counted); /* at the address still */
    assert_int_equal(admit(quota, "10.0.0.2", START_NS, &b), ERR_QUOTA);
    quota_leave(&a);
    RULES("address connections 1", "address connects 200 burst 2");
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &a), OK);
    for (int i = 0; i < 10; i++) { /* one account, two limits: the second one refuses */
        assert_int_equal(admit(quota, "10.0.0.1", START_NS, &b), ERR_QUOTA);
    }
    quota_leave(&a);
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &a), OK);
    quota_leave(&a);
    quota_free(quota);
}

static void connects_have_a_burst_and_then_a_rate(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder holder;
    uint32_t count = 0;
    (void)state;
    RULES("address connects 10 burst 30");
    for (int i = 0; i < 100; i++) {
        count += admit(quota, "10.0.0.1", START_NS, &holder) == OK;
        quota_leave(&holder);
    }
    assert_int_equal(count, 30);
    for (uint64_t now = START_NS; now <= START_NS + 10 * S; now += S / 100) {
        count += admit(quota, "10.0.0.1", now, &holder) == OK;
        quota_leave(&holder);
    }
    assert_in_range(count, 129, 130);
    quota_free(quota);
}

/* A second has no third of nanoseconds: what is rounded may not cost anybody a connect. */
static void the_burst_is_let_in_whole_at_every_rate(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    (void)state;
    for (uint32_t rate = 1; rate <= 64; rate++) {
        for (uint32_t burst = 1; burst <= 64; burst += 9) {
            struct quota_holder holder;
            char text[64];
            uint32_t count = 0;
            snprintf(text, sizeof(text), "address connects %u burst %u", rate, burst);
            RULES(text);
            for (uint32_t i = 0; i < 100; i++) {
                count += admit(quota, "10.0.0.1", START_NS, &holder) == OK;
                quota_leave(&holder);
            }
            assert_int_equal(count, burst);
        }
    }
    quota_free(quota);
}

/* ---- names --------------------------------------------------------------------------------- */

static void a_name_beats_the_general_limit(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder holders[8];
    (void)state;
    RULES("address connections 1", "address=10.0.0.0/24 connections 2",
          "address=10.0.0.7 connections 3", "address=10.0.0.8 connections 0");
    static const struct {
        const char *address;
        uint32_t count;
    } rows[] = {{"10.0.1.1", 1}, {"10.0.0.1", 2}, {"10.0.0.7", 3}, {"10.0.0.8", 8}};
    for (size_t row = 0; row < 4; row++) {
        uint32_t count = 0;
        while (count < 8 && admit(quota, rows[row].address, START_NS, &holders[count]) == OK) {
            count++;
        }
        assert_int_equal(count, rows[row].count);
        while (count > 0) {
            quota_leave(&holders[--count]);
        }
    }
    quota_free(quota);
}

static void a_written_network_counts_as_a_whole_and_apart(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder holders[8];
    uint32_t count = 0;
    char address[64];
    (void)state;
    RULES("prefix connections 2", "prefix=10.1.0.0/16 connections 5");
    for (int i = 0; i < 6; i++) { /* all in one /24, which has no limit of its own then */
        snprintf(address, sizeof(address), "10.1.1.%d", i);
        count += admit(quota, address, START_NS, &holders[count]) == OK;
    }
    assert_int_equal(count, 5);
    assert_int_equal(admit(quota, "10.1.2.1", START_NS, &holders[5]), ERR_QUOTA);
    assert_int_equal(admit(quota, "10.2.0.1", START_NS, &holders[5]), OK);
    assert_int_equal(admit(quota, "10.2.0.2", START_NS, &holders[6]), OK);
    assert_int_equal(admit(quota, "10.2.0.3", START_NS, &holders[7]), ERR_QUOTA);
    for (int i = 0; i < 7; i++) {
        quota_leave(&holders[i]);
    }
    quota_free(quota);
}

static void addresses_of_ipv6_have_a_prefix_of_64_and_mapped_ones_are_ipv4(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder a, b = {0}, c = {0}, d = {0};
    uint8_t first[16] = {0x20, 1, 0xd, 0xb8, [7] = 1, [15] = 1};
    uint8_t second[16] = {0x20, 1, 0xd, 0xb8, [7] = 1, [15] = 2};
    uint8_t third[16] = {0x20, 1, 0xd, 0xb8, [7] = 2, [15] = 1};
    uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 0, 0, 1};
    struct quota_who who = {.ip = first, .ip_bytes = 16};
    (void)state;
    RULES("prefix connections 1");
    struct quota_holder v6 = {0};
    assert_int_equal(quota_admit(quota, &who, START_NS, &v6), OK);
    who.ip = second;
    assert_int_equal(quota_admit(quota, &who, START_NS, &b), ERR_QUOTA);
    who.ip = third;
    assert_int_equal(quota_admit(quota, &who, START_NS, &c), OK);
    assert_int_equal(admit(quota, "10.0.0.9", START_NS, &a), OK);
    who.ip = mapped;
    assert_int_equal(quota_admit(quota, &who, START_NS, &d), ERR_QUOTA);
    quota_leave(&v6);
    quota_leave(&c);
    quota_leave(&a);
    quota_free(quota);
}

static void unlimited(struct quota *quota, const struct quota_who *who, bool is_unlimited)
{
    uint32_t count = 0;
    for (int i = 0; i < 20000; i++) {
        struct quota_holder holder = {0};
        count += quota_admit(quota, who, START_NS, &holder) == OK;
        quota_leave(&holder);
    }
    assert_int_equal(count, is_unlimited ? 20000 : 10000);
}

static void loopback_unix_sockets_and_proxies_are_exempt_from_the_defaults(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    uint8_t ip[16], loopback6[16] = {[15] = 1};
    struct quota_who other = from("203.0.113.7", ip);
    (void)state;
    unlimited(quota, &other, false);
    other.is_proxy = true;
    unlimited(quota, &other, true);
    struct quota_who local = from("127.0.0.1", ip);
    unlimited(quota, &local, true);
    local = (struct quota_who){.ip = loopback6, .ip_bytes = 16};
    unlimited(quota, &local, true);
    struct quota_who local_unix = {.ip_bytes = 0};
    unlimited(quota, &local_unix, true);
    assert_true(quota_account_count(quota) <= 2); /* of the address that is not exempt */
    RULES("address connections 0");
    unlimited(quota, &other, true); /* still a proxy */
    assert_true(RULES("address connects 1 burst 10000"));
    unlimited(quota, &local, false);
    unlimited(quota, &local_unix, false);
    quota_free(quota);
}

/* ---- messages and bytes -------------------------------------------------------------------- */

/* Take as soon as it is allowed, for that long: how many that makes. */
static uint64_t pump(struct quota_holder *holder, uint64_t messages, uint64_t bytes,
                     uint64_t start_ns, uint64_t duration_ns)
{
    uint64_t now = start_ns, count = 0;
    while (now < start_ns + duration_ns) {
        uint64_t until = quota_charge(holder, messages, bytes, now);
        count++;
        assert_true(until == 0 || until > now);
        now = until > now ? until : now + S / 1000000;
    }
    return count;
}

static void messages_and_bytes_are_slowed_to_their_rate(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder holder;
    struct quota_who alice = client("alice", "a");
    (void)state;
    RULES("client messages 100 burst 50", "address bytes 1M burst 10K");
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &holder), OK);
    assert_int_equal(quota_identify(quota, &alice, START_NS, &holder), OK);
    assert_true(quota_concerns(&holder, QUOTA_MESSAGES));
    assert_true(quota_concerns(&holder, QUOTA_BYTES));
    assert_false(quota_concerns(&holder, QUOTA_INFLIGHT));
    assert_in_range(pump(&holder, 1, 10, START_NS, 10 * S), 1049, 1052);
    quota_leave(&holder);
    RULES("client messages 0", "address bytes 1M burst 10K");
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &holder), OK);
    assert_in_range(pump(&holder, 1, 4096, START_NS + 20 * S, 10 * S), 2560, 2564);
    quota_leave(&holder);
    quota_free(quota);
}

/* One packet may be larger than the burst: it passes, and is paid for afterwards. */
static void who_took_too_much_at_once_waits_longer(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder holder, next;
    (void)state;
    RULES("address bytes 1000 burst 2000");
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &holder), OK);
    assert_int_equal(quota_charge(&holder, 1, 2000, START_NS), 0);
    assert_int_equal(quota_charge(&holder, 1, 10000, START_NS), START_NS + 10 * S);
    assert_int_equal(quota_charge(&holder, 1, 0, START_NS + 9 * S), START_NS + 10 * S);
    assert_int_equal(quota_charge(&holder, 1, 0, START_NS + 10 * S), 0);
    quota_leave(&holder); /* who comes again has the same debt */
    assert_int_equal(admit(quota, "10.0.0.1", START_NS + 5 * S, &next), OK);
    assert_int_equal(quota_charge(&next, 1, 0, START_NS + 5 * S), START_NS + 10 * S);
    assert_true(quota_charge(&next, 1, UINT64_MAX, START_NS) > START_NS);
    quota_leave(&next);
    quota_free(quota);
}

/* ---- what is held -------------------------------------------------------------------------- */

static void what_is_taken_is_bounded_and_comes_back(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder a, b, session;
    struct quota_who alice = client("alice", "a"), also = client("alice", "b");
    (void)state;
    RULES("user subscriptions 10", "client subscriptions 7");
    admit(quota, "10.0.0.1", START_NS, &a);
    admit(quota, "10.0.0.2", START_NS, &b);
    assert_int_equal(quota_identify(quota, &alice, START_NS, &a), OK);
    assert_int_equal(quota_identify(quota, &also, START_NS, &b), OK);
    assert_int_equal(quota_take(&a, QUOTA_SUBSCRIPTIONS, 7), OK);
    assert_int_equal(quota_take(&a, QUOTA_SUBSCRIPTIONS, 1), ERR_QUOTA);
    assert_string_equal(quota_refusal(&a), "limit client subscriptions");
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 4), ERR_QUOTA);
    assert_string_equal(quota_refusal(&b), "limit user subscriptions");
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 3), OK);
    quota_give(&a, QUOTA_SUBSCRIPTIONS, 2);
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 2), OK);
    quota_give(&b, QUOTA_SUBSCRIPTIONS, 100); /* never more than it has */
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 6), ERR_QUOTA);
    /* A session keeps its part when the connection goes. */
    quota_share(&a, &session);
    quota_settle(&session, QUOTA_SUBSCRIPTIONS, a.taken[QUOTA_SUBSCRIPTIONS]);
    quota_leave(&a);
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 6), ERR_QUOTA);
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 5), OK);
    quota_leave(&session);
    assert_int_equal(quota_take(&b, QUOTA_SUBSCRIPTIONS, 2), OK);
    quota_leave(&b);
    quota_free(quota);
}

/* ---- changes ------------------------------------------------------------------------------- */

static void new_rules_reach_who_is_there(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder old, other;
    uint8_t ip[16];
    struct quota_who who = from("10.0.0.1", ip);
    (void)state;
    who.is_identified = who.has_user = true;
    who.username = slice_text("alice");
    who.client_id = slice_text("a");
    assert_true(RULES("client messages 1"));
    assert_false(RULES("client messages 1"));
    assert_int_equal(admit(quota, "10.0.0.1", START_NS, &old), OK);
    assert_int_equal(quota_identify(quota, &who, START_NS, &old), OK);
    assert_true(quota_charge(&old, 100, 0, START_NS) > START_NS);
    assert_true(RULES("client messages 1000", "user connections 1", "user retained 2"));
    assert_int_equal(quota_charge(&old, 100, 0, START_NS), 0); /* at once, as its account has it */
    assert_false(quota_concerns(&old, QUOTA_RETAINED));
    assert_int_equal(quota_renew(quota, &who, START_NS, &old), OK);
    assert_true(quota_concerns(&old, QUOTA_RETAINED));
    quota_settle(&old, QUOTA_RETAINED, 5); /* more than is allowed: they were there before */
    assert_int_equal(quota_take(&old, QUOTA_RETAINED, 1), ERR_QUOTA);
    assert_int_equal(admit(quota, "10.0.0.2", START_NS, &other), OK);
    assert_int_equal(quota_identify(quota, &who, START_NS, &other), ERR_QUOTA);
    quota_leave(&other);
    assert_true(rules_set(quota, (const char *const[]){NULL}));
    assert_int_equal(quota_renew(quota, &who, START_NS, &old), OK);
    assert_int_equal(old.concerns & ~(1u << QUOTA_CONNECTS), 0);
    quota_leave(&old);
    quota_free(quota);
}

/* ---- bounds -------------------------------------------------------------------------------- */

static void accounts_go_when_nobody_needs_them(void **state)
{
    struct quota *quota = quota_new(1, 1 << 20);
    struct quota_holder holder, kept;
    char address[64];
    (void)state;
    RULES("address connects 10 burst 100", "prefix connects 0");
    assert_int_equal(admit(quota, "9.9.9.9", START_NS, &kept), OK);
    for (int i = 0; i < 100000; i++) {
        snprintf(address, sizeof(address), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        assert_int_equal(admit(quota, address, START_NS + (uint64_t)i * S / 1000, &holder), OK);
        quota_leave(&holder);
    }
    /* One is wanted each millisecond and full again after a hundred. */
    assert_in_range(quota_account_count(quota), 2, 1000);
    quota_leave(&kept);
    quota_free(quota);
}

static void beyond_the_last_account_names_count_together(void **state)
{
    struct quota *quota = quota_new(1, 10);
    struct quota_holder holders[32];
    uint32_t count = 0;
    char address[64];
    (void)state;
    RULES("address connections 3", "address connects 0", "prefix connects 0");
    for (int i = 0; i < 20; i++) {
        snprintf(address, sizeof(address), "10.0.0.%d", i);
        count += admit(quota, address, START_NS, &holders[count]) == OK;
    }
    assert_int_equal(count, 13);
    assert_int_equal(quota_account_count(quota), 10);
    while (count > 0) {
        quota_leave(&holders[--count]);
    }
    quota_free(quota);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *come_and_go(void *context)
{
    struct quota *quota = context;
    for (int i = 0; i < ROUNDS; i++) {
        struct quota_holder holder;
        struct quota_who who = client("alice", i % 2 ? "a" : "b");
        if (admit(quota, i % 3 ? "10.0.0.1" : "10.0.0.2", START_NS + (uint64_t)i, &holder) != OK) {
            continue;
        }
        if (quota_identify(quota, &who, START_NS + (uint64_t)i, &holder) == OK) {
            quota_charge(&holder, 1, 100, START_NS + (uint64_t)i);
            quota_take(&holder, QUOTA_RETAINED, 1);
        }
        quota_leave(&holder);
    }
    return NULL;
}

static void shards_share_it(void **state)
{
    struct quota *quota = quota_new(1, 1000);
    struct quota_holder holders[8];
    pthread_t threads[THREADS];
    uint32_t count = 0;
    (void)state;
    RULES("address connections 3", "address connects 0", "prefix connects 0",
          "client messages 1000000", "user bytes 1G", "client retained 2");
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, quota), 0);
    }
    for (int i = 0; i < 20; i++) {
        RULES("address connections 3", "address connects 0", "prefix connects 0",
              i % 2 ? "client messages 1" : "user bytes 5", "client retained 2");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    while (count < 8 && admit(quota, "10.0.0.1", START_NS, &holders[count]) == OK) {
        count++;
    }
    assert_int_equal(count, 3); /* nothing was lost, nothing is left */
    while (count > 0) {
        quota_leave(&holders[--count]);
    }
    quota_free(quota);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_read),
        cmocka_unit_test(a_wrong_rule_is_told_with_its_reason),
        cmocka_unit_test(connections_are_counted_and_given_back),
        cmocka_unit_test(each_scope_counts_by_its_own_name),
        cmocka_unit_test(a_refusal_counts_nowhere),
        cmocka_unit_test(connects_have_a_burst_and_then_a_rate),
        cmocka_unit_test(the_burst_is_let_in_whole_at_every_rate),
        cmocka_unit_test(a_name_beats_the_general_limit),
        cmocka_unit_test(a_written_network_counts_as_a_whole_and_apart),
        cmocka_unit_test(addresses_of_ipv6_have_a_prefix_of_64_and_mapped_ones_are_ipv4),
        cmocka_unit_test(loopback_unix_sockets_and_proxies_are_exempt_from_the_defaults),
        cmocka_unit_test(messages_and_bytes_are_slowed_to_their_rate),
        cmocka_unit_test(who_took_too_much_at_once_waits_longer),
        cmocka_unit_test(what_is_taken_is_bounded_and_comes_back),
        cmocka_unit_test(new_rules_reach_who_is_there),
        cmocka_unit_test(accounts_go_when_nobody_needs_them),
        cmocka_unit_test(beyond_the_last_account_names_count_together),
        cmocka_unit_test(shards_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
