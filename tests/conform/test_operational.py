"""Chapter 4: how it all works together."""

import time

from harness import group, mqtt, versions
from mqtt import DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, ack, packet


# ---------------------------------------------------------------------------------- 4.1 session state

@versions(5, 4)
def test_session_state_lives_as_long_as_the_connection(t):
    """[MQTT-4.1.0-1] [v3:MQTT-4.1.0-1] [v3:MQTT-4.1.0-2] Whatever the session expiry says."""
    topic = t.topic()
    c = t.open("a", props={"session_expiry": 1} if t.version == 5 else None)
    c.subscribe(topic, qos=1)
    time.sleep(2.1)
    t.open("pub").publish(topic, b"x", qos=1)
    c.receive(topic, b"x")


@versions(5, 4)
def test_all_parts_of_a_session_are_kept(t):
    """[MQTT-4.1.0-1] [MQTT-4.4.0-1] [v3:MQTT-4.1.0-1] [v3:MQTT-3.1.2-4] Subscriptions with their options,
    messages on their way, messages waiting, and identifiers received at QoS 2."""
    topic, v = t.topic(), t.version
    c = t.durable(props={"receive_max": 2} if v == 5 else {})
    if v == 5:
        c.subscribe(topic, qos=2, no_local=True, retain_as_published=True, props={"subscription_id": 11})
    else:
        c.subscribe(topic, qos=2)
    pub = t.open("pub")
    for number, qos in enumerate((1, 2)):
        pub.publish(topic, str(number), qos=qos)
    one, two = c.expect_publish(topic, b"0"), c.expect_publish(topic, b"1")
    c.send(ack(PUBREC, two.pid))
    c.expect(PUBREL, pid=two.pid)
    c.send(mqtt.publish(t.topic("up"), b"once", 2, 9, version=v))
    c.expect(PUBREC, pid=9)
    c.vanish()
    pub.publish(topic, b"2", qos=1, retain=True)
    watch = t.open("watch")
    watch.subscribe(t.topic("up"), qos=2)

    c = t.durable()
    got = [c.recv() for _ in range(3)]
    resent = {p.kind: p for p in got[:2]}
    assert resent[PUBLISH].pid == one.pid and resent[PUBLISH].dup and resent[PUBREL].pid == two.pid
    waited = got[2]
    assert waited.payload == b"2" and not waited.dup and waited.retain == (v == 5), waited
    assert v < 5 or waited.props["subscription_id"] == [11]
    c.send(mqtt.publish(t.topic("up"), b"once", 2, 9, dup=True, version=v))  # not a second message
    c.expect(PUBREC, pid=9)
    c.send(ack(PUBREL, 9))
    c.expect(PUBCOMP, pid=9)
    assert len([p for p in drain(watch) if p.payload == b"once"]) <= 1


def drain(c, seconds=mqtt.QUIET_S):
    out = []
    while True:
        try:
            out.append(c.receive(timeout=seconds))
        except mqtt.Silence:
            return out


# ---------------------------------------------------------------------------------- 4.3 QoS

@versions(5, 4)
def test_qos_1_and_2_are_sent_without_dup_first(t):
    """[MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [v3:MQTT-4.3.2-1]
    [v3:MQTT-4.3.3-1]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=2)
    for qos in (0, 1, 2):
        pub.publish(topic, b"x", qos=qos)
        p = c.receive(topic, qos=qos, dup=False)
        assert (p.pid is None) == (qos == 0)


@versions(5, 4)
def test_what_is_not_acknowledged_is_kept(t):
    """[MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [v3:MQTT-4.3.2-1] [v3:MQTT-4.3.3-1]"""
    topic = t.topic()
    c, pub = t.durable(), t.open("pub")
    c.subscribe(topic, qos=2)
    pub.publish(topic, b"1", qos=1)
    pub.publish(topic, b"2", qos=2)
    pids = [c.expect_publish().pid for _ in range(2)]
    for _ in range(2):  # again and again
        c.abort()
        c = t.durable()
        assert [c.expect_publish(dup=True).pid for _ in range(2)] == pids
    c.send(ack(PUBACK, pids[0]) + ack(PUBREC, pids[1]))
    c.expect(PUBREL, pid=pids[1])
    for _ in range(2):
        c.abort()
        c = t.durable()
        c.expect(PUBREL, pid=pids[1])
        c.expect_nothing(0.05)
    c.send(ack(PUBCOMP, pids[1]))
    c.ping()
    c.abort()
    t.durable().expect_nothing()


@versions(5, 4)
def test_nothing_is_resent_while_connected(t):
    """[MQTT-4.4.0-1] [v3:MQTT-4.3.2-1]"""
    topic = t.topic()
    c = t.open()
    c.subscribe(topic, qos=2)
    pub = t.open("pub")
    pub.publish(topic, b"1", qos=1)
    pub.publish(topic, b"2", qos=2)
    first, second = c.expect_publish(), c.expect_publish()
    c.send(ack(PUBREC, second.pid))
    c.expect(PUBREL, pid=second.pid)
    c.expect_nothing(1.5)
    assert first.pid != second.pid


@versions(5, 4)
def test_qos_1_is_a_new_publication_after_puback(t):
    """[MQTT-4.3.2-4] [MQTT-4.3.2-5] [v3:MQTT-4.3.2-2]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=1)
    for turn in range(3):
        pub.publish(topic, str(turn), qos=1, pid=7, dup=turn > 0)
        c.receive(topic, str(turn), dup=False)


@versions(5, 4)
def test_qos_2_is_delivered_exactly_once(t):
    """[MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [v3:MQTT-4.3.3-2]"""
    topic, v = t.topic(), t.version
    watch, pub = t.open("watch"), t.open("pub")
    watch.subscribe(topic, qos=2)
    for turn in range(2):
        for repeat in range(4):
            pub.send(mqtt.publish(topic, str(turn), 2, 7, dup=repeat > 0, version=v))
            pub.expect(PUBREC, pid=7, reason=0)
        pub.send(ack(PUBREL, 7))
        pub.expect(PUBCOMP, pid=7, reason=0)
        watch.receive(topic, str(turn), qos=2)
        watch.expect_nothing(0.1)


@versions(5, 4)
def test_qos_2_survives_a_break_at_every_step(t):
    """[MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.4.0-1] [v3:MQTT-4.3.3-2] [v3:MQTT-4.4.0-1] Publisher's side."""
    topic, v = t.topic(), t.version
    watch = t.open("watch")
    watch.subscribe(topic, qos=2)
    for step in range(4):
        pub = t.durable(f"pub{step}")
        pub.send(mqtt.publish(topic, str(step), 2, 7, version=v))
        if step > 0:
            pub.expect(PUBREC, pid=7)
        if step > 1:
            pub.send(ack(PUBREL, 7))
        if step > 2:
            pub.expect(PUBCOMP, pid=7)
        pub.abort()
        pub = t.durable(f"pub{step}")
        if step < 2:
            pub.send(mqtt.publish(topic, str(step), 2, 7, dup=True, version=v))
            pub.expect(PUBREC, pid=7)
        if step < 3:
            pub.send(ack(PUBREL, 7))
            assert pub.expect(PUBCOMP, pid=7).reason in (0x00, 0x92)
        watch.receive(topic, str(step), qos=2)
        watch.expect_nothing(0.1)


@versions(5, 4)
def test_qos_2_to_a_subscriber_survives_a_break_at_every_step(t):
    """[MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [v3:MQTT-4.3.3-1]
    [v3:MQTT-4.4.0-1] The server's side of the exchange."""
    topic = t.topic()
    pub = t.open("pub")
    c = t.durable()
    c.subscribe(topic, qos=2)
    pub.publish(topic, b"x", qos=2)
    pid = c.expect_publish(topic, b"x", dup=False).pid
    c.abort()
    c = t.durable()
    c.expect_publish(topic, b"x", dup=True, pid=pid)
    c.send(ack(PUBREC, pid))
    c.expect(PUBREL, pid=pid)
    c.abort()
    c = t.durable()
    c.expect(PUBREL, pid=pid)  # never PUBLISH again
    c.send(ack(PUBREC, pid))   # a client that is behind
    c.expect(PUBREL, pid=pid)
    c.send(ack(PUBCOMP, pid))
    c.ping()
    c.abort()
    t.durable().expect_nothing()


@group("tight")
def test_a_refused_qos_2_publish_leaves_its_identifier_free(t):
    """[MQTT-4.3.3-9]"""
    watch, pub = t.open("watch"), t.open("pub")
    watch.subscribe(t.topic(), qos=2)
    pub.send(mqtt.publish(t.topic(), b"x" * 1001, 2, 7))
    assert pub.expect(PUBREC, pid=7).reason >= 0x80
    pub.publish(t.topic(), b"small enough", qos=2, pid=7)
    watch.receive(t.topic(), b"small enough")


def test_a_message_once_sent_does_not_expire(t):
    """[MQTT-4.3.3-7]"""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=2)
    t.open("pub").publish(topic, b"x", qos=2, props={"message_expiry": 1})
    pid = c.expect_publish(topic, b"x").pid
    c.abort()
    time.sleep(2.1)
    c = t.durable()
    c.expect_publish(topic, b"x", pid=pid, dup=True)
    c.send(ack(PUBREC, pid))
    c.expect(PUBREL, pid=pid)
    c.send(ack(PUBCOMP, pid))


def test_expiry_does_not_break_the_acknowledgements(t):
    """[MQTT-4.3.3-13]"""
    c = t.durable()
    c.send(mqtt.publish(t.topic(), b"x", 2, 7, props={"message_expiry": 1}))
    c.expect(PUBREC, pid=7)
    time.sleep(2.1)
    c.send(ack(PUBREL, 7))
    c.expect(PUBCOMP, pid=7, reason=0)


# ---------------------------------------------------------------------------------- 4.4, 4.5

@versions(5, 4)
def test_resent_messages_keep_identifier_and_order(t):
    """[MQTT-4.4.0-1] [MQTT-4.6.0-1] [v3:MQTT-4.4.0-1] [v3:MQTT-4.6.0-1] [v3:MQTT-2.3.1-4]"""
    topic = t.topic()
    c, pub = t.durable(), t.open("pub")
    c.subscribe(topic, qos=2)
    for number in range(10):
        pub.publish(topic, str(number), qos=1 + number % 2)
    first = [c.expect_publish(dup=False) for _ in range(10)]
    c.abort()
    c = t.durable()
    again = [c.expect_publish(dup=True) for _ in range(10)]
    assert [(p.pid, p.payload, p.qos) for p in again] == [(p.pid, p.payload, p.qos) for p in first]
    for p in again:
        c.send(ack(PUBACK if p.qos == 1 else PUBREC, p.pid))
    for p in again:
        if p.qos == 2:
            c.expect(PUBREL, pid=p.pid)
    c.abort()
    c = t.durable()
    for p in again:
        if p.qos == 2:
            c.expect(PUBREL, pid=p.pid)
    c.ping()


def test_a_publish_refused_by_the_subscriber_is_not_resent(t):
    """[MQTT-4.4.0-2] [MQTT-4.8.2-6]"""
    topic = t.topic()
    c, pub = t.durable(), t.open("pub")
    c.subscribe(topic, qos=2)
    pub.publish(topic, b"1", qos=1)
    pub.publish(topic, b"2", qos=2)
    c.send(ack(PUBACK, c.expect_publish(qos=1).pid, 0x97))
    c.send(ack(PUBREC, c.expect_publish(qos=2).pid, 0x80))
    c.ping()
    c.abort()
    c = t.durable()
    c.expect_nothing()


@versions(5, 4)
def test_messages_join_the_sessions_of_all_that_match(t):
    """[MQTT-4.5.0-1] [v3:MQTT-4.5.0-1]"""
    away = [t.durable(f"away{q}") for q in range(3)]
    live = [t.open(f"live{q}") for q in range(3)]
    for q in range(3):
        away[q].subscribe(t.topic("+"), qos=q)
        live[q].subscribe(t.topic("#"), qos=q)
        away[q].disconnect()
    pub = t.open("pub")
    for q in (1, 2):
        pub.publish(t.topic(), str(q), qos=q)
    for q in range(3):
        for n in (1, 2):
            live[q].receive(payload=str(n), qos=min(q, n))
    for q in (1, 2):
        c = t.durable(f"away{q}")
        for n in (1, 2):
            c.receive(payload=str(n), qos=min(q, n))


def test_a_client_that_does_not_acknowledge_gets_no_more_than_its_window(t):
    """[MQTT-4.5.0-2] [MQTT-4.9.0-2] The reaction to a client that does not."""
    topic = t.topic()
    c, pub = t.open(props={"receive_max": 3}), t.open("pub")
    c.subscribe(topic, qos=1)
    for number in range(6):
        pub.publish(topic, str(number), qos=1)
    for number in range(3):
        c.expect_publish(payload=str(number))
    c.expect_nothing()
    c.ping()


# ---------------------------------------------------------------------------------- 4.6 order

@versions(5, 4)
def test_messages_arrive_in_the_order_of_their_publisher(t):
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6] [v3:MQTT-4.6.0-5] [v3:MQTT-4.6.0-6]"""
    topic = t.topic()
    subs = [t.open(f"s{q}") for q in range(3)]
    for q, c in enumerate(subs):
        c.subscribe(topic, qos=q)
    pubs = [t.open(f"p{n}") for n in range(3)]
    for number in range(60):
        for n, pub in enumerate(pubs):
            pub.send(mqtt.publish(topic, f"{n}.{number}", 1, number + 1, version=t.version))
    for c in subs:
        got = [c.receive().payload.decode().split(".") for _ in range(180)]
        for n in range(3):
            mine = [int(number) for who, number in got if who == str(n)]
            assert mine == list(range(60)), f"publisher {n} at {c.label}: {mine}"


@versions(5, 4)
def test_acknowledgements_come_in_order(t):
    """[MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4] [v3:MQTT-4.6.0-2] [v3:MQTT-4.6.0-3] [v3:MQTT-4.6.0-4]
    Asked of clients; a server that receives does no less."""
    topic, v = t.topic(), t.version
    c = t.open()
    order = [3, 1, 65535, 2, 700, 4]
    for pid in order:
        c.send(mqtt.publish(topic, b"", 1, pid, version=v))
    for pid in order:
        c.expect(PUBACK, pid=pid)
    for pid in order:
        c.send(mqtt.publish(topic, b"", 2, pid, version=v))
    for pid in order:
        c.expect(PUBREC, pid=pid)
    for pid in order:
        c.send(ack(PUBREL, pid))
    for pid in order:
        c.expect(PUBCOMP, pid=pid)


@versions(5, 4)
def test_pubrel_comes_in_the_order_of_pubrec(t):
    """[MQTT-4.6.0-4] [v3:MQTT-4.6.0-4]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=2)
    for number in range(6):
        pub.publish(topic, str(number), qos=2)
    pids = [c.expect_publish().pid for _ in range(6)]
    order = pids[::-1]
    c.send(b"".join(ack(PUBREC, pid) for pid in order))
    for pid in order:
        c.expect(PUBREL, pid=pid)
    c.send(b"".join(ack(PUBCOMP, pid) for pid in order))
    c.ping()


@versions(5, 4)
def test_order_holds_from_offline_to_online(t):
    """[MQTT-4.6.0-5] [v3:MQTT-4.6.0-6] What waited comes before what is new."""
    topic = t.topic()
    c, pub = t.durable(), t.open("pub")
    c.subscribe(topic, qos=1)
    c.disconnect()
    for number in range(30):
        pub.publish(topic, str(number), qos=1)
    c = t.durable()
    for number in range(30, 60):
        pub.send(mqtt.publish(topic, str(number), 1, number, version=t.version))
    for number in range(60):
        c.receive(topic, str(number))


# ---------------------------------------------------------------------------------- 4.7 topics

MATCHES = (  # filter, names that match, names that do not
    ("s/tennis/#", ("s/tennis", "s/tennis/a", "s/tennis/a/b"), ("s", "s/tenni", "s/tennis2", "s2/tennis")),
    ("s/+", ("s/a", "s/"), ("s", "s/a/b", "sa")),
    ("s/+/+", ("s/a/b", "s//", "s/a/"), ("s/a", "s/a/b/c")),
    ("+/a", ("s/a", "/a"), ("s/b", "s/a/b")),
    ("s/+/b", ("s/a/b", "s//b"), ("s/b", "s/a/a/b", "s/a/B")),
    ("/s", ("/s",), ("s", "//s")),
    ("s/ b", ("s/ b",), ("s/b", "s/b ")),
    ("s//b", ("s//b",), ("s/b", "s/a/b")),
    ("s/b/", ("s/b/",), ("s/b",)),
    ("S/B", ("S/B",), ("s/b", "S/b")),
    ("s/\u00e4", ("s/\u00e4",), ("s/a\u0308",)),
)


@versions(5, 4)
def test_filters_match_level_by_level(t):
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4] [v3:MQTT-4.7.1-2] [v3:MQTT-4.7.1-3] [v3:MQTT-4.7.3-4]
    No normalisation of any kind."""
    pub = t.open("pub")
    for number, (pattern, good, bad) in enumerate(MATCHES):
        base = t.topic(f"{number}/")
        c = t.open(f"s{number}")
        c.subscribe(base + pattern, base + "end")
        for name in good + bad:
            pub.publish(base + name, name)
        pub.publish(base + "end", b"")
        got = []
        while (p := c.receive()).topic != base + "end":
            got.append(p.topic[len(base):])
        assert sorted(got) == sorted(good), f"{pattern}: {got}"


@versions(5, 4)
def test_wildcards_do_not_match_dollar_topics(t):
    """[MQTT-4.7.2-1] [v3:MQTT-4.7.2-1]"""
    c, named, pub = t.open(), t.open("named"), t.open("pub")
    name = "$" + t.topic()
    for pattern in ("#", "+/x", "+/#"):
        c.subscribe(pattern)
    named.subscribe(name, f"${t.prefix}/#", f"${t.prefix}/+")
    pub.publish(name, b"hidden", qos=1)
    named.receive(name, b"hidden")
    pub.publish(t.topic(), b"seen", qos=1)
    while (p := c.receive()).topic != t.topic():  # "#" sees the other tests, too
        assert not p.topic.startswith("$"), p.topic


@versions(5, 4)
def test_sys_topics_are_not_for_clients(t):
    """[MQTT-4.7.2-1] [v3:MQTT-4.7.2-1] Publishing there changes nothing others see."""
    c, pub = t.open(), t.open("pub")
    c.subscribe("$SYS/" + t.prefix)
    pub.send(mqtt.publish("$SYS/" + t.prefix, b"forged", version=t.version))
    c.expect_nothing()


@versions(5, 4)
def test_a_null_in_a_topic_or_filter_is_refused(t):
    """[MQTT-4.7.3-2] [v3:MQTT-4.7.3-2]"""
    v = t.version
    for bytes_ in (mqtt.publish("a\0b", b"", version=v), mqtt.subscribe(1, [("a\0b", 0)], version=v),
                   mqtt.unsubscribe(1, ["a\0b"], version=v)):
        t.refused(bytes_, 0x81)


@versions(5, 4)
def test_very_deep_and_very_long_topics_work_or_are_refused(t):
    """[MQTT-4.7.3-3] [v3:MQTT-4.7.3-3]"""
    c = t.open()
    for name in ("/" * 65535, t.prefix + "/x" * 150, ("x" * 65535)):
        c.send(mqtt.subscribe(1, [(name, 0)], version=t.version))
        try:
            p = c.recv()
        except mqtt.Closed:
            c = t.open(f"again{len(name)}")
            continue
        if p.kind == mqtt.SUBACK and p.reasons == [0]:
            c.publish(name, b"x")
            c.receive(name, b"x")
        else:
            assert p.kind == DISCONNECT or p.reasons[0] >= 0x80
            c = t.open(f"again{len(name)}")


# ---------------------------------------------------------------------------------- 4.8 shared subscriptions

def test_share_names_are_checked(t):
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2] By a reason code for the filter, or by the end of the connection."""
    for name in ("$share//x", "$share/a+b/x", "$share/a#/x", "$share/+/x", "$share/g/", "$share/g", "$share/",
                 "$share/g/a/#/b"):
        c = t.open("c")
        c.send(mqtt.subscribe(1, [(name, 0)]))
        p = c.recv()
        if p.kind == mqtt.SUBACK:
            assert p.reasons == [0x8F], f"{name}: {p.reasons}"
            c.disconnect()
        else:
            assert p.kind == DISCONNECT and p.reason in (0x8F, 0x81, 0x82), name


def test_a_shared_subscription_delivers_to_one_member(t):
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2]"""
    topic = t.topic()
    members = [t.open(f"m{n}") for n in range(3)]
    other, alone = t.open("other"), t.open("alone")
    for c in members:
        c.subscribe(f"$share/g.1 x/{t.topic('#')}", qos=1)
    other.subscribe(f"$share/h/{topic}", qos=1)
    alone.subscribe(topic, qos=1)
    pub = t.open("pub")
    for number in range(60):
        pub.publish(topic, str(number), qos=1)
    for c in (other, alone):
        assert [c.receive().payload for _ in range(60)] == [str(n).encode() for n in range(60)]
    got = [[int(p.payload) for p in drain(c)] for c in members]
    assert sorted(sum(got, [])) == list(range(60)), got
    assert all(got), "a member that gets nothing"
    assert all(part == sorted(part) for part in got)


def test_a_shared_subscription_grants_each_member_its_qos(t):
    """[MQTT-4.8.2-3]"""
    topic, pub = t.topic(), t.open("pub")
    for qos in (0, 1, 2):
        c = t.open(f"m{qos}")
        c.subscribe(f"$share/g{qos}/{topic}", qos=qos)
        pub.publish(topic, b"x", qos=2)
        c.receive(topic, qos=qos)
        c.unsubscribe(f"$share/g{qos}/{topic}")
        pub.publish(topic, b"gone", qos=2)
        c.expect_nothing(0.1)


def test_a_shared_subscription_brings_no_retained_messages(t):
    """[MQTT-4.8.2-1] As section 4.8.2 says: none are sent to the session when it first subscribes."""
    t.open("pub").publish(t.topic(), b"r", qos=1, retain=True)
    c = t.open()
    c.subscribe(f"$share/g/{t.topic()}")
    c.expect_nothing()


def test_a_shared_qos_2_message_is_completed_with_the_member_it_began_with(t):
    """[MQTT-4.8.2-4]"""
    topic = t.topic()
    members = [t.durable(f"m{n}") for n in range(2)]
    for c in members:
        c.subscribe(f"$share/g/{topic}", qos=2)
    t.open("pub").publish(topic, b"x", qos=2)
    who = next(n for n in (0, 1, 0, 1, 0, 1, 0, 1) if members[n].transport.wait(0.5))
    first = members[who].expect_publish(topic, b"x", qos=2)
    members[who].abort()
    members[1 - who].expect_nothing()
    again = t.durable(f"m{who}")
    again.expect_publish(topic, b"x", qos=2, pid=first.pid, dup=True)
    again.send(ack(PUBREC, first.pid))
    again.expect(PUBREL, pid=first.pid)
    again.send(ack(PUBCOMP, first.pid))
    members[1 - who].ping()


def test_a_shared_qos_2_message_ends_with_the_session_it_began_with(t):
    """[MQTT-4.8.2-5]"""
    topic = t.topic()
    members = [t.open(f"m{n}") for n in range(2)]
    for c in members:
        c.subscribe(f"$share/g/{topic}", qos=2)
    t.open("pub").publish(topic, b"x", qos=2)
    who = next(n for n in (0, 1, 0, 1, 0, 1, 0, 1) if members[n].transport.wait(0.5))
    members[who].expect_publish(topic, b"x", qos=2)
    members[who].abort()  # the session ends with the connection
    members[1 - who].expect_nothing(0.4)


def test_a_shared_qos_1_message_moves_on_when_its_member_leaves(t):
    """[MQTT-4.8.2-3] What design.md promises beyond the numbered statements."""
    topic = t.topic()
    members = [t.open(f"m{n}") for n in range(2)]
    for c in members:
        c.subscribe(f"$share/g/{topic}", qos=1)
    t.open("pub").publish(topic, b"x", qos=1)
    who = next(n for n in (0, 1, 0, 1, 0, 1, 0, 1) if members[n].transport.wait(0.5))
    members[who].expect_publish(topic, b"x", qos=1)
    members[who].abort()
    members[1 - who].receive(topic, b"x", qos=1)


def test_a_message_refused_by_a_member_goes_to_nobody_else(t):
    """[MQTT-4.8.2-6]"""
    topic = t.topic()
    members = [t.open(f"m{n}") for n in range(2)]
    for c in members:
        c.subscribe(f"$share/g/{topic}", qos=2)
    pub = t.open("pub")
    for qos, kind in ((1, PUBACK), (2, PUBREC)):
        pub.publish(topic, b"x", qos=qos)
        who = next(n for n in (0, 1, 0, 1, 0, 1, 0, 1) if members[n].transport.wait(0.5))
        p = members[who].expect_publish(topic, b"x", qos=qos)
        members[who].send(ack(kind, p.pid, 0x80))
        members[who].ping()
        for c in members:
            c.expect_nothing(0.15)


def test_shared_messages_go_to_members_who_are_there(t):
    """[MQTT-4.8.2-3] A connected member is preferred to one who is away, once that is known everywhere;
    what was on its way to the other before waits there."""
    topic = t.topic()
    away, here = t.durable("away"), t.open("here")
    for c in (away, here):
        c.subscribe(f"$share/g/{topic}", qos=1)
    away.disconnect()
    pub = t.open("pub")
    for number in range(10):
        pub.publish(topic, str(number), qos=1)
    got = [int(p.payload) for p in drain(here)]
    waited = [int(p.payload) for p in drain(t.durable("away"))]
    assert sorted(got + waited) == list(range(10)) and len(got) >= 8, (got, waited)


def test_identical_filters_shared_and_not_are_two_subscriptions(t):
    """[MQTT-3.8.4-3] [MQTT-3.10.4-1]"""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=1, props={"subscription_id": 1})
    c.subscribe(f"$share/g/{topic}", qos=1, props={"subscription_id": 2})
    pub.publish(topic, b"x", qos=1)
    ids = sorted(i for p in drain(c) for i in p.props["subscription_id"])
    assert ids == [1, 2]
    assert c.unsubscribe(topic).reasons == [0]
    pub.publish(topic, b"y", qos=1)
    assert c.receive(topic, b"y").props["subscription_id"] == [2]


# ---------------------------------------------------------------------------------- 4.9 flow control

@versions(5, 4)
def test_a_subscriber_can_hold_many_at_once(t):
    """[MQTT-4.9.0-1] [v3:MQTT-4.3.2-1] Without a Receive Maximum the window is at least not zero, and
    what does not fit waits."""
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=1)
    for number in range(100):
        pub.publish(topic, str(number), qos=1)
    for number in range(100):
        c.receive(topic, str(number))


def test_a_new_connection_begins_with_a_full_window(t):
    """[MQTT-4.9.0-1]"""
    topic = t.topic()
    c, pub = t.durable(props={"receive_max": 2}), t.open("pub")
    c.subscribe(topic, qos=1)
    for number in range(4):
        pub.publish(topic, str(number), qos=1)
    for number in range(2):
        c.expect_publish(payload=str(number))
    c.expect_nothing(0.1)
    c.abort()
    c = t.durable(props={"receive_max": 1})
    p = c.expect_publish(payload=b"0", dup=True)
    c.expect_nothing(0.1)  # the smaller window holds for what is resent, too
    c.send(ack(PUBACK, p.pid))
    for number in (1, 2, 3):
        c.receive(payload=str(number))


# ---------------------------------------------------------------------------------- 4.13 errors

@versions(5, 4)
def test_an_error_of_one_client_harms_no_other(t):
    """[MQTT-4.13.1-1] [MQTT-4.13.2-1] [v3:MQTT-4.8.0-1] [v3:MQTT-4.8.0-2]"""
    other = t.open("other")
    other.subscribe(t.topic())
    t.refused(b"\xff\xff\xff\xff\xff\xff", 0x81)
    t.refused(packet(0, 0, b"x" * 100), 0x81, 0x82)
    other.publish(t.topic(), b"fine")
    other.receive(t.topic(), b"fine")


@versions(5, 4)
def test_a_packet_that_is_cut_by_the_end_is_not_processed(t):
    """[MQTT-4.13.1-1] [v3:MQTT-4.8.0-2]"""
    watch = t.open("watch")
    watch.subscribe(t.topic())
    c = t.open()
    c.send(mqtt.publish(t.topic(), b"whole" * 100, version=t.version)[:-1])
    c.half_close()
    assert c.expect_close() == []
    watch.expect_nothing()


def test_reused_identifiers_are_refused_or_taken_as_repeats(t):
    """[MQTT-2.2.1-3] [MQTT-4.3.3-10] A QoS 1 PUBLISH with the identifier of an open QoS 2 exchange."""
    c = t.open()
    c.send(mqtt.publish(t.topic(), b"", 2, 5))
    c.expect(PUBREC, pid=5)
    c.send(mqtt.publish(t.topic(), b"", 1, 5))
    p = c.recv()
    assert (p.kind == PUBACK and p.reason in (0x00, 0x10, 0x91)) or \
        (p.kind == DISCONNECT and p.reason in (0x82, 0x91))
