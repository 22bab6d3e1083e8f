"""The clients people use, over TLS and WSS: with each kind of server certificate, and with their own."""

import os
import ssl
import subprocess

import certs
import mqtt
import paho.mqtt.client as paho
import secure
import test_mqttjs
import test_paho_c
import test_paho_python
import tls
from suite import each, equal, short, tern_only

EVERY = [(kind, scheme) for kind in certs.KINDS for scheme in secure.SCHEMES]


# ---------------------------------------------------------------------------------- mosquitto


def mosquitto(t, program, kind, *arguments, pair=None, port=None, version="mqttv5"):
    port = port or secure.common(t).ports[f"{kind} mqtts"]
    command = ["stdbuf", "-oL", program, "-V", version, "-h", "127.0.0.1", "-p", port, "--cafile", certs.ca()]
    return t.program(*command, *(pair.args() if pair else []), *arguments)


def subscriber(t, kind, topic, **how):
    program = mosquitto(t, "mosquitto_sub", kind, "-d", "-t", topic, "-q", "1", "-F", "GOT %t %p", **how)
    program.wait_line("^Subscribed")
    return program


@short
@each(*[(kind, version) for kind in certs.KINDS for version in ("mqttv31", "mqttv311", "mqttv5")])
def test_mosquitto_clients_talk_over_tls(t, which):
    kind, version = which
    sub = subscriber(t, kind, t.topic(), version=version)
    words = ["-t", t.topic(), "-m", "secret", "-q", "2"]
    mosquitto(t, "mosquitto_pub", kind, *words, version=version).wait_end()
    sub.wait_line(f"^GOT {t.topic()} secret$")


@each("tlsv1.2", "tlsv1.3")
def test_mosquitto_clients_prove_themselves_in_each_version(t, version):
    alice = certs.client("alice")
    sub = subscriber(t, "mutual", t.topic(), pair=alice)
    words = ["-t", t.topic(), "-m", "hello", "-q", "1", "--tls-version", version]
    mosquitto(t, "mosquitto_pub", "mutual", *words, pair=certs.client("rsa")).wait_end()
    sub.wait_line(f"^GOT {t.topic()} hello$")
    nobody = mosquitto(t, "mosquitto_pub", "mutual", *words)
    nobody.wait_end(status=None)
    assert nobody.process.returncode != 0, nobody.tell()


def test_mosquitto_clients_refuse_a_server_they_do_not_trust(t):
    """The control: what is trusted above is trusted for a reason."""
    port = secure.common(t).ports["ecdsa mqtts"]
    stranger = certs.path("other.pem")
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", port, "--cafile", stranger, "-t", "x", "-m", "x"]
    program = t.program(*command)
    program.wait_end(status=None)
    assert program.process.returncode != 0, program.tell()


def test_a_megabyte_goes_through_tls_both_ways(t):
    path = os.path.join(t.folder(), "file")
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 20) * 5)
    copy = os.path.join(t.folder(), "copy")
    port = secure.common(t).ports["rsa mqtts"]
    where = f"-h 127.0.0.1 -p {port} --cafile {certs.ca()} -t {t.topic()} -q 1"
    t.program("bash", "-c", f"mosquitto_pub {where} -r -f {path}").wait_end(60)
    t.program("bash", "-c", f"mosquitto_sub {where} -N -C 1 > {copy}").wait_end(60)
    equal(subprocess.run(["cmp", path, copy], check=False).returncode, 0, "status of cmp")
    t.program("bash", "-c", f"mosquitto_pub {where} -r -n").wait_end(60)


# ---------------------------------------------------------------------------------- paho for C

NAMES_OF_PAHO = {"mqtts": "ssl", "wss": "wss"}


def paho_c(t, kind, scheme, version, story, pair=None, seconds=60):
    program = test_paho_c.compiled("paho_c", "paho-mqtt3cs")
    env = {"CA": certs.ca(), **({"CERT": pair.cert, "KEY": pair.key} if pair else {})}
    t.program(program, secure.url(t, kind, scheme, NAMES_OF_PAHO), version, t.id(), story, env=env).wait_end(seconds)


@short
@each(*EVERY)
def test_paho_c_tells_its_first_story(t, which):
    kind, scheme = which
    paho_c(t, kind, scheme, 5, "all_qualities_arrive_in_order")


@each(*[(story, version, how) for story in test_paho_c.STORIES[1:] for version in (4, 5) for how in secure.SCHEMES])
def test_paho_c_tells_the_other_stories(t, which):
    story, version, scheme = which
    paho_c(t, "ecdsa", scheme, version, story)


@each(*secure.SCHEMES)
def test_paho_c_proves_itself(t, scheme):
    paho_c(t, "mutual", scheme, 5, "retained_messages_wait", certs.client("alice"))


@each(*certs.KINDS)
def test_paho_c_in_full_flight_gets_back_what_it_sent(t, kind):
    """Without WebSocket: there Debian's asynchronous library with TLS crashes by itself now and then, even
    in clear, where the one without TLS does not."""
    program = test_paho_c.compiled("paho_c_async", "paho-mqtt3as")
    at = secure.url(t, kind, "mqtts", NAMES_OF_PAHO)
    t.program(program, at, 5, t.id(), 2, env={"CA": certs.ca()}).wait_end(60)


# ---------------------------------------------------------------------------------- paho for Python


class Paho(test_paho_python.Paho):
    """Over TLS; pair: its own certificate."""

    def __init__(self, t, name, kind, scheme, pair=None, versions=("1.2", "1.3"), **how):
        self.port = secure.common(t).ports[f"{kind} {scheme}"]
        self.context = tls.context(pair, versions=versions)
        super().__init__(t, name, version="5", transport="websockets" if scheme == "wss" else "tcp", **how)

    def reach(self, t, transport):
        self.client.tls_set_context(self.context)
        return "localhost", self.port


@short
@each(*[(kind, scheme, version) for kind, scheme in EVERY for version in ("1.2", "1.3")])
def test_paho_python_talks(t, which):
    kind, scheme, version = which
    sub = Paho(t, "sub", kind, scheme, versions=(version,))
    pub = Paho(t, "pub", kind, scheme, versions=(version,))
    for qos in (0, 1, 2):
        sub.subscribe(t.topic(qos), qos)
        for number in range(10):
            pub.publish(t.topic(qos), f"{number}", qos)
        for number in range(10):
            message = sub.get()
            equal((message.topic, message.payload, message.qos), (t.topic(qos), b"%d" % number, qos))
    for size in (0, 1, 16383, 16384, 16385, 65536, 200003):  # around a record
        payload = (bytes(range(256)) * (size // 256 + 1))[:size]
        pub.publish(t.topic(2), payload, 1)
        assert sub.get().payload == payload, f"{size} bytes came changed"
    sub.nothing_more()
    pub.close()
    sub.close()


@each(*secure.SCHEMES)
def test_paho_python_proves_itself(t, scheme):
    sub = Paho(t, "sub", "mutual", scheme, certs.client("alice"))
    sub.subscribe(t.topic(), 1)
    sub.publish(t.topic(), "to myself", 1)
    equal(sub.get().payload, b"to myself")
    sub.close()
    try:
        Paho(t, "nobody", "mutual", scheme)
    except (ssl.SSLError, OSError, AssertionError, paho.WebsocketConnectionError):
        return
    except Exception as error:  # queue.Empty: connected, and never heard a CONNACK
        assert type(error).__name__ == "Empty", error
        return
    raise AssertionError("it was let in without a certificate")


@each(*secure.SCHEMES)
def test_paho_python_leaves_its_will_over_tls(t, scheme):
    watcher = Paho(t, "watcher", "ecdsa", scheme)
    watcher.subscribe(t.topic("will"), 2)
    doomed = Paho(t, "doomed", "rsa", scheme, will=(t.topic("will"), "gone", 2, False))
    doomed.break_off()
    equal(watcher.get().payload, b"gone")
    watcher.close()


# ---------------------------------------------------------------------------------- MQTT.js


def mqttjs(t, kind, scheme, version, story, pair=None, env=None):
    script = os.path.join(test_mqttjs.HERE, "mqttjs.js")
    env = {**test_mqttjs.MODULES, "CA": certs.ca(), **(env or {})}
    if pair:
        env.update(CERT=pair.cert, KEY=pair.key)
    t.program("node", script, secure.url(t, kind, scheme), version, t.id(), story, env=env).wait_end(60)


@short
@each(*EVERY)
def test_mqttjs_tells_its_first_story(t, which):
    kind, scheme = which
    mqttjs(t, kind, scheme, 5, "all_qualities_arrive_in_order")


STORIES_OF_MQTTJS = (
    "a_lost_connection_publishes_the_will",
    "a_session_is_resumed",
    "payloads_of_every_size_arrive_whole",
    "it_reconnects_by_itself",
)


@each(*[(story, version, scheme) for story in STORIES_OF_MQTTJS for version in (4, 5) for scheme in secure.SCHEMES])
def test_mqttjs_tells_the_other_stories(t, which):
    story, version, scheme = which
    mqttjs(t, "ecdsa", scheme, version, story)


@each(*[(scheme, version) for scheme in secure.SCHEMES for version in ("TLSv1.2", "TLSv1.3")])
def test_mqttjs_proves_itself(t, which):
    scheme, version = which
    env = {"NODE_OPTIONS": f"--tls-min-v{version[4:]} --tls-max-v{version[4:]}"}
    mqttjs(t, "mutual", scheme, 5, "retained_messages_wait", certs.client("alice"), env)


# ---------------------------------------------------------------------------------- who they are

RULES = """
topic read open/#
user alice
topic readwrite of/alice/#
user Doe, Jane
topic readwrite of/jane/#
user Zoë Müller
topic readwrite of/zoe/#
pattern readwrite own/%u/#
"""


def identity_broker(t, *more, subjects=False):
    path = os.path.join(t.folder(), "acl")
    rules = RULES
    if subjects:
        rules = rules.replace("user alice", "user " + certs.SUBJECTS["alice"][1])
    with open(path, "w", encoding="utf-8") as file:
        file.write(rules)
    os.chmod(path, 0o600)
    option = "use_subject_as_username true" if subjects else "use_identity_as_username true"
    listeners = {
        scheme: certs.listener("ecdsa", "require_certificate true", option, *more, *protocol)
        for scheme, protocol in (("mqtts", []), ("wss", ["protocol websockets"]))
    }
    return t.broker([f"acl_file {path}"], listeners=listeners)


def may_reach(client, topic):
    """Whether what it publishes there comes back to it: the rules let its user do both."""
    client.send(mqtt.subscribe(client.pid(), [(topic, 1)]))
    client.answer(mqtt.SUBACK)
    client.send(mqtt.publish(topic, b"mine?", 1, client.pid()))
    client.answer(mqtt.PUBACK)
    client.send(mqtt.pingreq())
    client.answer(mqtt.PINGRESP)
    came = [packet.topic for packet in client.stash]
    client.stash.clear()
    return topic in came


@short
@each(*[(who, scheme) for who in ("alice", "comma", "utf8", "rsa") for scheme in secure.SCHEMES])
def test_the_common_name_is_the_user_of_the_rules(t, which):
    who, scheme = which
    broker = identity_broker(t)
    client = tls.client(t, broker.ports[scheme], who, scheme=scheme, how=tls.context(certs.client(who)))
    topics = {"alice": "of/alice/x", "comma": "of/jane/x", "utf8": "of/zoe/x", "rsa": "own/rsa/x"}
    for owner, topic in topics.items():
        equal(may_reach(client, topic), owner == who, f"{who} reaches {topic}")
    client.disconnect()


def test_a_user_name_in_connect_does_not_beat_the_certificate(t):
    broker = identity_broker(t)
    how = tls.context(certs.client("bob"))
    client = tls.client(t, broker.port, "bob", how=how, username="alice", password="guess")
    assert not may_reach(client, "of/alice/x"), "bob says he is alice, and is believed"
    assert may_reach(client, "own/bob/x"), "bob has no topics of his own"
    client.disconnect()


@tern_only
def test_the_whole_subject_can_be_the_user(t):
    broker = identity_broker(t, subjects=True)
    client = tls.client(t, broker.port, "alice", how=tls.context(certs.client("alice")))
    assert may_reach(client, "of/alice/x")
    client.disconnect()
    other = tls.client(t, broker.port, "bob", how=tls.context(certs.client("bob")))
    assert not may_reach(other, "of/alice/x")
    other.disconnect()


def test_a_resumed_session_keeps_its_identity(t):
    """The certificate is not sent again: who it was stands in the ticket."""
    broker = identity_broker(t)
    for version in ("1.2", "1.3"):
        how = tls.context(certs.client("alice"), versions=(version,))
        first = tls.client(t, broker.port, "first", how=how)
        session = first.transport.ssl.session
        first.disconnect()
        again = tls.client(t, broker.port, "again", how=how, tls={"session": session})
        equal(again.transport.ssl.session_reused, True, f"TLS {version}: resumed")
        assert may_reach(again, "of/alice/x"), f"TLS {version}: alice is somebody else now"
        again.disconnect()
