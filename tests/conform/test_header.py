"""Chapter 2: the format of a packet."""

from harness import mqtt, versions
from mqtt import (AUTH, CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK,
                  SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, ack, packet, text, u16)


def fixed_flags(t):
    """What a client sends with fixed flags: kind, body, and the only right flags."""
    v = t.version
    head = b"\0" if v == 5 else b""
    yield PUBACK, u16(1), 0
    yield PUBREC, u16(1), 0
    yield PUBREL, u16(1), 2
    yield PUBCOMP, u16(1), 0
    yield SUBSCRIBE, u16(1) + head + text(t.topic()) + b"\0", 2
    yield UNSUBSCRIBE, u16(1) + head + text(t.topic()), 2
    yield PINGREQ, b"", 0
    yield DISCONNECT, b"", 0


@versions(5, 4)
def test_wrong_reserved_flags_are_malformed(t):
    """[MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
    [v3:MQTT-2.2.2-1] [v3:MQTT-2.2.2-2] [v3:MQTT-3.6.1-1] [v3:MQTT-3.8.1-1] [v3:MQTT-3.10.1-1]
    [v3:MQTT-3.14.1-1]"""
    for kind, body, right in fixed_flags(t):
        for flags in {0, 1, 2, 4, 8, 15} - {right}:
            t.refused(packet(kind, flags, body), 0x81)
    if t.version == 5:
        t.refused(packet(AUTH, 1, b""), 0x81)


@versions(5, 4)
def test_wrong_flags_of_connect_are_refused(t):
    """[MQTT-2.1.3-1] [v3:MQTT-2.2.2-2]"""
    good = mqtt.connect(t.id("a"), version=t.version)
    for flags in (1, 2, 4, 8):
        c = t.raw()
        c.send(bytes([0x10 | flags]) + good[1:])
        assert [p.reason for p in c.expect_close() if p.kind != CONNACK or t.version < 5] == []


@versions(5, 4)
def test_packets_that_only_a_server_sends_are_refused(t):
    """[MQTT-4.13.1-1] [v3:MQTT-4.8.0-1] CONNACK, SUBACK, UNSUBACK, PINGRESP; type 0; AUTH before 5."""
    head = b"\0" if t.version == 5 else b""
    for bytes_ in (packet(CONNACK, 0, b"\0\0" + head), packet(SUBACK, 0, u16(1) + head + b"\0"),
                   packet(UNSUBACK, 0, u16(1) + head + head), packet(PINGRESP, 0, b""), packet(0, 0, b"")):
        t.refused(bytes_, 0x81, 0x82)
    if t.version == 4:
        t.refused(packet(AUTH, 0, b""))


@versions(5, 4)
def test_qos_0_carries_no_packet_identifier(t):
    """[MQTT-2.2.1-2] [v3:MQTT-2.3.1-5] The payload follows the topic at once, both ways."""
    topic = t.topic()
    c = t.open()
    c.subscribe(topic)
    c.send(mqtt.publish(topic, b"\x00\x07rest", version=t.version))
    c.expect_publish(topic, b"\x00\x07rest", qos=0, pid=None)


@versions(5, 4)
def test_packet_identifier_zero_is_refused(t):
    """[MQTT-2.2.1-3] [v3:MQTT-2.3.1-1]"""
    v = t.version
    for bytes_ in (mqtt.publish(t.topic(), b"", 1, 0, version=v), mqtt.publish(t.topic(), b"", 2, 0, version=v),
                   mqtt.subscribe(0, [(t.topic(), 0)], version=v), mqtt.unsubscribe(0, [t.topic()], version=v)):
        t.refused(bytes_, 0x81, 0x82)


@versions(5, 4)
def test_the_server_uses_identifiers_that_are_not_in_use(t):
    """[MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [v3:MQTT-2.3.1-1] [v3:MQTT-2.3.1-4]
    [v3:MQTT-4.3.2-1] [v3:MQTT-4.3.3-1]"""
    topic = t.topic()
    sub, pub = t.open("sub"), t.open("pub")
    sub.subscribe(topic, qos=2)
    for number in range(18):
        pub.publish(topic, str(number), qos=1 + number % 2)
    seen = [sub.expect_publish(topic) for _ in range(18)]
    ids = {p.pid for p in seen}
    assert len(ids) == 18 and 0 not in ids
    for p in seen:
        sub.send(ack(PUBACK if p.qos == 1 else PUBREC, p.pid))
    for p in seen[1::2]:
        sub.expect(PUBREL, pid=p.pid)  # and the identifier stays in use until PUBCOMP
    pub.publish(topic, b"more", qos=1)
    assert sub.receive(topic, b"more").pid not in {p.pid for p in seen[1::2]}


@versions(5, 4)
def test_acknowledgements_carry_the_identifier_of_what_they_answer(t):
    """[MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5] [v3:MQTT-2.3.1-6] [v3:MQTT-2.3.1-7]
    [v3:MQTT-3.8.4-2] [v3:MQTT-3.10.4-4]"""
    topic, v = t.topic(), t.version
    c = t.open()
    for pid in (1, 255, 256, 32768, 65535):
        c.send(mqtt.publish(topic, b"", 1, pid, version=v))
        c.expect(PUBACK, pid=pid)
        c.send(mqtt.publish(topic, b"", 2, pid, version=v))
        c.expect(PUBREC, pid=pid)
        c.send(ack(PUBREL, pid))
        c.expect(PUBCOMP, pid=pid)
        c.send(mqtt.subscribe(pid, [(topic + "/none", 0)], version=v))
        c.expect(SUBACK, pid=pid)
        c.send(mqtt.unsubscribe(pid, [topic + "/none"], version=v))
        c.expect(UNSUBACK, pid=pid)


@versions(5, 4)
def test_client_and_server_identifiers_do_not_disturb_each_other(t):
    """[MQTT-2.2.1-4] [v3:MQTT-2.3.1-4] A client's PUBLISH may use the number of one on its way to it."""
    topic = t.topic()
    c = t.open()
    c.subscribe(topic, qos=1)
    c.send(mqtt.publish(topic, b"1", 1, 1, version=t.version))
    first = {p.kind: p for p in (c.recv(), c.recv())}
    mine = first[mqtt.PUBLISH].pid
    c.send(mqtt.publish(t.topic("other"), b"", 1, mine, version=t.version))
    c.expect(PUBACK, pid=mine)
    c.send(ack(PUBACK, mine))
    c.ping()


def test_packets_without_properties_say_so_with_a_zero(t):
    """[MQTT-2.2.2-1] The length is always there, from the server (checked by the decoder) and from
    the client, whose packet is malformed without it."""
    topic = t.topic()
    c = t.open()
    assert c.subscribe(topic).raw[4] == 0
    c.publish(topic, b"")
    assert c.receive(topic).raw[-1:] == b"\0"
    t.refused(packet(mqtt.PUBLISH, 0, text(topic)), 0x81)
    t.refused(packet(SUBSCRIBE, 2, u16(1)), 0x81, 0x82)
    t.connect_refused(packet(mqtt.CONNECT, 0, text("MQTT") + b"\x05\x02\x00\x3c"), 0x81)


@versions(5, 4)
def test_packets_may_come_in_any_pieces(t):
    """[MQTT-4.2-1] [MQTT-4.2.0-1] [v3:MQTT-7.1.1-1] TCP is a stream: byte by byte, or all at once."""
    topic, v = t.topic(), t.version
    c = t.raw()
    stream = mqtt.connect(t.id("a"), version=v) + mqtt.subscribe(1, [(topic, 1)], version=v) \
        + mqtt.publish(topic, b"hello", 1, 2, version=v) + mqtt.pingreq()
    for at in range(len(stream)):
        c.send(stream[at:at + 1])
    c.expect(CONNACK, reason=0)
    c.expect(SUBACK, pid=1)
    kinds = sorted(c.recv().kind for _ in range(3))
    assert kinds == [mqtt.PUBLISH, PUBACK, PINGRESP]
    d = t.raw()
    d.send(stream.replace(text(t.id("a")), text(t.id("b"))))
    d.expect(CONNACK, reason=0)
    d.expect(SUBACK, pid=1)
