#include "core/io/sock.h"
#include "core/io/sock_native.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct address parsed(const char *text, uint16_t port)
{
    struct address address;
    assert_int_equal(address_parse(text, port, &address), OK);
    return address;
}

static void an_address_is_written_as_it_was_read(void **state)
{
    static const struct {
        const char *text, *with_port, *host;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1:1883", "127.0.0.1"},
        {"0.0.0.0", "0.0.0.0:1883", "0.0.0.0"},
        {"*", "0.0.0.0:1883", "0.0.0.0"},
        {"::1", "[::1]:1883", "::1"},
        {"[::1]", "[::1]:1883", "::1"},
        {"::", "[::]:1883", "::"},
        {"fe80::1%lo", "[fe80::1%lo]:1883", "fe80::1%lo"},
        {"/run/tern.sock", "unix:/run/tern.sock", "unix:/run/tern.sock"},
    };
    char text[ADDRESS_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address address = parsed(rows[i].text, 1883);
        assert_string_equal(address_text(&address, text), rows[i].with_port);
        assert_string_equal(address_host_text(&address, text), rows[i].host);
    }
}

static void what_is_no_address_is_refused_and_changes_nothing(void **state)
{
    static const char *const rows[] = {
        "",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "[::1",
        "::1]",
        "[]",
        ":",
        "1::2::3",
        "fe80::1%nosuchdevice",
        " 127.0.0.1",
        "run/tern.sock",
    };
    char path[ADDRESS_PATH_MAX + 1];
    (void)state;
    struct address address = {.port = 7};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(address_parse(rows[i], 1883, &address), ERR_INVALID);
    }
    memset(path, '/', ADDRESS_PATH_MAX);
    path[ADDRESS_PATH_MAX] = '\0';
    assert_int_equal(address_parse(path, 0, &address), ERR_INVALID);
    path[ADDRESS_PATH_MAX - 1] = '\0'; /* the longest that fits */
    struct address longest = parsed(path, 0);
    assert_int_equal(longest.kind, ADDRESS_UNIX);
    assert_int_equal(address.port, 7);
}

static void only_this_machine_reaches_a_loopback_address(void **state)
{
    static const struct {
        const char *text;
        bool is_loopback;
    } rows[] = {
        {"127.0.0.1", true},   {"127.9.9.9", true}, {"::1", true}, {"::ffff:127.0.0.1", true},
        {"/tmp/x.sock", true}, {"0.0.0.0", false},  {"::", false}, {"10.0.0.1", false},
        {"::2", false},        {"1::1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address address = parsed(rows[i].text, 1);
        assert_int_equal(address_is_loopback(&address), rows[i].is_loopback);
    }
    assert_false(address_is_loopback(&(struct address){.kind = ADDRESS_NONE}));
}

static void the_systems_form_and_ours_are_the_same_address(void **state)
{
    static const char *const rows[] = {"127.0.0.1", "2001:db8::5", "/tmp/tern_x.sock"};
    char before[ADDRESS_TEXT_MAX], after[ADDRESS_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address address = parsed(rows[i], 4711), back;
        struct sockaddr_storage native;
        socklen_t bytes;
        assert_int_equal(address_to_native(&address, &native, &bytes), OK);
        address_from_native(&native, bytes, &back);
        assert_string_equal(address_text(&back, after), address_text(&address, before));
    }
}

static void an_address_in_use_is_refused(void **state)
{
    struct address address = parsed("127.0.0.1", 0), bound;
    int fd, second = -1;
    (void)state;
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &fd), OK);
    sock_local_address(fd, &bound);
    assert_int_not_equal(bound.port, 0);
    assert_int_equal(sock_listen(&bound, IO_SHARE_NONE, &second), ERR_EXISTS);
    assert_int_equal(second, -1);
    address = parsed("192.0.2.1", 0); /* TEST-NET: never ours */
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &second), ERR_INVALID);
    close(fd);
}

static void shared_listeners_share_a_port(void **state)
{
    struct address address = parsed("127.0.0.1", 0);
    int first, second, third = -1;
    (void)state;
    assert_int_equal(sock_listen(&address, IO_SHARE_FIRST, &first), OK);
    sock_local_address(first, &address);
    assert_int_equal(sock_listen(&address, IO_SHARE_JOIN, &second), OK);
    /* Another broker is not let in, however willing both are to share. */
    assert_int_equal(sock_listen(&address, IO_SHARE_FIRST, &third), ERR_EXISTS);
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &third), ERR_EXISTS);
    assert_int_equal(third, -1);
    close(first);
    close(second);
}

static void a_stale_unix_file_is_replaced_and_a_living_one_is_not(void **state)
{
    char path[64];
    int fd, second = -1;
    struct stat file;
    (void)state;
    snprintf(path, sizeof(path), "/tmp/tern_test_sock_%d.sock", (int)getpid());
    struct address address = parsed(path, 0);
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &fd), OK);
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &second), ERR_EXISTS);
    assert_int_equal(stat(path, &file), 0);
    close(fd); /* as a process that died: the file stays */
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &fd), OK);
    close(fd);
    unlink(path);
    FILE *ordinary = fopen(path, "w"); /* a file of somebody's is never removed */
    assert_non_null(ordinary);
    fclose(ordinary);
    assert_int_equal(sock_listen(&address, IO_SHARE_NONE, &second), ERR_EXISTS);
    assert_int_equal(stat(path, &file), 0);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_written_as_it_was_read),
        cmocka_unit_test(what_is_no_address_is_refused_and_changes_nothing),
        cmocka_unit_test(only_this_machine_reaches_a_loopback_address),
        cmocka_unit_test(the_systems_form_and_ours_are_the_same_address),
        cmocka_unit_test(an_address_in_use_is_refused),
        cmocka_unit_test(shared_listeners_share_a_port),
        cmocka_unit_test(a_stale_unix_file_is_replaced_and_a_living_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
