#include "core/base/log.h"
#include "tests/lib/link_certs.h"
#include "tests/lib/link_pair.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <sys/mman.h>

/*
 * Nodes with certificates: who is of the cluster is let in, and everybody else is refused, on both
 * sides: where it connects to us, and where we connect to it.
 */

/* Its CA revokes that node: FILE. */
static void list_write(const struct ca_pair *ca, const char *file, const char *node)
{
    char path[CERTS_PATH];
    snprintf(path, sizeof(path), "%s.pem", node);
    FILE *in = fopen(certs_path(path), "re");
    X509 *leaf = PEM_read_X509(in, NULL, NULL, NULL);
    fclose(in);
    BIO *bio = BIO_new_mem_buf(buf_bytes(&ca->certificate).data, (int)buf_count(&ca->certificate));
    X509 *authority = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(buf_bytes(&ca->key).data, (int)buf_count(&ca->key));
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    X509_CRL *list = X509_CRL_new();
    X509_REVOKED *row = X509_REVOKED_new();
    ASN1_TIME *from = ASN1_TIME_set(NULL, time(NULL) - 60);
    ASN1_TIME *until = ASN1_TIME_set(NULL, time(NULL) + CERTS_DAY_S);
    assert_true(leaf != NULL && authority != NULL && key != NULL && list != NULL && row != NULL);
    X509_CRL_set_version(list, 1);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(authority));
    X509_CRL_set1_lastUpdate(list, from);
    X509_CRL_set1_nextUpdate(list, until);
    X509_REVOKED_set_serialNumber(row, X509_get_serialNumber(leaf));
    X509_REVOKED_set_revocationDate(row, from);
    assert_int_equal(X509_CRL_add0_revoked(list, row), 1);
    X509_CRL_sort(list);
    assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
    bio = BIO_new(BIO_s_mem());
    const uint8_t *bytes;
    size_t count;
    assert_int_equal(PEM_write_bio_X509_CRL(bio, list), 1);
    assert_int_equal(BIO_mem_contents(bio, &bytes, &count), 1);
    certs_write(file, slice_of(bytes, count));
    BIO_free(bio);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    X509_CRL_free(list);
    EVP_PKEY_free(key);
    X509_free(authority);
    X509_free(leaf);
}

/* Both CAs in one file: a cluster whose CA is about to be replaced, or that two clusters share. */
static void join_files(const struct ca_pair *one, const struct ca_pair *other)
{
    struct buf both = {0};
    assert_int_equal(buf_append(&both, buf_bytes(&one->certificate)), OK);
    assert_int_equal(buf_append(&both, buf_bytes(&other->certificate)), OK);
    certs_write("both.ca.pem", buf_bytes(&both));
    buf_deinit(&both);
}

static struct ca_pair authority, stranger, neighbour;

static int files_make(void **state)
{
    (void)state;
    certs_authority("test", "test", &authority);
    certs_authority("stranger", "test", &stranger);
    certs_authority("neighbour", "elsewhere", &neighbour);
    join_files(&authority, &neighbour);
    certs_node(&authority, "a", "a", 0);
    certs_node(&authority, "b", "b", 0);
    certs_node(&authority, "c", "c", 0);
    certs_node(&authority, "expired", "a", 10);
    certs_node(&authority, "revoked", "a", 0);
    certs_node(&stranger, "rogue", "a", 0);
    certs_node(&neighbour, "foreign", "a", 0);
    list_write(&authority, "crl.pem", "revoked");
    return 0;
}

static int files_remove(void **state)
{
    (void)state;
    ca_wipe(&authority);
    ca_wipe(&stranger);
    ca_wipe(&neighbour);
    certs_remove();
    return 0;
}

static struct peers_config config_with(uint32_t index, const struct link_tls *tls)
{
    struct peers_config config = pair_config(index);
    config.link.client = tls->client;
    config.link.server = tls->server;
    return config;
}

static void pair_of_two(struct pair *pair, const struct link_tls *a_tls,
                        const struct link_tls *b_tls)
{
    struct peers_config a = config_with(0, a_tls), b = config_with(1, b_tls);
    pair_init(pair);
    pair_node_start(pair, 0, &a);
    pair_node_start(pair, 1, &b);
    pair_meet(pair, 0, 1);
}

static void nodes_of_one_cluster_meet_and_messages_come_in_order(void **state)
{
    enum { COUNT = 500 };
    struct link_tls a, b;
    struct pair pair;
    (void)state;
    certs_open("test", "a", "crl.pem", 0, &a);
    certs_open("test", "b", NULL, 0, &b);
    assert_string_equal(a.cluster_name, "test");
    assert_string_equal(a.node_name, "a");
    assert_memory_equal(a.cluster_id, b.cluster_id, LINK_CLUSTER_BYTES);
    pair_of_two(&pair, &a, &b);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1 && pair.nodes[1].up_count == 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, 4 + i * 37 % 5000), OK);
        assert_int_equal(pair_send(&pair, 1, 0, LINK_KIND_CONSENSUS, i, 200), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[0].told_count == COUNT && pair.nodes[1].told_count == COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(pair.nodes[0].told[i].number, i);
        assert_int_equal(pair.nodes[1].told[i].number, i);
        assert_int_equal(pair.nodes[1].told[i].body_bytes, 4 + i * 37 % 5000);
    }
    pair_deinit(&pair);
    link_tls_free(&a);
    link_tls_free(&b);
}

/* Node 1 is not what it should be; why: as node 2 counts it. */
static const struct bad_row {
    const char *what, *ca, *file;
    int64_t days_ago; /* its clock is so wrong, or it would not start */
    const char *our_ca, *our_crl;
    enum link_reason why;
} bad_rows[] = {
    {"of another CA that has the same name", "stranger", "rogue", 0, "test", NULL, LINK_REASON_TLS},
    {"of another CA, and trusts ours", "test", "rogue", 0, "test", NULL, LINK_REASON_TLS},
    {"expired", "test", "expired", 10, "test", NULL, LINK_REASON_TLS},
    {"revoked", "test", "revoked", 0, "test", "crl.pem", LINK_REASON_TLS},
    {"of another cluster, by a CA that is trusted", "both", "foreign", 0, "both", NULL,
     LINK_REASON_CLUSTER},
    {"of another node", "test", "c", 0, "test", NULL, LINK_REASON_NAME},
};

static void who_is_not_of_the_cluster_is_refused_on_both_sides(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof(bad_rows) / sizeof(bad_rows[0]); i++) {
        const struct bad_row *row = &bad_rows[i];
        struct link_tls bad, good;
        struct pair pair;
        certs_open(row->ca, row->file, NULL, row->days_ago, &bad);
        certs_open(row->our_ca, "b", row->our_crl, 0, &good);
        pair_of_two(&pair, &bad, &good);
        struct metrics *ours = pair.nodes[1].metrics, *theirs = pair.nodes[0].metrics;
        /* Twice: it came to us, and we came to it. Each tries again, so more is likely. */
        PAIR_UNTIL(&pair, metric_label_value(ours, METRIC_links_refused, row->why) >= 2 &&
                              metric_value(theirs, METRIC_links_refused) >= 2);
        assert_int_equal(metric_value(ours, METRIC_links_refused),
                         metric_label_value(ours, METRIC_links_refused, row->why));
        assert_int_equal(pair.nodes[0].up_count, 0);
        assert_int_equal(pair.nodes[1].up_count, 0);
        assert_int_equal(pair.nodes[0].told_count + pair.nodes[1].told_count, 0);
        pair_deinit(&pair);
        link_tls_free(&bad);
        link_tls_free(&good);
    }
}

/* It holds a certificate of the cluster, and says to be another node. */
static void a_hello_with_the_name_of_another_node_is_refused(void **state)
{
    struct link_tls a, c;
    struct pair pair;
    (void)state;
    certs_open("test", "c", NULL, 0, &c);
    certs_open("test", "b", NULL, 0, &a);
    struct peers_config liar = config_with(0, &c), honest = config_with(1, &a);
    pair_init(&pair);
    pair_node_start(&pair, 0, &liar);
    pair_node_start(&pair, 1, &honest);
    int log = memfd_create("log", MFD_CLOEXEC);
    log_setup(log, LOG_LOGFMT, 1u << LOG_NOTICE);
    pair_meet(&pair, 0, 1);
    PAIR_UNTIL(&pair, metric_label_value(pair.nodes[1].metrics, METRIC_links_refused,
                                         LINK_REASON_NAME) >= 2);
    assert_int_equal(pair.nodes[0].up_count + pair.nodes[1].up_count, 0);
    log_setup(-1, LOG_LOGFMT, 0);
    char text[32 * 1024];
    ssize_t count = pread(log, text, sizeof(text) - 1, 0);
    close(log);
    assert_true(count > 0);
    text[count] = '\0';
    assert_non_null(strstr(text, "msg=\"link refused\""));
    assert_non_null(strstr(text, "proven=c"));
    assert_non_null(strstr(text, link_reason_text(LINK_REASON_NAME)));
    assert_non_null(strstr(text, "it says to be node a"));
    pair_deinit(&pair);
    link_tls_free(&a);
    link_tls_free(&c);
}

static void in_clear_nobody_gets_in(void **state)
{
    struct link_tls b;
    struct pair pair;
    (void)state;
    certs_open("test", "b", NULL, 0, &b);
    struct peers_config plain = pair_config(0), secure = config_with(1, &b);
    pair_init(&pair);
    pair_node_start(&pair, 0, &plain);
    pair_node_start(&pair, 1, &secure);
    pair_meet(&pair, 0, 1);
    PAIR_UNTIL(&pair, metric_label_value(pair.nodes[1].metrics, METRIC_links_refused,
                                         LINK_REASON_TLS) > 0);
    assert_int_equal(pair.nodes[0].up_count + pair.nodes[1].up_count, 0);
    pair_deinit(&pair);
    link_tls_free(&b);
}

/* Every border of the handshake, the greeting, and the first frames. */
static void a_stream_cut_at_any_byte_ends_and_comes_back(void **state)
{
    struct link_tls a_tls, b_tls;
    struct relay relay;
    struct pair pair;
    (void)state;
    certs_open("test", "a", NULL, 0, &a_tls);
    certs_open("test", "b", NULL, 0, &b_tls);
    struct peers_config a = config_with(0, &a_tls), b = config_with(1, &b_tls);
    a.backoff_ns_max = PAIR_MS;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    relay_init(&relay, pair.io, &pair.nodes[1].address);
    assert_int_equal(peers_set(pair.nodes[0].peers, 2, "b", &relay.address), OK);
    assert_int_equal(peers_set(pair.nodes[1].peers, 1, "a", &pair.nodes[0].address), OK);
    for (uint64_t cut = 1; cut < 3500; cut += 97) {
        relay.cut_after = cut;
        relay_cut(&relay);
        uint64_t streams = relay.stream_count;
        for (uint32_t i = 0; relay.stream_count <= streams + 1 && i < PAIR_TURNS_MAX; i++) {
            pair_send(&pair, 0, 1, LINK_KIND_ROUTES, i, 50); /* refused while it is not up */
            pair_turn(&pair);
        }
        assert_true(relay.stream_count > streams + 1);
    }
    relay.cut_after = UINT64_MAX;
    relay_cut(&relay);
    uint32_t ups = pair.nodes[0].up_count;
    PAIR_UNTIL(&pair, pair.nodes[0].up_count > ups);
    pair.nodes[1].told_count = 0;
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_ROUTES, 5, 5), OK);
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == 1);
    assert_int_equal(pair.nodes[1].told[0].generation, pair.nodes[0].generation);
    pair_deinit(&pair);
    relay_deinit(&relay);
    link_tls_free(&a_tls);
    link_tls_free(&b_tls);
}

/* The keys go along: what was agreed on at one shard goes on at another. */
static void a_stream_is_carried_to_the_shard_that_it_is_for(void **state)
{
    struct link_tls a_tls, b_tls;
    struct pair pair;
    (void)state;
    certs_open("test", "a", NULL, 0, &a_tls);
    certs_open("test", "b", NULL, 0, &b_tls);
    struct peers_config a = config_with(0, &a_tls);
    struct peers_config b = config_with(1, &b_tls), c = config_with(1, &b_tls);
    a.shard = c.shard = 1;
    a.shard_count = b.shard_count = c.shard_count = 2;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_node_start(&pair, 2, &c);
    pair.nodes[1].carries_to = &pair.nodes[2];
    assert_int_equal(peers_set(pair.nodes[1].peers, 1, "a", &pair.nodes[0].address), OK);
    assert_int_equal(peers_set(pair.nodes[2].peers, 1, "a", &pair.nodes[0].address), OK);
    assert_int_equal(peers_set(pair.nodes[0].peers, 2, "b", &pair.nodes[1].address), OK);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, 100), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[2].told_count == 100);
    assert_int_equal(pair.nodes[2].told[99].number, 99);
    pair_deinit(&pair);
    link_tls_free(&a_tls);
    link_tls_free(&b_tls);
}

static void files_that_do_not_fit_are_refused_in_words(void **state)
{
    static const struct row {
        const char *ca, *file, *says;
    } rows[] = {
        {"test", "missing", "missing.pem"},
        {"missing", "a", "missing.ca.pem"},
        {"test", "expired", "expired"},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_trouble trouble = {""};
        struct link_tls tls;
        assert_int_not_equal(certs_try(rows[i].ca, rows[i].file, NULL, 0, &tls, &trouble), OK);
        assert_non_null(strstr(trouble.text, rows[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_of_one_cluster_meet_and_messages_come_in_order),
        cmocka_unit_test(who_is_not_of_the_cluster_is_refused_on_both_sides),
        cmocka_unit_test(a_hello_with_the_name_of_another_node_is_refused),
        cmocka_unit_test(in_clear_nobody_gets_in),
        cmocka_unit_test(a_stream_cut_at_any_byte_ends_and_comes_back),
        cmocka_unit_test(a_stream_is_carried_to_the_shard_that_it_is_for),
        cmocka_unit_test(files_that_do_not_fit_are_refused_in_words),
    };
    log_setup(getenv("TEST_LOG") != NULL ? 2 : -1, LOG_LOGFMT, 0xff);
    return cmocka_run_group_tests(tests, files_make, files_remove);
}
