"""Corners that were found by reading: each was wrong once."""

import time

import mqtt
from suite import each, equal, tern_only

NOT_AUTHORIZED, QUOTA_EXCEEDED = 0x87, 0x97


@tern_only
def test_a_will_cannot_speak_for_the_broker(t):
    broker = t.broker()
    liar = t.raw(broker.port, 5, "liar")
    will = {"topic": "$SYS/broker/version", "payload": "mine", "retain": True}
    liar.connect(t.id("liar"), will=will, reason=NOT_AUTHORIZED)
    liar.expect_close()


@each(0, 1)
def test_a_packet_as_large_as_the_client_takes_comes_without_an_alias(t, qos):
    broker = t.broker()
    topic = t.topic("t" * 20)
    packet = mqtt.publish(topic, b"x" * 100, qos, 1)
    props = {"packet_max": len(packet), "topic_alias_max": 10}
    reader = t.client(broker.port, "reader", 5, props=props)
    reader.subscribe(topic, qos=qos)
    publisher = t.client(broker.port, "publisher", 5)
    publisher.publish(topic, b"x" * 100, qos=1)
    publisher.publish(topic, b"x" * 101, qos=1)  # one too many
    publisher.publish(topic, b"short", qos=1)
    equal(len(reader.receive(topic).raw), len(packet), "bytes of the first")
    reader.receive(topic, "short")


def test_a_large_packet_on_a_slow_line_is_no_silence(t):
    broker = t.broker()
    slow = t.client(broker.port, "slow", 5, keepalive=1)
    packet = mqtt.publish(t.topic(), bytes(40_000), 1, 7)
    for at in range(0, len(packet), 4_000):
        slow.send(packet[at : at + 4_000])
        time.sleep(0.4)
    slow.expect(mqtt.PUBACK, pid=7)


def test_a_large_packet_that_stops_is_silence(t):
    broker = t.broker()
    slow = t.client(broker.port, "slow", 5, keepalive=1)
    slow.send(mqtt.publish(t.topic(), bytes(40_000), 1, 7)[:20_000])
    equal(slow.expect(mqtt.DISCONNECT).reason, 0x8D, "reason")


def test_qos_0_that_waits_is_not_overtaken_by_qos_0(t):
    broker = t.broker(["queue_qos0_messages true", "max_inflight_messages 1"])
    props = {"session_expiry": 600}
    away = t.client(broker.port, "away", 5, clean=False, props=props)
    away.subscribe(t.topic(), qos=1)
    away.disconnect()
    publisher = t.client(broker.port, "publisher", 5)
    publisher.publish(t.topic(), "one", qos=1)
    publisher.publish(t.topic(), "two", qos=1)
    publisher.publish(t.topic(), "three", qos=0)
    publisher.ping()
    away = t.client(broker.port, "away", 5, clean=False, props=props)
    first = away.expect_publish(payload="one")
    publisher.publish(t.topic(), "four", qos=0)
    publisher.publish("other", "", qos=1)
    away.expect_nothing()
    away.send(mqtt.ack(mqtt.PUBACK, first.pid))
    for text in ("two", "three", "four"):
        away.receive(payload=text)


@tern_only
@each((4, 2), (5, 1), (5, 2))
def test_the_first_word_of_a_client_finds_no_memory(t, which):
    """It connected while there was some, and was silent since."""
    version, qos = which
    lines = ["persistence false", "memory_limit 32M", "max_queued_messages 0"]
    broker = t.broker(lines, env={"TERN_THREADS": "1"})
    away = t.client(broker.port, "away", 5, clean=False, props={"session_expiry": 600})
    away.subscribe(t.topic("#"), qos=1)
    away.disconnect()
    late = t.client(broker.port, "late", version)
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(500):
        publisher.send(mqtt.publish(t.topic(number), bytes(100_000), 1, 1 + number))
        if publisher.expect(mqtt.PUBACK).reason == QUOTA_EXCEEDED:
            break
    else:
        raise AssertionError("50 MB fitted into memory_limit 32M")
    late.send(mqtt.publish(t.topic("late"), bytes(100_000), qos, 7, version=version))
    if version == 5:
        late.expect(mqtt.PUBACK if qos == 1 else mqtt.PUBREC, pid=7, reason=QUOTA_EXCEEDED)
    late.ping()  # 3.1.1 has no word for it: nothing came, and the connection goes on


def test_after_unsuback_no_retained_message_comes_any_more(t):
    """There are more of them than are sent before the client reads."""
    broker = t.broker(["max_inflight_messages 1"])
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(10):
        publisher.publish(t.topic(number), b"kept", qos=1, retain=True)
    reader = t.client(broker.port, "reader", 5)
    reader.subscribe(t.topic("#"), qos=1)
    first = reader.expect(mqtt.PUBLISH)
    reader.unsubscribe(t.topic("#"))
    reader.send(mqtt.ack(mqtt.PUBACK, first.pid))
    # What waits already may still come [MQTT-3.10.4-3]; what was not looked up yet may not.
    came = 1
    while came < 10:
        try:
            message = reader.expect(mqtt.PUBLISH, 0.3)
        except mqtt.Silence:
            break
        reader.send(mqtt.ack(mqtt.PUBACK, message.pid))
        came += 1
    assert came <= 2, f"{came} of 10 retained messages came"


@tern_only
@each(False, True)
def test_retained_messages_too_are_upgraded_where_the_operator_wants_it(t, is_upgraded):
    broker = t.broker([f"upgrade_outgoing_qos {'true' if is_upgraded else 'false'}"])
    publisher = t.client(broker.port, "publisher", 5)
    publisher.publish(t.topic(), b"kept", qos=0, retain=True)
    publisher.ping()
    reader = t.client(broker.port, "reader", 5)
    reader.subscribe(t.topic(), qos=1)
    equal(reader.receive(t.topic(), b"kept").qos, 1 if is_upgraded else 0, "QoS")


@tern_only
def test_an_answer_that_is_larger_than_the_client_takes_is_not_sent(t):
    """[MQTT-3.1.2-24] holds for every packet; what cannot be answered is closed."""
    broker = t.broker()
    nameless = t.raw(broker.port, 5, "nameless")
    nameless.send(mqtt.connect("", props={"packet_max": 20}))  # CONNACK would tell the id it was given
    equal(nameless.expect_close(), [], "what came")
    greedy = t.client(broker.port, "greedy", 5, props={"packet_max": 20})
    greedy.subscribe(*[f"a/{number}" for number in range(10)])
    greedy.send(mqtt.subscribe(9, [(f"b/{number}", 0) for number in range(30)]))
    equal(greedy.expect_close(), [], "what came")
