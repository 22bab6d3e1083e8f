"""Chapter 1.5: how data is written."""

from harness import BAD_UTF8, mqtt, versions
from mqtt import PUBLISH, packet, properties, text, u16, varint


def packets_with_text(t, value):
    """Every place of a packet of a connected client where a UTF-8 string stands."""
    v = t.version
    yield "topic of PUBLISH", mqtt.publish(value, b"x", version=v)
    yield "topic of PUBLISH, QoS 1", mqtt.publish(value, b"x", 1, 7, version=v)
    yield "filter of SUBSCRIBE", mqtt.subscribe(7, [("good", 0), (value, 0)], version=v)
    yield "filter of UNSUBSCRIBE", mqtt.unsubscribe(7, ["good", value], version=v)
    if v < 5:
        return
    name = t.topic()
    for where in ("content_type", "response_topic"):
        yield where, mqtt.publish(name, b"x", props={where: value})
    for where, pair in (("name", (value, "v")), ("value", ("n", value))):
        yield f"{where} of a user property of PUBLISH", mqtt.publish(name, b"", props={"user_property": pair})
        yield f"{where} of a user property of SUBSCRIBE", \
            mqtt.subscribe(7, [(name, 0)], {"user_property": pair})
        yield f"{where} of a user property of UNSUBSCRIBE", \
            mqtt.unsubscribe(7, [name], {"user_property": pair})
    yield "reason string of DISCONNECT", mqtt.disconnect(4, {"reason_string": value})


def connects_with_text(t, value):
    v = t.version
    yield "client id", mqtt.connect(value, version=v)
    yield "will topic", mqtt.connect(t.id("w"), version=v, will={"topic": value, "payload": b""})
    yield "user name", mqtt.connect(t.id("u"), version=v, username=value)
    if v == 5:
        yield "user property", mqtt.connect(t.id("p"), props={"user_property": ("n", value)})
        yield "authentication method", mqtt.connect(t.id("m"), props={"auth_method": value})
        for where in ("content_type", "response_topic"):
            yield "will's " + where, mqtt.connect(t.id("w"), will={
                "topic": t.topic(), "payload": b"", "props": {where: value}})


@versions(5, 4)
def test_ill_formed_utf8_ends_the_connection(t):
    """[MQTT-1.5.4-1] [MQTT-4.13.1-1] [v3:MQTT-1.5.3-1] [v3:MQTT-4.8.0-1]"""
    for value in BAD_UTF8.values():
        for _, bytes_ in packets_with_text(t, value):
            t.refused(bytes_, 0x81)


@versions(5, 4)
def test_connect_with_ill_formed_utf8_is_refused(t):
    """[MQTT-1.5.4-1] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [v3:MQTT-1.5.3-1]
    [v3:MQTT-3.1.3-4] [v3:MQTT-3.1.3-10] [v3:MQTT-3.1.3-11]"""
    for value in BAD_UTF8.values():
        for _, bytes_ in connects_with_text(t, value):
            t.connect_refused(bytes_, *([0x81] if t.version == 5 else []))


@versions(5, 4)
def test_a_null_character_ends_the_connection(t):
    """[MQTT-1.5.4-2] [MQTT-4.7.3-2] [v3:MQTT-1.5.3-2] [v3:MQTT-4.7.3-2]"""
    for _, bytes_ in packets_with_text(t, b"a\0b"):
        t.refused(bytes_, 0x81)
    for _, bytes_ in connects_with_text(t, b"a\0b"):
        t.connect_refused(bytes_, *([0x81] if t.version == 5 else []))


@versions(5, 4)
def test_a_byte_order_mark_is_a_character_like_any_other(t):
    """[MQTT-1.5.4-3] [v3:MQTT-1.5.3-3]"""
    plain, marked = t.topic("bom"), "\ufeff" + t.topic("bom")
    middle = t.topic("a\ufeffb")
    c = t.open()
    c.subscribe(plain, qos=1)
    c.subscribe(marked, middle, qos=0)
    c.publish(marked, b"1")
    c.receive(marked, b"1", qos=0)
    c.publish(middle, b"2")
    c.receive(middle, b"2", qos=0)
    c.publish(plain, b"3", qos=0)
    c.receive(plain, b"3")
    c.ping()


@versions(5, 4)
def test_text_of_every_length_of_utf8_travels_unaltered(t):
    """[MQTT-1.5.4-1] [MQTT-4.7.3-4] [v3:MQTT-4.7.3-4]"""
    topic = t.topic("A\u00df\u6771\U0001f980")
    c = t.open()
    c.subscribe(topic)
    c.publish(topic, "\u00df")
    assert c.receive().topic == topic


def test_a_variable_byte_integer_has_at_most_four_bytes(t):
    """[MQTT-1.5.5-1] A fifth byte, or a fourth that promises one, is malformed."""
    c = t.open()
    c.send(b"\x30\xff\xff\xff\xff\x01")
    c.expect_refusal(0x81)
    body = u16(9) + b"\x0b" + b"\x80\x80\x80\x80\x01"
    t.refused(packet(8, 2, body), 0x81, 0x82)
    sub = u16(9) + varint(6) + b"\x0b\xff\xff\xff\xff\x7f" + text("a") + b"\0"
    t.refused(packet(8, 2, sub), 0x81, 0x82)


@versions(5, 4)
def test_lengths_at_the_borders_of_the_encoding_travel_both_ways(t):
    """[MQTT-1.5.5-1] The server writes each length in the fewest bytes; the client library checks it."""
    topic = t.topic()
    c = t.open()
    c.subscribe(topic)
    head = len(mqtt.publish(topic, b"", version=t.version)) - 2
    for remaining in (head, 127, 128, 16383, 16384, 2097151, 2097152):
        payload = bytes([remaining % 251]) * (remaining - head)
        c.publish(topic, payload)
        got = c.receive(topic)
        assert got.payload == payload


def test_property_lengths_at_the_borders_of_the_encoding(t):
    """[MQTT-1.5.5-1] [MQTT-2.2.2-1]"""
    topic = t.topic()
    c = t.open()
    c.subscribe(topic)
    for size in (0, 118, 119, 120, 121, 122, 123, 16374, 16376, 16378, 16380, 40000):
        props = {"user_property": [("k", "v" * size)]} if size else {}
        c.publish(topic, b"x", props=props)
        assert c.receive(topic, b"x").props == props


def test_both_strings_of_a_pair_must_be_well_formed(t):
    """[MQTT-1.5.7-1]"""
    for value in (*BAD_UTF8.values(), b"a\0b"):
        for pair in ((value, "v"), ("n", value)):
            t.refused(mqtt.publish(t.topic(), b"", props={"user_property": pair}), 0x81)
            t.connect_refused(mqtt.connect(t.id("x"), props={"user_property": pair}), 0x81)


@versions(5, 4)
def test_a_field_that_does_not_fit_its_packet_is_malformed(t):
    """[MQTT-4.13.1-1] [v3:MQTT-4.8.0-1] Lengths that point behind the end."""
    v = t.version
    head = b"" if v == 4 else b"\0"
    for bytes_ in (packet(PUBLISH, 0, b"\x00\x09abc"),
                   packet(PUBLISH, 2, text("abc") + b"\x01"),
                   packet(PUBLISH, 0, b"\x00"),
                   packet(8, 2, u16(1) + head + b"\x00\x09ab"),
                   packet(8, 2, u16(1) + head + text("ab")),
                   packet(8, 2, b"\x01"),
                   packet(10, 2, u16(1) + head + b"\x00\x09ab"),
                   packet(4, 0, b"\x01")):
        t.refused(bytes_, 0x81, 0x82)
    if v == 5:
        for bytes_ in (packet(PUBLISH, 0, text("abc") + varint(9) + b"\x01\x01"),
                       packet(PUBLISH, 0, text("abc") + varint(3) + b"\x02\0\0"),
                       packet(PUBLISH, 0, text("abc") + varint(1) + b"\x26"),
                       packet(14, 0, b"\x00" + varint(5) + b"\x11\0")):
            t.refused(bytes_, 0x81, 0x82)


def test_unknown_misplaced_and_repeated_properties_are_refused(t):
    """[MQTT-4.13.1-1] [MQTT-2.2.2-1]"""
    topic = t.topic()
    for props in (b"\x00\x00", b"\x7f\x01", b"\x04abc", properties({"session_expiry": 1})[1:],
                  properties({"topic_alias_max": 1})[1:],
                  properties([("payload_format", 1), ("payload_format", 1)])[1:],
                  properties([("message_expiry", 1), ("message_expiry", 1)])[1:],
                  properties([("content_type", "a"), ("content_type", "a")])[1:],
                  properties([("response_topic", "a"), ("response_topic", "a")])[1:],
                  properties([("correlation_data", b"a"), ("correlation_data", b"a")])[1:],
                  properties([("topic_alias", 1), ("topic_alias", 1)])[1:],
                  properties({"payload_format": 2})[1:]):
        t.refused(mqtt.publish(topic, b"x", props=props), 0x81, 0x82, 0x99)
    for props in ([("session_expiry", 1)] * 2, [("receive_max", 1)] * 2, [("packet_max", 100)] * 2,
                  [("topic_alias_max", 1)] * 2, [("request_problem_info", 1)] * 2,
                  [("request_response_info", 1)] * 2, [("receive_max", 0)], [("packet_max", 0)],
                  [("request_problem_info", 2)], [("request_response_info", 2)],
                  [("message_expiry", 1)], [("server_keepalive", 1)], [("auth_data", b"x")]):
        t.connect_refused(mqtt.connect(t.id("x"), props=props), 0x81, 0x82)
    for props in ([("subscription_id", 1)] * 2, [("subscription_id", 0)], [("topic_alias", 1)]):
        t.refused(mqtt.subscribe(3, [(topic, 0)], props), 0x81, 0x82)
