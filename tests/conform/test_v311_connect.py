"""CONNECT and CONNACK of MQTT 3.1.1, chapters 3.1 and 3.2, and of 3.1 where it is the same.

What holds for both versions stands in test_connect.py.
"""

from harness import group, mqtt, versions
from mqtt import CONNACK, PINGRESP, PUBACK, PUBREC, PUBREL, ack, packet, text


def will(t, qos=0, retain=False):
    return {"topic": t.topic("will"), "payload": b"gone", "qos": qos, "retain": retain}


def silently_closed(t, bytes_, version=None):
    """Closed without a CONNACK, as 3.1.1 asks for a CONNECT that is not well formed."""
    c = t.raw(version)
    c.send(bytes_)
    assert c.expect_close() == []


def refused_with(t, bytes_, code, version=None):
    c = t.raw(version)
    c.send(bytes_)
    seen = c.expect_close()
    assert [(p.kind, p.reason, p.ack_flags) for p in seen] == [(CONNACK, code, 0)], seen


# ---------------------------------------------------------------------------------- name, level, flags

def test_a_wrong_protocol_name_is_not_served(t):
    """[v3:MQTT-3.1.2-1]"""
    for name in ("mqtt", "MQT", "MQTTX", "", "HTTP"):
        c = t.raw()
        c.send(mqtt.connect(t.id("a"), version=4, name=name))
        assert all(p.kind == CONNACK and p.reason != 0 for p in c.expect_close())


def test_the_name_and_the_level_belong_together(t):
    """[v3:MQTT-3.1.2-1] [v3:MQTT-3.1.2-2] MQIsdp with 3, MQTT with 4 and 5."""
    for name, level in (("MQIsdp", 4), ("MQIsdp", 5), ("MQTT", 3)):
        c = t.raw()
        c.send(mqtt.connect(t.id("a"), version=4, name=name, level=level))
        seen = c.transport.recv()
        assert seen in (b"", b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"), seen


def test_an_unsupported_level_is_answered_with_1(t):
    """[v3:MQTT-3.1.2-2] [v3:MQTT-3.2.2-4] [v3:MQTT-3.2.2-5]"""
    for level in (0, 1, 2, 6, 127):
        c = t.raw()
        c.send(mqtt.connect(t.id("a"), version=4, level=level))
        seen = c.transport.recv()
        # 0x84 in the form of 5.0 is what that version's text allows for a level above
        assert seen == b"\x20\x02\x00\x01" or (level > 5 and seen == b"\x20\x03\x00\x84\x00"), seen
        assert c.transport.recv() == b""


def test_the_reserved_flag_must_be_zero(t):
    """[v3:MQTT-3.1.2-3] [v3:MQTT-3.1.4-1]"""
    silently_closed(t, mqtt.connect(t.id("a"), version=4, flags=0x03))


def test_will_flags_without_a_will_are_refused(t):
    """[v3:MQTT-3.1.2-11] [v3:MQTT-3.1.2-13] [v3:MQTT-3.1.2-15]"""
    for flags in (0x0A, 0x12, 0x22, 0x2A):
        silently_closed(t, mqtt.connect(t.id("a"), version=t.version, flags=flags))


@versions(4, 3)
def test_a_will_of_qos_3_is_refused(t):
    """[v3:MQTT-3.1.2-14]"""
    silently_closed(t, mqtt.connect(t.id("a"), version=t.version, will=will(t, qos=3)))


def test_flags_and_payload_must_agree(t):
    """[v3:MQTT-3.1.2-9] [v3:MQTT-3.1.2-11] [v3:MQTT-3.1.2-18] [v3:MQTT-3.1.2-19] [v3:MQTT-3.1.2-20]
    [v3:MQTT-3.1.2-21] [v3:MQTT-3.1.3-1] [v3:MQTT-3.1.3-3] [v3:MQTT-3.1.4-1]"""
    cid, name = text(t.id("a")), text("name")
    for flags, payload in ((0x06, cid), (0x06, cid + text("w")), (0x82, cid), (0xC2, cid + name),
                           (0x02, cid + name), (0x82, cid + name + name), (0x06, cid + text("w") * 3),
                           (0x02, b""), (0x02, b"\x00\x09abc")):
        silently_closed(t, mqtt.connect(version=4, flags=flags, payload=payload))


def test_a_password_needs_a_user_name(t):
    """[v3:MQTT-3.1.2-22]"""
    silently_closed(t, mqtt.connect(t.id("a"), version=4, password="secret"))


@versions(4, 3)
def test_all_fields_in_their_order(t):
    """[v3:MQTT-3.1.3-1] [v3:MQTT-3.1.3-3] [v3:MQTT-3.1.2-9] [v3:MQTT-3.1.2-19] [v3:MQTT-3.1.2-21]"""
    watch = t.open("watch")
    watch.subscribe(t.topic("will"), qos=1)
    c = t.open("a", will=will(t, qos=1), username="name", password=b"\0\xff")
    c.abort()
    watch.receive(t.topic("will"), b"gone", qos=1)


# ---------------------------------------------------------------------------------- acceptance

@versions(4, 3)
def test_a_good_connect_is_acknowledged_with_zero(t):
    """[v3:MQTT-3.1.4-4] [v3:MQTT-3.2.2-1] [v3:MQTT-7.0.0-2]"""
    p = t.raw().connect(t.id("a"))
    assert p.raw == b"\x20\x02\x00\x00"


def test_a_refused_connect_ends_all(t):
    """[v3:MQTT-3.1.4-1] [v3:MQTT-3.1.4-5] [v3:MQTT-3.2.2-6] Nothing behind it is processed."""
    watch = t.open("watch")
    watch.subscribe(t.topic())
    c = t.raw()
    c.send(mqtt.connect(t.id("a"), version=4, flags=0x03) + mqtt.publish(t.topic(), b"never", version=4))
    assert c.expect_close() == []
    watch.expect_nothing()


@group("doors")
@versions(4, 3)
def test_who_may_not_come_in_is_answered_with_4_or_5(t):
    """[v3:MQTT-3.2.2-4] [v3:MQTT-3.2.2-5] [v3:MQTT-3.1.4-5]"""
    watch = t.open("watch")
    watch.subscribe(t.topic())
    for how in ({}, {"username": "alice"}, {"username": "alice", "password": "wrong"}):
        c = t.raw(door="closed")
        c.send(mqtt.connect(t.id("a"), version=t.version, **how)
               + mqtt.publish(t.topic(), b"never", version=t.version))
        seen = c.expect_close()
        assert len(seen) == 1 and seen[0].kind == CONNACK and seen[0].reason in (4, 5) \
            and seen[0].ack_flags == 0
    watch.expect_nothing()


@group("doors")
@versions(4, 3)
def test_a_client_id_that_is_not_wanted_is_refused(t):
    """[v3:MQTT-3.1.3-9]"""
    refused_with(t, mqtt.connect("unwanted" + t.prefix, version=t.version), 2)


# ---------------------------------------------------------------------------------- client ids

def test_an_empty_client_id_with_a_clean_session_is_served(t):
    """[v3:MQTT-3.1.3-6] Each as a client of its own."""
    a, b = t.raw(), t.raw()
    a.connect("")
    b.connect("")
    a.subscribe(t.topic())
    b.publish(t.topic(), b"x")
    a.receive(t.topic(), b"x")
    b.ping()


def test_an_empty_client_id_without_a_clean_session_is_answered_with_2(t):
    """[v3:MQTT-3.1.3-7] [v3:MQTT-3.1.3-8] [v3:MQTT-3.1.3-9] [v3:MQTT-3.2.2-5]"""
    refused_with(t, mqtt.connect("", version=4, clean=False), 2)


@versions(3)
def test_an_empty_client_id_is_refused_by_3_1(t):
    """[v3:MQTT-3.1.3-9]"""
    refused_with(t, mqtt.connect("", version=3), 2)


# ---------------------------------------------------------------------------------- sessions

@versions(4, 3)
def test_sessions_belong_to_client_ids(t):
    """[v3:MQTT-3.1.3-2] [v3:MQTT-3.1.2-4] [v3:MQTT-3.2.2-2] [v3:MQTT-3.2.2-3]"""
    c = t.raw()
    assert not c.connect(t.id("a"), clean=False).session_present
    c.subscribe(t.topic(), qos=1)
    c.disconnect()
    other = t.raw()
    assert not other.connect(t.id("b"), clean=False).session_present
    t.open("pub").publish(t.topic(), b"waiting", qos=1)
    c = t.raw()
    # 3.1 has no such flag
    assert c.connect(t.id("a"), clean=False).session_present == (t.version == 4)
    c.receive(t.topic(), b"waiting", qos=1)
    other.expect_nothing(0.05)


@versions(4, 3)
def test_a_clean_session_discards_and_is_discarded(t):
    """[v3:MQTT-3.1.2-6] [v3:MQTT-3.1.4-3] [v3:MQTT-3.2.2-1]"""
    c = t.durable()
    c.subscribe(t.topic(), qos=1)
    c.disconnect()
    pub = t.open("pub")
    pub.publish(t.topic(), b"old", qos=1)
    c = t.raw()
    assert not c.connect(t.id("a"), clean=True).session_present
    c.subscribe(t.topic("second"), qos=1)
    c.disconnect()
    c = t.raw()
    assert not c.connect(t.id("a"), clean=False).session_present
    pub.publish(t.topic(), b"1", qos=1)
    pub.publish(t.topic("second"), b"2", qos=1)
    c.expect_nothing()


@versions(4, 3)
def test_messages_of_qos_1_and_2_wait_for_a_session(t):
    """[v3:MQTT-3.1.2-4] [v3:MQTT-3.1.2-5] [v3:MQTT-4.1.0-1] Those of QoS 0 may."""
    c = t.durable()
    c.subscribe(t.topic("+"), qos=2)
    c.disconnect()
    pub = t.open("pub")
    for qos in (1, 2, 1, 2):
        pub.publish(t.topic(str(qos)), str(qos), qos=qos)
    c = t.durable()
    for qos in (1, 2, 1, 2):
        c.receive(t.topic(str(qos)), str(qos), qos=qos)
    c.ping()


@versions(4, 3)
def test_retained_messages_outlive_sessions(t):
    """[v3:MQTT-3.1.2-7] [v3:MQTT-3.3.1-5] They are no part of the session."""
    c = t.open("a", clean=True)
    c.publish(t.topic(), b"kept", qos=1, retain=True)
    c.disconnect()
    d = t.open("a", clean=True)
    d.subscribe(t.topic())
    d.receive(t.topic(), b"kept", retain=True)


@versions(4, 3)
def test_a_resent_publish_is_known_by_its_identifier(t):
    """[v3:MQTT-2.3.1-2] [v3:MQTT-2.3.1-3] The reaction to clients that resend, and that use an identifier
    again after its end: the first is one message, the second is another."""
    v = t.version
    watch = t.open("watch")
    watch.subscribe(t.topic(), qos=2)
    c = t.durable()
    c.send(mqtt.publish(t.topic(), b"1", 2, 3, version=v))
    c.expect(PUBREC, pid=3)
    c.abort()
    c = t.durable()
    c.send(mqtt.publish(t.topic(), b"1", 2, 3, dup=True, version=v))
    c.expect(PUBREC, pid=3)
    c.send(ack(PUBREL, 3))
    c.expect(mqtt.PUBCOMP, pid=3)
    watch.receive(t.topic(), b"1")
    watch.expect_nothing(0.1)
    c.send(mqtt.publish(t.topic(), b"2", 1, 3, version=v))
    c.expect(PUBACK, pid=3)
    watch.receive(t.topic(), b"2")


@versions(4, 3)
def test_properties_are_no_part_of_3_1_1(t):
    """[v3:MQTT-7.0.0-2] A message published with 5.0 arrives without what 3.1.1 has no place for, and one
    of 3.1.1 arrives at 5.0."""
    old, new = t.open("old"), t.open("new", version=5)
    for c in (old, new):
        c.subscribe(t.topic(), qos=1)
    new.send(mqtt.publish(t.topic(), b"5", 1, 1, version=5, props={
        "user_property": ("a", "b"), "message_expiry": 60, "content_type": "t", "topic_alias": 1}))
    old.receive(t.topic(), b"5")
    assert new.answer(PUBACK).reason == 0
    new.receive(t.topic(), b"5")
    old.publish(t.topic(), b"4", qos=1)
    assert new.receive(t.topic(), b"4").props == {}
    old.receive(t.topic(), b"4")


def test_long_acknowledgements_are_malformed(t):
    """[v3:MQTT-4.8.0-1] What 5.0 may append, 3.1.1 may not."""
    for bytes_ in (ack(PUBACK, 1, 0), ack(PUBREC, 1, 0), ack(PUBREL, 1, 0), packet(mqtt.PINGREQ, 0, b"\0"),
                   mqtt.subscribe(1, [(t.topic(), 0x24)], version=4)):
        t.refused(bytes_)
    c = t.open()
    c.send(mqtt.pingreq())
    c.expect(PINGRESP)


def test_take_over_between_versions(t):
    """[v3:MQTT-3.1.4-2] A 3.1.1 client takes over from a 5.0 one, and back; the session goes along."""
    new = t.durable("a", version=5)
    new.subscribe(t.topic(), qos=1)
    old = t.raw()
    assert old.connect(t.id("a"), clean=False).session_present
    new.expect_refusal(0x8E)
    old.publish(t.topic(), b"x", qos=1)
    old.receive(t.topic(), b"x", qos=1)
    old.ping()  # the acknowledgement has arrived
    again = t.raw(version=5)
    assert again.connect(t.id("a"), clean=False).session_present
    assert old.expect_close() == []
    again.publish(t.topic(), b"y", qos=1)
    again.receive(t.topic(), b"y", qos=1)
