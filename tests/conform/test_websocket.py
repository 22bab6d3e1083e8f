"""Chapter 6: WebSocket."""

import base64
import os

from harness import mqtt, versions
from mqtt import (BINARY_FRAME, CLOSE_FRAME, CONNACK, PING_FRAME, PINGRESP, PONG_FRAME, SUBACK, TEXT_FRAME,
                  Closed, WebSocket)


def opened(t, label="ws", **how):
    c = t.websocket(label)
    c.connect(t.id(label), **how)
    return c


def pump(c, opcode):
    """Read until a control frame of the kind has come; its payload."""
    while not any(kind == opcode for kind, _ in c.transport.control):
        assert c.transport.wait(mqtt.WAIT_S), "no such control frame"
        if c.transport.recv() == b"":
            raise Closed("the server closed the connection")
    index = next(i for i, (kind, _) in enumerate(c.transport.control) if kind == opcode)
    return c.transport.control.pop(index)[1]


@versions(5, 4, 3)
def test_mqtt_over_websocket(t):
    """[MQTT-6.0.0-1] [MQTT-4.2-1] [MQTT-4.2.0-1] [v3:MQTT-6.0.0-1] [v3:MQTT-7.1.1-1] The server sends binary
    frames only (checked by the client)."""
    c, tcp = opened(t), t.open("tcp")
    c.subscribe(t.topic(), qos=2)
    for qos in (0, 1, 2):
        tcp.publish(t.topic(), b"x" * 100, qos=qos)
        c.receive(t.topic(), b"x" * 100, qos=qos)
        c.publish(t.topic(), b"y", qos=qos)
        c.receive(t.topic(), b"y", qos=qos)
    c.disconnect()


@versions(5, 4)
def test_a_text_frame_ends_the_connection(t):
    """[MQTT-6.0.0-1] [v3:MQTT-6.0.0-1]"""
    c = opened(t)
    c.transport.frame(TEXT_FRAME, mqtt.pingreq())
    assert all(p.kind == mqtt.DISCONNECT for p in c.expect_close())
    d = t.websocket()
    d.transport.frame(TEXT_FRAME, mqtt.connect("x", version=t.version))
    assert d.expect_close() == []


@versions(5, 4)
def test_packets_are_not_aligned_to_frames(t):
    """[MQTT-6.0.0-2] [v3:MQTT-6.0.0-2] Many in one frame, one over many frames, one byte per frame."""
    v = t.version
    stream = mqtt.connect(t.id("a"), version=v) + mqtt.subscribe(1, [(t.topic(), 0)], version=v) + mqtt.pingreq()
    for size in (1, 2, 7, len(stream)):
        c = t.websocket()
        for at in range(0, len(stream), size):
            c.transport.frame(BINARY_FRAME, stream[at:at + size])
            c.transport.frame(BINARY_FRAME, b"")
        c.expect(CONNACK, reason=0)
        c.expect(SUBACK, pid=1)
        c.expect(PINGRESP)
        c.disconnect()


def test_fragmented_messages_with_control_frames_between(t):
    """[MQTT-6.0.0-2]"""
    c = opened(t)
    c.subscribe(t.topic())
    data = mqtt.publish(t.topic(), b"z" * 300)
    c.transport.frame(BINARY_FRAME, data[:5], fin=False)
    c.transport.frame(PING_FRAME, b"between")
    for at in range(5, len(data) - 5, 60):
        c.transport.frame(0, data[at:min(at + 60, len(data) - 5)], fin=False)
        c.transport.frame(PONG_FRAME, b"unasked")
    c.transport.frame(0, data[-5:], fin=True)
    c.receive(t.topic(), b"z" * 300)
    assert pump(c, PONG_FRAME) == b"between"
    c.ping()


def test_pings_of_websocket_are_answered(t):
    """[MQTT-6.0.0-2]"""
    c = opened(t)
    for payload in (b"", b"x", b"y" * 125):
        c.transport.frame(PING_FRAME, payload)
        assert pump(c, PONG_FRAME) == payload


def test_close_is_answered(t):
    """[MQTT-6.0.0-1]"""
    c = opened(t, will={"topic": t.topic("will"), "payload": b"gone"})
    watch = t.open("watch")
    watch.subscribe(t.topic("will"))
    c.transport.frame(CLOSE_FRAME, mqtt.u16(1000) + b"bye")
    assert pump(c, CLOSE_FRAME)[:2] in (mqtt.u16(1000), b"")
    c.expect_close()
    watch.receive(t.topic("will"))  # no MQTT DISCONNECT was sent


@versions(5, 4)
def test_the_sub_protocol_is_mqtt(t):
    """[MQTT-6.0.0-4] [v3:MQTT-6.0.0-4]"""
    for offer in ("mqtt", "chat, mqtt", "mqtt,superchat", " mqtt "):
        w = WebSocket(("127.0.0.1", t.broker.ports["ws"]), protocols=offer)
        assert w.status == 101 and w.headers["sec-websocket-protocol"] == "mqtt"
        w.close()


def test_a_client_that_does_not_offer_mqtt_is_not_given_another(t):
    """[MQTT-6.0.0-3] The reaction to a client that does not offer it: refused, or served without."""
    for offer in (None, "chat", "MQTTX, soap"):
        w = WebSocket(("127.0.0.1", t.broker.ports["ws"]), protocols=offer)
        assert "sec-websocket-protocol" not in w.headers or w.status != 101
        w.close()


@versions(4)
def test_a_3_1_1_client_that_does_not_offer_mqtt(t):
    """[v3:MQTT-6.0.0-3] The reaction to a client that does not offer it."""
    test_a_client_that_does_not_offer_mqtt_is_not_given_another(t)


def test_an_unmasked_frame_ends_the_connection(t):
    """[MQTT-4.13.1-1] RFC 6455, 5.1"""
    c = opened(t)
    c.transport.frame(BINARY_FRAME, mqtt.pingreq(), mask=False)
    assert all(p.kind == mqtt.DISCONNECT for p in c.expect_close())


def test_frames_against_the_rules_end_the_connection(t):
    """[MQTT-4.13.1-1] RFC 6455: reserved bits and opcodes, long or fragmented control frames, a
    continuation of nothing, a new message inside another."""
    for frames in ([(BINARY_FRAME, b"", True, 4)], [(3, b"", True, 0)], [(11, b"", True, 0)],
                   [(PING_FRAME, b"x" * 126, True, 0)], [(PING_FRAME, b"x", False, 0)], [(0, b"x", True, 0)],
                   [(BINARY_FRAME, b"\xc0", False, 0), (BINARY_FRAME, b"\0", True, 0)]):
        c = opened(t)
        for opcode, payload, fin, reserved in frames:
            c.transport.frame(opcode, payload, fin=fin, reserved=reserved)
        assert all(p.kind == mqtt.DISCONNECT for p in c.expect_close())


def test_large_messages_over_websocket(t):
    """[MQTT-6.0.0-2] 16-bit and 64-bit lengths, both ways."""
    c = opened(t)
    c.subscribe(t.topic())
    for size in (125, 126, 65535, 65536, 1 << 20):
        payload = bytes([size % 251]) * size
        c.publish(t.topic(), payload)
        assert c.receive(t.topic()).payload == payload


def test_bad_handshakes_are_refused_as_http(t):
    """[MQTT-6.0.0-3] [MQTT-6.0.0-4]"""
    address = ("127.0.0.1", t.broker.ports["ws"])
    key = base64.b64encode(os.urandom(16)).decode()
    for head in ("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n",
                 "POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                 f"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                 "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"):
        w = WebSocket(address, handshake=False)
        w.sock.sendall(head.encode())
        answer = w.sock.recv(4096)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
        w.close()


def test_the_handshake_and_the_first_packets_may_come_together(t):
    """[MQTT-6.0.0-2]"""
    c = t.websocket()
    c.transport.close()
    w = WebSocket(("127.0.0.1", t.broker.ports["ws"]), handshake=False)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (f"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n").encode()
    data = head + WebSocket.encode(BINARY_FRAME, mqtt.connect(t.id("a")) + mqtt.pingreq())
    for at in range(0, len(data), 11):
        w.sock.sendall(data[at:at + 11])
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += w.sock.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    d = mqtt.Client(0, t.version, transport=w, label="together")
    d.expect(CONNACK, reason=0)
    d.expect(PINGRESP)


def handshake(t, *headers, path="/mqtt", key=None):
    """(status, headers) of a request that has these headers besides the usual."""
    w = WebSocket(("127.0.0.1", t.broker.ports["ws"]), handshake=False)
    key = base64.b64encode(os.urandom(16)).decode() if key is None else key
    lines = [f"GET {path} HTTP/1.1", "host: x", "UPGRADE: websocket", "connection: Upgrade",
             f"sec-websocket-KEY: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
    w.sock.sendall("\r\n".join(lines).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = w.sock.recv(4096)
        if not part:
            break
        answer += part
    first, *fields = answer.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
    pairs = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return int(first.split()[1]) if first else 0, pairs


def test_no_extension_is_agreed_to(t):
    """[MQTT-6.0.0-2] Compression that was offered is not answered, so nobody compresses."""
    status, fields = handshake(t, "Sec-WebSocket-Protocol: mqtt",
                               "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    assert status == 101 and "sec-websocket-extensions" not in fields


def test_sub_protocols_may_come_in_several_lines(t):
    """[MQTT-6.0.0-4]"""
    status, fields = handshake(t, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: mqtt")
    assert status == 101 and fields["sec-websocket-protocol"] == "mqtt"


def test_a_key_that_is_none_is_refused(t):
    """[MQTT-6.0.0-3] RFC 6455, 4.2.1: sixteen bytes in base64."""
    for key in ("", "short", "x" * 24 + "==", "not base64 at all!!!!!!!"):
        status, _ = handshake(t, "Sec-WebSocket-Protocol: mqtt", key=key)
        assert 400 <= status < 500 or status == 0, f"{key!r}: {status}"


def test_a_request_that_never_ends_is_cut(t):
    """[MQTT-6.0.0-3] A head beyond its limit is refused, not stored for ever."""
    w = WebSocket(("127.0.0.1", t.broker.ports["ws"]), handshake=False)
    try:
        w.sock.sendall(b"GET /mqtt HTTP/1.1\r\n" + b"X-Long: " + b"x" * 100000)
        answer = w.sock.recv(4096)
    except OSError:
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    t.open("b").ping()


@versions(5, 4)
def test_a_session_goes_from_websocket_to_tcp_and_back(t):
    """[MQTT-3.1.3-2] [v3:MQTT-3.1.3-2]"""
    props = {"props": {"session_expiry": 60}} if t.version == 5 else {}
    c = t.websocket()
    c.connect(t.id("a"), clean=False, **props)
    c.subscribe(t.topic(), qos=2)
    c.disconnect()
    t.open("pub").publish(t.topic(), b"1", qos=2)
    c = t.durable("a")
    p = c.expect_publish(t.topic(), b"1", qos=2)
    d = t.websocket()
    assert d.connect(t.id("a"), clean=False, **props).session_present
    c.expect_refusal(0x8E)
    d.receive(t.topic(), b"1", dup=True, pid=p.pid)


def test_websocket_errors_are_told_in_a_close_frame(t):
    """[MQTT-6.0.0-1] RFC 6455, 7.1.7: what failed the connection is said before the end."""
    c = opened(t)
    c.transport.frame(TEXT_FRAME, b"hello")
    c.expect_close()
    codes = [payload[:2] for kind, payload in c.transport.control if kind == CLOSE_FRAME]
    assert codes and int.from_bytes(codes[0], "big") in (1002, 1003, 1008), codes
