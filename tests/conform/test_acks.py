"""Chapters 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP."""

from harness import mqtt, versions
from mqtt import PUBACK, PUBCOMP, PUBREC, PUBREL, ack, packet, u16


def test_puback_carries_a_reason_of_its_table(t):
    """[MQTT-3.4.2-1] 0x00 or 0x10 here; the decoder refuses any code that is not in the table."""
    topic = t.topic()
    c = t.open()
    assert c.publish(topic, b"", qos=1).reason in (0x00, 0x10)
    t.open("b").subscribe(topic)
    assert c.publish(topic, b"", qos=1).reason == 0x00


def test_no_matching_subscribers_is_said_only_when_true(t):
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1]"""
    topic = t.topic()
    sub, c = t.open("sub"), t.open()
    sub.subscribe(topic)
    for qos in (1, 2):
        assert c.publish(topic, b"", qos=qos).reason == 0x00
        assert c.publish(topic + "/nobody", b"", qos=qos).reason in (0x00, 0x10)


def test_pubrec_carries_a_reason_of_its_table(t):
    """[MQTT-3.5.2-1]"""
    c = t.open()
    assert c.publish(t.topic(), b"", qos=2).reason in (0x00, 0x10)


def test_pubcomp_for_an_unknown_identifier_says_so(t):
    """[MQTT-3.7.2-1]"""
    c = t.open()
    c.send(ack(PUBREL, 4711))
    c.expect(PUBCOMP, pid=4711, reason=0x92)
    c.ping()


def test_pubrel_for_an_unknown_identifier_says_so(t):
    """[MQTT-3.6.2-1]"""
    c = t.open()
    c.send(ack(PUBREC, 4711))
    c.expect(PUBREL, pid=4711, reason=0x92)
    c.ping()


def test_a_puback_for_an_unknown_identifier_harms_nothing(t):
    """[MQTT-3.4.2-1] [MQTT-3.7.2-1]"""
    c = t.open()
    c.send(ack(PUBACK, 4711))
    c.send(ack(PUBCOMP, 4712))
    c.ping()


@versions(4, 3)
def test_unknown_identifiers_of_3_1_1(t):
    """[v3:MQTT-4.3.3-2] PUBREL is answered by PUBCOMP, whatever the server remembers."""
    c = t.open()
    c.send(ack(PUBREL, 4711))
    c.expect(PUBCOMP, pid=4711)
    c.send(ack(PUBACK, 4711))
    c.send(ack(PUBCOMP, 4712))
    c.ping()


def test_acknowledgements_in_short_and_long_form(t):
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] A client may leave out reason 0x00 and
    empty properties, or send them with what it likes to say."""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=2)
    said = {"reason_string": "fine", "user_property": [("a", "b")]}
    for reason, props in ((None, None), (0, None), (0, {}), (0, said), (0x10, None)):
        pub.publish(topic, b"1", qos=1)
        c.send(ack(PUBACK, c.expect_publish(topic).pid, reason, props))
        pub.publish(topic, b"2", qos=2)
        pid = c.expect_publish(topic).pid
        c.send(ack(PUBREC, pid, reason, props))
        c.expect(PUBREL, pid=pid, reason=0)
        c.send(ack(PUBCOMP, pid, None if reason is None else 0, props))
        c.send(mqtt.publish(t.topic("up"), b"", 2, 5))
        c.expect(PUBREC, pid=5)
        c.send(ack(PUBREL, 5, None if reason is None else 0, props))
        c.expect(PUBCOMP, pid=5, reason=0)
    c.ping()


def test_reason_codes_outside_the_tables_are_refused(t):
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] The reaction to a client's wrong code."""
    topic = t.topic()
    for kind, reason in ((PUBACK, 0x01), (PUBACK, 0xFF), (PUBREC, 0x92), (PUBREL, 0x10), (PUBREL, 0x80),
                         (PUBCOMP, 0x10), (PUBCOMP, 0x87)):
        c = t.open(f"c{kind}{reason}")
        c.subscribe(topic, qos=2)
        t.open(f"p{kind}{reason}").publish(topic, b"", qos=2)
        pid = c.expect_publish(topic, qos=2).pid
        if kind == PUBREL:
            c.send(mqtt.publish(t.topic("up"), b"", 2, pid))
            c.expect(PUBREC, pid=pid)
        c.send(ack(kind, pid, reason))
        c.expect_refusal(0x81, 0x82)


def test_wrong_lengths_of_acknowledgements_are_malformed(t):
    """[MQTT-4.13.1-1]"""
    for kind, flags in ((PUBACK, 0), (PUBREC, 0), (PUBREL, 2), (PUBCOMP, 0)):
        for body in (b"", b"\1", u16(1) + b"\0\5", u16(1) + b"\0\0\0", u16(1) + b"\0\1\x1f"):
            t.refused(packet(kind, flags, body), 0x81, 0x82)
        t.refused(packet(kind, flags, u16(0)), 0x81, 0x82)


@versions(5, 4)
def test_an_acknowledgement_of_the_wrong_kind_does_not_end_an_exchange(t):
    """[MQTT-4.3.3-3] [v3:MQTT-4.3.3-1] PUBACK for QoS 2, PUBREC or PUBCOMP for QoS 1: an error for the
    connection, or ignored; never taken for the right one."""
    topic = t.topic()
    for label, (qos, kind) in enumerate(((2, PUBACK), (1, PUBREC), (1, PUBCOMP), (2, PUBCOMP))):
        c = t.durable(f"c{label}")
        c.subscribe(topic, qos=2)
        pub = t.open(f"p{label}")
        pub.publish(topic, b"kept", qos=qos)
        p = c.expect_publish(topic, b"kept", qos=qos)
        c.send(ack(kind, p.pid))
        c.send_or_closed(mqtt.pingreq())
        try:
            while c.recv().kind != mqtt.PINGRESP:
                pass
            c.abort()
        except mqtt.Closed:
            pass
        c = t.durable(f"c{label}")
        c.receive(topic, b"kept", qos=qos, dup=True)
        c.unsubscribe(topic)
