"""Chapter 3.3: PUBLISH."""

import time

from harness import group, mqtt, versions
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, ack, packet, text, u16


# ---------------------------------------------------------------------------------- DUP, QoS

@versions(5, 4)
def test_dup_is_set_on_redelivery_only(t):
    """[MQTT-3.3.1-1] [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2] [v3:MQTT-3.3.1-1] [v3:MQTT-3.3.1-3]"""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=2)
    pub = t.open("pub")
    first = []
    for qos in (1, 2):
        pub.publish(topic, b"x", qos=qos)
        first.append(c.expect_publish(topic, qos=qos, dup=False))
    c.abort()
    c = t.durable()
    for p in first:
        assert c.expect_publish(topic, qos=p.qos).dup
    c.ping()


@versions(5, 4)
def test_the_dup_flag_of_a_publisher_is_not_passed_on(t):
    """[MQTT-3.3.1-3] [MQTT-4.3.1-1] [v3:MQTT-3.3.1-3] [v3:MQTT-4.3.1-1]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=2)
    for qos in (1, 2):
        pub.publish(topic, b"x", qos=qos, dup=True)
        c.receive(topic, qos=qos, dup=False)
    pub.publish(topic, b"x")
    c.receive(topic, qos=0, dup=False)


@versions(5, 4)
def test_dup_with_qos_0_is_malformed(t):
    """[MQTT-3.3.1-2] [v3:MQTT-3.3.1-2]"""
    t.refused(mqtt.publish(t.topic(), b"", 0, dup=True, version=t.version), 0x81, 0x82)


@versions(5, 4)
def test_qos_3_is_malformed(t):
    """[MQTT-3.3.1-4] [v3:MQTT-3.3.1-4]"""
    props = b"\0" if t.version == 5 else b""
    t.refused(packet(PUBLISH, 6, text(t.topic()) + u16(1) + props), 0x81)
    t.refused(packet(PUBLISH, 14, text(t.topic()) + u16(1) + props), 0x81)


@versions(5, 4, 3)
def test_the_answer_to_a_publish_follows_its_qos(t):
    """[MQTT-3.3.4-1] [v3:MQTT-3.3.4-1]"""
    topic, v = t.topic(), t.version
    c = t.open()
    c.send(mqtt.publish(topic, b"", 0, version=v))
    c.ping()
    c.send(mqtt.publish(topic, b"", 1, 1, version=v))
    c.expect(PUBACK, pid=1)
    c.send(mqtt.publish(topic, b"", 2, 2, version=v))
    c.expect(PUBREC, pid=2)
    c.send(ack(PUBREL, 2))
    c.expect(PUBCOMP, pid=2)


@versions(5, 4, 3)
def test_the_lower_qos_of_publisher_and_subscriber_holds(t):
    """[MQTT-3.8.4-8] [v3:MQTT-3.8.4-1] [v3:MQTT-3.8.4-6]"""
    topic = t.topic()
    pub = t.open("pub")
    for granted in (0, 1, 2):
        c = t.open(f"g{granted}")
        c.subscribe(topic, qos=granted)
        for qos in (0, 1, 2):
            pub.publish(topic, b"x", qos=qos)
            c.receive(topic, b"x", qos=min(qos, granted))


# ---------------------------------------------------------------------------------- RETAIN

@versions(5, 4, 3)
def test_a_retained_message_is_stored_and_replaced(t):
    """[MQTT-3.3.1-5] [MQTT-3.3.1-9] [v3:MQTT-3.3.1-5] [v3:MQTT-3.3.1-6] [v3:MQTT-3.3.1-8]"""
    topic = t.topic()
    pub = t.open("pub")
    for number, qos in enumerate((1, 2, 1)):
        pub.publish(topic, str(number), qos=qos, retain=True)
        c = t.open(f"s{number}")
        c.subscribe(topic, qos=2)
        c.receive(topic, str(number), qos=qos, retain=True)
        c.ping()


@versions(5, 4, 3)
def test_a_retained_qos_0_message_replaces_the_one_before(t):
    """[MQTT-3.3.1-5] [v3:MQTT-3.3.1-7]"""
    topic = t.topic()
    pub = t.open("pub")
    pub.publish(topic, b"old", qos=1, retain=True)
    pub.publish(topic, b"new", qos=0, retain=True)
    c = t.open()
    for _ in range(100):  # nobody acknowledges QoS 0, so nobody knows when it has happened
        c.subscribe(topic, qos=1)
        p = c.receive(topic)
        if not p.retain:  # it has only just come by
            p = c.receive(topic, b"new", retain=True)
        if p.payload == b"new":
            break
    assert p.payload == b"new" and p.qos == 0


@versions(5, 4, 3)
def test_an_empty_retained_message_is_delivered_and_removes(t):
    """[MQTT-3.3.1-6] [MQTT-3.3.1-7] [v3:MQTT-3.3.1-10] [v3:MQTT-3.3.1-11]"""
    topic = t.topic()
    pub, live = t.open("pub"), t.open("live")
    pub.publish(topic, b"there", qos=1, retain=True)
    live.subscribe(topic, qos=1)
    live.receive(topic, b"there", retain=True)
    pub.publish(topic, b"", qos=1, retain=True)
    live.receive(topic, b"", retain=False)
    later = t.open("later")
    later.subscribe(topic)
    later.expect_nothing()


@versions(5, 4, 3)
def test_a_message_without_retain_leaves_the_retained_one(t):
    """[MQTT-3.3.1-8] [v3:MQTT-3.3.1-12]"""
    topic = t.topic()
    pub = t.open("pub")
    pub.publish(topic, b"kept", qos=1, retain=True)
    pub.publish(topic, b"passing", qos=1)
    pub.publish(topic, b"", qos=1)
    pub.publish(t.topic("none"), b"passing", qos=1)
    c = t.open()
    c.subscribe(t.topic("+"))
    c.receive(topic, b"kept", retain=True)
    c.expect_nothing()


@versions(5, 4)
def test_all_matching_retained_messages_are_sent(t):
    """[MQTT-3.3.1-9] [v3:MQTT-3.3.1-6]"""
    pub = t.open("pub")
    names = {t.topic(f"{a}/{b}") for a in range(5) for b in range(6)}
    for name in names:
        pub.publish(name, name, qos=1, retain=True)
    for number, (pattern, want) in enumerate((("#", names), ("+/3", {n for n in names if n.endswith("/3")}),
                                              ("2/#", {n for n in names if "/2/" in n}))):
        c = t.open(f"s{number}")
        c.subscribe(t.topic(pattern), qos=1)
        assert {c.receive(retain=True).topic for _ in want} == want
        c.ping()


def test_retain_handling_0_sends_every_time(t):
    """[MQTT-3.3.1-9] [MQTT-3.8.4-4]"""
    topic = t.topic()
    t.open("pub").publish(topic, b"r", qos=1, retain=True)
    c = t.open()
    for _ in range(2):
        c.subscribe(topic, retain_handling=0)
        c.receive(topic, b"r", retain=True)


def test_retain_handling_1_sends_to_new_subscriptions_only(t):
    """[MQTT-3.3.1-10]"""
    topic = t.topic()
    t.open("pub").publish(topic, b"r", qos=1, retain=True)
    c = t.open()
    c.subscribe(topic, retain_handling=1)
    c.receive(topic, b"r", retain=True)
    c.subscribe(topic, retain_handling=1)
    c.expect_nothing()
    c.unsubscribe(topic)
    c.subscribe(topic, retain_handling=1)
    c.receive(topic, b"r", retain=True)


def test_retain_handling_1_in_a_resumed_session_sends_nothing(t):
    """[MQTT-3.3.1-10]"""
    topic = t.topic()
    t.open("pub").publish(topic, b"r", qos=1, retain=True)
    c = t.durable()
    c.subscribe(topic, retain_handling=1)
    c.receive(topic)
    c.disconnect()
    c = t.durable()
    c.subscribe(topic, retain_handling=1)
    c.expect_nothing()


def test_retain_handling_2_sends_nothing(t):
    """[MQTT-3.3.1-11]"""
    topic = t.topic()
    pub = t.open("pub")
    pub.publish(topic, b"r", qos=1, retain=True)
    c = t.open()
    c.subscribe(topic, retain_handling=2)
    c.expect_nothing()
    pub.publish(topic, b"live", retain=True)
    c.receive(topic, b"live", retain=False)


@versions(5, 4)
def test_retain_is_cleared_when_forwarding(t):
    """[MQTT-3.3.1-12] [v3:MQTT-3.3.1-9]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic)
    pub.publish(topic, b"1", retain=True)
    c.receive(topic, b"1", retain=False)
    pub.publish(topic, b"2", retain=False)
    c.receive(topic, b"2", retain=False)


def test_retain_as_published_keeps_the_flag(t):
    """[MQTT-3.3.1-13]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, retain_as_published=True)
    pub.publish(topic, b"1", retain=True)
    c.receive(topic, b"1", retain=True)
    pub.publish(topic, b"2", retain=False)
    c.receive(topic, b"2", retain=False)


def test_a_retained_message_keeps_its_properties(t):
    """[MQTT-3.3.1-5] [MQTT-3.3.2-4] [MQTT-3.3.2-17]"""
    topic = t.topic()
    props = {"payload_format": 1, "content_type": "t", "response_topic": "r", "correlation_data": b"\0",
             "user_property": [("z", "1"), ("a", "2")]}
    t.open("pub").publish(topic, b"r", qos=1, retain=True, props=props)
    c = t.open()
    c.subscribe(topic)
    assert c.receive(topic).props == props


# ---------------------------------------------------------------------------------- topic name

@versions(5, 4, 3)
def test_wildcards_in_a_topic_name_are_refused(t):
    """[MQTT-3.3.2-2] [MQTT-4.7.0-1] [v3:MQTT-3.3.2-2] [v3:MQTT-4.7.1-1]"""
    for name in ("#", "+", "a/#", "a/+", "+/a", "a+", "a#b", "a/b+/c"):
        t.refused(mqtt.publish(name, b"", version=t.version), 0x90, 0x81, 0x82)


@versions(5, 4, 3)
def test_a_topic_name_is_needed(t):
    """[MQTT-3.3.2-1] [MQTT-4.7.3-1] [v3:MQTT-3.3.2-1] [v3:MQTT-4.7.3-1]"""
    t.refused(mqtt.publish("", b"x", version=t.version), 0x82, 0x90, 0x81)
    t.refused(packet(PUBLISH, 0, b""), 0x81)


@versions(5, 4)
def test_the_topic_sent_matches_the_filter_of_the_subscriber(t):
    """[MQTT-3.3.2-3] [v3:MQTT-3.3.2-3]"""
    c, pub = t.open(), t.open("pub")
    c.subscribe(t.topic("a/+/c"), t.topic("d/#"))
    for name, matches in (("a/b/c", True), ("a/b/d", False), ("d", True), ("d/e/f", True), ("a//c", True),
                          ("a/b/c/d", False), ("dd", False), ("a/c", False)):
        pub.publish(t.topic(name), name)
        if matches:
            c.receive(t.topic(name), name)
    pub.publish(t.topic("d"), b"last")
    c.receive(t.topic("d"), b"last")


@versions(5, 4)
def test_topics_of_65535_bytes(t):
    """[MQTT-4.7.3-3] [v3:MQTT-4.7.3-3]"""
    topic = t.topic("").ljust(65535, "x")
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=1)
    pub.publish(topic, b"far", qos=1)
    c.receive(topic, b"far", qos=1)


# ---------------------------------------------------------------------------------- properties

def test_properties_of_a_message_travel_unaltered(t):
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20]"""
    topic = t.topic()
    subs = [t.open(f"s{q}") for q in range(3)]
    for q, c in enumerate(subs):
        c.subscribe(topic, qos=q)
    pub = t.open("pub")
    for props in ({"payload_format": 0}, {"payload_format": 1}, {}, {"content_type": ""},
                  {"content_type": "application/\u00e4", "response_topic": "where/to",
                   "correlation_data": bytes(range(256))}, {"correlation_data": b""}):
        for qos in (0, 1, 2):
            pub.publish(topic, b"text", qos=qos, props=props)
            for c in subs:
                got = c.receive(topic, b"text").props
                # a payload format of 0 and none at all mean the same, but unaltered is unaltered
                assert got == props, f"{got} instead of {props}"


def test_user_properties_keep_order_and_repetitions(t):
    """[MQTT-3.3.2-17] [MQTT-3.3.2-18]"""
    topic = t.topic()
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("b", "0"), ("", ""), ("\u6771", "\U0001f980"), ("a", "x" * 300)]
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=2)
    for qos in (0, 1, 2):
        pub.publish(topic, b"", qos=qos, props={"user_property": pairs})
        assert c.receive(topic).props["user_property"] == pairs


def test_properties_survive_waiting_offline(t):
    """[MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-15]"""
    topic = t.topic()
    props = {"payload_format": 1, "content_type": "t", "response_topic": "r", "correlation_data": b"c",
             "user_property": [("z", "1"), ("a", "2"), ("z", "3")]}
    c = t.durable()
    c.subscribe(topic, qos=1, props={"subscription_id": 9})
    c.disconnect()
    t.open("pub").publish(topic, b"", qos=1, props=props)
    c = t.durable()
    assert c.receive(topic).props == dict(props, subscription_id=[9])


def test_a_payload_that_is_not_the_text_it_claims(t):
    """[MQTT-3.3.2-4] A server may check (0x99) or forward it unaltered."""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic)
    pub.send(mqtt.publish(topic, b"\xff\xfe", 1, 1, props={"payload_format": 1}))
    p = pub.recv()
    if p.kind == PUBACK and p.reason == 0:
        assert c.receive(topic, b"\xff\xfe").props == {"payload_format": 1}
    else:
        assert p.reason == 0x99
        c.expect_nothing()


def test_an_expired_message_is_not_delivered(t):
    """[MQTT-3.3.2-5]"""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=1)
    c.disconnect()
    pub = t.open("pub")
    pub.publish(topic, b"short", qos=1, props={"message_expiry": 1})
    pub.publish(topic, b"long", qos=1, props={"message_expiry": 100})
    time.sleep(2.1)
    c = t.durable()
    c.receive(topic, b"long")
    c.expect_nothing()


def test_an_expired_retained_message_is_not_delivered(t):
    """[MQTT-3.3.2-5]"""
    topic = t.topic()
    t.open("pub").publish(topic, b"short", qos=1, retain=True, props={"message_expiry": 1})
    a = t.open("a")
    a.subscribe(topic)
    assert a.receive(topic, b"short").props["message_expiry"] <= 1
    time.sleep(2.1)
    b = t.open("b")
    b.subscribe(topic)
    b.expect_nothing()


def test_the_expiry_sent_is_what_is_left(t):
    """[MQTT-3.3.2-6]"""
    topic, kept = t.topic(), t.topic("retained")
    live, c = t.open("live"), t.durable()
    for each in (live, c):
        each.subscribe(topic, qos=1)
    c.disconnect()
    pub = t.open("pub")
    pub.publish(topic, b"x", qos=1, props={"message_expiry": 100})
    pub.publish(kept, b"x", qos=1, retain=True, props={"message_expiry": 100})
    assert live.receive(topic).props["message_expiry"] in (99, 100)
    time.sleep(2.2)
    left = t.durable().receive(topic).props["message_expiry"]
    assert 95 <= left <= 98, left
    live.subscribe(kept)
    left = live.receive(kept).props["message_expiry"]
    assert 95 <= left <= 98, left


def test_the_expiry_sent_is_never_more_than_was_received(t):
    """[MQTT-3.3.2-6] Whatever the clocks of two shards think."""
    topic = t.topic()
    subs, pub = [t.open(f"s{n}") for n in range(4)], t.open("pub")
    for c in subs:
        c.subscribe(topic, qos=1)
    for number in range(150):
        pub.publish(topic, b"x", qos=1, props={"message_expiry": 50})
        for c in subs:
            assert c.receive(topic).props["message_expiry"] <= 50, number


def test_topic_aliases_from_the_client(t):
    """[MQTT-3.3.2-12] [MQTT-3.3.2-9] Set, used, moved to another topic."""
    names = [t.topic(str(n)) for n in range(3)]
    c = t.raw()
    most = c.connect(t.id("a")).props.get("topic_alias_max", 0)
    if not most:
        return
    c.subscribe(t.topic("+"))
    c.publish(names[0], b"0", props={"topic_alias": 1})
    c.publish("", b"1", props={"topic_alias": 1})
    c.publish(names[1], b"2", props={"topic_alias": most})
    c.publish("", b"3", qos=0, props={"topic_alias": most})
    c.publish("", b"4", props={"topic_alias": 1})
    c.publish(names[2], b"5", props={"topic_alias": 1})
    c.publish("", b"6", props={"topic_alias": 1})
    for payload, name in enumerate((0, 0, 1, 1, 0, 2, 2)):
        p = c.receive(names[name], str(payload))
        assert "topic_alias" not in p.props
    for qos in (1, 2):
        c.publish("", b"7", qos=qos, props={"topic_alias": 1})
        c.receive(names[2], b"7")


def test_an_alias_that_was_never_set_is_refused(t):
    """[MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9]"""
    t.refused(mqtt.publish("", b"", props={"topic_alias": 1}), 0x82, 0x94)
    t.refused(mqtt.publish(t.topic(), b"", props={"topic_alias": 0}), 0x94, 0x82, 0x81)
    most = t.raw().connect(t.id("a")).props.get("topic_alias_max", 0)
    if most < 65535:
        t.refused(mqtt.publish(t.topic(), b"", props={"topic_alias": most + 1}), 0x94)


def test_aliases_end_with_the_connection(t):
    """[MQTT-3.3.2-7]"""
    c = t.durable()
    c.publish(t.topic(), b"", qos=1, props={"topic_alias": 1})
    c.disconnect()
    c = t.durable()
    c.send(mqtt.publish("", b"", props={"topic_alias": 1}))
    c.expect_refusal(0x82, 0x94)


def test_aliases_of_the_server_end_with_the_connection(t):
    """[MQTT-3.3.2-7] [MQTT-3.3.2-10]"""
    topic = t.topic()
    pub = t.open("pub")
    for _ in range(2):
        c = t.durable(props={"topic_alias_max": 10})
        c.subscribe(topic, qos=1)
        aliases = {}
        for number in range(4):
            pub.publish(topic, str(number), qos=1)
            p = c.receive(payload=str(number))
            if p.topic:
                aliases[p.props.get("topic_alias")] = p.topic
            assert (p.topic or aliases[p.props["topic_alias"]]) == topic
        c.disconnect()


def test_a_response_topic_is_a_topic_name(t):
    """[MQTT-3.3.2-13] [MQTT-3.3.2-14]"""
    for name in ("a/#", "+", "a/+/b"):
        t.refused(mqtt.publish(t.topic(), b"", props={"response_topic": name}), 0x82, 0x81, 0x90)
    t.connect_refused(mqtt.connect(t.id("a"), will={"topic": t.topic(), "payload": b"",
                                                    "props": {"response_topic": "a/#"}}), 0x82, 0x81, 0x90)
    t.refused(mqtt.publish(t.topic(), b"", props={"response_topic": b"\xff"}), 0x81)


def test_a_content_type_is_text(t):
    """[MQTT-3.3.2-19]"""
    t.refused(mqtt.publish(t.topic(), b"", props={"content_type": b"\xff"}), 0x81)


def test_a_subscription_identifier_from_a_client_is_refused(t):
    """[MQTT-3.3.4-6]"""
    t.refused(mqtt.publish(t.topic(), b"", props={"subscription_id": 1}), 0x82, 0x81)


# ---------------------------------------------------------------------------------- overlapping subscriptions

def copies(c, marker_topic, pub):
    """All PUBLISH packets that come before the marker, acknowledged."""
    pub.publish(marker_topic, b"marker", qos=1)
    out = []
    while (p := c.receive()).payload != b"marker":
        out.append(p)
    return out


@versions(5, 4)
def test_overlapping_subscriptions_respect_the_maximum_qos(t):
    """[MQTT-3.3.4-2] [v3:MQTT-3.3.5-1]"""
    topic, end = t.topic("a/b"), t.topic("end")
    c, pub = t.open(), t.open("pub")
    c.subscribe((t.topic("a/+"), 0), (t.topic("a/#"), 2), (topic, 1), (end, 1))
    for qos in (0, 1, 2):
        pub.publish(topic, b"x", qos=qos)
        got = copies(c, end, pub)
        assert 1 <= len(got) <= 3 and max(p.qos for p in got) == qos, [p.qos for p in got]


def test_identifiers_of_all_matching_subscriptions_come_along(t):
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]"""
    topic, end = t.topic("a/b"), t.topic("end")
    c, pub = t.open(), t.open("pub")
    c.subscribe(t.topic("a/+"), qos=1, props={"subscription_id": 1})
    c.subscribe(t.topic("a/#"), qos=1, props={"subscription_id": 268435455})
    c.subscribe(topic, qos=1)
    c.subscribe(t.topic("other"), end, props={"subscription_id": 5})
    pub.publish(topic, b"x", qos=1)
    got = copies(c, end, pub)
    sent = sorted(i for p in got for i in p.props.get("subscription_id", []))
    assert sent == [1, 268435455], sent
    assert len(got) == 1 or all(len(p.props.get("subscription_id", [])) <= 1 for p in got)


def test_however_many_subscriptions_match_all_identifiers_come_along(t):
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4]"""
    c, pub = t.open(), t.open("pub")
    levels = t.topic("1/2/3/4/5/6/7").split("/")
    head, tail = levels[:-7], levels[-7:]
    for number in range(128):
        wild = ["+" if number >> i & 1 else level for i, level in enumerate(tail)]
        c.subscribe("/".join(head + wild), props={"subscription_id": number + 1})
    pub.publish("/".join(levels), b"x")
    assert sorted(c.receive().props["subscription_id"]) == list(range(1, 129))


def test_two_subscriptions_may_have_the_same_identifier(t):
    """[MQTT-3.3.4-4]"""
    topic, end = t.topic("a/b"), t.topic("end")
    c, pub = t.open(), t.open("pub")
    c.subscribe(t.topic("a/+"), t.topic("a/#"), props={"subscription_id": 7})
    c.subscribe(end)
    pub.publish(topic, b"x", qos=1)
    got = copies(c, end, pub)
    assert all(set(p.props["subscription_id"]) == {7} for p in got)


def test_a_subscription_identifier_can_be_changed_and_dropped(t):
    """[MQTT-3.3.4-3] [MQTT-3.8.4-3]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    for number in (1, 200, 20000, None):
        c.subscribe(topic, props={} if number is None else {"subscription_id": number})
        pub.publish(topic, b"x")
        assert c.receive(topic).props.get("subscription_id") == (None if number is None else [number])


def test_the_identifier_comes_with_retained_messages(t):
    """[MQTT-3.3.4-3]"""
    topic = t.topic()
    t.open("pub").publish(topic, b"r", qos=1, retain=True)
    c = t.open()
    c.subscribe(topic, props={"subscription_id": 3})
    assert c.receive(topic).props["subscription_id"] == [3]


# ---------------------------------------------------------------------------------- flow, limits, rights

@group("tight")
def test_more_than_the_servers_receive_maximum_is_refused(t):
    """[MQTT-3.3.4-7] The reaction to a client that does it."""
    c = t.raw()
    most = c.connect(t.id("a")).props["receive_max"]
    for pid in range(1, most + 1):
        c.send(mqtt.publish(t.topic(), b"", 2, pid))
        assert c.expect(PUBREC, pid=pid).reason < 0x80
    c.send(mqtt.publish(t.topic(), b"", 2, most + 1))
    c.expect_refusal(0x93)


@group("tight")
def test_the_window_opens_with_pubcomp_and_puback(t):
    """[MQTT-3.3.4-7] A client within the limit is never refused."""
    c = t.raw()
    most = c.connect(t.id("a")).props["receive_max"]
    for turn in range(3):
        for pid in range(1, most + 1):
            c.send(mqtt.publish(t.topic(), b"", 2, pid))
        for pid in range(1, most + 1):
            assert c.expect(PUBREC, pid=pid).reason < 0x80
        for pid in range(1, most + 1):
            c.send(ack(PUBREL, pid))
        for pid in range(1, most + 1):
            c.expect(PUBCOMP, pid=pid)
    for pid in range(1, 30):
        c.publish(t.topic(), b"", qos=1, pid=pid)


def test_other_packets_flow_while_the_window_is_full(t):
    """[MQTT-3.3.4-8] [MQTT-3.3.4-10] [MQTT-4.9.0-3]"""
    topic = t.topic()
    c = t.open(props={"receive_max": 1})
    c.subscribe(topic, qos=2)
    pub = t.open("pub")
    for number in range(3):
        pub.publish(topic, str(number), qos=1)
    first = c.expect_publish(topic, b"0")
    c.ping()
    c.subscribe(t.topic("more"))
    c.send(mqtt.publish(t.topic("up"), b"", 1, 77))
    c.expect(PUBACK, pid=77)
    c.unsubscribe(t.topic("more"))
    c.send(ack(PUBACK, first.pid))
    c.receive(topic, b"1")
    c.receive(topic, b"2")


def test_no_more_than_the_clients_receive_maximum(t):
    """[MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]"""
    topic = t.topic()
    c = t.open(props={"receive_max": 2})
    c.subscribe(topic, qos=2)
    pub = t.open("pub")
    for number, qos in enumerate((1, 2, 2, 1, 2, 1)):
        pub.publish(topic, str(number), qos=qos)
    pub.publish(topic, b"free", qos=0)
    seen = [c.recv(), c.recv()]
    third = c.recv()
    assert third.qos == 0  # QoS 0 does not wait
    c.expect_nothing()
    assert [p.payload for p in seen] == [b"0", b"1"] and [p.qos for p in seen] == [1, 2]
    c.send(ack(PUBREC, seen[1].pid))
    c.expect(PUBREL, pid=seen[1].pid)
    c.expect_nothing()  # PUBREC does not open the window
    c.send(ack(PUBCOMP, seen[1].pid))
    c.expect_publish(topic, b"2", qos=2)
    c.expect_nothing()
    c.send(ack(PUBACK, seen[0].pid))
    c.expect_publish(topic, b"3", qos=1)
    c.expect_nothing()


def test_a_refused_publish_opens_the_window(t):
    """[MQTT-3.3.4-9] [MQTT-4.9.0-2] PUBACK or PUBREC with 0x80 or more."""
    topic = t.topic()
    c = t.open(props={"receive_max": 1})
    c.subscribe(topic, qos=2)
    pub = t.open("pub")
    for number, qos in enumerate((1, 2, 1)):
        pub.publish(topic, str(number), qos=qos)
    p = c.expect_publish(topic, b"0")
    c.expect_nothing(0.1)
    c.send(ack(PUBACK, p.pid, 0x80))
    p = c.expect_publish(topic, b"1")
    c.expect_nothing(0.1)
    c.send(ack(PUBREC, p.pid, 0x83))
    c.receive(topic, b"2")


@versions(5, 4)
def test_a_publish_that_is_not_allowed_is_not_delivered(t):
    """[MQTT-3.3.4-1] [v3:MQTT-3.3.5-2] Nobody may publish below $SYS: 5.0 may hear why, 3.1.1 hears an
    acknowledgement or the close."""
    topic = "$SYS/" + t.prefix
    watcher = t.open("watch")
    watcher.subscribe(topic, qos=1)
    for qos, kind in ((1, PUBACK), (2, PUBREC)):
        c = t.open(f"c{qos}")
        c.send(mqtt.publish(topic, b"forged", qos, 1, version=t.version))
        try:
            p = c.recv()
            assert p.kind == kind and p.pid == 1
            c.ping()
        except mqtt.Closed:
            assert t.version < 5
    watcher.expect_nothing()


@group("tight")
def test_a_publish_that_is_refused_is_answered_with_a_reason(t):
    """[MQTT-3.3.4-1] [MQTT-3.4.2-1] [MQTT-3.5.2-1]"""
    c = t.open()
    c.subscribe(t.topic(), qos=1)
    for qos, kind in ((1, PUBACK), (2, PUBREC)):
        c.send(mqtt.publish(t.topic(), b"x" * 1001, qos, 1))
        assert c.expect(kind, pid=1).reason >= 0x80
    c.publish(t.topic(), b"x" * 1000, qos=1)
    c.receive(t.topic(), b"x" * 1000)
    c.ping()
