"""What no numbered statement asks for and Tern promises: the things brokers often skip."""

import struct
import time

from harness import group, mqtt, versions
from mqtt import PUBACK, PUBLISH, ack


def read_exactly(c, count):
    data = bytearray()
    while len(data) < count:
        assert c.transport.wait(mqtt.WAIT_S), f"{len(data)} of {count} bytes came"
        part = c.transport.recv()
        assert part, "the server closed the connection"
        data += part
    return bytes(data)


@group("wide")
@versions(5, 4)
def test_all_65535_packet_identifiers_are_used(t):
    """Then everything waits until one is free."""
    ids, v, topic = 65535, t.version, t.topic()
    sub, pub = t.open("sub"), t.open("pub")
    sub.subscribe(topic, qos=1)
    for first in range(0, ids + 3, 6000):
        last = min(first + 6000, ids + 3)
        pub.transport.send(b"".join(mqtt.publish(topic, struct.pack(">I", n), 1, n % 60000 + 1, version=v)
                                    for n in range(first, last)))
        size = len(mqtt.publish(topic, b"1234", 1, 1, version=v))
        acks, at = read_exactly(pub, 4 * (last - first)), 0
        for n in range(first, last):
            assert acks[at:at + 4] == mqtt.ack(PUBACK, n % 60000 + 1)
            at += 4
    data = read_exactly(sub, size * ids)
    packets = [data[at:at + size] for at in range(0, len(data), size)]
    head = len(topic) + 4
    pids = {p[head:head + 2] for p in packets}
    assert all(p[0] == 0x32 for p in packets) and len(pids) == ids and b"\0\0" not in pids
    numbers = [struct.unpack(">I", p[-4:])[0] for p in packets]
    wrong = next((n for n in range(ids) if numbers[n] != n), None)
    assert wrong is None, f"at {wrong}: {numbers[wrong:wrong + 5]}"
    sub.expect_nothing()
    freed = struct.unpack(">H", packets[0][head:head + 2])[0]
    sub.send(ack(PUBACK, freed))
    sub.expect_publish(topic, struct.pack(">I", ids), qos=1, dup=False, pid=freed)
    sub.expect_nothing(0.1)
    sub.disconnect()


def test_the_server_uses_the_topic_aliases_it_may(t):
    """A topic that is sent again and again costs its name once."""
    topic = t.topic("a/long/name/of/a/topic/that/a/device/publishes/to/all/day")
    c, pub = t.open(props={"topic_alias_max": 5}), t.open("pub")
    c.subscribe(topic)
    sent = []
    for _ in range(4):
        pub.publish(topic, b"x")
        sent.append(c.receive())
    assert sent[0].topic == topic and sent[-1].topic == ""
    alias = sent[-1].props["topic_alias"]
    assert any(p.topic == topic and p.props.get("topic_alias") == alias for p in sent[:-1])


def test_a_will_has_an_expiry_of_its_own(t):
    """And counts from its publication, not from CONNECT."""
    topic = t.topic()
    watch = t.open("watch")
    watch.subscribe(topic)
    c = t.durable("a", will={"topic": topic, "payload": b"x",
                             "props": {"message_expiry": 50, "will_delay": 1}})
    c.abort()
    props = watch.receive(topic, timeout=4).props
    assert set(props) == {"message_expiry"} and props["message_expiry"] in (49, 50), props


@versions(5, 4)
def test_an_empty_retained_will_clears_what_was_retained(t):
    """As a device that says hello retained and wants to be forgotten."""
    topic = t.topic()
    c = t.open("a", will={"topic": topic, "payload": b"", "retain": True})
    c.publish(topic, b"hello", qos=1, retain=True)
    watch = t.open("watch")
    watch.subscribe(topic)
    watch.receive(topic, b"hello", retain=True)
    c.abort()
    watch.receive(topic, b"", retain=False)
    later = t.open("later")
    later.subscribe(topic)
    later.expect_nothing()


def test_request_and_response(t):
    """Chapter 4.10, with the properties that carry it."""
    server, client = t.open("server"), t.open("client")
    server.subscribe(t.topic("ask"), qos=1)
    client.subscribe(t.topic("answer"), qos=1, no_local=True)
    client.publish(t.topic("ask"), b"2+2", qos=1, props={
        "response_topic": t.topic("answer"), "correlation_data": b"\x01\x00"})
    asked = server.receive(payload=b"2+2").props
    server.publish(asked["response_topic"], b"4", qos=1,
                   props={"correlation_data": asked["correlation_data"]})
    assert client.receive(t.topic("answer"), b"4").props == {"correlation_data": b"\x01\x00"}


def test_expiry_counts_down_through_a_shared_subscription_and_a_resumed_session(t):
    topic = t.topic()
    c = t.durable()
    c.subscribe(f"$share/g/{topic}", qos=1)
    c.disconnect()
    t.open("pub").publish(topic, b"x", qos=1, props={"message_expiry": 30})
    time.sleep(1.2)
    p = t.durable().receive(topic, b"x")
    assert 26 <= p.props["message_expiry"] <= 29


def test_a_message_that_waits_behind_a_full_window_expires(t):
    """It has not been sent, so it may."""
    topic = t.topic()
    c, pub = t.open(props={"receive_max": 1}), t.open("pub")
    c.subscribe(topic, qos=1)
    pub.publish(topic, b"first", qos=1)
    pub.publish(topic, b"short", qos=1, props={"message_expiry": 1})
    pub.publish(topic, b"last", qos=1)
    p = c.expect_publish(topic, b"first")
    time.sleep(2.1)
    c.send(ack(PUBACK, p.pid))
    c.receive(topic, b"last")


def test_server_aliases_are_not_used_for_what_is_resent(t):
    """A new connection has no aliases yet, so a resent PUBLISH names its topic."""
    topic = t.topic()
    c, pub = t.durable(props={"topic_alias_max": 5}), t.open("pub")
    c.subscribe(topic, qos=1)
    for number in range(4):
        pub.publish(topic, str(number), qos=1)
    seen = [c.expect_publish() for _ in range(4)]
    c.abort()
    c = t.durable(props={"topic_alias_max": 5})
    aliases = {}
    for number in range(4):
        p = c.expect_publish(payload=str(number), dup=True, pid=seen[number].pid)
        if p.topic:
            aliases[p.props.get("topic_alias")] = p.topic
        assert (p.topic or aliases[p.props["topic_alias"]]) == topic


@versions(5, 4)
def test_one_client_with_many_subscriptions_gets_each_message_as_often_as_promised(t):
    """Once for all of them, or once for each; the same for every message."""
    c, pub = t.open(), t.open("pub")
    for name in ("#", "+/b", "a/+", "a/b", "+/+", "a/#"):
        c.subscribe(t.topic(name), qos=1)
    counts = set()
    for number in range(5):
        pub.publish(t.topic("a/b"), str(number), qos=1)
        pub.publish(t.topic("end"), b"", qos=1)
        count = 0
        while (p := c.receive()).topic != t.topic("end"):
            assert p.kind == PUBLISH and p.payload == str(number).encode()
            count += 1
        counts.add(count)
    assert counts in ({1}, {6})


@versions(5, 4)
def test_publishing_to_oneself_at_every_qos(t):
    topic = t.topic()
    c = t.open()
    c.subscribe(topic, qos=2)
    for qos in (0, 1, 2):
        for number in range(20):
            c.publish(topic, str(number), qos=qos)
        for number in range(20):
            c.receive(topic, str(number), qos=qos)


def test_the_window_of_a_member_moves_its_work_to_others(t):
    """A shared subscription does not wait for a member that does not acknowledge."""
    topic = t.topic()
    slow, quick = t.open("slow", props={"receive_max": 1}), t.open("quick")
    for c in (slow, quick):
        c.subscribe(f"$share/g/{topic}", qos=1)
    pub = t.open("pub")
    for number in range(30):
        pub.publish(topic, str(number), qos=1)
    got = set()
    while len(got) < 15:
        got.add(quick.receive(topic).payload)
    assert len(got) >= 15


@group("poor")
def test_a_session_expiry_that_is_cut_short_is_told(t):
    """Chapter 3.2.2.3.2: the server uses another value than the client asked for."""
    for asked, granted in ((0xFFFFFFFF, 3600), (3601, 3600), (3600, 3600), (10, 10), (0, 0)):
        p = t.raw().connect(t.id(str(asked)), props={"session_expiry": asked})
        assert p.props.get("session_expiry", asked) == granted


@group("poor")
def test_a_keep_alive_of_zero_is_not_granted_where_there_is_a_maximum(t):
    assert t.raw().connect(t.id("a"), keepalive=0).props["server_keepalive"] == 2


@group("tight")
def test_a_new_connection_of_a_publisher_begins_with_a_full_window(t):
    """What waits for PUBREL from before does not count against Receive Maximum."""
    c = t.durable()
    for pid in (1, 2, 3):
        c.send(mqtt.publish(t.topic(), b"", 2, pid))
        c.expect(mqtt.PUBREC, pid=pid)
    c.abort()
    c = t.durable()
    for pid in (11, 12, 13):
        c.send(mqtt.publish(t.topic(), b"", 2, pid))
    for pid in (11, 12, 13):
        assert c.expect(mqtt.PUBREC, pid=pid).reason < 0x80
    for pid in (1, 2, 3, 11, 12, 13):
        c.send(ack(mqtt.PUBREL, pid))
        c.expect(mqtt.PUBCOMP, pid=pid, reason=0)


@group("tight")
def test_resent_messages_of_a_publisher_fit_its_window(t):
    c = t.durable()
    for turn in range(3):
        for pid in (1, 2, 3):
            c.send(mqtt.publish(t.topic(), b"", 2, pid, dup=turn > 0))
        for pid in (1, 2, 3):
            assert c.expect(mqtt.PUBREC, pid=pid).reason < 0x80
        c.abort()
        c = t.durable()
    for pid in (1, 2, 3):
        c.send(ack(mqtt.PUBREL, pid))
        c.expect(mqtt.PUBCOMP, pid=pid, reason=0)


def test_a_delayed_will_after_disconnect_with_will(t):
    """DISCONNECT 0x04 keeps the will, and the will its delay; the end of the session is still the limit."""
    watch = t.open("watch")
    watch.subscribe(t.topic("a"), t.topic("b"))
    c = t.durable("a", will={"topic": t.topic("a"), "payload": b"x", "props": {"will_delay": 1}})
    c.disconnect(0x04)
    watch.expect_nothing(0.6)
    watch.receive(t.topic("a"), timeout=4)
    c = t.durable("b", will={"topic": t.topic("b"), "payload": b"x", "props": {"will_delay": 60}})
    c.disconnect(0x04, {"session_expiry": 0})
    watch.receive(t.topic("b"), timeout=4)


def test_shared_messages_wait_when_all_members_are_away(t):
    topic = t.topic()
    members = [t.durable(f"m{n}") for n in range(2)]
    for c in members:
        c.subscribe(f"$share/g/{topic}", qos=1)
        c.disconnect()
    pub = t.open("pub")
    for number in range(6):
        pub.publish(topic, str(number), qos=1)
    got = []
    for n in range(2):
        c = t.durable(f"m{n}")
        while True:
            try:
                got.append(c.receive(topic, timeout=mqtt.QUIET_S).payload.decode())
            except mqtt.Silence:
                break
    assert sorted(got) == [str(n) for n in range(6)]


@versions(4, 3)
def test_shared_subscriptions_for_older_versions(t):
    """5.0 defines them; as in mosquitto, older clients may use them too."""
    topic = t.topic()
    members = [t.open(f"m{n}") for n in range(2)]
    for c in members:
        c.subscribe(f"$share/g/{topic}", qos=1)
    pub = t.open("pub")
    for number in range(10):
        pub.publish(topic, str(number), qos=1)
    got = []
    for c in members:
        while True:
            try:
                got.append(int(c.receive(topic, timeout=mqtt.QUIET_S).payload))
            except mqtt.Silence:
                break
    assert sorted(got) == list(range(10))


@group("rooms")
def test_a_door_for_some_versions(t):
    for door, good, bad in (("old", (3, 4), (5,)), ("new", (5,), (3, 4))):
        for version in good:
            c = t.raw(version, door=door)
            c.connect(t.id(f"{door}{version}"))
            c.ping()
        for version in bad:
            c = t.raw(version, door=door)
            c.connect(t.id(f"{door}{version}"), reason=0x84 if version == 5 else 1)
            assert c.expect_close() == []


@group("rooms")
@versions(5, 4)
def test_a_mount_point(t):
    """Its clients live below it and do not see it."""
    below, above = t.raw(door="ground"), t.open("above")
    watch = t.raw(door="ground")
    watch.connect(t.id("watch"))
    watch.subscribe(t.topic("#"), qos=1)
    below.connect(t.id("below"), will={"topic": t.topic("will"), "payload": b"w", "retain": True})
    below.subscribe(t.topic("x"), qos=1)
    above.subscribe("ground/" + t.topic("#"), t.topic("#"))
    below.publish(t.topic("x"), b"up", qos=1)
    above.receive("ground/" + t.topic("x"), b"up")
    below.receive(t.topic("x"), b"up")
    watch.receive(t.topic("x"), b"up")
    above.publish(t.topic("x"), b"not theirs", qos=1)
    above.receive(t.topic("x"), b"not theirs")
    above.publish("ground/" + t.topic("x"), b"down", qos=1)
    above.receive("ground/" + t.topic("x"), b"down")
    below.receive(t.topic("x"), b"down")
    watch.receive(t.topic("x"), b"down")
    below.abort()
    watch.receive(t.topic("will"), b"w")
    above.receive("ground/" + t.topic("will"), b"w")
    later = t.raw(door="ground")
    later.connect(t.id("later"))
    later.subscribe(t.topic("will"))
    later.receive(t.topic("will"), b"w", retain=True)
    assert t.version < 5 or later.unsubscribe(t.topic("will")).reasons == [0]


@versions(5, 4)
def test_retained_dollar_topics_do_not_come_with_wildcards(t):
    """[MQTT-4.7.2-1] [v3:MQTT-4.7.2-1]"""
    name = f"${t.prefix}/kept"
    t.open("pub").publish(name, b"x", qos=1, retain=True)
    c, named = t.open(), t.open("named")
    c.subscribe("+/kept")
    named.subscribe(f"${t.prefix}/+")
    named.receive(name, b"x", retain=True)
    c.expect_nothing()


@versions(5, 4)
def test_a_client_that_is_named_like_no_other(t):
    """Ids and topics may be anything that is UTF-8: spaces, quotes, line breaks, control characters."""
    for name in (t.prefix + " a b", t.prefix + "\"'\\", t.prefix + "\r\n\t", t.prefix + "%s%n%x", t.prefix + "{}$(x)"):
        c = t.open(client_id=name)
        c.subscribe(name + "/x", qos=1)
        c.publish(name + "/x", b"x", qos=1)
        c.receive(name + "/x")
        c.disconnect()


def subscribers_everywhere(t, topic, count=6):
    """Sessions on every shard, so that a PUBLISH waits for other shards."""
    for n in range(count):
        t.open(f"sub{n}").subscribe(topic, qos=1)


@versions(5, 4)
def test_pubrel_of_an_earlier_connection_among_new_messages(t):
    """It is no part of the window of this connection, which stays right."""
    topic, v = t.topic(), t.version
    subscribers_everywhere(t, topic)
    for number in range(30):
        c = t.durable(f"p{number}")
        c.send(mqtt.publish(topic, b"1", 2, 1, version=v))
        c.expect(mqtt.PUBREC, pid=1)
        c.abort()
        c = t.durable(f"p{number}")
        c.send(mqtt.publish(topic, b"2", 1, 2, version=v) + ack(mqtt.PUBREL, 1))
        got = sorted((p.kind, p.pid) for p in (c.recv() for _ in range(2)))
        assert got == [(PUBACK, 2), (mqtt.PUBCOMP, 1)], got
        c.ping()


@versions(5, 4)
def test_pubrel_that_does_not_wait_for_pubrec(t):
    """A client may send it all at once; each is answered."""
    topic, v = t.topic(), t.version
    subscribers_everywhere(t, topic)
    for number in range(30):
        c = t.open(f"p{number}")
        c.send(mqtt.publish(topic, b"1", 2, 1, version=v) + ack(mqtt.PUBREL, 1)
               + mqtt.publish(topic, b"2", 2, 1, version=v) + ack(mqtt.PUBREL, 1))
        got = [c.recv().kind for _ in range(4)]
        assert sorted(got) == [mqtt.PUBREC] * 2 + [mqtt.PUBCOMP] * 2, got
        c.ping()


@group("strict")
def test_a_publisher_that_is_refused_for_a_full_queue(t):
    """0x97 at QoS 1 and 2, also when PUBREL is sent at once; nothing is kept of it."""
    topic = t.topic()
    away = [t.durable(f"away{n}") for n in range(6)]
    for c in away:
        c.subscribe(topic, qos=2)
        c.disconnect()
    pub = t.open("pub")
    for number in range(2):
        assert pub.publish(topic, str(number), qos=1).reason == 0
    for number in range(20):
        c = t.open(f"p{number}")
        c.send(mqtt.publish(topic, b"no", 1, 1))
        c.expect(PUBACK, pid=1, reason=0x97)
        c.send(mqtt.publish(topic, b"no", 2, 2) + ack(mqtt.PUBREL, 2) + mqtt.pingreq())
        got = [c.recv() for _ in range(3)]
        assert sorted(p.kind for p in got) == [mqtt.PUBREC, mqtt.PUBCOMP, mqtt.PINGRESP]
        assert [p.reason for p in got if p.kind == mqtt.PUBREC] == [0x97]
        c.publish(topic + "/other", b"", qos=1)
    c = t.durable("away0")
    for number in range(2):
        c.receive(topic, str(number))
    c.ping()
