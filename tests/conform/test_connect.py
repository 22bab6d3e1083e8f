"""Chapters 3.1 and 3.2: CONNECT and CONNACK."""

import time

from harness import group, mqtt, versions
from mqtt import CONNACK, DISCONNECT, PUBACK, PUBLISH, SUBACK, packet, text


def will(t, label="will", payload=b"gone", qos=0, retain=False, **props):
    return {"topic": t.topic(label), "payload": payload, "qos": qos, "retain": retain, "props": props}


# ---------------------------------------------------------------------------------- first packet

@versions(5, 4, 3)
def test_the_first_packet_must_be_connect(t):
    """[MQTT-3.1.0-1] [MQTT-3.2.0-1] [MQTT-3.14.0-1] [v3:MQTT-3.1.0-1] [v3:MQTT-3.2.0-1]"""
    v, topic = t.version, t.topic()
    for bytes_ in (mqtt.publish(topic, b"", version=v), mqtt.publish(topic, b"", 1, 1, version=v),
                   mqtt.subscribe(1, [(topic, 0)], version=v), mqtt.unsubscribe(1, [topic], version=v),
                   mqtt.pingreq(), mqtt.disconnect(), mqtt.ack(PUBACK, 1), mqtt.auth(0x18, "TERN-TEST"),
                   packet(CONNACK, 0, b"\0\0"), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
        c = t.raw()
        c.send(bytes_)
        assert c.expect_close() == []  # neither CONNACK nor DISCONNECT


@versions(5, 4, 3)
def test_nothing_comes_before_connack(t):
    """[MQTT-3.2.0-1] [v3:MQTT-3.2.0-1] Even when a session has messages waiting."""
    topic = t.topic()
    c = t.durable("dur")
    c.subscribe(topic, qos=1)
    c.disconnect()
    t.open("pub").publish(topic, b"waiting", qos=1)
    c = t.raw()
    time_started = time.monotonic()
    c.send(mqtt.connect(t.id("dur"), version=t.version, clean=False))
    assert c.recv().kind == CONNACK and time.monotonic() - time_started < mqtt.WAIT_S
    c.receive(topic, b"waiting")


@versions(5, 4, 3)
def test_a_second_connect_is_a_protocol_error(t):
    """[MQTT-3.1.0-2] [MQTT-3.2.0-2] [v3:MQTT-3.1.0-2]"""
    c = t.open("same")
    c.send(mqtt.connect(t.id("same"), version=t.version))
    c.expect_refusal(0x82)
    t.refused(mqtt.connect(t.id("other"), version=t.version), 0x82)


def test_only_one_connack_is_sent(t):
    """[MQTT-3.2.0-2]"""
    c = t.raw()
    c.send(mqtt.connect(t.id("a")) + mqtt.connect(t.id("a")))
    kinds = [p.kind for p in c.expect_close()]
    assert kinds == [CONNACK, DISCONNECT]


# ---------------------------------------------------------------------------------- name, version, flags

def test_a_wrong_protocol_name_is_refused(t):
    """[MQTT-3.1.2-1]"""
    for name in ("MQTt", "mqtt", "MQT", "MQTTX", "", "HTTP", "MQIsdpX"):
        t.connect_refused(mqtt.connect(t.id("a"), name=name), 0x84, 0x81, version=4, silent=True)


def test_an_unsupported_protocol_version_is_refused(t):
    """[MQTT-3.1.2-2]"""
    for level in (0, 1, 2, 6, 7, 127, 255):
        # what comes, if anything, is in the form of 3.1.1 (0x01) or of 5.0 (0x84)
        c = t.raw(version=4)
        c.send(mqtt.connect(t.id("a"), level=level))
        seen = c.transport.recv()
        assert seen in (b"", b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"), seen
        if seen:
            assert c.transport.recv() == b""


def test_the_reserved_flag_of_connect_must_be_zero(t):
    """[MQTT-3.1.2-3]"""
    t.connect_refused(mqtt.connect(t.id("a"), flags=0x03), 0x81)
    t.connect_refused(mqtt.connect(t.id("a"), flags=0x01), 0x81)


def test_will_flags_without_a_will_are_refused(t):
    """[MQTT-3.1.2-11] [MQTT-3.1.2-13]"""
    for flags in (0x0A, 0x12, 0x1A, 0x22, 0x2A):
        t.connect_refused(mqtt.connect(t.id("a"), flags=flags), 0x81, 0x82)


def test_a_will_of_qos_3_is_malformed(t):
    """[MQTT-3.1.2-12]"""
    t.connect_refused(mqtt.connect(t.id("a"), will=will(t, qos=3)), 0x81)


def test_flags_and_payload_must_agree(t):
    """[MQTT-3.1.2-9] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.4-1]
    [MQTT-3.1.3-1]"""
    cid, name = text(t.id("a")), text("name")
    for flags, payload in ((0x06, cid),                       # will flag, and no will
                           (0x06, cid + b"\0" + text("w")),   # no will payload
                           (0x82, cid), (0x42, cid),          # no user name, no password
                           (0xC2, cid + name),                # one of both
                           (0x02, cid + name),                # one that no flag announces
                           (0x82, cid + name + name), (0x42, cid + name + name),
                           (0x02, b""), (0x02, b"\x00\x09abc")):
        t.connect_refused(mqtt.connect(flags=flags, payload=payload), 0x81, 0x82)


def test_the_fields_of_the_payload_in_their_order(t):
    """[MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    c = t.open("a", will=will(t, payload=b"all there"), username="name", password=b"\0\xff")
    c.abort()
    watcher.receive(t.topic("will"), b"all there")


def test_a_password_alone_is_legal_in_5(t):
    """[MQTT-3.1.2-18] [MQTT-3.1.2-19]"""
    t.open("a", password=b"secret").ping()


def test_an_accepted_connect_is_acknowledged(t):
    """[MQTT-3.1.4-5] [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-8]"""
    c = t.raw()
    p = c.connect(t.id("a"))
    assert p.reason == 0 and p.ack_flags == 0


def test_a_malformed_connect_is_not_processed(t):
    """[MQTT-3.1.4-1] [MQTT-3.1.4-6] Neither it nor what follows it."""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("#"))
    c = t.raw()
    c.send(mqtt.connect(t.id("a"), flags=0x03) + mqtt.publish(t.topic("x"), b"never"))
    c.expect_close()
    watcher.expect_nothing()


def test_data_sent_before_connack_is_kept(t):
    """[MQTT-3.1.4-5] A client may publish right behind CONNECT."""
    topic = t.topic()
    watcher = t.open("watch")
    watcher.subscribe(topic)
    c = t.raw()
    c.send(mqtt.connect(t.id("a")) + mqtt.publish(topic, b"early") + mqtt.disconnect())
    assert c.expect_close()[0].kind == CONNACK
    watcher.receive(topic, b"early")


# ---------------------------------------------------------------------------------- sessions

def test_clean_start_discards_the_session(t):
    """[MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]"""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=1)
    c.disconnect()
    t.open("pub").publish(topic, b"old", qos=1)
    c = t.raw()
    assert not c.connect(t.id("a"), clean=True, props={"session_expiry": 60}).session_present
    t.open("pub2").publish(topic, b"new", qos=1)
    c.expect_nothing()
    assert c.unsubscribe(topic).reasons == [0x11]


def test_a_session_is_resumed(t):
    """[MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-3.1.3-2]"""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=1)
    c.disconnect()
    t.open("pub").publish(topic, b"while away", qos=1)
    c = t.raw()
    assert c.connect(t.id("a"), clean=False, props={"session_expiry": 60}).session_present
    c.receive(topic, b"while away", qos=1)
    t.open("pub2").publish(topic, b"still subscribed", qos=1)
    c.receive(topic, b"still subscribed")


def test_without_a_session_a_new_one_is_made(t):
    """[MQTT-3.1.2-6] [MQTT-3.2.2-3]"""
    c = t.raw()
    assert not c.connect(t.id("new"), clean=False).session_present
    c.subscribe(t.topic())
    c.ping()


def test_no_session_expiry_means_the_session_ends_with_the_connection(t):
    """[MQTT-3.1.2-23] [MQTT-4.1.0-2]"""
    topic = t.topic()
    c = t.open("a", clean=False)
    c.subscribe(topic, qos=1)
    c.disconnect()
    c = t.raw()
    assert not c.connect(t.id("a"), clean=False).session_present
    assert c.unsubscribe(topic).reasons == [0x11]


def test_sessions_belong_to_client_ids(t):
    """[MQTT-3.1.3-2] Byte for byte: case matters."""
    a = t.durable("Ab")
    a.subscribe(t.topic())
    a.disconnect()
    b = t.raw()
    assert not b.connect(t.id("aB"), clean=False).session_present
    c = t.raw()
    assert c.connect(t.id("Ab"), clean=False).session_present


def test_a_session_ends_when_its_expiry_has_passed(t):
    """[MQTT-4.1.0-2] [MQTT-3.1.2-23]"""
    a, b = t.durable("short", expiry=1), t.durable("long", expiry=0xFFFFFFFF)
    for c in (a, b):
        c.subscribe(t.topic())
        c.disconnect()
    time.sleep(2.2)
    assert not t.raw().connect(t.id("short"), clean=False).session_present
    assert t.raw().connect(t.id("long"), clean=False).session_present


def test_the_session_expiry_of_a_new_connection_counts(t):
    """[MQTT-3.1.2-23] Resumed without an expiry, the session ends with that connection."""
    a = t.durable()
    a.disconnect()
    b = t.open("a", clean=False)
    b.disconnect()
    assert not t.raw().connect(t.id("a"), clean=False).session_present


@versions(5, 4, 3)
def test_a_client_id_in_use_is_taken_over(t):
    """[MQTT-3.1.4-3] [v3:MQTT-3.1.4-2]"""
    first = t.open("a")
    second = t.open("a")
    first.expect_refusal(0x8E)
    second.ping()


@versions(5, 4)
def test_a_take_over_keeps_the_session_or_discards_it(t):
    """[MQTT-3.1.4-3] [MQTT-3.1.4-4] [v3:MQTT-3.1.4-2] [v3:MQTT-3.1.4-3]"""
    topic = t.topic()
    first = t.durable()
    first.subscribe(topic, qos=1)
    second = t.raw()
    props = {"props": {"session_expiry": 60}} if t.version == 5 else {}
    assert second.connect(t.id("a"), clean=False, **props).session_present
    first.expect_refusal(0x8E)
    second.send(mqtt.publish(topic, b"1", 1, 1, version=t.version))
    assert sorted(second.recv().kind for _ in range(2)) == [PUBLISH, PUBACK]
    third = t.raw()
    assert not third.connect(t.id("a"), clean=True).session_present
    second.expect_refusal(0x8E)
    t.open("pub").publish(topic, b"2", qos=1)
    third.expect_nothing()


@versions(5, 4)
def test_a_storm_of_take_overs_leaves_one_owner(t):
    """[MQTT-3.1.4-3] [v3:MQTT-3.1.4-2]"""
    clients = [t.raw(label=str(n)) for n in range(20)]
    for c in clients:
        c.send(mqtt.connect(t.id("a"), version=t.version))
    for c in clients:
        assert c.expect(CONNACK).reason == 0
    alive = 0
    for c in clients:
        try:
            c.send(mqtt.pingreq())
            while (p := c.recv()).kind not in (mqtt.PINGRESP, DISCONNECT):
                pass
            if p.kind == mqtt.PINGRESP:
                c.expect_nothing(0.05)
                alive += 1
        except (mqtt.Closed, OSError, AssertionError):
            pass
    assert alive == 1, f"{alive} connections hold the client id"


# ---------------------------------------------------------------------------------- client ids

@versions(5, 4, 3)
def test_client_ids_of_1_to_23_letters_and_digits_are_allowed(t):
    """[MQTT-3.1.3-5] [v3:MQTT-3.1.3-5]"""
    for cid in ("xyz"[t.version - 3], "0123456789abcdefghijkl" + str(t.version),
                "mnopqrstuvwxyzABCDEFGH" + str(t.version), "JKLMNOPQRSTUVWXYZ" + t.prefix[-6:]):
        c = t.raw()
        c.connect(cid)
        c.disconnect()


@versions(5, 4)
def test_longer_and_stranger_client_ids_work_too(t):
    """[MQTT-3.1.3-4] [v3:MQTT-3.1.3-4]"""
    for cid in (t.prefix + "x" * 200, t.prefix + "/\u00e4\u6771 #+$", t.prefix + "\U0001f980"):
        c = t.raw()
        c.connect(cid)
        c.ping()


def test_an_empty_client_id_gets_one_assigned(t):
    """[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]"""
    a, b = t.raw(), t.raw()
    first = a.connect("", clean=True, props={"session_expiry": 60}).props["assigned_client_id"]
    second = b.connect("", clean=False).props["assigned_client_id"]
    assert first and second and first != second
    a.subscribe(t.topic())
    a.disconnect()
    c = t.raw()  # it is a client id as good as any
    p = c.connect(first, clean=False)
    assert p.session_present and "assigned_client_id" not in p.props


def test_a_refused_client_id_is_answered_and_closed(t):
    """[MQTT-3.1.3-8] The ids refused are those that are not UTF-8; see also test_data."""
    t.connect_refused(mqtt.connect(b"\xff\xfe"), 0x81, 0x85)
    t.connect_refused(mqtt.connect(b"a\0"), 0x81, 0x85)


# ---------------------------------------------------------------------------------- wills

@versions(5, 4, 3)
def test_a_will_is_published_when_the_connection_breaks(t):
    """[MQTT-3.1.2-7] [MQTT-3.1.2-8] [v3:MQTT-3.1.2-8]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("#"), qos=2)
    for qos, end in ((0, "abort"), (1, "close"), (2, "half_close")):
        c = t.open(f"c{qos}", will=will(t, f"w{qos}", b"gone", qos))
        watcher.expect_nothing(0.05)
        getattr(c, end)()
        watcher.receive(t.topic(f"w{qos}"), b"gone", qos=qos, retain=False)


@versions(5, 4, 3)
def test_a_will_is_published_after_a_protocol_error(t):
    """[MQTT-3.1.2-8] [v3:MQTT-3.1.2-8]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    c = t.open("a", will=will(t))
    c.send(b"\xf0\xff\xff\xff\xff\xff")
    c.expect_close()
    watcher.receive(t.topic("will"), b"gone")


@versions(5, 4, 3)
def test_a_will_is_published_when_the_client_id_is_taken_over(t):
    """[MQTT-3.1.2-8] [v3:MQTT-3.1.2-8]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.open("a", will=will(t))
    t.open("a")
    watcher.receive(t.topic("will"), b"gone")


@versions(5, 4, 3)
def test_a_will_is_discarded_by_disconnect(t):
    """[MQTT-3.1.2-10] [MQTT-3.14.4-3] [v3:MQTT-3.1.2-10] [v3:MQTT-3.14.4-3]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    c = t.open("a", will=will(t))
    c.disconnect()
    watcher.expect_nothing()


@versions(5, 4)
def test_a_will_is_published_once_and_then_forgotten(t):
    """[MQTT-3.1.2-10] [v3:MQTT-3.1.2-10] [v3:MQTT-3.1.2-12]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.durable("a", will=will(t)).abort()
    watcher.receive(t.topic("will"))
    t.durable("a").abort()  # the session is there, the will is gone
    watcher.expect_nothing()


def test_disconnect_with_will_message_publishes_it(t):
    """[MQTT-3.1.2-8] [MQTT-3.14.4-3]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.open("a", will=will(t)).disconnect(0x04)
    watcher.receive(t.topic("will"), b"gone")
    t.open("b", will=will(t)).disconnect(0x80)
    watcher.receive(t.topic("will"), b"gone")


@versions(5, 4)
def test_a_will_that_is_not_retained_leaves_nothing(t):
    """[MQTT-3.1.2-14] [v3:MQTT-3.1.2-16]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.open("a", will=will(t)).abort()
    watcher.receive(t.topic("will"), retain=False)
    later = t.open("later")
    later.subscribe(t.topic("will"))
    later.expect_nothing()


@versions(5, 4)
def test_a_retained_will_is_retained(t):
    """[MQTT-3.1.2-15] [v3:MQTT-3.1.2-17]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"), qos=1)
    t.open("a", will=will(t, qos=1, retain=True)).abort()
    watcher.receive(t.topic("will"), b"gone", retain=False)
    later = t.open("later")
    later.subscribe(t.topic("will"), qos=1)
    later.receive(t.topic("will"), b"gone", qos=1, retain=True)


@versions(5, 4)
def test_an_empty_will_payload_is_a_will(t):
    """[MQTT-3.1.2-8] [v3:MQTT-3.1.2-9]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.open("a", will=will(t, payload=b"")).abort()
    watcher.receive(t.topic("will"), b"")


def test_a_will_keeps_its_properties_and_their_order(t):
    """[MQTT-3.1.3-10] [MQTT-3.1.2-9]"""
    pairs = [("b", "2"), ("a", "1"), ("b", "2"), ("", "")]
    props = {"user_property": pairs, "payload_format": 1, "content_type": "text/plain",
             "response_topic": t.topic("answer"), "correlation_data": b"\0\x01"}
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.open("a", will=will(t, **props)).abort()
    assert watcher.receive(t.topic("will")).props == props


def test_a_will_waits_for_its_delay(t):
    """[MQTT-3.1.2-8] [MQTT-3.1.3-9]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.durable("a", will=will(t, will_delay=1)).abort()
    started = time.monotonic()
    watcher.expect_nothing(0.7)
    p = watcher.receive(t.topic("will"), timeout=4)
    assert time.monotonic() - started > 0.7 and "will_delay" not in p.props


def test_a_client_that_is_back_before_the_delay_has_no_will_published(t):
    """[MQTT-3.1.3-9]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.durable("a", will=will(t, will_delay=1)).abort()
    watcher.expect_nothing(0.1)
    t.durable("a").ping()
    watcher.expect_nothing(2)


def test_a_take_over_within_the_delay_publishes_no_will(t):
    """[MQTT-3.1.3-9]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    t.durable("a", will=will(t, will_delay=60))
    t.durable("a").ping()
    watcher.expect_nothing()


def test_the_end_of_the_session_publishes_the_will_before_its_delay(t):
    """[MQTT-3.1.2-8]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"), t.topic("will2"), t.topic("will3"))
    t.open("no-expiry", will=will(t, will_delay=60)).abort()
    watcher.receive(t.topic("will"), timeout=4)
    t.durable("b", expiry=1, will=will(t, "will2", will_delay=60)).abort()
    watcher.receive(t.topic("will2"), timeout=5)
    t.durable("c", will=will(t, "will3", will_delay=60)).abort()
    t.open("c", clean=True)
    watcher.receive(t.topic("will3"), timeout=4)


# ---------------------------------------------------------------------------------- keep alive

@versions(5, 4, 3)
def test_a_silent_client_is_closed_after_one_and_a_half_keep_alives(t):
    """[MQTT-3.1.2-22] [MQTT-3.2.2-22] [v3:MQTT-3.1.2-24]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic("will"))
    started = time.monotonic()
    c = t.open("a", keepalive=1, will=will(t))
    c.expect_nothing(1.2)
    seen = c.expect_close(4)
    assert time.monotonic() - started > 1.4
    assert [p.reason for p in seen] == ([0x8D] if t.version == 5 else [])
    watcher.receive(t.topic("will"))  # as if the network had failed


@versions(5, 4)
def test_any_packet_counts_as_a_sign_of_life(t):
    """[MQTT-3.1.2-22] [v3:MQTT-3.1.2-24]"""
    c = t.open("a", keepalive=1)
    for number in range(3):
        time.sleep(0.8)
        if number % 2:
            c.ping()
        else:
            c.publish(t.topic(), b"", qos=1)
    c.ping()


@versions(5, 4)
def test_keep_alive_zero_means_never(t):
    """[MQTT-3.1.2-22] [v3:MQTT-3.1.2-24]"""
    t.open("a", keepalive=0).expect_nothing(2.5)


@group("poor")
def test_a_server_keep_alive_is_announced_and_used(t):
    """[MQTT-3.1.2-21] [MQTT-3.2.2-21] The reaction to a client that ignores it: it is closed."""
    c = t.raw()
    assert c.connect(t.id("a"), keepalive=600).props["server_keepalive"] == 2
    started = time.monotonic()
    seen = c.expect_close(6)
    assert 2.5 < time.monotonic() - started < 5.5 and [p.reason for p in seen] == [0x8D]
    d = t.raw()
    assert "server_keepalive" not in d.connect(t.id("b"), keepalive=1).props


@versions(5, 4)
def test_a_connection_that_never_sends_connect_is_closed(t):
    """[MQTT-3.1.0-1] [v3:MQTT-3.1.0-1] In reasonable time; here only: it harms nobody meanwhile."""
    c = t.raw()
    c.send(b"\x10")
    t.open("b").ping()


# ---------------------------------------------------------------------------------- limits of the client

def test_packets_beyond_the_clients_maximum_are_not_sent(t):
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    topic = t.topic()
    c = t.open("small", props={"packet_max": 60, "receive_max": 1})
    c.subscribe(topic, qos=2)
    pub = t.open("pub")
    for qos in (0, 1, 2):
        exact = 60 - len(mqtt.publish(topic, b"", qos, 1))
        pub.publish(topic, b"x" * 200, qos=qos)
        pub.publish(topic, b"y" * (exact + 1), qos=qos)
        pub.publish(topic, b"fits", qos=qos)
        c.receive(topic, b"fits", qos=qos)  # and the window of 1 was not used up
    pub.publish(topic, b"z" * exact, qos=1)
    c.receive(topic, b"z" * exact, qos=1)
    c.ping()


def test_a_message_too_large_for_one_reaches_the_others(t):
    """[MQTT-3.1.2-25]"""
    topic = t.topic()
    small, large = t.open("small", props={"packet_max": 50}), t.open("large")
    for c in (small, large):
        c.subscribe(topic)
    t.open("pub").publish(topic, b"x" * 100, qos=1)
    large.receive(topic, b"x" * 100)
    small.ping()


def test_a_message_too_large_that_waited_offline_is_discarded(t):
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    topic = t.topic()
    c = t.durable()
    c.subscribe(topic, qos=1)
    c.disconnect()
    pub = t.open("pub")
    pub.publish(topic, b"x" * 200, qos=1)
    pub.publish(topic, b"fits", qos=1)
    c = t.durable(props={"packet_max": 60})
    c.receive(topic, b"fits")
    c.ping()


def test_no_topic_alias_beyond_what_the_client_takes(t):
    """[MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11] [MQTT-3.3.2-8]"""
    names = [t.topic(str(n)) for n in range(6)]
    none, few = t.open("none"), t.open("few", props={"topic_alias_max": 2})
    pub = t.open("pub")
    for c in (none, few):
        c.subscribe(t.topic("+"))
    aliases = {}
    for turn in range(3):
        for name in names:
            pub.publish(name, str(turn), qos=1)
            assert "topic_alias" not in none.receive(name).props
            p = few.receive()
            alias = p.props.get("topic_alias")
            assert alias is None or 1 <= alias <= 2
            if p.topic:
                if alias:
                    aliases[alias] = p.topic
            assert (p.topic or aliases[alias]) == name


def test_response_information_only_on_request(t):
    """[MQTT-3.1.2-28]"""
    for props in ({}, {"request_response_info": 0}):
        assert "response_info" not in t.raw().connect(t.id("a"), props=props).props
    t.raw().connect(t.id("b"), props={"request_response_info": 1})


def test_no_problem_information_where_it_is_not_wanted(t):
    """[MQTT-3.1.2-29] Reason String and User Property only on PUBLISH, CONNACK, DISCONNECT."""
    c = t.open("a", props={"request_problem_info": 0})
    topic = t.topic()
    unwanted = {"reason_string", "user_property"}
    c.send(mqtt.subscribe(1, [("bad/#/filter", 0), (topic, 1)]))
    p = c.recv()
    if p.kind == SUBACK:  # an invalid filter may also end the connection
        assert not unwanted & set(p.props)
        p = c.unsubscribe("not/there")
        assert not unwanted & set(p.props)
        c.send(mqtt.publish(t.topic("nobody"), b"", 1, 5))
        assert not unwanted & set(c.expect(PUBACK).props)
        t.open("pub").publish(topic, b"", props={"user_property": ("k", "v")})
        assert c.receive(topic).props["user_property"] == [("k", "v")]


# ---------------------------------------------------------------------------------- CONNACK

def test_a_refusal_never_says_session_present(t):
    """[MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-4.13.2-1]"""
    t.durable("a").disconnect()
    t.connect_refused(mqtt.connect(t.id("a"), clean=False, flags=0x01), 0x81)
    t.connect_refused(mqtt.connect(t.id("a"), clean=False, props={"receive_max": 0}), 0x82)
    assert t.raw().connect(t.id("a"), clean=False).session_present


@group("doors")
def test_who_may_not_come_in_is_told(t):
    """[MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8]"""
    for how in ({}, {"username": "alice"}, {"username": "alice", "password": "wrong"}, {"password": "x"}):
        t.connect_refused(mqtt.connect(t.id("a"), **how), 0x86, 0x87, door="closed")
    t.open("b").ping()


@group("doors")
def test_a_client_id_that_is_not_wanted_is_refused(t):
    """[MQTT-3.1.3-8] [MQTT-3.1.4-2]"""
    t.connect_refused(mqtt.connect("unwanted" + t.prefix), 0x85, 0x87)


@group("doors")
def test_nothing_behind_a_refused_connect_is_processed(t):
    """[MQTT-3.1.4-6]"""
    watcher = t.open("watch")
    watcher.subscribe(t.topic())
    c = t.raw(door="closed")
    c.send(mqtt.connect(t.id("a"), will=will(t, "x")) + mqtt.publish(t.topic(), b"never") + mqtt.pingreq())
    assert [p.kind for p in c.expect_close()] == [CONNACK]
    watcher.expect_nothing()


@group("poor")
def test_a_server_without_qos_1_says_so(t):
    """[MQTT-3.2.2-9] [MQTT-3.2.2-10]"""
    c = t.raw()
    p = c.connect(t.id("a"))
    assert p.props["qos_max"] == 0
    c.send(mqtt.subscribe(1, [(t.topic("a"), 0), (t.topic("b"), 1), (t.topic("c"), 2)]))
    assert all(granted <= asked for asked, granted in enumerate(c.expect(SUBACK, pid=1).reasons))
    c.publish(t.topic("b"), b"x")
    c.receive(t.topic("b"), b"x", qos=0)


@group("poor")
def test_publishing_beyond_the_maximum_qos_is_refused(t):
    """[MQTT-3.2.2-11] The reaction to a client that does it."""
    t.refused(mqtt.publish(t.topic(), b"", 1, 1), 0x9B)
    t.refused(mqtt.publish(t.topic(), b"", 2, 1), 0x9B)


@group("poor")
def test_a_will_beyond_the_maximum_qos_is_refused(t):
    """[MQTT-3.2.2-12]"""
    t.connect_refused(mqtt.connect(t.id("a"), will=will(t, qos=1)), 0x9B)


@group("poor")
def test_a_retained_will_is_refused_where_nothing_is_retained(t):
    """[MQTT-3.2.2-13]"""
    t.connect_refused(mqtt.connect(t.id("a"), will=will(t, retain=True)), 0x9A)


@group("poor")
def test_retained_publications_are_refused_where_nothing_is_retained(t):
    """[MQTT-3.2.2-14] The reaction to a client that sends one."""
    assert t.raw().connect(t.id("a")).props["retain_available"] == 0
    t.refused(mqtt.publish(t.topic(), b"x", retain=True), 0x9A)


@group("poor")
def test_packets_beyond_the_servers_maximum_are_refused(t):
    """[MQTT-3.2.2-15] The reaction to a client that sends one."""
    assert t.raw().connect(t.id("a")).props["packet_max"] == 2000
    topic = t.topic()
    c = t.open("b")
    c.subscribe(topic)
    head = len(mqtt.publish(topic, b"x" * 1000)) - 1000
    c.publish(topic, b"x" * (2000 - head))
    c.receive(topic)
    t.refused(mqtt.publish(topic, b"x" * (2001 - head)), 0x95)
    t.refused(mqtt.packet(PUBLISH, 0, b"")[:1] + b"\xff\xff\xff\x7f", 0x95)  # said, not sent


@group("poor")
def test_topic_aliases_are_refused_where_there_are_none(t):
    """[MQTT-3.2.2-18] [MQTT-3.3.2-9] The reaction to a client that sends one."""
    assert t.raw().connect(t.id("a")).props.get("topic_alias_max", 0) == 0
    t.refused(mqtt.publish(t.topic(), b"", props={"topic_alias": 1}), 0x94)


@group("tight")
def test_topic_aliases_beyond_the_servers_maximum_are_refused(t):
    """[MQTT-3.2.2-17] [MQTT-3.3.2-9] [MQTT-3.3.2-12] The reaction to a client that sends one."""
    assert t.raw().connect(t.id("a")).props["topic_alias_max"] == 3
    c = t.open("b")
    c.subscribe(t.topic("+"))
    for alias in (1, 2, 3):
        c.publish(t.topic(str(alias)), b"", props={"topic_alias": alias})
        c.receive(t.topic(str(alias)))
    for alias in (3, 2, 1):
        c.publish("", b"", props={"topic_alias": alias})
        c.receive(t.topic(str(alias)))
    t.refused(mqtt.publish(t.topic(), b"", props={"topic_alias": 4}), 0x94)


def test_reason_strings_and_user_properties_respect_the_maximum_packet_size(t):
    """[MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]
    [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4]
    [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3] Whatever provokes them, what comes fits."""
    limit = 20
    connacks = [mqtt.connect(t.id("a"), flags=3, props={"packet_max": limit}),
                mqtt.connect(t.id("a"), props={"packet_max": limit, "auth_method": "none such"})]
    for bytes_ in connacks:
        c = t.raw()
        c.send(bytes_)
        assert all(len(p.raw) <= limit for p in c.expect_close())
    for bytes_ in (mqtt.publish(t.topic(), b"", 1, 1), mqtt.publish(t.topic(), b"", 2, 1),
                   mqtt.subscribe(1, [("a", 0)]), mqtt.subscribe(1, [("$share/g/a/#/b", 1)]),
                   mqtt.unsubscribe(1, ["never/there"]), mqtt.ack(mqtt.PUBREL, 77),
                   mqtt.ack(mqtt.PUBREC, 77), b"\xc1\x00", mqtt.publish("a/#", b"")):
        c = t.open("b", props={"packet_max": limit})
        c.send(bytes_)
        c.send_or_closed(mqtt.pingreq())
        try:
            while (p := c.recv()).kind != mqtt.PINGRESP:
                assert len(p.raw) <= limit, p
        except mqtt.Closed:
            pass


def test_session_expiry_and_limits_are_told_in_connack(t):
    """[MQTT-3.2.2-22] What is not said is as the client asked."""
    p = t.raw().connect(t.id("a"), keepalive=33, props={"session_expiry": 10})
    assert p.props.get("session_expiry", 10) == 10 and "server_keepalive" not in p.props
    assert p.props.get("receive_max", 65535) > 0
