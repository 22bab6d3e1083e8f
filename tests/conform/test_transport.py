"""The PROXY protocol in front of MQTT and WebSocket."""

import socket
import struct

from harness import group, mqtt
from mqtt import CONNACK, PINGRESP, WebSocket

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source="203.0.113.7", family="TCP4", target="192.0.2.1"):
    return f"PROXY {family} {source} {target} 40123 1883\r\n".encode()


def v2(source="203.0.113.8", command=1, extra=b"", family=None):
    ip6 = ":" in source
    kind = socket.AF_INET6 if ip6 else socket.AF_INET
    addresses = socket.inet_pton(kind, source) * 2 + struct.pack(">HH", 40124, 1883)
    code = (0x21 if ip6 else 0x11) if family is None else family
    body = (addresses if family is None else b"") + extra
    return SIGNATURE + bytes([0x20 | command, code]) + struct.pack(">H", len(body)) + body


def served(t, door, header, pieces=None):
    c = t.raw(door=door)
    data = header + mqtt.connect(t.id("a")) + mqtt.pingreq()
    size = pieces or len(data)
    for at in range(0, len(data), size):
        c.transport.send(data[at:at + size])
    c.expect(CONNACK, reason=0)
    c.expect(PINGRESP)
    c.disconnect()


def closed(t, door, data):
    c = t.raw(door=door)
    c.transport.send(data)
    assert c.expect_close() == []


@group("proxy")
def test_a_header_of_version_1_is_read_and_taken_off(t):
    for header in (v1(), v1("2001:db8::7", "TCP6", "2001:db8::1"), b"PROXY UNKNOWN\r\n",
                   b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n"):
        for door in ("one", "auto"):
            served(t, door, header)
            served(t, door, header, pieces=1)


@group("proxy")
def test_a_header_of_version_2_is_read_and_taken_off(t):
    tlv = b"\x05\x00\x04\0\0\0\0" + b"\x01\x00\x02h2"
    for header in (v2(), v2("2001:db8::8"), v2(extra=tlv), v2(command=0), v2(command=0, family=0),
                   v2(extra=b"\x04\x01\x00" + b"\0" * 256)):
        for door in ("two", "auto"):
            served(t, door, header)
            served(t, door, header, pieces=1)


@group("proxy")
def test_auto_serves_those_without_a_header_too(t):
    served(t, "auto", b"")
    served(t, "auto", b"", pieces=1)


@group("proxy")
def test_a_wrong_or_missing_header_ends_the_connection(t):
    good = mqtt.connect(t.id("a"))
    for door, data in (("one", good), ("two", good), ("one", v2() + good), ("two", v1() + good),
                       ("one", b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n" + good),
                       ("one", b"PROXY TCP4 1.2.3.4 4.5.6.7 1 70000\r\n" + good),
                       ("one", b"PROXY TCP4 " + b"1" * 200), ("one", b"PROXX"),
                       ("two", v2(extra=b"\x03\x00\x04\0\0\0\0") + good),  # a wrong checksum
                       ("two", SIGNATURE + b"\x31\x11\x00\x0c" + b"\0" * 12),
                       ("two", SIGNATURE + b"\x21\x11\x00\x04" + b"\0" * 4),
                       ("two", SIGNATURE + b"\x2f\x11\x00\x0c" + b"\0" * 12)):
        closed(t, door, data)


@group("proxy")
def test_the_address_of_the_client_is_the_one_in_the_header(t):
    c = t.raw(door="two")
    c.transport.send(v2("198.51.100.23") + mqtt.connect(t.id("a")))
    c.expect(CONNACK, reason=0)
    c.ping()
    lines = [line for line in t.broker.log().splitlines() if t.id("a") in line]
    assert any("198.51.100.23" in line for line in lines), lines


@group("proxy")
def test_a_header_before_a_websocket(t):
    address = ("127.0.0.1", t.broker.ports["ws"])
    w = WebSocket(address, handshake=False)
    w.sock.sendall(v2())
    w.handshake(address, "/mqtt", "mqtt", (), "13")
    assert w.status == 101
    c = mqtt.Client(0, 5, transport=w, label="ws")
    c.connect(t.id("a"))
    c.ping()
