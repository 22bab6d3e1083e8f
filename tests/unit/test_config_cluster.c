/*
 * config_cluster: a broker is a node of a cluster with all that it needs for that, or it is none.
 */
#include "tests/lib/config_fixture.h"

#define FILES "cluster_ca ca.pem\ncluster_certificate a.pem\ncluster_key a.key\n"
#define NODE  "cluster_listener 10.0.0.7:7883\n" FILES

static void by_default_it_is_no_node_of_a_cluster(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "");
    assert_string_equal(f.config->cluster.address, "");
    assert_int_equal(f.config->cluster.peer_count, 0);
    unload(&f);
}

static void a_node_has_an_address_and_knows_others(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, NODE "cluster_peer b 10.0.0.8:7883\ncluster_peer node-c.eu c.example.org:7884\n"
                    "cluster_peer d [fd00::4]:7883\ncluster_zone rack-1\n");
    assert_string_equal(f.config->cluster.address, "10.0.0.7");
    assert_int_equal(f.config->cluster.port, 7883);
    assert_int_equal(f.config->cluster.peer_count, 3);
    assert_string_equal(f.config->cluster.peers[0].name, "b");
    assert_string_equal(f.config->cluster.peers[0].host, "10.0.0.8");
    assert_string_equal(f.config->cluster.peers[1].name, "node-c.eu");
    assert_string_equal(f.config->cluster.peers[1].host, "c.example.org");
    assert_int_equal(f.config->cluster.peers[1].port, 7884);
    assert_string_equal(f.config->cluster.peers[2].host, "fd00::4");
    assert_string_equal(f.config->cluster_zone, "rack-1");
    unload(&f);
}

static void any_address_of_the_machine_will_do(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "cluster_listener [::]:7883\n" FILES);
    assert_string_equal(f.config->cluster.address, "::");
    unload(&f);
}

/* Each line alone: what is missing is named. */
static void a_part_of_it_is_refused(void **state)
{
    static const char *const lines[] = {
        "cluster_listener 10.0.0.7:7883",
        "cluster_ca ca.pem",
        "cluster_certificate a.pem",
        "cluster_key a.key",
        "cluster_crl c.pem",
        "cluster_zone rack-1",
        "cluster_peer b 10.0.0.8:7883",
    };
    static const char *const needed[] = {"cluster_listener", "cluster_ca", "cluster_certificate",
                                         "cluster_key"};
    (void)state;
    for (uint32_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct fixture f;
        uint32_t said = 0;
        load(&f, lines[i]);
        assert_int_equal(f.err, ERR_INVALID);
        for (uint32_t k = 0; k < 4; k++) {
            char part[64];
            snprintf(part, sizeof(part), "set %s,", needed[k]);
            bool is_there = strncmp(lines[i], needed[k], strlen(needed[k])) == 0;
            assert_int_equal(says(&f, CONFIG_ERROR, 1, part), !is_there);
            said += !is_there;
        }
        assert_int_equal(f.report.error_count, said);
        unload(&f);
    }
}

static void a_node_without_a_disk_is_refused(void **state)
{
    struct fixture f;
    (void)state;
    load(&f, NODE "persistence false\n");
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, 1, "set persistence true");
    unload(&f);
}

static void what_is_no_place_or_no_name_is_refused(void **state)
{
    static const char *const listeners[] = {"7883", "10.0.0.7", "10.0.0.7:0", "node:7883",
                                            "::1:7883"};
    static const char *const peers[] = {"b",          "b 10.0.0.8",        "b 10.0.0.8:0",
                                        "b ::1:7883", "a/b 10.0.0.8:7883", ".b 10.0.0.8:7883",
                                        "b :7883",    "b 10.0.0.8:70000",  "b [nonsense]:7883"};
    char text[512];
    (void)state;
    for (uint32_t i = 0; i < sizeof(listeners) / sizeof(listeners[0]); i++) {
        struct fixture f;
        snprintf(text, sizeof(text), "cluster_listener %s\n" FILES, listeners[i]);
        load(&f, text);
        assert_int_equal(f.err, ERR_INVALID);
        assert_says(&f, CONFIG_ERROR, 1, "write an IP address and a port");
        unload(&f);
    }
    for (uint32_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        struct fixture f;
        snprintf(text, sizeof(text), "cluster_peer %s\n" NODE, peers[i]);
        load(&f, text);
        assert_int_equal(f.err, ERR_INVALID);
        assert_says(&f, CONFIG_ERROR, 1, "write the name in the node's certificate");
        unload(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default_it_is_no_node_of_a_cluster),
        cmocka_unit_test(a_node_has_an_address_and_knows_others),
        cmocka_unit_test(any_address_of_the_machine_will_do),
        cmocka_unit_test(a_part_of_it_is_refused),
        cmocka_unit_test(a_node_without_a_disk_is_refused),
        cmocka_unit_test(what_is_no_place_or_no_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
