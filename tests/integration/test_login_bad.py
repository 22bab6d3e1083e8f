"""Who does not prove who it is, or wants what it may not: refused by the right code, told in the log."""

import os
import socket
import subprocess

import broker as broker_module
import certs
import mqtt
import namespace
import scram
import tls
from suite import each, equal, eventually, short, tern_only
from test_tls_bad import expect_reason

BAD_USER, NOT_AUTHORIZED, BAD_METHOD = 0x86, 0x87, 0x8C
SECRET = "correct horse battery staple"
HUGE = "h" * 65535

RULES = """
topic readwrite open/#
user alice
topic readwrite of/alice/#
topic deny of/alice/no
"""


def file_of(t, name, text):
    path = os.path.join(t.folder(), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o600)
    return path


def passwords(t):
    """alice as mosquitto_passwd writes her, and for SCRAM as well where the broker can."""
    path = os.path.join(t.folder(), "passwords")
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "alice", SECRET], check=True, capture_output=True)
    if not broker_module.is_mosquitto():
        with open(path, "a", encoding="utf-8") as file:
            file.write(scram.password_line("alice", SECRET) + "\n")
    os.chmod(path, 0o600)
    return path


def guarded(t, *lines, listeners=None, hosts=None):
    lines = [f"password_file {passwords(t)}", f"acl_file {file_of(t, 'acl', RULES)}", "allow_anonymous false", "log_burst 0", *lines]
    listeners = listeners or {"mqtts": certs.listener("ecdsa"), "mqtt": []}
    return t.broker(lines, listeners=listeners, hosts=hosts)


def connection(broker, listener, version=5, host="127.0.0.1", of_tls=("1.2", "1.3")):
    """A client that has said nothing, and the port it comes from."""
    port = broker.ports[listener]
    link = mqtt.Tcp((host, port)) if listener == "mqtt" else tls.Tls((host, port), tls.context(versions=of_tls))
    client = mqtt.Client(port, version, transport=link, label=listener)
    return client, client.transport.sock.getsockname()[1]


def refused(client, *codes):
    """CONNACK with a code, or 3.x's word for it, and the close."""
    packets = client.expect_close()
    equal([packet.name for packet in packets], ["CONNACK"], "what came")
    allowed = codes if client.version == 5 else (4, 5)
    if broker_module.is_mosquitto():
        allowed = (4, 5, BAD_USER, NOT_AUTHORIZED)  # it says "not authorized" to all
    assert packets[0].reason in allowed, f"reason {packets[0].reason:#x}, expected one of {[hex(x) for x in allowed]}"


WRONG = {
    "a wrong password": ("alice", "guess"),
    "an unknown user": ("nobody", SECRET),
    "an empty password": ("alice", ""),
    "no password": ("alice", None),
    "an empty user name": ("", SECRET),
    "both empty": ("", ""),
    "a huge user name": (HUGE, SECRET),
    "a huge password": ("alice", HUGE),
    "both huge": (HUGE, HUGE),
    # Not a zero byte: to HMAC, and so to PBKDF2, a key with zeros behind it is the same key.
    "a password with more behind it": ("alice", SECRET + "x"),
    "half a password": ("alice", SECRET[:-1]),
    "a user name in capitals": ("ALICE", SECRET),
    "a user name with a colon": ("alice:", SECRET),
}


@short
@each(*[(name, version) for name in WRONG for version in (4, 5)])
def test_who_cannot_prove_itself_is_refused(t, which):
    name, version = which
    username, password = WRONG[name]
    broker = guarded(t)
    client, port = connection(broker, "mqtts", version)
    client.send(mqtt.connect(t.id("bad"), version=version, username=username, password=password))
    refused(client, BAD_USER)
    expect_reason(broker, port, "user name or password")
    text = broker.log()
    assert SECRET not in text and HUGE not in text and "guess" not in text, "a password stands in the log"
    # The honest owner is not locked out by what others tried.
    honest, _ = connection(broker, "mqtts", version)
    honest.connect(t.id("honest"), username="alice", password=SECRET)
    honest.ping()
    honest.disconnect()


@each(4, 5)
def test_who_names_nobody_is_refused_where_nobody_may(t, version):
    broker = guarded(t)
    client, port = connection(broker, "mqtts", version)
    client.send(mqtt.connect(t.id("anonymous"), version=version))
    refused(client, BAD_USER, NOT_AUTHORIZED)
    expect_reason(broker, port, "anonymous|user name|authorized")


@tern_only
def test_refusals_do_not_tell_who_exists(t):
    """The same code, the same words, for a wrong password and for a user that is not there."""
    broker = guarded(t)
    told = []
    for username in ("alice", "nobody"):
        client, port = connection(broker, "mqtts")
        client.send(mqtt.connect(t.id("x"), username=username, password="guess"))
        packet = client.expect_close()[0]
        told.append((packet.raw, expect_reason(broker, port, ".")))
    equal(told[0], told[1], "what a guesser and what the operator sees")


@short
@each(4, 5)
def test_a_will_on_a_forbidden_topic_is_refused(t, version):
    broker = guarded(t)
    for topic in ("of/bob/will", "of/alice/no", "$SYS/will"):
        client, port = connection(broker, "mqtts", version)
        will = {"topic": topic, "payload": "never"}
        words = mqtt.connect(t.id("w"), version=version, username="alice", password=SECRET, will=will)
        client.send(words)
        if broker_module.is_mosquitto():
            return client.close()  # which takes the will, and forgets it when it would be published
        refused(client, NOT_AUTHORIZED)
        expect_reason(broker, port, "authorized|will|rule")
        if topic != "$SYS/will":
            assert topic in broker.log(), f"the log does not name {topic}"
    client, _ = connection(broker, "mqtts", version)
    will = {"topic": "of/alice/will", "payload": "mine"}
    client.connect(t.id("w"), username="alice", password=SECRET, will=will)
    client.disconnect()
    return None


# ---------------------------------------------------------------------------------- in clear

FAR = "192.0.2.1"


def far_listener(t, *lines):
    return guarded(t, listeners={"mqtt": list(lines)}, hosts={"mqtt": FAR})


@tern_only
@each(4, 5)
def test_a_password_in_clear_is_refused_beyond_loopback(t, version):
    with namespace.own(FAR):
        broker = far_listener(t)
        client, port = connection(broker, "mqtt", version, FAR)
        client.send(mqtt.connect(t.id("clear"), version=version, username="alice", password=SECRET))
        refused(client, BAD_USER, NOT_AUTHORIZED)
        expect_reason(broker, port, "clear|TLS|password")
        mqtt.forget_clients()


@tern_only
def test_a_password_in_clear_is_taken_beyond_loopback_where_the_operator_says_so(t):
    with namespace.own(FAR):
        broker = far_listener(t, "allow_cleartext_passwords true")
        client, _ = connection(broker, "mqtt", host=FAR)
        client.connect(t.id("clear"), username="alice", password=SECRET)
        client.ping()
        client.disconnect()


def test_a_password_in_clear_is_taken_on_loopback(t):
    broker = guarded(t)
    client, _ = connection(broker, "mqtt")
    client.connect(t.id("near"), username="alice", password=SECRET)
    client.ping()
    client.disconnect()


@tern_only
def test_beyond_loopback_nobody_is_anonymous_unless_the_operator_says_so(t):
    with namespace.own(FAR):
        # Neither true nor false is written: Tern decides by the address.
        listeners = f"listener 1883 {FAR}\nlistener 1884 127.0.0.1\n"
        path = file_of(t, "far.conf", "http_listener none\npersistence false\n" + listeners)
        program = t.program(broker_module.program(), "-c", path)
        program.wait_line("listen|ready|start")
        wait_for_port(FAR, 1883)
        wait_for_port("127.0.0.1", 1884)
        client = mqtt.Client(1883, 5, host=FAR, label="far")
        client.send(mqtt.connect(t.id("far")))
        refused(client, BAD_USER, NOT_AUTHORIZED)
        near = mqtt.Client(1884, 5, label="near")
        near.connect(t.id("near"))
        near.disconnect()
        mqtt.forget_clients()


def wait_for_port(host, port):
    def is_open():
        try:
            socket.create_connection((host, port), 1).close()
            return True
        except OSError:
            return False

    eventually(is_open, what=f"a listener at {host}:{port}")


# ---------------------------------------------------------------------------------- SCRAM, badly

GARBAGE = {
    "nothing": b"",
    "zeros": bytes(64),
    "words": b"hello",
    "no nonce": b"n,,n=alice",
    "an empty nonce": b"n,,n=alice,r=",
    "no name": b"n,,n=,r=abcdefgh",
    "a comma in the name": b"n,,n=al,ice,r=abcdefgh",
    "a bad escape": b"n,,n=al=2Dice,r=abcdefgh",
    "channel binding": b"p=tls-unique,,n=alice,r=abcdefgh",
    "a mandatory extension": b"n,,m=x,n=alice,r=abcdefgh",
    "text that is no UTF-8": b"n,,n=al\xffice,r=abcdefgh",
    "a huge name": b"n,,n=" + b"a" * 60000 + b",r=abcdefgh",
    "a huge nonce": b"n,,n=alice,r=" + b"r" * 60000,
    "another user's rights": b"n,a=bob,n=alice,r=abcdefgh",
}


@tern_only
@short
@each(*GARBAGE)
def test_garbage_for_scram_is_refused(t, name):
    broker = guarded(t)
    client, port = connection(broker, "mqtts")
    props = {"auth_method": scram.METHOD, "auth_data": GARBAGE[name]}
    client.send(mqtt.connect(t.id("s"), props=props))
    refused(client, BAD_USER, NOT_AUTHORIZED)
    expect_reason(broker, port, ".")


def begin(t, broker, name="alice", password=SECRET):
    """An exchange up to the server's challenge."""
    client, port = connection(broker, "mqtts")
    talk = scram.ScramClient(name, password)
    client.send(mqtt.connect(t.id("s"), props={"auth_method": scram.METHOD, "auth_data": talk.first()}))
    challenge = client.expect(mqtt.AUTH, reason=0x18)
    return client, port, talk, challenge.props["auth_data"]


ANSWERS = {
    "nothing": lambda final: b"",
    "zeros": lambda final: bytes(80),
    "no proof": lambda final: final.partition(b",p=")[0],
    "an empty proof": lambda final: final.partition(b",p=")[0] + b",p=",
    "a short proof": lambda final: final.partition(b",p=")[0] + b",p=AAAA",
    "a wrong proof": lambda final: final.partition(b",p=")[0] + b",p=" + b"A" * 43 + b"=",
    "a proof that is no base64": lambda final: final.partition(b",p=")[0] + b",p=!!!!",
    "another nonce": lambda final: final.replace(b",r=", b",r=x"),
    "another binding": lambda final: final.replace(b"c=biws", b"c=eSws"),
    "more behind it": lambda final: final + b",x=1",
    "a huge answer": lambda final: final + b"," + b"x" * 60000,
}


@tern_only
@short
@each(*ANSWERS)
def test_an_answer_that_proves_nothing_is_refused(t, name):
    broker = guarded(t)
    client, port, talk, challenge = begin(t, broker)
    client.send(mqtt.auth(0x18, scram.METHOD, ANSWERS[name](talk.final(challenge))))
    refused(client, BAD_USER, NOT_AUTHORIZED)
    expect_reason(broker, port, ".")


@tern_only
def test_a_challenge_does_not_tell_who_exists(t):
    """Salt and iterations of a user that is not there look like those of one who is, at every try."""
    broker = guarded(t)
    seen = []
    for name in ("nobody", "nobody", "alice", "somebody"):
        client, _, talk, challenge = begin(t, broker, name)
        talk.final(challenge)
        seen.append((talk.salt, talk.iterations))
        client.close()
    equal(seen[0], seen[1], "the salt of the same name")
    assert seen[0][0] != seen[3][0], "all who do not exist have the same salt"
    equal(len(seen[0][0]), len(seen[2][0]), "length of the salts")
    equal(seen[0][1], seen[2][1], "iterations")


@tern_only
@each("SCRAM-SHA-1", "PLAIN", "", "scram-sha-256", "x" * 1000)
def test_a_method_that_is_not_offered_is_refused(t, method):
    broker = guarded(t)
    client, port = connection(broker, "mqtts")
    client.send(mqtt.connect(t.id("m"), props={"auth_method": method, "auth_data": b"n,,n=alice,r=abcdefgh"}))
    refused(client, BAD_METHOD)
    expect_reason(broker, port, "authentication method")
