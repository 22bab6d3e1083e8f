#include "cluster/ca.h"
#include "cluster/link_tls.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { DAY_S = 24 * 3600 };

static X509 *parse(const struct buf *pem)
{
    BIO *bio = BIO_new_mem_buf(buf_bytes(pem).data, (int)buf_count(pem));
    X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(x509);
    return x509;
}

static enum err issue(const struct ca_pair *ca, struct ca_wish wish, int64_t now_s,
                      struct ca_pair *out, int64_t *until_s, struct tls_trouble *trouble)
{
    *out = (struct ca_pair){0};
    *trouble = (struct tls_trouble){""};
    return ca_issue(buf_bytes(&ca->certificate), buf_bytes(&ca->key), &wish, now_s, out, until_s,
                    trouble);
}

static void a_ca_knows_its_name_and_its_id_and_no_two_are_alike(void **state)
{
    struct ca_pair one = {0}, other = {0};
    struct ca_cluster first, second;
    struct tls_trouble trouble;
    uint8_t id[LINK_CLUSTER_BYTES];
    (void)state;
    assert_int_equal(ca_create("prod", time(NULL), &one), OK);
    assert_int_equal(ca_create("prod", time(NULL), &other), OK);
    assert_int_equal(ca_read(buf_bytes(&one.certificate), &first, &trouble), OK);
    assert_int_equal(ca_read(buf_bytes(&other.certificate), &second, &trouble), OK);
    assert_string_equal(first.name, "prod");
    assert_memory_not_equal(first.id, second.id, LINK_CLUSTER_BYTES);
    assert_int_equal(ca_id(buf_bytes(&one.certificate), id, &trouble), OK);
    assert_memory_equal(first.id, id, LINK_CLUSTER_BYTES);
    assert_int_equal(ca_read(buf_bytes(&one.key), &first, &trouble), ERR_INVALID);
    assert_non_null(strstr(trouble.text, "no certificate"));
    ca_wipe(&one);
    ca_wipe(&other);
    assert_null(one.key.data);
}

static void a_node_is_signed_for_both_ends_and_named(void **state)
{
    const char *const addresses[] = {"10.0.0.7", "::1", "node-a.example.org"};
    struct ca_pair ca = {0}, node;
    struct tls_trouble trouble;
    int64_t until_s = 0, now_s = time(NULL);
    (void)state;
    assert_int_equal(ca_create("prod", now_s, &ca), OK);
    struct ca_wish wish = {"node-a", addresses, 3, 30};
    assert_int_equal(issue(&ca, wish, now_s, &node, &until_s, &trouble), OK);
    assert_int_equal(until_s, now_s + 30 * DAY_S);
    X509 *leaf = parse(&node.certificate), *authority = parse(&ca.certificate);
    EVP_PKEY *key = X509_get_pubkey(authority);
    assert_int_equal(X509_verify(leaf, key), 1);
    EVP_PKEY_free(key);
    assert_int_equal(X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0), 1);
    assert_int_equal(X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0), 1);
    assert_int_equal(X509_check_ca(leaf), 0);
    assert_int_equal(X509_check_ca(authority), 1);
    assert_int_equal(X509_check_ip_asc(leaf, "10.0.0.7", 0), 1);
    assert_int_equal(X509_check_ip_asc(leaf, "::1", 0), 1);
    assert_int_equal(X509_check_host(leaf, "node-a.example.org", 18, 0, NULL), 1);
    assert_int_equal(X509_check_host(leaf, "node-b.example.org", 18, 0, NULL), 0);
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    const GENERAL_NAME *uri = sk_GENERAL_NAME_value(names, 0);
    assert_int_equal(uri->type, GEN_URI);
    assert_string_equal((const char *)ASN1_STRING_get0_data(uri->d.uniformResourceIdentifier),
                        "tern://prod/node-a");
    GENERAL_NAMES_free(names);
    X509_free(leaf);
    X509_free(authority);
    ca_wipe(&ca);
    ca_wipe(&node);
}

static void a_node_does_not_outlive_its_ca(void **state)
{
    struct ca_pair ca = {0}, node;
    struct tls_trouble trouble;
    int64_t until_s = 0, now_s = time(NULL), born_s = now_s - (CA_DAYS_MAX - 10) * (int64_t)DAY_S;
    struct ca_wish wish = {"a", NULL, 0, 30};
    (void)state;
    assert_int_equal(ca_create("prod", born_s, &ca), OK);
    assert_int_equal(issue(&ca, wish, now_s, &node, &until_s, &trouble), OK);
    assert_int_equal(until_s, now_s + 10 * DAY_S);
    ca_wipe(&node);
    assert_int_equal(issue(&ca, wish, now_s + 11 * DAY_S, &node, &until_s, &trouble), ERR_INVALID);
    assert_non_null(strstr(trouble.text, "expired"));
    ca_wipe(&node);
    ca_wipe(&ca);
}

static void what_does_not_fit_is_refused_in_words(void **state)
{
    const char *const wrong[] = {"10.0.0.7:1883"}, *const link[] = {"http://a"};
    struct ca_pair ca = {0}, other = {0}, node, mixed;
    struct tls_trouble trouble;
    int64_t until_s, now_s = time(NULL);
    struct ca_wish plain = {"a", NULL, 0, 30};
    (void)state;
    assert_int_equal(ca_create("prod", now_s, &ca), OK);
    assert_int_equal(ca_create("prod", now_s, &other), OK);
    assert_int_equal(issue(&ca, (struct ca_wish){"a", wrong, 1, 30}, now_s, &node, &until_s,
                           &trouble),
                     ERR_INVALID);
    assert_non_null(strstr(trouble.text, "without a port"));
    assert_int_equal(issue(&ca, (struct ca_wish){"a", link, 1, 30}, now_s, &node, &until_s,
                           &trouble),
                     ERR_INVALID);
    mixed = (struct ca_pair){ca.certificate, other.key};
    assert_int_equal(issue(&mixed, plain, now_s, &node, &until_s, &trouble), ERR_INVALID);
    assert_non_null(strstr(trouble.text, "not that of its certificate"));
    mixed = (struct ca_pair){ca.certificate, ca.certificate};
    assert_int_equal(issue(&mixed, plain, now_s, &node, &until_s, &trouble), ERR_INVALID);
    struct ca_pair signed_by_it;
    assert_int_equal(issue(&ca, plain, now_s, &signed_by_it, &until_s, &trouble), OK);
    assert_int_equal(issue(&signed_by_it, plain, now_s, &node, &until_s, &trouble), ERR_INVALID);
    assert_non_null(strstr(trouble.text, "none of a CA"));
    ca_wipe(&signed_by_it);
    ca_wipe(&ca);
    ca_wipe(&other);
}

static void names_are_plain(void **state)
{
    const char *const good[] = {"a", "node-1.eu_west", "7"};
    const char *const bad[] = {"", ".a", "-a", "a/b", "a b", "\xc3\xb6", "a\n"};
    struct slice cluster, node;
    char longest[LINK_NAME_MAX + 2];
    (void)state;
    for (uint32_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(link_name_is_valid(slice_text(good[i])));
    }
    for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(link_name_is_valid(slice_text(bad[i])));
    }
    memset(longest, 'a', sizeof(longest));
    assert_true(link_name_is_valid(slice_of(longest, LINK_NAME_MAX)));
    assert_false(link_name_is_valid(slice_of(longest, LINK_NAME_MAX + 1)));
    assert_int_equal(link_uri_read("tern://prod/a", &cluster, &node), OK);
    assert_true(slice_is(cluster, "prod") && slice_is(node, "a"));
    assert_int_equal(link_uri_read("tern://prod", &cluster, &node), ERR_INVALID);
    assert_int_equal(link_uri_read("tern://prod/", &cluster, &node), ERR_INVALID);
    assert_int_equal(link_uri_read("tern://prod/a/b", &cluster, &node), ERR_INVALID);
    assert_int_equal(link_uri_read("http://prod/a", &cluster, &node), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ca_knows_its_name_and_its_id_and_no_two_are_alike),
        cmocka_unit_test(a_node_is_signed_for_both_ends_and_named),
        cmocka_unit_test(a_node_does_not_outlive_its_ca),
        cmocka_unit_test(what_does_not_fit_is_refused_in_words),
        cmocka_unit_test(names_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
