"""Chapters 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK."""

from harness import BAD_UTF8, mqtt, versions
from mqtt import PUBACK, PUBCOMP, PUBREC, PUBREL, UNSUBACK, ack


@versions(5, 4)
def test_filters_are_well_formed_text(t):
    """[MQTT-3.10.3-1] [v3:MQTT-3.10.3-1]"""
    for value in BAD_UTF8.values():
        t.refused(mqtt.unsubscribe(1, [value], version=t.version), 0x81)


@versions(5, 4)
def test_unsubscribe_without_a_filter_is_refused(t):
    """[MQTT-3.10.3-2] [v3:MQTT-3.10.3-2]"""
    t.refused(mqtt.unsubscribe(1, [], version=t.version), 0x82, 0x81)


@versions(5, 4, 3)
def test_filters_are_compared_character_by_character(t):
    """[MQTT-3.10.4-1] [v3:MQTT-3.10.4-1]"""
    topic = t.topic("a/b")
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic)
    for other in (t.topic("a/+"), t.topic("a/#"), "#", "+/+/+", t.topic("A/b"), t.topic("a/b/"), t.topic("a//b")):
        p = c.unsubscribe(other)
        assert t.version < 5 or p.reasons == [0x11]
    pub.publish(topic, b"still")
    c.receive(topic, b"still")
    p = c.unsubscribe(topic)
    assert t.version < 5 or p.reasons == [0x00]
    pub.publish(topic, b"no more")
    c.expect_nothing()


@versions(5, 4)
def test_filters_with_wildcards_are_compared_like_any_other(t):
    """[MQTT-3.10.4-1] [v3:MQTT-3.10.4-1]"""
    c, pub = t.open(), t.open("pub")
    c.subscribe(t.topic("+"), t.topic("#"))
    c.unsubscribe(t.topic("#"))
    pub.publish(t.topic("a"), b"1", qos=1)
    pub.publish(t.topic("a/b"), b"2", qos=1)
    pub.publish(t.topic("c"), b"3", qos=1)
    c.receive(t.topic("a"))
    c.receive(t.topic("c"))
    c.ping()


@versions(5, 4, 3)
def test_nothing_new_is_added_after_unsubscribe(t):
    """[MQTT-3.10.4-2] [v3:MQTT-3.10.4-2]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=1)
    pub.publish(topic, b"before", qos=1)
    c.receive(topic, b"before")
    c.unsubscribe(topic)
    for qos in (0, 1, 2):
        pub.publish(topic, b"after", qos=qos)
    c.expect_nothing()
    c.ping()


@versions(5, 4, 3)
def test_deliveries_that_have_begun_are_completed(t):
    """[MQTT-3.10.4-3] [v3:MQTT-3.10.4-3]"""
    topic = t.topic()
    c, pub = t.durable(), t.open("pub")
    c.subscribe(topic, qos=2)
    pub.publish(topic, b"one", qos=1)
    pub.publish(topic, b"two", qos=2)
    one, two = c.expect_publish(topic, b"one"), c.expect_publish(topic, b"two")
    c.unsubscribe(topic)
    c.send(ack(PUBREC, two.pid))
    c.expect(PUBREL, pid=two.pid)
    c.abort()
    c = t.durable()  # and not forgotten over a reconnect
    kinds = {}
    for _ in range(2):
        p = c.recv()
        kinds[p.kind] = p.pid
    assert kinds == {mqtt.PUBLISH: one.pid, PUBREL: two.pid}
    c.send(ack(PUBACK, one.pid) + ack(PUBCOMP, two.pid))
    c.ping()


@versions(5, 4, 3)
def test_every_unsubscribe_is_acknowledged(t):
    """[MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-2] [v3:MQTT-3.10.4-4] [v3:MQTT-3.10.4-5]"""
    c = t.open()
    c.subscribe(t.topic())
    for pid, reason in ((1, 0x00), (2, 0x11), (65535, 0x11)):
        c.send(mqtt.unsubscribe(pid, [t.topic()], version=t.version))
        p = c.expect(UNSUBACK, pid=pid)
        assert p.reasons == ([reason] if t.version == 5 else [])


@versions(5, 4, 3)
def test_one_answer_for_many_filters_in_their_order(t):
    """[MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [v3:MQTT-3.10.4-6]"""
    c, pub = t.open(), t.open("pub")
    c.subscribe(t.topic("a"), t.topic("c"), t.topic("d"))
    p = c.unsubscribe(t.topic("a"), t.topic("b"), t.topic("c"), t.topic("a"))
    assert t.version < 5 or p.reasons == [0x00, 0x11, 0x00, 0x11]
    for name in "acd":
        pub.publish(t.topic(name), b"")
    c.receive(t.topic("d"))
    c.ping()


@versions(5, 4)
def test_a_subscription_is_gone_from_the_stored_session_too(t):
    """[MQTT-3.10.4-1] [v3:MQTT-3.10.4-1]"""
    c = t.durable()
    c.subscribe(t.topic(), qos=1)
    c.unsubscribe(t.topic())
    c.disconnect()
    t.open("pub").publish(t.topic(), b"", qos=1)
    t.durable().expect_nothing()


@versions(5, 4)
def test_unsuback_means_that_nothing_more_is_added(t):
    """[MQTT-3.10.4-2] [v3:MQTT-3.10.4-2] Plain and shared, wherever the shards of the clients are."""
    pub = t.open("pub")
    clients = [t.open(f"c{n}") for n in range(8)]
    for turn in range(5):
        for n, c in enumerate(clients):
            topic = t.topic(f"{turn}.{n}")
            for name in (topic, f"$share/g/{topic}"):
                c.subscribe(name, qos=1)
                pub.publish(topic, b"before", qos=1)
                c.receive(topic, b"before")
                c.unsubscribe(name)
                pub.publish(topic, b"after", qos=1)
    for c in clients:
        c.expect_nothing(0.1)
