/* The API: who may ask it, what bodies it reads, and stories that take the shards a while. */
#include "core/access/bans.h"
#include "core/admin/query.h"
#include "core/admin/visitor.h"
#include "core/broker/explain.h"
#include "tests/lib/admin_house.h"

#include <sys/stat.h>
#include <sys/un.h>

/* ---- a broker of paper --------------------------------------------------------------------- */

/* Stands for one question; the test says when which shards answer. */
struct explain {
    struct explain_question question;
    char client[64];
    size_t client_bytes;
    bool is_ended;
};

static struct paper {
    struct explain explain;
    uint32_t asked, ended, answered_count, record_count;
    struct trail_record record;
    enum err ask_err;
    struct bans *bans;
} paper;

static enum err paper_ask(void *context, const struct explain_question *question,
                          struct explain **out)
{
    (void)context;
    if (paper.ask_err != OK) {
        return paper.ask_err;
    }
    paper.asked++;
    paper.explain = (struct explain){.question = *question};
    paper.explain.client_bytes = question->whom.client.count;
    if (paper.explain.client_bytes > 0) {
        memcpy(paper.explain.client, question->whom.client.data, paper.explain.client_bytes);
    }
    *out = &paper.explain;
    return OK;
}

static enum err paper_tell(const struct explain *explain, struct explain_story *out)
{
    assert_ptr_equal(explain, &paper.explain);
    assert_false(explain->is_ended);
    *out = (struct explain_story){.has_session = true,
                                  .is_connected = true,
                                  .shard_count = 2,
                                  .answered_count = paper.answered_count,
                                  .subscription_count = 3,
                                  .records = malloc(sizeof(paper.record)),
                                  .record_count = paper.record_count};
    assert_non_null(out->records);
    out->records[0] = paper.record;
    return OK;
}

static void paper_end(struct explain *explain)
{
    assert_false(explain->is_ended);
    explain->is_ended = true;
    paper.ended++;
}

static void paper_sources(struct admin_sources *sources)
{
    sources->explain_ask = paper_ask;
    sources->explain_tell = paper_tell;
    sources->explain_end = paper_end;
    sources->bans = paper.bans;
}

static int build(void **state)
{
    paper = (struct paper){.answered_count = 2, .bans = bans_new(1)};
    assert_non_null(paper.bans);
    return house_build_with(state, "127.0.0.1", paper_sources);
}

static int build_open(void **state)
{
    paper = (struct paper){.answered_count = 2, .bans = bans_new(1)};
    assert_non_null(paper.bans);
    return house_build_with(state, "0.0.0.0", paper_sources);
}

static int raze(void **state)
{
    int rc = house_raze(state);
    bans_free(paper.bans);
    return rc;
}

static void assert_problem(struct house *house, const char *text, uint16_t status,
                           const char *detail)
{
    struct reply *reply = ask(house, text);
    char start[96];
    assert_int_equal(reply->status, status);
    assert_true(slice_is(http_header_find(&reply->head, "content-type")->value,
                         "application/problem+json"));
    snprintf(start, sizeof(start), "\"status\":%u,\"detail\":\"", status);
    assert_says(reply, start);
    assert_says(reply, detail);
    free(reply);
}

#define EXPLAIN   "/api/v1/explain?client=c1"
#define BANS      "/api/v1/bans"
#define POST_HEAD "POST " BANS " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

/* A POST with that body, until the next one; announced: more may be promised than is there. */
static const char *post_of(const char *body, size_t announced)
{
    static char text[1024];
    int count = snprintf(text, sizeof(text), POST_HEAD "Content-Length: %zu\r\n\r\n%s", announced,
                         body);
    assert_true(count > 0 && (size_t)count < sizeof(text));
    return text;
}

static const char *post(const char *body)
{
    return post_of(body, strlen(body));
}

/* ---- stories ------------------------------------------------------------------------------- */

static void a_story_is_told_in_json(void **state)
{
    struct trail_peer peer = {.kind = ADDRESS_IP4, .port = 40123, .ip = {10, 1, 2, 3}};
    paper.record_count = 1;
    paper.record = (struct trail_record){.first_ms = 0,
                                         .last_ms = 1500,
                                         .count = 7,
                                         .what = TRAIL_PUBLISH_DENIED,
                                         .why = ERR_NOT_AUTHORIZED,
                                         .peer = peer,
                                         .packet_id = 9,
                                         .qos = 1,
                                         .user_bytes = 3,
                                         .topic_bytes = 3,
                                         .detail_bytes = 4};
    memcpy(paper.record.user, "a\"b", 3);
    memcpy(paper.record.topic, "t/\x01", 3);
    memcpy(paper.record.detail, "rule", 4);
    struct reply *reply = ask(*state, GET("/api/v1/explain?client=a%2Fb%20c+d&limit=5"));
    assert_int_equal(reply->status, 200);
    assert_true(
        slice_is(http_header_find(&reply->head, "content-type")->value, "application/json"));
    assert_string_equal(
        reply->body,
        "{\"client\":\"a/b c d\",\"connected\":true,\"session\":true,\"subscriptions\":3,"
        "\"queued\":0,\"shards\":2,\"answered\":2,\"events\":[{"
        "\"time\":\"1970-01-01T00:00:01.500Z\",\"first\":\"1970-01-01T00:00:00.000Z\",\"count\":7,"
        "\"what\":\"publish_denied\",\"text\":\"publish denied\",\"reason\":\"not authorized\","
        "\"address\":\"10.1.2.3:40123\",\"user\":\"a\\\"b\",\"topic\":\"t/\\u0001\","
        "\"detail\":\"rule\",\"packet_id\":9,\"qos\":1}]}\n");
    assert_memory_equal(paper.explain.client, "a/b c d", 7);
    assert_int_equal(paper.explain.question.records_max, 5);
    assert_int_equal(paper.ended, 1);
    free(reply);
}

static void an_address_is_asked_for_by_its_bytes(void **state)
{
    struct reply *reply = ask(*state, GET("/api/v1/explain?address=2001:db8::7"));
    assert_int_equal(reply->status, 200);
    assert_says(reply, "{\"address\":\"2001:db8::7\",");
    assert_int_equal(paper.explain.client_bytes, 0);
    assert_int_equal(paper.explain.question.whom.peer.kind, ADDRESS_IP6);
    assert_int_equal(paper.explain.question.whom.peer.ip[15], 7);
    free(reply);
}

static void questions_that_are_none_are_refused(void **state)
{
    static const char *const rows[][2] = {
        {GET("/api/v1/explain"), "ask for"},
        {GET("/api/v1/explain?client=a&address=1.2.3.4"), "ask for"},
        {GET("/api/v1/explain?client=a&client=b"), "ask for"},
        {GET("/api/v1/explain?client=a&what=b"), "ask for"},
        {GET("/api/v1/explain?client"), "ask for"},
        {GET("/api/v1/explain?client=%2"), "ask for"},
        {GET("/api/v1/explain?client=%zz"), "ask for"},
        {GET("/api/v1/explain?client="), "client is empty"},
        {GET("/api/v1/explain?client=a&limit=0"), "limit is"},
        {GET("/api/v1/explain?client=a&limit=201"), "limit is"},
        {GET("/api/v1/explain?client=a&limit=x"), "limit is"},
        {GET("/api/v1/explain?address=host"), "address is not one"},
        {GET("/api/v1/explain?address=/tmp"), "address is not one"},
        {GET("/api/v1/explain?address=1.2.3.4:5"), "address is not one"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_problem(*state, rows[i][0], 400, rows[i][1]);
    }
    assert_int_equal(paper.asked, 0);
}

static void an_answer_waits_for_the_other_shards(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    uint8_t nothing[64];
    size_t count = 0;
    int fd = client_open(house);
    paper.answered_count = 1;
    client_send(fd, GET(EXPLAIN) GET("/health/live")); /* the second one waits its turn */
    settle(house);
    assert_int_equal(paper.asked, 1);
    assert_true(client_read(fd, nothing, &count));
    assert_int_equal(count, 0);
    assert_int_equal(paper.ended, 0);
    paper.answered_count = 2;
    paper.explain.question.done(paper.explain.question.owner);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    assert_says(reply, "\"answered\":2");
    assert_int_equal(paper.ended, 1);
    reply_read(house, fd, reply, true);
    assert_says(reply, "{\"status\":\"ok\"}");
    close(fd);
    free(reply);
}

static void a_shard_that_never_answers_is_left_out(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    paper.answered_count = 1;
    client_send(fd, GET(EXPLAIN));
    settle(house);
    time_pass(house, ADMIN_ASK_NS + 1000000000);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    assert_says(reply, "\"shards\":2,\"answered\":1");
    assert_int_equal(paper.ended, 1);
    close(fd);
    free(reply);
}

static void who_goes_while_it_waits_ends_its_question(void **state)
{
    struct house *house = *state;
    int fd = client_open(house);
    paper.answered_count = 1;
    client_send(fd, GET(EXPLAIN));
    settle(house);
    assert_int_equal(paper.asked, 1);
    close(fd);
    settle(house);
    assert_int_equal(paper.ended, 1);
    assert_int_equal(admin_connection_count(house->admin), 0);
}

static void the_end_of_the_listener_ends_its_questions(void **state)
{
    struct house *house = *state;
    int fd = client_open(house);
    paper.answered_count = 1;
    client_send(fd, GET(EXPLAIN));
    settle(house);
    admin_stop(house->admin);
    assert_int_equal(paper.ended, 1);
    close(fd);
}

static void too_many_questions_at_once_are_told_to_come_again(void **state)
{
    paper.ask_err = ERR_BUSY;
    struct reply *reply = ask(*state, GET(EXPLAIN));
    assert_int_equal(reply->status, 503);
    assert_true(slice_is(http_header_find(&reply->head, "retry-after")->value, "1"));
    free(reply);
}

/* ---- bans ---------------------------------------------------------------------------------- */

static void assert_listed(struct house *house, const char *path, const char *text)
{
    char request[128];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    struct reply *reply = ask(house, request);
    assert_int_equal(reply->status, 200);
    assert_says(reply, text);
    free(reply);
}

static void add(struct house *house, const char *body, const char *id)
{
    struct reply *reply = ask(house, post(body));
    assert_int_equal(reply->status, 201);
    assert_string_equal(reply->body, id);
    free(reply);
}

#define DELETE(id)                                           \
    "DELETE " BANS "/" id " HTTP/1.1\r\nHost: localhost\r\n" \
    "Content-Type: application/json\r\n\r\n"

static void bans_are_added_listed_and_removed(void **state)
{
    struct house *house = *state;
    assert_listed(house, BANS, "{\"bans\":[]}\n");
    add(house, "{\"kind\":\"address\",\"value\":\"203.0.113.7\",\"reason\":\"said \\\"no\\\"\"}",
        "{\"id\":1}\n");
    add(house, "{\"kind\":\"address\",\"value\":\"198.51.100.0/24\"}", "{\"id\":2}\n");
    add(house, "{\"kind\":\"client\",\"value\":\"c1\",\"seconds\":60}", "{\"id\":3}\n");
    assert_listed(house, BANS,
                  "{\"bans\":[{\"id\":1,\"kind\":\"address\",\"value\":\"203.0.113.7\","
                  "\"by\":\"operator\",\"reason\":\"said \\\"no\\\"\",\"since\":\"20");
    assert_listed(house, BANS, "\"kind\":\"network\",\"value\":\"198.51.100.0/24\",");
    assert_listed(house, BANS,
                  "\"kind\":\"client\",\"value\":\"c1\",\"by\":\"operator\",\"since\":\"20");
    assert_listed(house, BANS, "\",\"until\":\"20");
    assert_listed(house, BANS "?limit=1", "}],\"next\":1}\n");
    assert_listed(house, BANS "?after=2", "{\"bans\":[{\"id\":3,");
    assert_listed(house, BANS "?after=3", "{\"bans\":[]}\n");
    assert_problem(house, GET(BANS "?limit=1001"), 400, "from 1 to 1000");
    assert_problem(house, GET(BANS "?what=1"), 400, "from 1 to 1000");

    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, DELETE("1"));
    for (int i = 0; i < 20; i++) {
        turn(house);
        assert_true(client_read(fd, reply->bytes_of, &reply->count));
    }
    /* RFC 9110 8.6: a 204 has no Content-Length. */
    assert_memory_equal(reply->bytes_of, "HTTP/1.1 204 No Content\r\n", 25);
    assert_null(memmem(reply->bytes_of, reply->count, "Content-Length", 14));
    close(fd);
    free(reply);
    assert_listed(house, BANS, "{\"bans\":[{\"id\":2,");
    assert_problem(house, DELETE("1"), 404, "no such ban");
    assert_problem(house, DELETE("x"), 404, "no such ban");
}

static void what_the_configuration_bans_is_changed_there(void **state)
{
    struct ban ban = {.kind = BAN_CLIENT, .by = BAN_BY_CONFIG, .value = slice_text("c1")};
    assert_int_equal(bans_set_config(paper.bans, &ban, 1, 1000), OK);
    assert_problem(*state, post("{\"kind\":\"client\",\"value\":\"c1\"}"), 409,
                   "configuration bans");
    assert_problem(*state, DELETE("1"), 409, "remove its line");
}

/* The longest client ids that a body has room for: the list comes in pages. */
static void a_page_ends_before_the_answer_is_too_large(void **state)
{
    static char value[LIMIT_TEXT_BYTES_MAX];
    struct ban ban = {
        .kind = BAN_CLIENT, .by = BAN_BY_OPERATOR, .value = slice_of(value, sizeof(value))};
    memset(value, 0x01, sizeof(value)); /* six letters each in JSON */
    for (int i = 0; i < 5; i++) {
        value[0] = (char)('a' + i);
        assert_int_equal(bans_add(paper.bans, &ban, 1, NULL), OK);
    }
    assert_listed(*state, BANS, "}],\"next\":2}\n");
    assert_listed(*state, BANS "?after=2", "}],\"next\":4}\n");
    assert_listed(*state, BANS "?after=4", "}]}\n");
}

static void bad_bodies_are_refused_with_the_reason(void **state)
{
    static const struct {
        const char *body, *detail;
    } rows[] = {
        {"{\"kind\":}", "not what is needed"},
        {"[]", "value are needed"},
        {"{}", "value are needed"},
        {"{\"kind\":\"client\"}", "value are needed"},
        {"{\"kind\":\"tribe\",\"value\":\"v\"}", "value are needed"},
        {"{\"kind\":12}", "kind is not allowed so"},
        {"{\"else\":12}", "else is not allowed so"},
        {"{\"seconds\":0}", "seconds is not allowed so"},
        {"{\"seconds\":9999999999}", "seconds is not allowed so"},
        {"{\"kind\":\"a\",\"kind\":\"a\",\"value\":0}", "not what is needed"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_problem(*state, post(rows[i].body), 400, rows[i].detail);
    }
    assert_problem(*state, post_of("", ADMIN_BODY_BYTES_MAX + 1), 413, "larger than 65536 bytes");
    assert_problem(*state, POST_HEAD "\r\n", 411, "Content-Length");
    assert_problem(*state, POST_HEAD "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", 417,
                   "Expect");
    assert_problem(*state, post("{\"kind\":\"address\",\"value\":\"host\"}"), 400,
                   "value is no address: write an IP address");
    assert_int_equal(bans_count(paper.bans), 0);
}

/* In pieces, and with the next request right behind it. */
static void a_body_may_come_in_pieces(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    static const char body[] = "{\"kind\":\"user\",\"value\":\"bob\"}" GET(BANS);
    const char *text = post_of(body, sizeof(body) - sizeof(GET(BANS)));
    int fd = client_open(house);
    for (size_t i = 0; text[i] != 0; i++) {
        assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
        turn(house);
    }
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 201);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    assert_says(reply, "{\"bans\":[");
    close(fd);
    /* And all at once. */
    free(reply);
    reply = reply_new();
    fd = client_open(house);
    client_send(fd, text);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 201);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    assert_int_equal(bans_count(paper.bans), 1); /* the second one took its place */
    close(fd);
    free(reply);
}

static void a_body_that_drips_in_is_given_five_seconds(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, post_of("{\"kind\":", 100));
    settle(house);
    house->ahead_ns = ADMIN_BODY_NS - 1000000000;
    for (int i = 0; i < 10; i++) {
        client_send(fd, " ");
        turn(house);
    }
    assert_int_equal(admin_connection_count(house->admin), 1);
    time_pass(house, 1100000000);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 408);
    assert_true(client_is_ended(house, fd));
    assert_int_equal(bans_count(paper.bans), 0);
    close(fd);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    free(reply);
}

/* ---- who may ask --------------------------------------------------------------------------- */

static void methods_are_those_of_the_path(void **state)
{
    static const struct {
        const char *text, *allow;
    } rows[] = {
        {"DELETE " EXPLAIN " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n",
         "GET, HEAD"},
        {"PUT " BANS " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n",
         "GET, HEAD, POST"},
        {GET(BANS "/1"), "DELETE"},
        {"POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "GET, HEAD"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reply *reply = ask(*state, rows[i].text);
        assert_int_equal(reply->status, 405);
        assert_true(slice_is(http_header_find(&reply->head, "allow")->value, rows[i].allow));
        free(reply);
    }
    assert_problem(*state, GET("/api/v1/nothing"), 404, "no such path");
    assert_problem(*state, GET("/api/v1/bans/"), 405, "this path knows DELETE");
}

static void beyond_this_machine_the_api_is_closed_and_metrics_go_on(void **state)
{
    struct house *house = *state; /* listens at 0.0.0.0, and is asked from loopback */
    assert_problem(house, GET(EXPLAIN), 403, "not served beyond this machine");
    assert_problem(house, GET(BANS), 403, "not served beyond this machine");
    assert_problem(house, GET("/api/v1/nothing"), 403, "not served beyond this machine");
    assert_problem(house, post("{\"kind\":\"a\",\"value\":\"v\"}"), 403,
                   "not served beyond this machine");
    assert_int_equal(paper.asked + bans_count(paper.bans), 0);
    assert_status(house, GET("/metrics"), 200);
    assert_status(house, GET("/health"), 200);
}

static void what_a_web_page_could_send_is_refused(void **state)
{
    static const struct {
        const char *text;
        uint16_t status;
    } rows[] = {
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: ::1\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: localhost\r\nvia: 1.1 proxy\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: evil.example:8888\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", 403},
        {"GET " EXPLAIN " HTTP/1.0\r\n\r\n", 403},
        {"POST " BANS " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 415},
        {"POST " BANS " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
         "Content-Length: 2\r\n\r\n{}",
         415},
        {"POST " BANS " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonx\r\n"
         "Content-Length: 2\r\n\r\n{}",
         415},
        {"DELETE " BANS "/41 HTTP/1.1\r\nHost: localhost\r\n\r\n", 415},
        {"OPTIONS " BANS " HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a.example\r\n"
         "Access-Control-Request-Method: POST\r\n\r\n",
         403},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reply *reply = ask(*state, rows[i].text);
        assert_int_equal(reply->status, rows[i].status);
        assert_null(http_header_find(&reply->head, "access-control-allow-origin"));
        free(reply);
    }
    assert_int_equal(paper.asked + bans_count(paper.bans), 0);
    assert_status(*state,
                  "GET " EXPLAIN " HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"
                  "Sec-Fetch-Site: none\r\n\r\n",
                  200);
}

static void only_names_of_this_machine_are_local(void **state)
{
    static const char *const local[] = {"localhost",   "LocalHost:8888", "127.0.0.1",
                                        "127.1.2.3:1", "[::1]",          "[::1]:8888"};
    static const char *const foreign[] = {
        "",     ":80",           "localhost.",  "localhost:a", "127.0.0.1.", "128.0.0.1",
        "::1",  "[::1",          "[::2]:80",    "[]",          "0.0.0.0",    "*",
        "/tmp", "localhost:8:8", "[::1]8888:1", "127.1"};
    (void)state;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        assert_true(visitor_host_is_local(slice_text(local[i])));
    }
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        if (visitor_host_is_local(slice_text(foreign[i]))) {
            fail_msg("%s", foreign[i]);
        }
    }
}

static void a_unix_socket_is_for_its_owner_alone(void **state)
{
    struct house *house = *state;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct address at;
    struct stat file;
    struct reply *reply = reply_new();
    mode_t mask = umask(0); /* whatever it says, the file has its mode */
    snprintf(to.sun_path, sizeof(to.sun_path), "/tmp/tern-admin-%d.sock", (int)getpid());
    assert_int_equal(address_parse(to.sun_path, 0, &at), OK);
    assert_int_equal(admin_listen(house->admin, &at), OK);
    umask(mask);
    assert_int_equal(stat(to.sun_path, &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    assert_true(admin_address(house->admin, 1, &at));
    assert_int_equal(at.kind, ADDRESS_UNIX);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    client_send(fd, GET(EXPLAIN));
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    close(fd);
    free(reply);
    admin_stop(house->admin);
    assert_int_equal(stat(to.sun_path, &file), -1); /* it goes with the listener */
}

static void queries_are_read_strictly(void **state)
{
    char text[64];
    struct query_item items[] = {{.name = "a"}, {.name = "b"}};
    (void)state;
    assert_int_equal(query_read(slice_text("a=1%2b&&b="), items, 2, text), OK);
    assert_true(slice_is(items[0].value, "1+"));
    assert_true(items[1].is_there);
    assert_int_equal(items[1].value.count, 0);
    struct query_item again[] = {{.name = "a"}};
    assert_int_equal(query_read(slice_text("=1"), again, 1, text), ERR_INVALID);
    assert_int_equal(query_read(slice_text("a=%"), again, 1, text), ERR_INVALID);
    assert_int_equal(query_read(slice_of(NULL, 0), again, 1, text), OK);
    assert_false(again[0].is_there);
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, build, raze)
#define TEST_OPEN(name) cmocka_unit_test_setup_teardown(name, build_open, raze)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_story_is_told_in_json),
        TEST(an_address_is_asked_for_by_its_bytes),
        TEST(questions_that_are_none_are_refused),
        TEST(an_answer_waits_for_the_other_shards),
        TEST(a_shard_that_never_answers_is_left_out),
        TEST(who_goes_while_it_waits_ends_its_question),
        TEST(the_end_of_the_listener_ends_its_questions),
        TEST(too_many_questions_at_once_are_told_to_come_again),
        TEST(bans_are_added_listed_and_removed),
        TEST(what_the_configuration_bans_is_changed_there),
        TEST(a_page_ends_before_the_answer_is_too_large),
        TEST(bad_bodies_are_refused_with_the_reason),
        TEST(a_body_may_come_in_pieces),
        TEST(a_body_that_drips_in_is_given_five_seconds),
        TEST(methods_are_those_of_the_path),
        TEST_OPEN(beyond_this_machine_the_api_is_closed_and_metrics_go_on),
        TEST(what_a_web_page_could_send_is_refused),
        cmocka_unit_test(only_names_of_this_machine_are_local),
        TEST(a_unix_socket_is_for_its_owner_alone),
        cmocka_unit_test(queries_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
