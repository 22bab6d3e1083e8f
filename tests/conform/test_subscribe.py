"""Chapters 3.8 and 3.9: SUBSCRIBE and SUBACK."""

from harness import BAD_UTF8, group, mqtt, versions
from mqtt import PUBACK, PUBLISH, SUBACK, packet, text, u16


@versions(5, 4, 3)
def test_every_subscribe_is_acknowledged(t):
    """[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [v3:MQTT-3.8.4-1] [v3:MQTT-3.8.4-2]
    [v3:MQTT-3.8.4-5]"""
    c = t.open()
    for pid, options in ((1, 0), (2, 1), (65535, 2)):
        c.send(mqtt.subscribe(pid, [(t.topic(str(pid)), options)], version=t.version))
        c.expect(SUBACK, pid=pid, reasons=[options])


@versions(5, 4, 3)
def test_one_answer_for_many_filters_in_their_order(t):
    """[MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [v3:MQTT-3.8.4-4] [v3:MQTT-3.9.3-1]
    [v3:MQTT-3.9.3-2]"""
    c = t.open()
    want = [n % 3 for n in range(40)]
    c.subscribe(*[(t.topic(str(n)), qos) for n, qos in enumerate(want)])
    pub = t.open("pub")
    for n, qos in enumerate(want):
        pub.publish(t.topic(str(n)), b"", qos=2)
        c.receive(t.topic(str(n)), qos=qos)


@versions(5, 4)
def test_the_same_filter_twice_in_one_packet(t):
    """[MQTT-3.8.4-5] [MQTT-3.8.4-3] [v3:MQTT-3.8.4-3] [v3:MQTT-3.8.4-4] As two packets: the second replaces the first."""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe((topic, 2), (topic, 0))
    pub.publish(topic, b"x", qos=2)
    c.receive(topic, b"x", qos=0)
    c.ping()


@versions(5, 4)
def test_a_filter_is_well_formed_text(t):
    """[MQTT-3.8.3-1] [v3:MQTT-3.8.3-1]"""
    for value in BAD_UTF8.values():
        t.refused(mqtt.subscribe(1, [(value, 0)], version=t.version), 0x81)


@versions(5, 4)
def test_subscribe_without_a_filter_is_refused(t):
    """[MQTT-3.8.3-2] [v3:MQTT-3.8.3-3]"""
    t.refused(mqtt.subscribe(1, [], version=t.version), 0x82, 0x81)


def test_no_local_keeps_ones_own_messages_away(t):
    """[MQTT-3.8.3-3]"""
    topic = t.topic()
    c, other = t.open(), t.open("other")
    c.subscribe(topic, qos=1, no_local=True)
    other.subscribe(topic, qos=1)
    for qos in (0, 1, 2):
        c.publish(topic, b"own", qos=qos)
        other.receive(topic, b"own")
        other.publish(topic, b"others'", qos=qos)
        c.receive(topic, b"others'")
        other.receive(topic, b"others'")
    c.ping()


def test_no_local_goes_by_client_id_not_by_connection(t):
    """[MQTT-3.8.3-3] Also for what waited, and for a will of one's own."""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=1, no_local=True)
    c.disconnect()
    c = t.durable()
    c.publish(topic, b"own", qos=1)
    c.expect_nothing()


def test_no_local_belongs_to_one_subscription(t):
    """[MQTT-3.8.3-3] Another subscription of the same client still delivers."""
    c = t.open()
    c.subscribe(t.topic("#"), no_local=True)
    c.subscribe(t.topic("+"))
    c.publish(t.topic(), b"own")
    c.receive(t.topic(), b"own")
    c.ping()


def test_no_local_on_a_shared_subscription_is_refused(t):
    """[MQTT-3.8.3-4]"""
    t.refused(mqtt.subscribe(1, [(f"$share/g/{t.topic()}", 4)]), 0x82)


@versions(5, 4)
def test_reserved_bits_of_the_options_are_malformed(t):
    """[MQTT-3.8.3-5] [v3:MQTT-3.8.3-4] Also QoS 3, and retain handling 3."""
    bad = (0x40, 0x80, 0xC1) if t.version == 5 else (0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFC)
    for options in bad:
        t.refused(mqtt.subscribe(1, [(t.topic(), options)], version=t.version), 0x81)
    if t.version == 5:
        for options in (0x30, 0x03):  # of these the text says Protocol Error
            t.refused(mqtt.subscribe(1, [(t.topic(), options)]), 0x82, 0x81)


def test_a_repeated_filter_replaces_the_subscription(t):
    """[MQTT-3.8.4-3]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=2, retain_as_published=True, props={"subscription_id": 1})
    c.subscribe(topic, qos=1, props={"subscription_id": 2})
    pub.publish(topic, b"x", qos=2, retain=True)
    p = c.receive(topic, qos=1, retain=False)
    assert p.props["subscription_id"] == [2]
    c.subscribe(topic, no_local=True, retain_handling=2)
    c.publish(topic, b"own")
    pub.publish(topic, b"y", qos=1)
    p = c.receive(topic, b"y", qos=0)
    assert "subscription_id" not in p.props
    c.ping()


@versions(5, 4)
def test_a_repeated_filter_brings_retained_messages_and_loses_nothing(t):
    """[MQTT-3.8.4-4] [v3:MQTT-3.3.1-6]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    pub.publish(topic, b"r", qos=1, retain=True)
    c.subscribe(topic, qos=1)
    c.receive(topic, b"r", retain=True)
    numbers = iter(range(1000, 2000))
    for turn in range(10):
        pid = next(numbers)
        for part in range(3):
            pub.send(mqtt.publish(t.topic(), f"{turn}.{part}", 1, next(numbers), version=t.version))
        c.send(mqtt.subscribe(pid, [(topic, 1)], version=t.version))
    live, retained = [], 0
    while len(live) < 30 or retained < 10:
        p = c.recv()
        if p.kind == SUBACK:
            continue
        assert p.kind == PUBLISH
        c.send(mqtt.ack(PUBACK, p.pid))
        if p.retain:
            retained += 1
        else:
            live.append(p.payload.decode())
    assert live == [f"{turn}.{part}" for turn in range(10) for part in range(3)]


@versions(5, 4)
def test_messages_flow_once_suback_has_come(t):
    """[MQTT-3.8.4-1] [v3:MQTT-4.5.0-1]"""
    pub = t.open("pub")
    for number in range(20):
        c = t.open(f"s{number}")
        c.subscribe(t.topic(str(number)))
        pub.publish(t.topic(str(number)), b"x")
        c.receive(t.topic(str(number)))


@versions(5, 4)
def test_wildcards_are_supported(t):
    """[v3:MQTT-3.8.3-2] [MQTT-3.9.3-2]"""
    c = t.raw()
    assert c.connect(t.id("a")).props.get("wildcard_available", 1) == 1
    c.subscribe(t.topic("+/a"), t.topic("#"))


def test_what_connack_promises_is_there(t):
    """[MQTT-3.9.3-2] Shared subscriptions and subscription identifiers."""
    c = t.raw()
    props = c.connect(t.id("a")).props
    assert props.get("shared_available", 1) == 1 and props.get("subscription_id_available", 1) == 1
    c.subscribe(f"$share/g/{t.topic()}", props={"subscription_id": 1})


@versions(5, 4, 3)
def test_filters_with_misplaced_wildcards_are_refused(t):
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [v3:MQTT-4.7.1-2] [v3:MQTT-4.7.1-3] By a reason code for the filter,
    or by the end of the connection."""
    for name in ("a/#/b", "a#", "#a", "a/b#", "##", "a+", "+a", "a/+b/c", "++", "a/b+", "#/", "+#"):
        c = t.open("c")
        c.send(mqtt.subscribe(1, [(t.topic("good"), 0), (name, 0)], version=t.version))
        try:
            p = c.recv()
        except mqtt.Closed:
            assert t.version < 5, "closed without DISCONNECT"
            continue
        if p.kind == SUBACK:
            assert p.reasons == [0, 0x8F if t.version == 5 else 0x80]
            c.ping()
            c.disconnect()
        else:
            assert p.kind == mqtt.DISCONNECT and p.reason in (0x8F, 0x81, 0x82)
            assert c.expect_close() == []


@versions(5, 4, 3)
def test_an_empty_filter_is_refused(t):
    """[MQTT-4.7.3-1] [v3:MQTT-4.7.3-1]"""
    c = t.open()
    c.send(mqtt.subscribe(1, [("", 0)], version=t.version))
    try:
        p = c.recv()
        assert (p.kind == SUBACK and p.reasons[0] >= 0x80) or p.kind == mqtt.DISCONNECT
    except mqtt.Closed:
        assert t.version < 5


@group("tight")
@versions(5, 4)
def test_a_filter_that_is_refused_leaves_the_others(t):
    """[MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [v3:MQTT-3.9.3-2] At most 10 subscriptions here."""
    c, pub = t.open(), t.open("pub")
    refusal = 0x97 if t.version == 5 else 0x80
    c.subscribe(*[(t.topic(str(n)), n % 3) for n in range(12)],
                reasons=[n % 3 for n in range(10)] + [refusal, refusal])
    c.subscribe(t.topic("0"), qos=2)  # replaces one
    for n in (11, 10, 9):
        pub.publish(t.topic(str(n)), b"", qos=1)
    c.receive(t.topic("9"))
    c.ping()
    c.unsubscribe(t.topic("0"))
    c.subscribe(t.topic("11"))


@versions(5, 4)
def test_a_cut_subscribe_is_malformed(t):
    """[MQTT-4.13.1-1] [v3:MQTT-4.8.0-1]"""
    head = b"\0" if t.version == 5 else b""
    for body in (u16(1) + head + text("a"), u16(1) + head + b"\0", u16(1) + head + text("a") + b"\0\0"):
        t.refused(packet(8, 2, body), 0x81, 0x82)


def test_subscription_identifiers_of_every_size(t):
    """[MQTT-3.3.4-3]"""
    c, pub = t.open(), t.open("pub")
    for number in (1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455):
        c.subscribe(t.topic(str(number)), props={"subscription_id": number})
        pub.publish(t.topic(str(number)), b"")
        assert c.receive().props["subscription_id"] == [number]
