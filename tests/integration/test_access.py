"""Who is there and what he may do, in a running broker: passwords, SCRAM, rules, and what a change of them
does to those who are connected, to wills and to what waits."""

import base64
import hashlib
import os
import tempfile

import mqtt
from scram import ScramClient, password_line
from suite import each, equal, eventually, short, tern_only

NOT_AUTHORIZED, CREDENTIALS, CLIENT_ID, AUTH_METHOD = 0x87, 0x86, 0x85, 0x8C
CREDENTIALS_3, NOT_AUTHORIZED_3, CLIENT_ID_3 = 4, 5, 2
RULES = """\
user alice
topic readwrite a/#
topic deny a/secret/#
topic write gone
user bob
topic read a/#
pattern readwrite own/%c/#
pattern write by/%u/#
"""


def sha512_line(name, password):
    """A line as mosquitto 1.x writes it: quick to check, so that tests are about the broker."""
    salt = os.urandom(12)
    digest = hashlib.sha512(password.encode() + salt).digest()
    return f"{name}:$6${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


class Files:
    """password_file and acl_file of one test."""

    def __init__(self, rules=RULES):
        self.folder = tempfile.mkdtemp(prefix="tern-access-")
        self.passwords, self.acl = (os.path.join(self.folder, name) for name in ("passwords", "acl"))
        self.write(self.passwords, "\n".join(sha512_line(name, f"{name}-pw") for name in ("alice", "bob", "carol")))
        self.write(self.acl, rules)

    @staticmethod
    def write(path, text):
        with open(path + ".new", "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text + "\n")
        os.rename(path + ".new", path)

    def lines(self, anonymous="false"):
        return [f"password_file {self.passwords}", f"acl_file {self.acl}", f"allow_anonymous {anonymous}"]


def login(t, broker, user, name=None, version=5, **how):
    return t.client(broker.port, name or user, version, username=user, password=f"{user}-pw", **how)


def denied(client, topic, qos, version):
    """Publish what is not allowed: v5 hears so, 3.1.1 is acknowledged all the same [v3:MQTT-3.3.5-2]."""
    pid = client.pid() if qos else None
    client.send(mqtt.publish(topic, b"no", qos, pid, version=version))
    if qos:
        ack = client.expect(mqtt.PUBACK if qos == 1 else mqtt.PUBREC, pid=pid)
        equal(ack.reason, NOT_AUTHORIZED if version == 5 else 0, "reason")
        if qos == 2 and version == 4:
            client.send(mqtt.ack(mqtt.PUBREL, pid))
            client.expect(mqtt.PUBCOMP)
    client.ping()


@tern_only
@short
@each(4, 5)
def test_a_password_is_checked(t, version):
    broker = t.broker(Files().lines())
    for user, password, reason in (
        ("alice", "alice-pw", 0),
        ("alice", "bob-pw", CREDENTIALS),
        ("nobody", "alice-pw", CREDENTIALS),
        ("alice", "", CREDENTIALS),
        ("", "alice-pw", CREDENTIALS),
        ("alice", None, CREDENTIALS),
        (None, None, NOT_AUTHORIZED),
    ):
        if version == 4:
            reason = {0: 0, CREDENTIALS: CREDENTIALS_3, NOT_AUTHORIZED: NOT_AUTHORIZED_3}[reason]
        raw = t.raw(broker.port, version)
        raw.connect(t.id("x"), reason=reason, username=user, password=password)
        if reason:
            raw.expect_close()
        raw.close()
    log = broker.log()
    assert "alice-pw" not in log and "bob-pw" not in log, "a password is in the log"
    assert 'reason="bad user name or password"' in log, log


@tern_only
@short
def test_a_password_without_a_name_is_no_anonymous_client(t):
    broker = t.broker(Files().lines(anonymous="true"))
    t.raw(broker.port).connect(t.id("a"))
    t.raw(broker.port).connect(t.id("b"), reason=CREDENTIALS, username="alice", password="wrong")
    t.raw(broker.port).connect(t.id("c"), reason=CREDENTIALS, password="alice-pw")


@tern_only
@short
@each("tcp", "websocket")
def test_what_is_sent_behind_connect_waits_for_the_password(t, transport):
    """A client need not wait for CONNACK (3.1.4), and the check takes a while: nothing is lost, nor answered early."""
    broker = t.broker(Files().lines(), listeners={"mqtt": [], "ws": ["protocol websockets"]})
    for count in range(20):
        client = mqtt.websocket_client(broker.ports["ws"]) if transport == "websocket" else t.raw(broker.port)
        said = mqtt.connect(f"{t.id('p')}{count}", username="alice", password="alice-pw")
        said += mqtt.subscribe(1, [("a/#", 1)]) + mqtt.publish(f"a/{count}", b"early", 1, 2) + mqtt.pingreq()
        client.send(said)
        client.expect(mqtt.CONNACK, reason=0)
        client.expect(mqtt.SUBACK, reasons=[1])
        kinds = sorted(client.recv().name for _ in range(3))
        equal(kinds, ["PINGRESP", "PUBACK", "PUBLISH"], "what came")
        client.close()


@tern_only
@short
def test_a_client_that_goes_while_its_password_is_checked_leaves_nothing(t):
    broker = t.broker(Files().lines(), metrics=True)
    for _ in range(100):
        raw = t.raw(broker.port)
        raw.send(mqtt.connect(t.id("hasty"), username="alice", password="alice-pw"))
        raw.abort()
    eventually(lambda: t.metric(broker, "tern_connections") == 0, what="all connections gone")
    login(t, broker, "alice").ping()


@tern_only
@short
@each((4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2))
def test_a_publish_is_judged(t, version_and_qos):
    version, qos = version_and_qos
    files = Files()
    broker = t.broker(files.lines())
    alice = login(t, broker, "alice", version=version)
    watcher = login(t, broker, "bob")
    watcher.subscribe("a/#")
    denied(alice, "a/secret/x", qos, version)
    denied(alice, "b", qos, version)
    alice.publish("a/open", b"yes", qos)
    watcher.receive("a/open", b"yes")
    equal(alice.ping(), None)
    rules = [line for line in broker.log().splitlines() if "publish denied" in line]
    equal(len(rules), 2, "denials logged")
    assert f"client={t.id('alice')}" in rules[0] and "user=alice" in rules[0] and "from=127.0.0.1:" in rules[0], rules
    assert f'rule="{files.acl}:3 topic deny a/secret/#"' in rules[0] and "topic=a/secret/x" in rules[0], rules
    assert "no rule speaks of it" in rules[1], rules


@tern_only
@short
@each(4, 5)
def test_a_subscription_is_judged(t, version):
    broker = t.broker(Files().lines())
    bob = login(t, broker, "bob", version=version)
    no = NOT_AUTHORIZED if version == 5 else 0x80
    bob.subscribe("a/x", "b/x", "#", f"own/{t.id('bob')}/#", "own/other/#", reasons=[0, no, 0, 0, no])
    bob.subscribe("$share/g/a/+", "$share/g/b/+", reasons=[0, no])
    assert 'msg="subscription denied"' in broker.log(), broker.log()


@tern_only
@short
@each(0, 1, 2)
def test_a_wildcard_brings_only_what_may_be_read(t, qos):
    broker = t.broker(Files().lines(), metrics=True)
    alice, carol = login(t, broker, "alice"), login(t, broker, "carol")
    bob = login(t, broker, "bob")
    bob.subscribe("#", qos=qos)
    carol.publish("by/carol/x", b"hidden", qos)
    alice.publish("by/alice/x", b"hidden too", qos)
    alice.publish("a/1", b"seen", qos)
    bob.receive("a/1", b"seen", qos)
    bob.expect_nothing()
    equal(t.metric(broker, "tern_dropped_total", reason="read_denied"), 2, "told and counted")


@tern_only
@short
def test_retained_messages_are_judged_when_they_are_read(t):
    broker = t.broker(Files().lines())
    carol = login(t, broker, "carol")
    carol.publish("by/carol/x", b"hidden", 1, retain=True)
    login(t, broker, "alice").publish("a/1", b"seen", 1, retain=True)
    bob = login(t, broker, "bob")
    bob.subscribe("#", qos=1)
    bob.receive("a/1", b"seen", retain=True)
    bob.expect_nothing()


def reread(t, broker, files, rules):
    files.write(files.acl, rules)
    before = broker.log().count("configuration reloaded")
    broker.reload()
    eventually(lambda: broker.log().count("configuration reloaded") > before, what="the reload")


@tern_only
@short
def test_what_waits_is_judged_again_when_it_is_sent(t):
    files = Files()
    broker = t.broker(files.lines())
    bob = login(t, broker, "bob", clean=False, props={"session_expiry": 300})
    bob.subscribe("a/#", qos=1)
    bob.disconnect()
    alice = login(t, broker, "alice")
    for name in ("a/keep", "a/lose"):
        alice.publish(name, b"waits", 1)
    reread(t, broker, files, RULES.replace("topic read a/#", "topic read a/keep"))
    bob = login(t, broker, "bob", clean=False, props={"session_expiry": 300})
    bob.receive("a/keep", b"waits")
    bob.expect_nothing()


@tern_only
@short
def test_what_waits_is_judged_though_its_subscription_is_gone(t):
    """Left are only subscriptions of which everything may be read; what waits came by another one."""
    files = Files()
    broker = t.broker(files.lines())
    bob = login(t, broker, "bob", clean=False, props={"session_expiry": 300, "receive_max": 1})
    bob.subscribe("a/#", f"own/{t.id('bob')}/#", qos=1)
    alice = login(t, broker, "alice")
    for i in range(3):
        alice.publish("a/lose", f"{i}", 1)
    first = bob.expect_publish("a/lose", b"0")
    bob.unsubscribe("a/#")
    reread(t, broker, files, RULES.replace("topic read a/#", "topic read other"))
    bob.send(mqtt.ack(mqtt.PUBACK, first.pid))
    bob.expect_nothing()


@tern_only
@short
def test_what_was_sent_and_not_acknowledged_is_judged_again(t):
    files = Files()
    broker = t.broker(files.lines())
    bob = login(t, broker, "bob", clean=False, props={"session_expiry": 300})
    bob.subscribe("a/#", qos=1)
    alice = login(t, broker, "alice")
    for name in ("a/keep", "a/lose"):
        alice.publish(name, b"in flight", 1)
        bob.expect_publish(name)
    bob.vanish()
    reread(t, broker, files, RULES.replace("topic read a/#", "topic read a/keep"))
    bob = login(t, broker, "bob", clean=False, props={"session_expiry": 300})
    bob.receive("a/keep", b"in flight", dup=True)
    bob.expect_nothing()


@tern_only
@short
def test_a_right_that_is_taken_away_ends_what_flows(t):
    """Neither a publisher nor a subscriber keeps what he was allowed when he came."""
    files = Files()
    broker = t.broker(files.lines())
    alice, bob = login(t, broker, "alice"), login(t, broker, "bob")
    bob.subscribe("a/#", qos=1)
    alice.publish("a/1", b"before", 1)
    bob.receive("a/1")
    reread(t, broker, files, RULES.replace("topic read a/#", "topic read other"))
    alice.publish("a/1", b"after", 1)
    bob.expect_nothing()
    reread(t, broker, files, RULES.replace("topic readwrite a/#", "topic read a/#"))
    denied(alice, "a/1", 1, 5)
    reread(t, broker, files, RULES)
    alice.publish("a/1", b"again", 1)
    bob.receive("a/1", b"again")


@tern_only
@short
@each(4, 5)
def test_a_will_is_judged_at_connect(t, version):
    broker = t.broker(Files().lines())
    reason = NOT_AUTHORIZED if version == 5 else NOT_AUTHORIZED_3
    raw = t.raw(broker.port, version)
    raw.connect(t.id("w"), reason=reason, username="bob", password="bob-pw", will={"topic": "a/x", "payload": b"w"})
    raw.expect_close()
    login(t, broker, "alice", version=version, will={"topic": "a/x", "payload": b"w"}).disconnect()
    assert 'msg="will denied"' in broker.log() and "topic=a/x" in broker.log(), broker.log()


@tern_only
@short
def test_a_will_is_judged_again_when_it_is_published(t):
    files = Files()
    broker = t.broker(files.lines())
    bob = login(t, broker, "bob")
    bob.subscribe("a/#")
    for allowed in (True, False):
        if not allowed:
            reread(t, broker, files, RULES.replace("topic readwrite a/#", "topic read a/#"))
        else:
            first = login(t, broker, "alice", "first", will={"topic": "a/will", "payload": b"1"})
            second = login(t, broker, "alice", "second", will={"topic": "a/will", "payload": b"2"})
        (first if allowed else second).vanish()
        if allowed:
            bob.receive("a/will", b"1")
        else:
            bob.expect_nothing()


@tern_only
@short
def test_a_mount_point_stands_before_what_the_rules_speak_of(t):
    files = Files("user alice\ntopic readwrite site/a/#\n")
    broker = t.broker(files.lines(), listeners={"mqtt": ["mount_point site/"]})
    alice = login(t, broker, "alice", will={"topic": "a/will", "payload": b""})
    alice.subscribe("a/#", qos=1)
    alice.publish("a/x", b"mine", 1)
    alice.receive("a/x", b"mine")
    denied(alice, "b/x", 1, 5)


@tern_only
@short
@each(4, 5)
def test_a_client_id_is_its_users(t, version):
    broker = t.broker(Files().lines())
    alice = t.client(broker.port, "shared", version, username="alice", password="alice-pw")
    thief = t.raw(broker.port, version)
    thief.connect(t.id("shared"), reason=CLIENT_ID if version == 5 else CLIENT_ID_3, username="bob", password="bob-pw")
    thief.expect_close()
    alice.ping()  # not thrown out
    assert 'detail="it belongs to another user"' in broker.log(), broker.log()
    again = t.client(broker.port, "shared", version, username="alice", password="alice-pw")
    again.ping()
    again.disconnect()
    t.client(broker.port, "shared", version, username="bob", password="bob-pw").ping()  # nobody's any more


@tern_only
@short
def test_a_client_id_that_nobody_in_particular_holds_gives_way_to_a_user(t):
    """Else whoever is let in without a name could keep a user out of his session for ever."""
    broker = t.broker(Files().lines(anonymous="true"))
    squatter = t.client(broker.port, "wanted", 5, clean=False, props={"session_expiry": 300})
    alice = t.client(broker.port, "wanted", 5, clean=False, username="alice", password="alice-pw")
    equal(squatter.recv().reason, 0x8E, "session taken over")
    alice.ping()
    late = t.raw(broker.port)
    late.connect(t.id("wanted"), reason=CLIENT_ID)
    late.expect_close()
    alice.ping()


@tern_only
@short
@each("removed", "another password", "other users come and go")
def test_a_user_who_is_withdrawn_is_disconnected(t, what):
    files = Files()
    broker = t.broker(files.lines())
    alice, bob = login(t, broker, "alice", will={"topic": "a/will", "payload": b"gone"}), login(t, broker, "bob")
    bob.subscribe("a/#")
    with open(files.passwords, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line]
    if what == "removed":
        lines = [line for line in lines if not line.startswith("alice:")]
    elif what == "another password":
        lines = [sha512_line("alice", "new") if line.startswith("alice:") else line for line in lines]
    else:
        lines = [*[line for line in lines if not line.startswith("carol:")], sha512_line("dave", "dave-pw")]
    files.write(files.passwords, "\n".join(lines))
    reread(t, broker, files, RULES)
    if what == "other users come and go":
        alice.ping()
        return
    equal(alice.recv().reason, NOT_AUTHORIZED, "DISCONNECT")
    alice.expect_close()
    bob.receive("a/will", b"gone")
    bob.ping()
    assert 'msg="login withdrawn"' in broker.log() and "user=alice" in broker.log(), broker.log()


@tern_only
@short
def test_anonymous_clients_go_when_they_are_not_wanted_any_more(t):
    files = Files()
    broker = t.broker(files.lines(anonymous="true"))
    nobody, alice = t.client(broker.port, "nobody"), login(t, broker, "alice")
    with open(broker.config, encoding="utf-8") as file:
        text = file.read()
    files.write(broker.config, text.replace("allow_anonymous true", "allow_anonymous false"))
    reread(t, broker, files, RULES)
    equal(nobody.recv().reason, NOT_AUTHORIZED, "DISCONNECT")
    alice.ping()


@tern_only
@short
def test_a_client_id_may_be_everybodys(t):
    broker = t.broker([*Files().lines(), "client_id_bound_to_user false"])
    alice = t.client(broker.port, "shared", 5, username="alice", password="alice-pw")
    t.client(broker.port, "shared", 5, username="bob", password="bob-pw").ping()
    equal(alice.recv().reason, 0x8E, "session taken over")


@tern_only
@short
def test_a_name_that_nobody_checked_is_no_name(t):
    files = Files("topic read public\nuser alice\ntopic readwrite a/#\n")
    broker = t.broker([f"acl_file {files.acl}", "allow_anonymous true"])
    client = t.client(broker.port, "x", 5, username="alice", password="whatever")
    denied(client, "a/1", 1, 5)
    client.subscribe("a/#", "public", reasons=[NOT_AUTHORIZED, 0])


# ---- SCRAM


def scram_broker(t, rules=RULES):
    files = Files(rules)
    files.write(files.passwords, "\n".join(password_line(name, f"{name}-pw") for name in ("alice", "bob")))
    return t.broker(files.lines())


def scram_login(t, broker, user, password=None, name="s"):
    """(client, its CONNACK or DISCONNECT)"""
    client, prover = t.raw(broker.port, label=user), ScramClient(user, password or f"{user}-pw")
    props = {"auth_method": "SCRAM-SHA-256", "auth_data": prover.first()}
    client.send(mqtt.connect(t.id(name), props=props))
    first = client.expect(mqtt.AUTH, reason=0x18)
    client.send(mqtt.auth(0x18, "SCRAM-SHA-256", prover.final(first.props["auth_data"])))
    answer = client.recv()
    if answer.kind == mqtt.CONNACK and answer.reason == 0:
        prover.verify(answer.props["auth_data"])
    return client, answer


def scram_again(client, user, password):
    prover = ScramClient(user, password)
    client.send(mqtt.auth(0x19, "SCRAM-SHA-256", prover.first()))
    first = client.expect(mqtt.AUTH, reason=0x18)
    client.send(mqtt.auth(0x18, "SCRAM-SHA-256", prover.final(first.props["auth_data"])))
    return prover, client.recv()


@tern_only
@short
def test_scram_proves_both_sides_and_gives_the_name_its_rights(t):
    broker = scram_broker(t)
    alice, connack = scram_login(t, broker, "alice")
    equal(connack.reason, 0, "CONNACK")
    alice.publish("a/1", b"x", 1)
    denied(alice, "b", 1, 5)
    assert "by=scram" in broker.log() and "user=alice" in broker.log(), broker.log()


@tern_only
@short
@each(("alice", "wrong"), ("nobody", "alice-pw"))
def test_scram_refuses_a_wrong_proof(t, who):
    broker = scram_broker(t)
    client, answer = scram_login(t, broker, *who)
    equal((answer.kind, answer.reason), (mqtt.CONNACK, CREDENTIALS), "answer")
    client.expect_close()
    assert who[1] not in broker.log(), "a password is in the log"


@tern_only
@short
def test_scram_again_in_session(t):
    broker = scram_broker(t)
    alice, _ = scram_login(t, broker, "alice")
    prover, answer = scram_again(alice, "alice", "alice-pw")
    equal((answer.kind, answer.reason), (mqtt.AUTH, 0), "answer")
    prover.verify(answer.props["auth_data"])
    alice.publish("a/1", b"x", 1)
    _, answer = scram_again(alice, "bob", "bob-pw")  # a session does not change hands
    equal((answer.kind, answer.reason), (mqtt.DISCONNECT, NOT_AUTHORIZED), "answer")
    alice.expect_close()


@tern_only
@short
def test_scram_again_with_a_wrong_proof_ends_the_connection(t):
    broker = scram_broker(t)
    alice, _ = scram_login(t, broker, "alice")
    _, answer = scram_again(alice, "alice", "wrong")
    assert answer.kind == mqtt.DISCONNECT and answer.reason in (CREDENTIALS, NOT_AUTHORIZED), answer
    alice.expect_close()


@tern_only
@short
def test_scram_is_not_offered_without_a_password_file(t):
    broker = t.broker()
    client = t.raw(broker.port)
    props = {"auth_method": "SCRAM-SHA-256", "auth_data": ScramClient("a", "b").first()}
    client.connect(t.id("s"), reason=AUTH_METHOD, props=props)
    client.expect_close()
