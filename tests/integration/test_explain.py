"""ternctl explain: what happened to a client, and why, from a running broker; and who may ask for it."""

import http.client
import json
import os
import socket
import stat

import mqtt
from suite import each, equal, eventually, short, tern_only
from ternctl import DATA, NO, OK, UNAVAILABLE, USAGE, ternctl


def told(broker, client, *more):
    """The broker's answer, as ternctl --json has it."""
    code, out, err = ternctl("explain", client, "--json", "--http", f"127.0.0.1:{broker.http_port}", *more)
    assert code in (OK, NO), f"{code}: {err}"
    return json.loads(out)


def events(broker, client, what=None):
    """Oldest first."""
    found = list(reversed(told(broker, client)["events"]))
    return [event for event in found if what is None or event["what"] == what]


def eventually_told(broker, client, what):
    return eventually(lambda: events(broker, client, what), what=f"{what} in the story of {client}")


def get(broker, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", broker.http_port, timeout=mqtt.WAIT_S)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@tern_only
@short
def test_a_refused_subscription_is_in_the_story(t):
    broker = t.broker(metrics=True)
    client = t.client(broker.port, "lamp")
    client.send(mqtt.subscribe(client.pid(), [("a/#/b", 0)], version=5))
    client.expect(mqtt.SUBACK)
    (event,) = eventually_told(broker, t.id("lamp"), "subscribe_refused")
    equal((event["topic"], event["reason"], event["count"]), ("a/#/b", "topic filter invalid", 1), "the event")
    story = told(broker, t.id("lamp"))
    equal((story["connected"], story["session"]), (True, True), "connected, session")
    code, out, err = ternctl("explain", t.id("lamp"), "--http", f"127.0.0.1:{broker.http_port}")
    equal((code, err), (OK, ""), "code and stderr")
    assert out.startswith(f"{t.id('lamp')} is connected; its session has 0 subscriptions and 0 queued messages.\n"), out
    assert "  subscription refused: topic filter invalid\n    topic a/#/b" in out, out
    assert "connected\n    anonymous; from 127.0.0.1:" in out, out
    assert out.index("anonymous") < out.index("subscription refused"), f"not oldest first:\n{out}"


@tern_only
@short
def test_messages_lost_at_a_full_queue_are_counted_in_one_line(t):
    broker = t.broker(["max_queued_messages 2", "publish_hold_ms 0"], metrics=True)
    away = t.client(broker.port, "away", props={"session_expiry": 1000}, clean=False)
    away.subscribe(t.topic(), qos=1)
    away.disconnect()
    sender = t.client(broker.port, "sender")
    for i in range(12):
        sender.publish(t.topic(), b"%d" % i, qos=1)
    (event,) = eventually_told(broker, t.id("away"), "queue_full_oldest")
    equal((event["topic"], event["count"]), (t.topic(), 10), "the event")
    story = told(broker, t.id("away"))
    equal((story["connected"], story["queued"], story["subscriptions"]), (False, 2, 1), "connected, queued, subscriptions")


@tern_only
@short
@each(1, 2)
def test_a_takeover_is_told_in_order(t, threads):
    """The second connection may be accepted by another shard than the first; the story is one."""
    broker = t.broker([f"threads {threads}"], metrics=True)
    for name in ("one", "two", "three"):
        first = t.client(broker.port, name)
        second = t.client(broker.port, name)
        first.expect_close()
        second.close()
        eventually(lambda: [e["what"] for e in events(broker, t.id(name))].count("disconnected") == 2, what="the end")
        story = events(broker, t.id(name))
        equal(
            [(event["what"], event.get("reason")) for event in story],
            [
                ("connected", None),
                ("disconnected", "session taken over"),
                ("connected", None),
                ("disconnected", "the other side closed the connection"),
            ],
            "the story",
        )
        assert story == sorted(story, key=lambda event: event["time"]), "not in order of time"
        equal(told(broker, t.id(name))["answered"], threads, "shards that answered")


@tern_only
@short
def test_all_shards_are_asked(t):
    """Refusals at the door stay on the shard that accepted; by address they are one story."""
    broker = t.broker(["threads 2", "allow_anonymous false"], metrics=True)
    for i in range(30):  # the kernel spreads them
        client = t.raw(broker.port)
        client.send(mqtt.connect(t.id(str(i)), version=5))
        client.expect_close()

    def refused():
        story = told(broker, "127.0.0.1", "--address")
        equal((story["shards"], story["answered"]), (2, 2), "shards, answered")
        return sum(event["count"] for event in story["events"] if event["what"] == "connect_refused")

    eventually(lambda: refused() == 30, what="30 refusals, of both shards together")
    equal(told(broker, "127.9.9.9", "--address")["events"], [], "of an address that never came")


@tern_only
@short
def test_of_whom_nothing_is_known_the_answer_is_no(t):
    broker = t.broker(metrics=True)
    code, out, err = ternctl("explain", "nobody", "--http", f"localhost:{broker.http_port}")
    equal((code, err), (NO, ""), "code and stderr")
    assert out.startswith("Nothing is known of client nobody: "), out


@tern_only
@short
def test_names_and_topics_write_nothing_to_the_terminal(t):
    broker = t.broker(metrics=True)
    name = t.id("ü&=%#+?\x1b]0;x\x07\u009b\u202e")
    client = mqtt.Client(broker.port, 5)
    client.connect(name)
    code, out, _ = ternctl("explain", name, "--http", f"127.0.0.1:{broker.http_port}")
    equal(code, OK, "code")
    assert t.id("ü&=%#+?\\x1b]0;x\\x07") in out and "\x1b" not in out and "\u009b" not in out, repr(out)
    assert "\u202e" not in out, repr(out)


@tern_only
@short
def test_the_socket_is_for_the_brokers_user_alone(t):
    path = os.path.join(t.folder(), "http.sock")
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(path)  # of a broker that died
    left_over.close()
    broker = t.broker([f"http_socket {path}", "http_listener none"])
    mode = os.stat(path).st_mode
    assert stat.S_ISSOCK(mode), oct(mode)
    equal(stat.S_IMODE(mode), 0o600, "mode")
    equal(os.stat(path).st_uid, os.geteuid(), "owner")
    client = t.client(broker.port, "lamp")
    code, out, err = ternctl("explain", t.id("lamp"), "--http", path)
    equal((code, err), (OK, ""), "code and stderr")
    assert f"{t.id('lamp')} is connected" in out, out
    client.close()
    broker.stop()
    assert not os.path.exists(path), "the file outlived the broker"
    code, _, err = ternctl("explain", t.id("lamp"), "--http", path)
    equal(code, UNAVAILABLE, "code")
    assert f"nobody listens at {path}: start the broker, or name" in err, err


@tern_only
@short
def test_http_listener_takes_a_path_too(t):
    path = os.path.join(t.folder(), "all.sock")
    t.broker([f"http_listener {path}"])
    equal(ternctl("explain", "nobody", "--http", path)[0], NO, "code")


@tern_only
@short
def test_a_socket_that_somebody_uses_is_left_alone(t):
    path = os.path.join(t.folder(), "used.sock")
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(path)
        used.listen()
        try:
            t.broker([f"http_socket {path}"])
        except AssertionError as error:
            assert f"cannot listen on unix:{path}: a file of this name is in use: http_socket chooses" in str(error)
        else:
            raise AssertionError("it started")
        assert os.path.exists(path), "the file of somebody else is gone"


@tern_only
@short
def test_beyond_loopback_the_api_is_closed(t):
    broker = t.broker(["http_listener 0.0.0.0:0"])
    port = eventually(lambda: [line for line in broker.log().splitlines() if "http://0.0.0.0:" in line], what="the port")
    broker.http_port = int(port[0].split("http://0.0.0.0:")[1].split("/")[0])
    for path in ("/api/v1/explain?client=a", "/api/v1/bans", "/api/v1/nothing"):
        status, body = get(broker, path)
        equal(status, 403, path)
        assert "http_socket" in json.loads(body)["detail"], body
    equal(get(broker, "/metrics")[0], 200, "/metrics")
    equal(get(broker, "/health")[0], 200, "/health")
    code, _, err = ternctl("explain", "a", "--http", f"127.0.0.1:{broker.http_port}")
    equal(code, UNAVAILABLE, "code")
    assert "not served beyond this machine" in err, err


@tern_only
@short
def test_web_pages_get_nothing(t):
    broker = t.broker(metrics=True)
    path = "/api/v1/explain?client=a"
    equal(get(broker, path)[0], 200, "without Origin")
    equal(get(broker, path, Origin="http://localhost")[0], 403, "with Origin")
    equal(get(broker, path, Host="evil.example")[0], 403, "with another Host")
    equal(get(broker, "/api/v1/bans/1", "DELETE")[0], 415, "without Content-Type")


@tern_only
@short
def test_who_is_banned_stays_out_until_the_ban_ends(t):
    broker = t.broker(metrics=True)
    where = ("--http", f"127.0.0.1:{broker.http_port}")
    name = t.id("lamp")
    code, out, err = ternctl("ban", "add", "client", name, "--for", "1h", "--reason", "it is\x1b noisy", *where)
    equal((code, out, err), (OK, "ban 1\n", ""), "ban add")
    equal(ternctl("ban", "add", "address", "203.0.113.0/24", *where)[:2], (OK, "ban 2\n"), "ban add")
    client = t.raw(broker.port)
    client.send(mqtt.connect(name, version=5))
    client.expect_refusal(0x8A)  # Banned
    (event,) = events(broker, name, "connect_refused")
    assert event["reason"] == "banned" and event["address"].startswith("127.0.0.1:"), event
    code, out, err = ternctl("ban", "list", *where)
    equal((code, err), (OK, ""), "ban list")
    first, second = out.splitlines()
    assert first.startswith(f"1  client {name}  until ") and first.endswith("  by operator  it is\\x1b noisy"), first
    equal(second, "2  network 203.0.113.0/24  for good  by operator", "the second")
    bans = json.loads(ternctl("ban", "list", "--json", *where)[1])["bans"]
    equal([ban["id"] for ban in bans], [1, 2], "ids")
    equal(ternctl("ban", "del", "1", *where), (OK, "", ""), "ban del")
    code, _, err = ternctl("ban", "del", "1", *where)
    equal(code, NO, "ban del again")
    assert "there is no such ban" in err, err
    t.client(broker.port, "lamp")


@tern_only
@short
@each("client", "address", "network", "user")
def test_who_is_banned_while_connected_is_disconnected(t, kind):
    passwords = os.path.join(t.folder(), "passwords")
    code, _, err = ternctl("user", "add", passwords, "mallory", "--scrypt-cost", "10", stdin="secret\n")
    equal(code, OK, f"user add: {err}")
    broker = t.broker(["threads 2", f"password_file {passwords}", "allow_anonymous true"], metrics=True)
    where = ("--http", f"127.0.0.1:{broker.http_port}")
    # Five of them, so that both shards have one.
    banned = [t.client(broker.port, f"bad{i}", username="mallory", password=b"secret") for i in range(5)]
    spared = t.client(broker.port, "good")
    value = {"client": t.id("bad3"), "address": "127.0.0.1", "network": "127.0.0.0/8", "user": "mallory"}[kind]
    equal(ternctl("ban", "add", kind, value, *where)[0], OK, "code")
    gone = {"client": banned[3:4], "user": banned, "address": banned + [spared], "network": banned + [spared]}[kind]
    for client in gone:
        equal(client.expect(mqtt.DISCONNECT).reason, 0x98, "reason")  # Administrative action
        client.expect_close()
    for client in banned + [spared]:
        if client not in gone:
            client.ping()
    (event,) = events(broker, t.id("bad3"), "disconnected")
    equal(event["reason"], "banned", "reason")


@tern_only
@short
@each(
    ("add", "client"),
    ("add", "tribe", "x"),
    ("add", "address", "host"),
    ("add", "client", "x", "--for", "never"),
    ("add", "client", "x", "--for", "0"),
    ("add", "client", "x", "--json"),
    ("del", "x"),
    ("del",),
    ("list", "x"),
)
def test_wrong_bans_are_refused(t, words):
    broker = t.broker(metrics=True)
    code, out, err = ternctl("ban", *words, "--http", f"127.0.0.1:{broker.http_port}")
    equal((code, out), (USAGE, ""), "code and stdout")
    assert err.startswith("ternctl"), err
    equal(ternctl("ban", "list", "--http", f"127.0.0.1:{broker.http_port}")[1], "", "the list")


@tern_only
@short
def test_wrong_words_are_said(t):
    for words, why in (
        ((), "write one client identifier"),
        (("a", "b"), "write one client identifier"),
        (("a", "--limit", "0"), "--limit is a number from 1 to 200"),
        (("a", "--limit", "201"), "--limit is a number from 1 to 200"),
        (("a", "--nonsense"), "unknown option --nonsense"),
        (("a", "--http", "nonsense"), "--http nonsense is not an address"),
        (("a", "--http", "127.0.0.1:99999"), "is not an address"),
        (("not-an-ip", "--address", "--http", "{port}"), "address is not one"),
    ):
        if "{port}" in words:
            broker = t.broker(metrics=True)
            words = [word.replace("{port}", f"127.0.0.1:{broker.http_port}") for word in words]
        code, out, err = ternctl("explain", *words)
        equal((code, out), (USAGE, ""), f"code and stdout of {words}")
        assert why in err, err


@tern_only
@short
def test_what_is_no_broker_is_told(t):
    client = t.broker()
    code, _, err = ternctl("explain", "a", "--http", f"127.0.0.1:{client.port}")  # speaks MQTT
    assert code in (DATA, UNAVAILABLE), f"{code}: {err}"
    assert f"127.0.0.1:{client.port}" in err, err
