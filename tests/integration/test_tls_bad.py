"""What should not come over TLS, and comes: each is closed, told in the log by its reason, and harms nobody."""

import contextlib
import os
import re
import socket
import ssl
import threading
import time

import broker as broker_module
import certs
import mqtt
import tls
from suite import each, eventually, plain_build, short, tern_only

VERSIONS = ("1.2", "1.3")
# Until the broker has a line for connections that end before their CONNECT, failures of TLS apart.
EARLY_ENDS_ARE_TOLD = True


def common(t):
    """Brokers are costly: tests tell their own connections by the port they come from."""

    def make():
        asks = ["require_certificate true", f"crlfile {certs.path('crl.pem')}"]
        listeners = {
            "mqtts": certs.listener("ecdsa"),
            "wss": certs.listener("rsa", "protocol websockets"),
            "mqtt": [],
            "ws": ["protocol websockets"],
            "mutual": certs.listener("ecdsa", *asks, "use_identity_as_username true"),
        }
        if not broker_module.is_mosquitto():
            listeners["optional"] = certs.listener("ecdsa", "require_certificate optional", asks[1])
        return broker_module.Broker(tern_only=["log_burst 0"], listeners=listeners)

    return t.kept("tls bad", make)


def reasons(broker, port):
    """What the log says of the connection that came from this port: why it was refused, why it ended."""
    line = rf'^(?=.*\bfrom="?[\d.]+:{port}\b)(?=.*(?:refused|disconnected|closed)).*\breason=(.*)$'
    return re.findall(line, broker.log(), re.MULTILINE)


def expect_early_reason(broker, port, wanted):
    """As below, of a client that never came to its CONNECT."""
    if EARLY_ENDS_ARE_TOLD:
        expect_reason(broker, port, wanted)


def expect_reason(broker, port, wanted):
    """One of them is this one; that of the last line is returned."""
    if broker_module.is_mosquitto():
        return ""

    def is_told():
        return any(re.search(wanted, told) for told in reasons(broker, port))

    try:
        eventually(is_told)
    except AssertionError:
        raise AssertionError(f"the log says {reasons(broker, port)} of this client, expected /{wanted}/") from None
    return reasons(broker, port)[-1]


class Witness:
    """An honest client beside the bad ones: it goes on as if nothing was."""

    def __init__(self, t, broker, listener="mqtts"):
        how = tls.context(certs.client("alice")) if listener == "mutual" else None
        scheme = "wss" if listener == "wss" else "mqtts"
        self.client = tls.client(t, broker.ports[listener], "witness", scheme=scheme, how=how)
        self.topic = t.topic("witness")
        self.client.subscribe(self.topic, qos=1)

    def goes_on(self):
        self.client.publish(self.topic, "still here", qos=1)
        self.client.receive(self.topic, "still here")
        self.client.disconnect()


class Raw:
    """A socket that says anything."""

    def __init__(self, port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), mqtt.WAIT_S)
        self.port = self.sock.getsockname()[1]

    def say(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # it was closed already

    def closed(self, seconds=None):
        """Everything until the server closes."""
        self.sock.settimeout(mqtt.WAIT_S if seconds is None else seconds)
        said = bytearray()
        try:
            while part := self.sock.recv(65536):
                said += part
        except ConnectionResetError:
            pass
        except socket.timeout:
            raise AssertionError(f"the server did not close; it said {bytes(said)!r}") from None
        finally:
            self.sock.close()
        return bytes(said)


def client_hello(how=None):
    """The first flight of an honest client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = (how or tls.context()).wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def record(kind, body, version=0x0301, size=None):
    return bytes([kind, version >> 8, version & 255]) + mqtt.u16(len(body) if size is None else size) + body


HANDSHAKE, ALERT, DATA = 22, 21, 23

# What is said first on a TLS port, and how the log calls it.
OPENINGS = {
    "garbage": (b"\x99\x12" + bytes(range(200)), "not TLS"),
    "zeros": (bytes(300), "not TLS"),
    "an HTTP request": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP request"),
    "an HTTP proxy request": (b"CONNECT localhost:443 HTTP/1.1\r\n\r\n", "HTTP proxy"),
    "a plain CONNECT": (mqtt.connect("plain"), "MQTT packet without TLS"),
    "a plain CONNECT of 3.1.1": (mqtt.connect("plain", version=4), "MQTT packet without TLS"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "not TLS"),
    "a hello of SSL 2": (b"\x80\x2e\x01\x00\x02" + bytes(41), "not TLS|unsupported protocol"),
    "an oversized record": (record(HANDSHAKE, bytes(64), size=0xFFFF), "oversized record|not TLS"),
    "an oversized handshake message": (record(HANDSHAKE, b"\x01\xff\xff\xff" + bytes(64)), "oversized|malformed"),
    "a message out of turn": (record(HANDSHAKE, b"\x02\x00\x00\x01\x00"), "out of turn"),
    "an empty hello": (record(HANDSHAKE, b"\x01\x00\x00\x00"), "malformed"),
    "data instead of a handshake": (record(DATA, bytes(32)), "data in the middle|out of turn"),
    "an alert": (record(ALERT, b"\x02\x28"), "the peer gave up"),
    "a malformed alert": (record(ALERT, b"\x02\x28\x00"), "malformed alert"),
    "empty records": (record(HANDSHAKE, b"") * 200, "empty|malformed|out of turn"),
    "a change of cipher": (record(20, b"\x01") * 50, "out of turn|empty|."),
}


@short
@each(*[(name, listener) for name in OPENINGS for listener in ("mqtts", "wss")])
def test_what_is_no_handshake_is_closed_and_told(t, which):
    name, listener = which
    broker = common(t)
    witness = Witness(t, broker, listener)
    opening, wanted = OPENINGS[name]
    raw = Raw(broker.ports[listener])
    raw.say(opening)
    if broker_module.is_mosquitto():  # which may wait for more
        with contextlib.suppress(OSError):
            raw.sock.shutdown(socket.SHUT_WR)
    said = raw.closed()
    assert not said or said[0] == ALERT, f"it answered {said!r}"
    expect_reason(broker, raw.port, wanted)
    witness.goes_on()


@each(1, 5, 6, 100, -1)
def test_a_client_that_goes_in_the_middle_of_its_hello_is_forgotten(t, count):
    broker = common(t)
    witness = Witness(t, broker)
    raw = Raw(broker.ports["mqtts"])
    raw.say(client_hello()[:count])
    raw.sock.shutdown(socket.SHUT_WR)
    raw.closed()
    expect_early_reason(broker, raw.port, ".")
    witness.goes_on()


@short
@each("mqtt", "ws")
def test_tls_on_a_plain_port_is_closed_and_told(t, listener):
    broker = common(t)
    raw = Raw(broker.ports[listener])
    raw.say(client_hello())
    if broker_module.is_mosquitto() and listener == "ws":
        raw.sock.shutdown(socket.SHUT_WR)
    raw.closed()
    expect_early_reason(broker, raw.port, "TLS|malformed|HTTP")


@each(*VERSIONS)
def test_a_hello_that_was_changed_on_its_way_is_refused(t, version):
    """Its signature covers what both have seen."""
    broker = common(t)
    link = tls.Tls(("127.0.0.1", broker.ports["mqtts"]), tls.context(versions=(version,)), handshake=False)
    port = link.sock.getsockname()[1]

    def once(cipher):
        link.tamper = None
        at = 11 + 4  # inside of the client's random
        return cipher[:at] + bytes([cipher[at] ^ 1]) + cipher[at + 1 :]

    link.tamper = once
    try:
        link.shake()
        raise AssertionError("both agreed on what they had not both seen")
    except ssl.SSLError:
        link.close()
    expect_reason(broker, port, ".")


# ---------------------------------------------------------------------------------- time


def drip(raw, data):
    """One byte per 100 ms, until the server has enough."""
    for byte in data:
        try:
            raw.sock.sendall(bytes([byte]))
        except OSError:
            return
        if raw.sock.fileno() < 0:
            return
        time.sleep(0.1)


@tern_only
@short
@each("silent", "half a hello", "drop by drop", "no CONNECT", "half a CONNECT")
def test_who_does_not_come_to_the_point_is_cut_off(t, how):
    broker = t.broker(["connect_timeout 1"], listeners={"mqtts": certs.listener("ecdsa")}, metrics=True)
    if how in ("no CONNECT", "half a CONNECT"):
        link = tls.Tls(("127.0.0.1", broker.port))
        port = link.sock.getsockname()[1]
        if how == "half a CONNECT":
            link.send(mqtt.connect("never")[:-3])
        assert link.wait(mqtt.WAIT_S) and link.ended, "the server waits"
        link.close()
    else:
        raw = Raw(broker.port)
        port = raw.port
        if how == "half a hello":
            raw.say(client_hello()[:100])
        if how == "drop by drop":
            threading.Thread(target=drip, args=(raw, client_hello()), daemon=True).start()
        raw.closed()
    expect_early_reason(broker, port, "time")
    eventually(lambda: t.metric(broker, "tern_connections") == 0, what="no connection left")


@tern_only
def test_half_open_handshakes_do_not_keep_honest_clients_out(t):
    broker = t.broker(["connect_timeout 3600"], listeners={"mqtts": certs.listener("ecdsa")}, metrics=True)
    hello = client_hello()
    held = [Raw(broker.port) for _ in range(200)]
    for number, raw in enumerate(held):
        raw.say(hello[: number % len(hello)] if number % 3 else hello)
    Witness(t, broker).goes_on()
    for raw in held:
        raw.sock.close()
    eventually(lambda: t.metric(broker, "tern_connections") == 0, what="no connection left")


# ---------------------------------------------------------------------------------- established streams


def flip(cipher):
    """One bit, in the middle of the first record's secret part."""
    at = 5 + (len(cipher) - 5) // 2
    return cipher[:at] + bytes([cipher[at] ^ 0x10]) + cipher[at + 1 :]


# How a record is changed, how many of the message it carries are genuine, and what the log says.
TAMPERINGS = {
    "a flipped bit": (flip, 0, "changed on its way"),
    "a flipped tag": (lambda cipher: cipher[:-1] + bytes([cipher[-1] ^ 1]), 0, "changed on its way"),
    "a record twice": (lambda cipher: cipher + cipher, 1, "changed on its way"),
    "an oversized record": (lambda cipher: record(DATA, bytes(64), 0x0303, size=0xFFFF), 0, "oversized record"),
    "a record of another kind": (lambda cipher: bytes([99]) + cipher[1:], 0, "out of turn|changed on its way"),
    "plain MQTT": (lambda cipher: mqtt.pingreq() * 50, 0, "not TLS|changed|oversized|out of turn|without TLS"),
}


@short
@each(*[(name, version) for name in TAMPERINGS for version in VERSIONS])
def test_a_stream_that_was_changed_ends_and_its_will_is_published(t, which):
    name, version = which
    tamper, genuine, wanted = TAMPERINGS[name]
    broker = common(t)
    watcher = tls.client(t, broker.ports["mqtts"], "watcher")
    watcher.subscribe(t.topic("#"), qos=1)
    will = {"topic": t.topic("will"), "payload": "gone", "qos": 1}
    how = tls.context(versions=(version,))
    victim = tls.client(t, broker.ports["mqtts"], "victim", how=how, will=will)
    port = victim.transport.sock.getsockname()[1]
    victim.ping()
    victim.transport.tamper = tamper
    victim.send_or_closed(mqtt.publish(t.topic("x"), "forged?" * 20, 0))
    victim.transport.tamper = None
    victim.expect_close()
    for _ in range(genuine):
        watcher.receive(t.topic("x"), "forged?" * 20)
    watcher.receive(t.topic("will"), "gone")  # and nothing of what was changed
    expect_reason(broker, port, wanted)
    watcher.disconnect()


@each(*VERSIONS)
def test_a_record_that_is_cut_off_is_not_half_believed(t, version):
    broker = common(t)
    watcher = tls.client(t, broker.ports["mqtts"], "watcher")
    watcher.subscribe(t.topic("#"), qos=1)
    will = {"topic": t.topic("will"), "payload": "gone", "qos": 1}
    victim = tls.client(t, broker.ports["mqtts"], "victim", how=tls.context(versions=(version,)), will=will)
    port = victim.transport.sock.getsockname()[1]
    victim.transport.tamper = lambda cipher: cipher[:-4]
    victim.send(mqtt.publish(t.topic("x"), "whole as a packet, cut as a record", 0))
    victim.half_close()
    victim.close()
    watcher.receive(t.topic("will"), "gone")
    expect_reason(broker, port, ".")
    watcher.disconnect()


@each(*VERSIONS)
def test_a_goodbye_of_tls_alone_is_no_goodbye_of_mqtt(t, version):
    """close_notify without DISCONNECT [MQTT-3.1.2-8]: the will is published, and TLS is ended in turn."""
    broker = common(t)
    watcher = tls.client(t, broker.ports["mqtts"], "watcher")
    watcher.subscribe(t.topic("will"), qos=1)
    will = {"topic": t.topic("will"), "payload": "gone", "qos": 1}
    victim = tls.client(t, broker.ports["mqtts"], "victim", how=tls.context(versions=(version,)), will=will)
    victim.transport.say_goodbye()
    watcher.receive(t.topic("will"), "gone")
    watcher.disconnect()


@tern_only
@each(*[(version, scheme) for version in VERSIONS for scheme in ("mqtts", "wss")])
def test_the_broker_ends_tls_properly(t, which):
    """A client can tell the end from a cut: close_notify comes after the last packet."""
    version, scheme = which
    broker = common(t)
    client = tls.client(t, broker.ports[scheme], "polite", scheme=scheme, how=tls.context(versions=(version,)))
    client.send(mqtt.disconnect())
    client.expect_close()
    assert client.transport.said_goodbye, "the server cut the connection"


@short
def test_an_attempt_to_renegotiate_ends_the_connection(t):
    broker = common(t)
    witness = Witness(t, broker)
    said = tls.renegotiation(broker.ports["mqtts"])
    assert b"RENEGOTIATING" in said, said
    if not broker_module.is_mosquitto():
        eventually(lambda: re.search(r"reason=.*renegotiat", broker.log()), what="a line on renegotiation")
    witness.goes_on()


@tern_only
@each(*VERSIONS)
def test_a_ticket_from_another_life_costs_a_handshake_and_nothing_else(t, version):
    how = tls.context(versions=(version,))
    with broker_module.Broker(listeners={"mqtts": certs.listener("ecdsa")}) as earlier:
        client = tls.client(t, earlier.port, "earlier", how=how)
        client.ping()
        ticket = client.transport.ssl.session
        client.disconnect()
        again = tls.client(t, earlier.port, "again", how=how, tls={"session": ticket})
        assert again.transport.ssl.session_reused, "the control: in its own life it is good"
        again.disconnect()
    broker = common(t)
    later = tls.client(t, broker.ports["mqtts"], "later", how=how, tls={"session": ticket})
    assert not later.transport.ssl.session_reused, "another process opened the ticket"
    later.ping()
    later.disconnect()


# ---------------------------------------------------------------------------------- certificates

STRANGERS = {
    "expired": "expired",
    "future": "not yet valid|not valid yet",
    "revoked": "revoked",
    "stranger": "not signed|unknown|issuer|trust|CA",
    "purpose": "purpose",
    None: "no certificate|no .*certificate",
}


@short
@each(*[(name, version) for name in STRANGERS for version in VERSIONS])
def test_a_client_certificate_that_is_not_good_is_refused(t, which):
    name, version = which
    broker = common(t)
    witness = Witness(t, broker, "mutual")
    how = tls.context(certs.client(name) if name else None, versions=(version,))
    link = tls.Tls(("127.0.0.1", broker.ports["mutual"]), how, handshake=False)
    port = link.sock.getsockname()[1]
    try:
        link.shake()
        link.send(mqtt.connect(t.id("bad")))
        assert link.wait(mqtt.WAIT_S) and not link.plain, f"it was let in: {bytes(link.plain)!r}"
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        pass
    link.close()
    expect_reason(broker, port, STRANGERS[name])
    witness.goes_on()


@tern_only
def test_an_optional_certificate_may_be_missing_but_not_bad(t):
    broker = common(t)
    port = broker.ports["optional"]
    tls.client(t, port, "none").disconnect()
    tls.client(t, port, "good", how=tls.context(certs.client("alice"))).disconnect()
    for name in ("expired", "revoked", "stranger"):
        tls.refused(port, tls.context(certs.client(name)))


@each(*VERSIONS)
def test_a_client_that_does_not_trust_us_says_so(t, version):
    broker = common(t)
    strange = tls.context(ca=certs.path("other.pem"), versions=(version,))
    ours = tls.context(versions=(version,))
    for how, name in ((strange, "localhost"), (ours, "wrong.example.test")):
        link = tls.Tls(("127.0.0.1", broker.ports["mqtts"]), how, name=name, handshake=False)
        port = link.sock.getsockname()[1]
        try:
            link.shake()
            raise AssertionError("the client trusts a stranger")
        except ssl.SSLError:
            link.close()
        # In 1.3 OpenSSL's client says so in clear, where only ciphered records are believed: for the log it will do.
        expect_reason(broker, port, "the peer gave up: it does not (accept our certificate|trust the CA)")


@tern_only
def test_an_empty_common_name_is_no_user(t):
    """It would be the user of nobody's rules."""
    broker = common(t)
    for version in VERSIONS:
        how = tls.context(certs.client("nameless"), versions=(version,))
        link = tls.Tls(("127.0.0.1", broker.ports["mutual"]), how)
        client = mqtt.Client(0, 5, transport=link, label="nameless")
        port = link.sock.getsockname()[1]
        client.send(mqtt.connect(t.id("nameless")))
        client.expect_refusal(0x86, 0x87)
        expect_reason(broker, port, "name|authorized|password")


# ---------------------------------------------------------------------------------- what is left


@tern_only
def test_connections_and_memory_come_back_to_where_they_were(t):
    broker = t.broker(listeners={"mqtts": certs.listener("ecdsa")}, metrics=True)
    hello = client_hello()

    def storm(rounds):
        for number in range(rounds):
            raws = [Raw(broker.port) for _ in range(4)]
            raws[0].say(OPENINGS["garbage"][0])
            raws[1].say(hello[: 1 + number % (len(hello) - 1)])
            raws[2].say(hello)
            link = tls.Tls(("127.0.0.1", broker.port))
            link.send(mqtt.connect(f"storm{number}"))
            link.close()
            for raw in raws:
                raw.sock.close()
        eventually(lambda: t.metric(broker, "tern_connections") == 0, 30, what="no connection left")
        eventually(lambda: t.metric(broker, "tern_sessions") == 0, 30, what="no session left")

    storm(25)
    before = t.metric(broker, "tern_memory_bytes")
    storm(50)
    after = t.metric(broker, "tern_memory_bytes")
    assert after - before < 65536, f"memory_bytes went from {before} to {after}"
    Witness(t, broker).goes_on()


@plain_build
@tern_only
def test_nothing_is_left_of_a_thousand_bad_handshakes(t):
    """Resident memory, which sees what no metric counts."""
    broker = t.broker(listeners={"mqtts": certs.listener("rsa")}, env={"TERN_THREADS": "1"})
    hello = client_hello()

    def storm(count):
        for number in range(count):
            raw = Raw(broker.port)
            raw.say(hello if number % 2 else hello[:-1] + b"x" * 20)
            raw.sock.close()
            if number % 8 == 0:
                tls.client(t, broker.port, "honest").disconnect()

    def resident():
        with open(f"/proc/{broker.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    storm(400)
    before = resident()
    storm(1000)
    grown = resident() - before
    assert grown < 2 << 20, f"1,000 bad handshakes left {grown} bytes"


