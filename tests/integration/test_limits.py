"""Limits of each scope, wrong passwords, bans and flapping clients, in a running broker. What is measured is
never a time: that reading stopped is seen by what a broker had received when a round trip elsewhere was over."""

import base64
import hashlib
import json
import os
import socket
import time
import urllib.request

import mqtt
from scram import ScramClient, password_line
from suite import each, equal, eventually, short, tern_only

QUOTA, RATE, BANNED, CREDENTIALS = 0x97, 0x9F, 0x8A, 0x86
SERVER_UNAVAILABLE_3, NOT_AUTHORIZED_3 = 3, 5


class From(mqtt.Tcp):
    """A TCP connection from an address of 127.0.0.0/8."""

    def __init__(self, port, source):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(mqtt.WAIT_S)
        self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def come(t, broker, source="127.0.0.1", version=5):
    return t.raw(broker.port, version, transport=From(broker.port, source))


def is_let_in(t, broker, name, source="127.0.0.1", **how):
    """false: it was closed without a word."""
    client = come(t, broker, source)
    try:
        client.connect(t.id(name), **how)
        return client
    except (mqtt.Closed, OSError):
        client.close()
        return None


def dropped(t, broker, reason):
    return t.metric(broker, "tern_dropped_total", reason=reason)


def rewrite(broker, lines):
    """Global lines instead of those it had, on all shards; the ports stay."""
    before = broker.log().count("configuration reloaded")
    broker.lines = lines
    with open(broker.config, "w", encoding="utf-8") as file:
        file.write(broker.config_text())
    broker.reload()
    eventually(lambda: broker.log().count("configuration reloaded") > before, what="the reload")


# ---------------------------------------------------------------------------------- connections


@tern_only
@short
@each("listener", "address", "prefix", "address=127.0.0.0/8", "prefix=127.0.0.0/8", "user", "client", "user=alice")
def test_more_connections_than_allowed_are_refused(t, scope):
    broker = t.broker([f"limit {scope} connections 2", "allow_anonymous true"], metrics=True)
    if scope == "client":
        # One client id has one connection: the next one takes its place, and that is no refusal.
        for _ in range(5):
            t.client(broker.port, "same")
        return
    eventually(lambda: t.metric(broker, "tern_connections_accepted_total") > t.metric(broker, "tern_connections") == 0,
               what="whoever looked whether it is up is gone")
    by_name = scope.startswith("user")
    how = {"username": "alice"} if by_name else {}
    files = password_file(t, "alice") if by_name else None
    if by_name:
        rewrite(broker, broker.lines[:1] + [f"password_file {files}", "allow_anonymous true", broker.lines[-1]])
        how["password"] = "alice-pw"
        eventually(lambda: come_code(t, broker, username="alice", password="wrong") == CREDENTIALS)
    first, second = (t.client(broker.port, f"c{i}", **how) for i in range(2))
    if by_name:
        third = t.raw(broker.port)
        equal(third.connect(t.id("c2"), reason=None, **how).reason, QUOTA, "reason")
        third.expect_close()
        t.client(broker.port, "bob", username=None)
    else:
        assert is_let_in(t, broker, "c2") is None, "one more than allowed"
    if scope == "address":
        assert is_let_in(t, broker, "elsewhere", "127.0.0.9"), "another address has places of its own"
    assert dropped(t, broker, "connect_refused") >= 1
    assert f"limit {scope.split('=')[0]} connections" in broker.log(), broker.log()
    first.ping()
    second.disconnect()
    eventually(lambda: is_let_in(t, broker, "c3", **how) if not by_name else
               come_code(t, broker, name="c3", **how) == 0, what="a place that was given back")


def come_code(t, broker, name="x", source="127.0.0.1", version=5, **how):
    client = come(t, broker, source, version)
    code = client.connect(t.id(name), reason=None, **how).reason
    client.close()
    return code


@tern_only
@short
def test_connects_beyond_the_pace_are_closed_and_the_pace_comes_back(t):
    broker = t.broker(["limit address=127.0.0.9 connects 20 burst 5"], metrics=True)
    let_in = [is_let_in(t, broker, f"c{i}", "127.0.0.9") for i in range(100)]
    count = sum(1 for client in let_in if client)
    assert 5 <= count < 100, count
    assert is_let_in(t, broker, "other"), "another address"
    assert "limit address connects" in broker.log()
    assert t.metric(broker, "tern_connections_refused_total") >= 100 - count
    eventually(lambda: is_let_in(t, broker, "later", "127.0.0.9"), what="the next one in time")


@tern_only
@each(4, 5)
def test_a_client_that_connects_too_often_is_told(t, version):
    broker = t.broker(["limit client connects 1 burst 2", "flapping_count 0"])
    codes = [come_code(t, broker, "same", version=version) for _ in range(5)]
    equal(codes[:2], [0, 0], "the first two")
    refused = RATE if version == 5 else SERVER_UNAVAILABLE_3
    assert refused in codes[2:] and set(codes) <= {0, refused}, codes
    assert "limit client connects" in broker.log()


# ---------------------------------------------------------------------------------- messages and bytes


def drain(client, count, timeout=60):
    return [client.receive(timeout=timeout).payload for _ in range(count)]


@tern_only
@short
@each((0, "client messages 100 burst 10"), (1, "client messages 100 burst 10"), (2, "client messages 100 burst 10"),
      (0, "address bytes 20K burst 1K"), (1, "user=x messages 1", "address messages 100 burst 10"),
      (0, "listener messages 100 burst 10"), (0, "prefix bytes 20K burst 1K"))
def test_who_sends_too_fast_is_read_slower_and_nothing_is_lost(t, parameter):
    qos, *limits = parameter
    broker = t.broker(["max_queued_messages 0", "max_inflight_messages 0"] + [f"limit {line}" for line in limits],
                      listeners={"mqtt": [], "other": []}, metrics=True)
    reader = t.raw(broker.ports["other"], transport=From(broker.ports["other"], "127.0.1.1"))
    reader.connect(t.id("reader"))
    reader.subscribe(t.topic("#"), qos=qos)
    sender = come(t, broker)
    sender.connect(t.id("sender"))
    sent = limited = received = 0
    while limited == 0 or received >= sent:
        assert sent < 3000, f"all {sent} messages were read as they came"
        for i in range(sent, sent + 100):
            payload = f"{i:04d}".encode() + bytes(200)
            sender.send(mqtt.publish(t.topic(), payload, qos, i + 1 if qos else None))
            if qos == 2:
                sender.send(mqtt.ack(mqtt.PUBREL, i + 1))
        sent += 100
        # What was read at once is handled at once, and paid for afterwards.
        limited, received = (t.metric(broker, f"tern_{name}_total") for name in ("reads_limited", "publish_received"))
    got = drain(reader, sent)
    equal([payload[:4] for payload in got], [f"{i:04d}".encode() for i in range(sent)], "what came, in order")
    assert "client slowed down" in broker.log() and f"limit {limits[-1].split()[0]}" in broker.log(), broker.log()
    sender.send(mqtt.pingreq())
    while sender.recv(60).kind != mqtt.PINGRESP:
        pass


@tern_only
def test_who_comes_again_has_the_same_debt(t):
    broker = t.broker(["limit client messages 1 burst 1"], metrics=True)
    sender = t.client(broker.port, "s")
    sender.send(b"".join(mqtt.publish("x", b"", 0) for _ in range(50)))
    eventually(lambda: t.metric(broker, "tern_publish_received_total") >= 50)
    sender.close()
    again = t.client(broker.port, "s")
    again.send(mqtt.publish("x", b"", 0))  # it was read with what follows, or not at all
    eventually(lambda: t.metric(broker, "tern_reads_limited_total") >= 2, what="it has to wait again")
    again.send(mqtt.pingreq())
    again.expect_nothing()


# ---------------------------------------------------------------------------------- what is held


@tern_only
@short
@each(4, 5)
def test_more_subscriptions_than_allowed_are_refused(t, version):
    broker = t.broker(["limit client subscriptions 3", "limit address subscriptions 5"], metrics=True)
    a, b = t.client(broker.port, "a", version), t.client(broker.port, "b", version)
    no = QUOTA if version == 5 else 0x80
    a.subscribe("1", "2", "3", "4", reasons=[0, 0, 0, no])
    a.subscribe("1", reasons=[0])  # one that it has
    b.subscribe("1", "2", "3", reasons=[0, 0, no])
    a.unsubscribe("1")
    b.subscribe("3", reasons=[0])
    a.subscribe("5", reasons=[no])
    b.disconnect()  # a clean session gives back what it had
    eventually(lambda: 0 in a_subscribes(a), what="a place given back")
    equal(dropped(t, broker, "subscribe_refused") >= 3, True)


def a_subscribes(client):
    pid = client.pid()
    client.send(mqtt.subscribe(pid, [("5", 0)], version=client.version))
    return client.answer(mqtt.SUBACK, pid=pid).reasons


@tern_only
def test_a_session_that_is_away_keeps_its_subscriptions_counted(t):
    broker = t.broker(["limit address subscriptions 3"])
    away = t.client(broker.port, "away", clean=False, props={"session_expiry": 1000})
    away.subscribe("1", "2")
    away.disconnect()
    here = t.client(broker.port, "here")
    here.subscribe("1", "2", reasons=[0, QUOTA])
    back = t.client(broker.port, "away", clean=False, props={"session_expiry": 1000})
    back.subscribe("9", reasons=[QUOTA])
    back.unsubscribe("1")
    here.subscribe("2")


@tern_only
@short
def test_retained_messages_belong_to_who_set_them(t):
    broker = t.broker(["limit client retained 2", "sys_interval 0"], metrics=True)
    a, b = t.client(broker.port, "a"), t.client(broker.port, "b")

    def retain(client, topic, payload=b"x"):
        pid = client.pid()
        client.send(mqtt.publish(t.topic(topic), payload, 1, pid, retain=True))
        return client.answer(mqtt.PUBACK, pid=pid).reason in (0, 0x10)

    assert retain(a, "1") and retain(a, "2") and retain(a, "2", b"again")
    assert not retain(a, "3"), "a third one"
    a.disconnect()
    a = t.client(broker.port, "a")
    assert not retain(a, "3"), "coming again makes no room"
    assert retain(b, "1", b"mine now") and retain(b, "4")
    assert retain(a, "3"), "what another took over is no longer counted"
    assert not retain(a, "5")
    assert retain(a, "3", b"")
    assert retain(a, "5")
    assert not retain(b, "6")
    equal(dropped(t, broker, "publish_refused"), 4, "refusals")
    # A gauge of all shards: one of them shows it at the end of its turn.
    eventually(lambda: t.metric(broker, "tern_retained_messages") == 4, what="four retained messages")


@tern_only
def test_a_limit_in_flight_is_agreed_at_connect(t):
    broker = t.broker(["limit user inflight 5", "limit client inflight 3", "max_receive 100"])
    client = mqtt.Client(broker.port, 5)
    connack = client.connect(t.id("a"))
    equal(connack.props["receive_max"], 3, "Receive Maximum")
    client.subscribe(t.topic(), qos=1)
    other = t.client(broker.port, "b")
    for i in range(10):
        other.publish(t.topic(), b"%d" % i, 1)
    pids = [client.expect_publish(qos=1).pid for _ in range(3)]
    client.expect_nothing()
    client.send(mqtt.ack(mqtt.PUBACK, pids[0]))
    client.expect_publish(qos=1)


# ---------------------------------------------------------------------------------- logins


def password_file(t, *names):
    path = os.path.join(t.folder(), "passwords")
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        for name in names:
            salt = os.urandom(12)
            digest = hashlib.sha512(f"{name}-pw".encode() + salt).digest()
            file.write(f"{name}:$6${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n")
    return path


def guarded(t, lines=()):
    return t.broker([f"password_file {password_file(t, 'alice', 'bob')}", "allow_anonymous false", *lines], metrics=True)


@tern_only
@short
@each(4, 5)
def test_wrong_passwords_wait_and_the_owner_elsewhere_does_not(t, version):
    broker = guarded(t, ["connect_timeout 4"])
    right, wrong = ({"username": "alice", "password": password} for password in ("alice-pw", "no"))
    credentials, rate = (CREDENTIALS, RATE) if version == 5 else (4, SERVER_UNAVAILABLE_3)
    codes = []
    while rate not in codes and len(codes) < 20:
        codes.append(come_code(t, broker, "guess", "127.0.0.2", version, **wrong))
    equal(set(codes[:-1]), {credentials}, "what was checked")
    equal(codes[-1], rate, "the last one")
    assert 4 <= len(codes) <= 8, codes
    before = t.metric(broker, "tern_logins_delayed_total")
    assert before >= 1
    # The owner is at another address, others are who they are; nobody of them waits.
    equal(come_code(t, broker, "owner", "127.0.0.3", version, **right), 0, "the owner elsewhere")
    equal(come_code(t, broker, "bob", "127.0.0.2", version, username="bob", password="bob-pw"), 0, "another user there")
    equal(t.metric(broker, "tern_logins_delayed_total"), before, "logins that waited")
    equal(t.metric(broker, "tern_logins_failed_total"), len(codes) - 1, "logins that failed")
    assert t.metric(broker, "tern_logins_refused_total") >= 1
    log = broker.log()
    assert "connection rate exceeded" in log and "alice-pw" not in log, log
    # Where the password was wrong it is right after a while.
    eventually(lambda: come_code(t, broker, "owner", "127.0.0.2", version, **right) == 0, 30, "the owner there")
    equal(come_code(t, broker, "owner", "127.0.0.2", version, **right), 0, "the owner there, once more")


@tern_only
def test_wrong_proofs_of_scram_wait_too(t):
    path = os.path.join(t.folder(), "scram")
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(password_line("alice", "alice-pw") + "\n")
    broker = t.broker([f"password_file {path}", "allow_anonymous false", "connect_timeout 4"], metrics=True)

    def code(password, source="127.0.0.2"):
        client, prover = come(t, broker, source), ScramClient("alice", password)
        client.send(mqtt.connect(t.id("s"), props={"auth_method": "SCRAM-SHA-256", "auth_data": prover.first()}))
        first = client.recv()
        if first.kind == mqtt.AUTH:
            client.send(mqtt.auth(0x18, "SCRAM-SHA-256", prover.final(first.props["auth_data"])))
            first = client.recv()
        client.close()
        return first.reason

    equal(code("alice-pw", "127.0.0.3"), 0, "the owner")
    codes = []
    while RATE not in codes and len(codes) < 20:
        codes.append(code("wrong"))
    assert set(codes[:-1]) <= {0x86, 0x87} and codes[-1] == RATE and 4 <= len(codes) <= 8, codes
    assert t.metric(broker, "tern_logins_delayed_total") >= 1
    assert "user=alice from=127.0.0.2" in broker.log(), "the log does not say at whom is guessed"
    equal(code("alice-pw", "127.0.0.3"), 0, "the owner elsewhere")
    eventually(lambda: code("alice-pw") == 0, 30, "the owner there")


@tern_only
@short
def test_exchanges_that_are_begun_and_left_keep_nobody_out(t):
    broker = guarded(t)
    bob = {"username": "bob", "password": "bob-pw"}
    equal(come_code(t, broker, "bob", **bob), 0, "the owner")
    begun = [come(t, broker) for _ in range(20)]
    for client in begun:
        props = {"auth_method": "SCRAM-SHA-256", "auth_data": ScramClient("bob", "").first()}
        client.send(mqtt.connect(t.id("x"), props=props))
        client.expect(mqtt.AUTH, reason=0x18)
    equal(come_code(t, broker, "bob", **bob), 0, "the owner, from the same address")
    equal(t.metric(broker, "tern_logins_delayed_total"), 0, "logins that waited")


@tern_only
def test_who_leaves_while_he_waits_is_forgotten_and_his_failures_are_not(t):
    broker = guarded(t)
    wrong = {"username": "alice", "password": "no"}
    for _ in range(3):
        equal(come_code(t, broker, **wrong), CREDENTIALS)
    waiting = [t.raw(broker.port) for _ in range(30)]
    for client in waiting:
        client.send(mqtt.connect(t.id("w"), **wrong))
    eventually(lambda: t.metric(broker, "tern_logins_delayed_total") >= 1)
    for client in waiting:
        client.close()
    eventually(lambda: t.metric(broker, "tern_connections") == 0, what="all of them gone")
    assert t.metric(broker, "tern_logins_failed_total") <= 3 + 30
    equal(come_code(t, broker, "bob", username="bob", password="bob-pw"), 0, "another user")


@tern_only
def test_logins_are_not_delayed_where_that_is_turned_off(t):
    broker = guarded(t, ["login_failures_free 0"])
    for _ in range(30):
        equal(come_code(t, broker, username="alice", password="no"), CREDENTIALS)
    equal(t.metric(broker, "tern_logins_delayed_total"), 0)


# ---------------------------------------------------------------------------------- bans


@tern_only
@short
@each("address 127.0.0.9", "network 127.0.0.8/29", "client nasty", "user mallory")
def test_who_is_banned_is_not_let_in_until_a_reload_says_so(t, ban):
    broker = t.broker([f"ban {ban}", "flapping_count 0"], metrics=True)
    by_address = ban.startswith(("address", "network"))

    def code():
        client = come(t, broker, "127.0.0.9")
        try:
            client.send(mqtt.connect("nasty", username="mallory", password="x"))
            return client.expect(mqtt.CONNACK).reason
        except (mqtt.Closed, OSError):
            return "closed"
        finally:
            client.close()

    equal(code(), "closed" if by_address else BANNED, "the one who is banned")
    t.client(broker.port, "other", username="bob", password="x")
    if not by_address:
        client = come(t, broker, version=4)
        client.send(mqtt.connect("nasty", version=4, username="mallory", password="x"))
        client.expect(mqtt.CONNACK, reason=NOT_AUTHORIZED_3)
    eventually(lambda: t.metric(broker, "tern_bans") == 1, what="one ban")
    assert "banned" in broker.log()
    rewrite(broker, [line for line in broker.lines if not line.startswith("ban")])
    eventually(lambda: code() == 0, what="the ban is over")
    rewrite(broker, broker.lines + [f"ban {ban}"])
    eventually(lambda: code() != 0, what="it is there again")


@tern_only
def test_a_client_that_flaps_is_told_once_and_banned_only_if_asked_for(t):
    broker = t.broker(["flapping_count 5"], metrics=True)
    equal([come_code(t, broker, "f") for _ in range(20)], [0] * 20, "not banned")
    equal(t.metric(broker, "tern_flapping_clients_total"), 1, "told")
    equal(broker.log().count("client flaps"), 1, "lines in the log")
    broker = t.broker(["flapping_count 5", "flapping_ban 2"], metrics=True)
    equal([come_code(t, broker, "f") for _ in range(8)], [0] * 5 + [BANNED] * 3, "banned")
    equal(come_code(t, broker, "g"), 0, "another client")
    eventually(lambda: come_code(t, broker, "f") == BANNED and t.metric(broker, "tern_bans") == 1)
    rewrite(broker, ["flapping_count 0"] + broker.lines[2:])
    eventually(lambda: come_code(t, broker, "f") == 0, 30, "the ban ends by itself")


@tern_only
@short
def test_a_ban_made_by_the_api_holds_and_ends(t):
    broker = t.broker(["ban client other", "flapping_count 0"], metrics=True)

    def api(method, path="/api/v1/bans", **body):
        url = f"http://127.0.0.1:{broker.http_port}{path}"
        data = json.dumps(body).encode() if body else None
        asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=mqtt.WAIT_S) as answer:
            return json.loads(answer.read() or b"null")

    name = t.id("x")
    equal(come_code(t, broker), 0, "before")
    made = api("POST", kind="client", value=name, reason="a test")["id"]
    equal(come_code(t, broker), BANNED, "banned")
    kinds = sorted((ban["kind"], ban["value"]) for ban in api("GET")["bans"])
    equal(kinds, sorted([("client", "other"), ("client", name)]), "the list")
    api("DELETE", f"/api/v1/bans/{made}")
    equal(come_code(t, broker), 0, "removed")
    api("POST", kind="client", value=name, seconds=1)
    eventually(lambda: come_code(t, broker) == 0, what="its end")
    api("POST", kind="network", value="127.0.0.8/29")
    assert is_let_in(t, broker, "n", "127.0.0.9") is None
    assert is_let_in(t, broker, "n", "127.0.0.7")


# ---------------------------------------------------------------------------------- reload


@tern_only
@short
def test_a_reload_changes_limits_for_who_is_there(t):
    broker = t.broker(["limit client messages 1 burst 1"], metrics=True)
    sender, reader = t.client(broker.port, "s"), t.client(broker.port, "r")
    reader.subscribe(t.topic())
    for i in range(300):
        sender.send(mqtt.publish(t.topic(), b"%d" % i, 0))
        time.sleep(0.0002)
    eventually(lambda: t.metric(broker, "tern_reads_limited_total") > 0)
    rewrite(broker, broker.lines[1:])  # no limit at all: what waits is read at once
    equal(drain(reader, 300), [b"%d" % i for i in range(300)], "all of it")
    rewrite(broker, ["limit listener connections 2", "limit client subscriptions 1"] + broker.lines)
    eventually(lambda: is_let_in(t, broker, "more") is None, what="those who are there are counted")
    reader.subscribe("x", reasons=[QUOTA])
    sender.subscribe("x")
    with open(broker.config, "a", encoding="utf-8") as file:
        file.write("limit nobody connects 5\n")
    broker.reload()
    eventually(lambda: "is not known: write listener" in broker.log(), what="a bad line is told")
    reader.subscribe("y", reasons=[QUOTA])


# ---------------------------------------------------------------------------------- behind a proxy


@tern_only
def test_behind_a_proxy_the_address_of_the_header_counts(t):
    broker = t.broker(["limit address=203.0.113.7 connections 1", "limit address=127.0.0.1 connections 1",
                       "ban address 203.0.113.9"], listeners={"mqtt": ["enable_proxy_protocol 1"]}, metrics=True)

    def come_as(address):
        client = t.raw(broker.port)
        client.send(f"PROXY TCP4 {address} 203.0.113.1 4242 1883\r\n".encode())
        try:
            client.connect(t.id(f"p{address}"))
            return client
        except (mqtt.Closed, OSError):
            return None

    first = come_as("203.0.113.7")
    assert first is not None
    assert come_as("203.0.113.8") is not None, "the proxy has no limit of its own"
    assert come_as("203.0.113.7") is None, "one more"
    assert come_as("203.0.113.9") is None, "banned"
    assert "203.0.113.9" in broker.log(), "the log tells the address of the header"
    first.disconnect()
    eventually(lambda: come_as("203.0.113.7"), what="the place that was given back")
