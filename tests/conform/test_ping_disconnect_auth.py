"""Chapters 3.12 to 3.15 and 4.12: PINGREQ, DISCONNECT, AUTH."""

import time

from harness import group, mqtt, versions
from mqtt import AUTH, CONNACK, DISCONNECT, PINGREQ, PINGRESP, packet

METHOD = "TERN-TEST"


# ---------------------------------------------------------------------------------- ping

@versions(5, 4, 3)
def test_every_ping_is_answered(t):
    """[MQTT-3.12.4-1] [v3:MQTT-3.12.4-1]"""
    c = t.open()
    c.send(mqtt.pingreq() * 5)
    for _ in range(5):
        c.expect(PINGRESP)
    c.expect_nothing(0.05)


@versions(5, 4)
def test_a_ping_with_a_body_is_malformed(t):
    """[MQTT-4.13.1-1] [v3:MQTT-4.8.0-1]"""
    t.refused(packet(PINGREQ, 0, b"\0"), 0x81, 0x82)


# ---------------------------------------------------------------------------------- disconnect

@versions(5, 4, 3)
def test_the_server_closes_after_disconnect(t):
    """[MQTT-3.14.4-1] [MQTT-3.14.4-2] [v3:MQTT-3.14.4-1] The client should close; where it does not, the
    server does, and sends nothing more."""
    topic = t.topic()
    c = t.open()
    c.subscribe(topic)
    c.send(mqtt.disconnect())
    assert c.expect_close() == []


@versions(5, 4)
def test_nothing_after_disconnect_is_processed(t):
    """[MQTT-3.14.4-1] [v3:MQTT-3.14.4-2] The reaction to a client that sends on."""
    watcher = t.open("watch")
    watcher.subscribe(t.topic())
    c = t.open()
    c.send(mqtt.disconnect() + mqtt.publish(t.topic(), b"never", version=t.version) + mqtt.pingreq())
    assert c.expect_close() == []
    watcher.expect_nothing()


def test_the_server_says_why_and_closes(t):
    """[MQTT-3.14.2-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1] [MQTT-3.14.2-2] What a DISCONNECT of
    the server may carry is checked by the decoder: no Session Expiry Interval, a reason of the table."""
    for bytes_, reason in ((b"\x36\x05\x00\x01a\x00\x01", 0x81), (mqtt.connect("x"), 0x82),
                           (mqtt.publish("a/#", b""), 0x90)):
        answer = t.refused(bytes_, reason, 0x81) if reason == 0x90 else t.refused(bytes_, reason)
        assert "session_expiry" not in answer.props


def test_wrong_reasons_of_a_client_are_refused(t):
    """[MQTT-3.14.2-1] The reaction to a client's wrong code."""
    for reason in (0x01, 0x02, 0x10, 0x8E, 0x7F):
        c = t.open()
        c.send(mqtt.disconnect(reason))
        seen = c.expect_close()
        assert len(seen) <= 1 and all(p.kind == DISCONNECT and p.reason in (0x81, 0x82) for p in seen)


def test_all_reasons_of_a_client_are_accepted(t):
    """[MQTT-3.14.2-1]"""
    for reason in (0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99):
        t.open("c").disconnect(reason)
    t.open("c").disconnect(0x00, {"reason_string": "bye", "user_property": [("a", "b")]})
    t.open("c").disconnect(0x00, {})


def test_disconnect_may_change_the_session_expiry(t):
    """[MQTT-3.14.2-2] [MQTT-3.1.2-23] [MQTT-4.1.0-2]"""
    t.durable("a").disconnect(0, {"session_expiry": 0})
    assert not t.raw().connect(t.id("a"), clean=False).session_present
    t.durable("b", expiry=1).disconnect(0, {"session_expiry": 100})
    t.durable("c", expiry=100).disconnect(0, {"session_expiry": 1})
    time.sleep(2.2)
    assert t.raw().connect(t.id("b"), clean=False).session_present
    assert not t.raw().connect(t.id("c"), clean=False).session_present


def test_a_session_that_was_to_end_cannot_be_prolonged(t):
    """[MQTT-4.13.1-1] From 0 in CONNECT to more at DISCONNECT is a protocol error."""
    c = t.open()
    c.send(mqtt.disconnect(0, {"session_expiry": 10}))
    seen = c.expect_close()
    assert [p.reason for p in seen] in ([0x82], [])
    assert not t.raw().connect(t.id("a"), clean=False).session_present


@versions(4, 3)
def test_a_disconnect_with_a_body_is_refused_before_5(t):
    """[v3:MQTT-4.8.0-1] [v3:MQTT-3.14.4-3] And is no DISCONNECT: the will is published."""
    watcher = t.open("watch")
    watcher.subscribe(t.topic())
    c = t.open("a", will={"topic": t.topic(), "payload": b"gone"})
    c.send(packet(DISCONNECT, 0, b"\0"))
    c.expect_close()
    watcher.receive(t.topic(), b"gone")


# ---------------------------------------------------------------------------------- enhanced authentication

def challenged(t, label="a", **how):
    """A client that has had its challenge: (client, the right answer)."""
    c = t.raw(label=label)
    props = {"auth_method": METHOD, "auth_data": b"hello"}
    c.send(mqtt.connect(t.id(label), props=dict(props, **how.pop("props", {})), **how))
    return c, answer_to(c)


def answer_to(c):
    p = c.expect(AUTH, reason=0x18)
    assert p.props["auth_method"] == METHOD
    word, _, digits = p.props["auth_data"].decode().partition(":")
    assert word == "challenge" and len(digits) == 8
    return digits[::-1].encode()


def wrong(data):
    """Another answer of the same form: never the right one."""
    return bytes([data[0] ^ 1]) + data[1:]


def authenticated(t, label="a", **how):
    c, answer = challenged(t, label, **how)
    c.send(mqtt.auth(0x18, METHOD, answer))
    p = c.expect(CONNACK, reason=0)
    return c, p


@group("auth")
def test_enhanced_authentication_succeeds(t):
    """[MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.2.0-1]"""
    c, p = authenticated(t)
    assert p.props["auth_method"] == METHOD and p.props["auth_data"] == b"welcome"
    c.subscribe(t.topic())
    c.publish(t.topic(), b"x")
    c.receive(t.topic(), b"x")


@group("auth")
def test_a_wrong_answer_is_refused(t):
    """[MQTT-4.12.0-4] [MQTT-3.1.4-2]"""
    c, answer = challenged(t)
    c.send(mqtt.auth(0x18, METHOD, wrong(answer)))
    seen = c.expect_close()
    assert [(p.kind, p.reason) for p in seen] == [(CONNACK, 0x87)]


@versions(5)
def test_an_unknown_method_is_refused(t):
    """[MQTT-4.12.0-1]"""
    t.connect_refused(mqtt.connect(t.id("a"), props={"auth_method": "NONE-SUCH", "auth_data": b"x"}), 0x8C)
    t.connect_refused(mqtt.connect(t.id("a"), props={"auth_method": ""}), 0x8C)


@group("auth")
def test_an_unknown_method_is_refused_beside_a_known_one(t):
    """[MQTT-4.12.0-1]"""
    for name in ("NONE-SUCH", "tern-test", METHOD + "2"):
        t.connect_refused(mqtt.connect(t.id("a"), props={"auth_method": name, "auth_data": b"hello"}), 0x8C)


@group("auth")
def test_during_authentication_only_auth_and_disconnect_may_come(t):
    """[MQTT-3.1.2-30] [MQTT-4.12.0-3] The reaction to a client that sends something else."""
    for bytes_ in (mqtt.pingreq(), mqtt.publish(t.topic(), b""), mqtt.subscribe(1, [(t.topic(), 0)]),
                   mqtt.connect(t.id("a"))):
        c, _ = challenged(t)
        c.send(bytes_)
        seen = c.expect_close()
        assert len(seen) <= 1 and all(p.kind == CONNACK and p.reason == 0x82 for p in seen), seen
    c, _ = challenged(t)
    c.send(mqtt.disconnect())
    assert c.expect_close() == []


@group("auth")
def test_an_answer_with_another_reason_or_method_is_refused(t):
    """[MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1] The reaction to a client that does it."""
    for reason, method in ((0x00, METHOD), (0x19, METHOD), (0x17, METHOD), (0x18, "OTHER"), (0x18, None)):
        c, answer = challenged(t)
        c.send(mqtt.auth(reason, method, answer))
        seen = c.expect_close()
        assert len(seen) <= 1 and all(p.kind == CONNACK and p.reason in (0x81, 0x82, 0x87, 0x8C)
                                      for p in seen), seen


@versions(5)
def test_without_a_method_the_server_sends_no_auth(t):
    """[MQTT-4.12.0-6]"""
    p = t.raw().connect(t.id("a"))
    assert "auth_method" not in p.props and "auth_data" not in p.props


@group("auth")
def test_without_a_method_no_auth_where_methods_exist(t):
    """[MQTT-4.12.0-6]"""
    p = t.raw().connect(t.id("a"))
    assert "auth_method" not in p.props and "auth_data" not in p.props


@versions(5)
def test_auth_without_a_method_in_connect_is_refused(t):
    """[MQTT-4.12.0-7] The reaction to a client that does it."""
    for reason in (0x18, 0x19):
        t.refused(mqtt.auth(reason, METHOD, b"hello"), 0x82)


@group("auth")
def test_re_authentication(t):
    """[MQTT-4.12.1-1] [MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-3.15.2-1] The session goes on meanwhile."""
    c, _ = authenticated(t)
    c.subscribe(t.topic(), qos=1)
    for _ in range(2):
        c.send(mqtt.auth(0x19, METHOD, b"hello"))
        answer = answer_to(c)
        t.open("other").publish(t.topic(), b"meanwhile", qos=1)
        c.receive(t.topic(), b"meanwhile")
        c.ping()
        c.send(mqtt.auth(0x18, METHOD, answer))
        p = c.expect(AUTH, reason=0x00)
        assert p.props["auth_method"] == METHOD
    c.ping()


@group("auth")
def test_failed_re_authentication_ends_the_connection(t):
    """[MQTT-4.12.1-2]"""
    c, _ = authenticated(t)
    c.send(mqtt.auth(0x19, METHOD, b"hello"))
    c.send(mqtt.auth(0x18, METHOD, wrong(answer_to(c))))
    c.expect_refusal(0x87)


@group("auth")
def test_re_authentication_by_another_method_is_refused(t):
    """[MQTT-4.12.1-1] The reaction to a client that tries."""
    for method in ("OTHER", None):
        c, _ = authenticated(t)
        c.send(mqtt.auth(0x19, method, b"hello"))
        c.expect_refusal(0x82, 0x81, 0x8C, 0x87)


@group("auth")
def test_auth_out_of_turn_is_refused(t):
    """[MQTT-3.15.2-1] [MQTT-4.12.1-1] 0x18 when nothing was asked; a code outside the table."""
    for reason in (0x18, 0x00, 0x01, 0x87):
        c, _ = authenticated(t)
        c.send(mqtt.auth(reason, METHOD, b"hello"))
        c.expect_refusal(0x81, 0x82)


@group("auth")
def test_authentication_comes_before_the_session_is_taken_over(t):
    """[MQTT-4.12.0-4] [MQTT-3.1.4-3] Who fails takes nothing from the owner, and no will is stored."""
    owner = t.open("a")
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    c, answer = challenged(t, "a", will={"topic": t.topic("will"), "payload": b"no"})
    owner.ping()
    c.send(mqtt.auth(0x18, METHOD, wrong(answer)))
    c.expect_close()
    owner.ping()
    watcher.expect_nothing()
    c, answer = challenged(t, "a")
    c.send(mqtt.auth(0x18, METHOD, answer))
    c.expect(CONNACK, reason=0)
    owner.expect_refusal(0x8E)


@group("auth")
def test_auth_packets_respect_the_maximum_packet_size(t):
    """[MQTT-3.15.2-2] [MQTT-3.15.2-3] No reason string or user property may push a packet beyond it."""
    c, answer = challenged(t, props={"packet_max": 80})
    c.send(mqtt.auth(0x18, METHOD, answer))
    assert len(c.expect(CONNACK, reason=0).raw) <= 80
    c.send(mqtt.auth(0x19, METHOD, b"hello"))
    c.send(mqtt.auth(0x18, METHOD, answer_to(c)))
    assert len(c.expect(AUTH, reason=0).raw) <= 80


@group("auth")
def test_malformed_auth_packets(t):
    """[MQTT-3.15.1-1] [MQTT-4.13.1-1]"""
    for bytes_ in (b"\xf1\x00", packet(AUTH, 0, b"\x19"), packet(AUTH, 0, b"\x19\x05\x15"),
                   mqtt.auth(0x19, METHOD, props=[("auth_method", METHOD)]), mqtt.auth(0x19, b"\xff")):
        c, _ = authenticated(t)
        c.send(bytes_)
        c.expect_refusal(0x81, 0x82)
