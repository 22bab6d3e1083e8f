"""A raw MQTT client for tests: 3.1, 3.1.1 and 5.0 over TCP and WebSocket, with nothing hidden.

Packets are built by functions that return bytes, so a test can break them before sending. What
arrives is decoded into Packet. Every wait has a limit. A Client keeps what it sent and received, and
a failing test prints it.
"""

import base64
import os
import select
import socket
import struct
import threading
import time
from types import SimpleNamespace

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE = range(1, 9)
SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(9, 16)
NAMES = ("RESERVED CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE "
         "UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH").split()

WAIT_S = float(os.environ.get("TERN_TEST_WAIT", "20"))  # how long something due may take
QUIET_S = 0.2                                           # how long "nothing comes" is watched

# name: (id, kind)
PROPERTIES = {
    "payload_format": (0x01, "byte"), "message_expiry": (0x02, "u32"), "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"), "correlation_data": (0x09, "binary"),
    "subscription_id": (0x0B, "varint"), "session_expiry": (0x11, "u32"),
    "assigned_client_id": (0x12, "text"), "server_keepalive": (0x13, "u16"),
    "auth_method": (0x15, "text"), "auth_data": (0x16, "binary"),
    "request_problem_info": (0x17, "byte"), "will_delay": (0x18, "u32"),
    "request_response_info": (0x19, "byte"), "response_info": (0x1A, "text"),
    "server_reference": (0x1C, "text"), "reason_string": (0x1F, "text"), "receive_max": (0x21, "u16"),
    "topic_alias_max": (0x22, "u16"), "topic_alias": (0x23, "u16"), "qos_max": (0x24, "byte"),
    "retain_available": (0x25, "byte"), "user_property": (0x26, "pair"),
    "packet_max": (0x27, "u32"), "wildcard_available": (0x28, "byte"),
    "subscription_id_available": (0x29, "byte"), "shared_available": (0x2A, "byte"),
}
PROPERTY_BY_ID = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}
REPEATABLE = ("user_property", "subscription_id")

# Which properties a server may send in which packet (MQTT 5.0, 2.2.2.2).
PROPERTIES_FROM_SERVER = {
    CONNACK: {"session_expiry", "assigned_client_id", "server_keepalive", "auth_method", "auth_data",
              "response_info", "server_reference", "reason_string", "receive_max", "topic_alias_max",
              "qos_max", "retain_available", "user_property", "packet_max", "wildcard_available",
              "subscription_id_available", "shared_available"},
    PUBLISH: {"payload_format", "message_expiry", "content_type", "response_topic", "correlation_data",
              "subscription_id", "topic_alias", "user_property"},
    PUBACK: {"reason_string", "user_property"}, PUBREC: {"reason_string", "user_property"},
    PUBREL: {"reason_string", "user_property"}, PUBCOMP: {"reason_string", "user_property"},
    SUBACK: {"reason_string", "user_property"}, UNSUBACK: {"reason_string", "user_property"},
    DISCONNECT: {"server_reference", "reason_string", "user_property"},
    AUTH: {"auth_method", "auth_data", "reason_string", "user_property"},
}

# Reason codes a server may send in which packet (MQTT 5.0, 2.4).
REASONS_FROM_SERVER = {
    CONNACK: {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
              0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0x00, 0x92}, PUBCOMP: {0x00, 0x92},
    SUBACK: {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    DISCONNECT: {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
                 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
    AUTH: {0x00, 0x18},
}


class Closed(AssertionError):
    """The server closed the connection while something was awaited."""


class Silence(AssertionError):
    """What was awaited did not come in time."""


# ---------------------------------------------------------------------------------- encoding

def varint(value):
    out = bytearray()
    while True:
        out.append((value & 0x7F) | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def u16(value):
    return struct.pack(">H", value)


def u32(value):
    return struct.pack(">I", value)


def text(value):
    """Length-prefixed; bytes go out as they are, so ill-formed UTF-8 can be sent."""
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return u16(len(raw)) + raw


def one_property(name, value):
    number, kind = PROPERTIES[name]
    head = varint(number)
    if kind == "byte":
        return head + bytes([value])
    if kind == "u16":
        return head + u16(value)
    if kind == "u32":
        return head + u32(value)
    if kind == "varint":
        return head + varint(value)
    if kind == "pair":
        return head + text(value[0]) + text(value[1])
    return head + text(value)


def properties(props):
    """The property section with its length, of a dict, a list of (name, value), or raw bytes.

    In a dict a repeatable property may carry a list of values.
    """
    if isinstance(props, (bytes, bytearray)):
        return varint(len(props)) + bytes(props)
    pairs = []
    for name, value in (props.items() if isinstance(props, dict) else props or []):
        if name in REPEATABLE and isinstance(value, list):
            pairs += [(name, each) for each in value]
        else:
            pairs.append((name, value))
    body = b"".join(one_property(name, value) for name, value in pairs)
    return varint(len(body)) + body


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect(client_id="", version=5, clean=True, keepalive=60, will=None, username=None, password=None,
            props=None, name=None, level=None, flags=None, payload=None):
    """CONNECT. will: dict(topic, payload, qos=0, retain=False, props=None).

    name, level, flags (the whole byte) and payload override what follows from the rest.
    """
    if name is None:
        name = "MQIsdp" if version == 3 else "MQTT"
    bits = (2 if clean else 0)
    if will is not None:
        bits |= 4 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
    bits |= (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    body = text(name) + bytes([version if level is None else level, bits if flags is None else flags])
    body += u16(keepalive)
    if version == 5:
        body += properties(props)
    if payload is None:
        payload = text(client_id)
        if will is not None:
            if version == 5:
                payload += properties(will.get("props"))
            payload += text(will["topic"]) + text(will["payload"])
        if username is not None:
            payload += text(username)
        if password is not None:
            payload += text(password)
    return packet(CONNECT, 0, body + payload)


def publish(topic, payload=b"", qos=0, pid=None, dup=False, retain=False, props=None, version=5):
    body = text(topic)
    if qos > 0 and pid is not None:
        body += u16(pid)
    if version == 5:
        body += properties(props)
    payload = payload.encode() if isinstance(payload, str) else payload
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)


def ack(kind, pid, reason=None, props=None, flags=None):
    """PUBACK, PUBREC, PUBREL or PUBCOMP; the short form unless reason or props are given (v5 only)."""
    body = u16(pid)
    if reason is not None or props is not None:
        body += bytes([reason or 0])
    if props is not None:
        body += properties(props)
    if flags is None:
        flags = 2 if kind == PUBREL else 0
    return packet(kind, flags, body)


def subscribe(pid, filters, props=None, version=5, flags=2):
    """filters: list of (filter, options byte)."""
    body = u16(pid)
    if version == 5:
        body += properties(props)
    body += b"".join(text(name) + bytes([options]) for name, options in filters)
    return packet(SUBSCRIBE, flags, body)


def unsubscribe(pid, filters, props=None, version=5, flags=2):
    body = u16(pid)
    if version == 5:
        body += properties(props)
    return packet(UNSUBSCRIBE, flags, body + b"".join(text(name) for name in filters))


def pingreq():
    return packet(PINGREQ, 0, b"")


def disconnect(reason=None, props=None):
    body = b""
    if reason is not None or props is not None:
        body = bytes([reason or 0])
    if props is not None:
        body += properties(props)
    return packet(DISCONNECT, 0, body)


def auth(reason=0x18, method=None, data=None, props=None):
    pairs = list(props.items()) if isinstance(props, dict) else list(props or [])
    if method is not None:
        pairs.append(("auth_method", method))
    if data is not None:
        pairs.append(("auth_data", data))
    return packet(AUTH, 0, bytes([reason]) + properties(pairs))


# ---------------------------------------------------------------------------------- decoding

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        assert self.left() >= count, f"packet from the server is too short: {self.data.hex()}"
        out = self.data[self.at:self.at + count]
        self.at += count
        return out

    def byte(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def varint(self):
        value, start = 0, self.at
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                # [MQTT-1.5.5-1] the shortest form, always
                assert self.data[start:self.at] == varint(value), "over-long variable byte integer"
                return value
        raise AssertionError("variable byte integer of more than four bytes")

    def binary(self):
        return self.take(self.u16())

    def text(self):
        return self.binary().decode("utf-8", "strict")

    def properties(self):
        part = Reader(self.take(self.varint()))
        out = {}
        while part.left():
            number = part.varint()
            assert number in PROPERTY_BY_ID, f"unknown property {number:#x} from the server"
            name, kind = PROPERTY_BY_ID[number]
            if kind == "pair":
                value = (part.text(), part.text())
            else:
                value = getattr(part, kind)()
            if name in REPEATABLE:
                out.setdefault(name, []).append(value)
            else:
                assert name not in out, f"property {name} twice"
                out[name] = value
        return out


class Packet(SimpleNamespace):
    """What was received: kind, flags, props ({}), raw, and the fields of its kind:

    CONNACK session_present ack_flags reason; PUBLISH topic payload qos dup retain pid; PUBACK and kin
    pid reason; SUBACK, UNSUBACK pid reasons; DISCONNECT, AUTH reason.
    """

    @property
    def name(self):
        return NAMES[self.kind]


def decode(kind, flags, body, version, raw=b""):
    r = Reader(body)
    p = Packet(kind=kind, flags=flags, props={}, raw=raw)
    if kind == CONNACK:
        p.ack_flags, p.reason = r.byte(), r.byte()
        p.session_present = bool(p.ack_flags & 1)
        if version == 5:
            p.props = r.properties()  # [MQTT-2.2.2-1] a length of zero is there, too
    elif kind == PUBLISH:
        p.dup, p.qos, p.retain = bool(flags & 8), flags >> 1 & 3, bool(flags & 1)
        p.topic = r.text()
        p.pid = r.u16() if p.qos else None
        if version == 5:
            p.props = r.properties()
        p.payload = r.take(r.left())
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        p.pid, p.reason = r.u16(), 0
        if version == 5 and r.left():
            p.reason = r.byte()
            if r.left():
                p.props = r.properties()
    elif kind in (SUBACK, UNSUBACK):
        p.pid = r.u16()
        if version == 5:
            p.props = r.properties()
        p.reasons = list(r.take(r.left()))
    elif kind in (DISCONNECT, AUTH):
        p.reason = 0
        if r.left():
            p.reason = r.byte()
            if r.left():
                p.props = r.properties()
    elif kind != PINGRESP:
        raise AssertionError(f"a server never sends {NAMES[kind]}")
    assert r.left() == 0, f"{r.left()} bytes too many in {NAMES[kind]} from the server: {raw.hex()}"
    p.version = version
    return p


def check_from_server(p):
    """What holds for every packet of a v5 server, whatever the test is about."""
    want_flags = {PUBLISH: p.flags, PUBREL: 2}.get(p.kind, 0)
    assert p.flags == want_flags, f"flags {p.flags:#x} in {p.name}"  # [MQTT-2.1.3-1]
    if p.kind == PUBLISH:
        assert p.qos != 3 and not (p.qos == 0 and p.dup), "QoS or DUP flag of PUBLISH"
        assert p.pid is None or p.pid != 0
    if p.version != 5:
        return
    stray = set(p.props) - PROPERTIES_FROM_SERVER.get(p.kind, set())
    assert not stray, f"{p.name} carries {stray}"
    codes = REASONS_FROM_SERVER.get(p.kind)
    if codes:
        for code in p.reasons if p.kind in (SUBACK, UNSUBACK) else [p.reason]:
            assert code in codes, f"reason {code:#x} in {p.name}"


# ---------------------------------------------------------------------------------- transports

class Tcp:
    def __init__(self, address, family=None):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self.sock = socket.socket(family or (socket.AF_INET6 if ":" in address[0] else socket.AF_INET),
                                      socket.SOCK_STREAM)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(address)
        if not isinstance(address, str):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.sock.sendall(data)

    def recv(self):
        """Some bytes; b"" when the server closed or reset."""
        try:
            return self.sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            return b""

    def wait(self, seconds):
        # poll, as select() cannot watch a descriptor above 1023
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(max(0, seconds) * 1000))

    def close(self):
        self.sock.close()


TEXT_FRAME, BINARY_FRAME, CLOSE_FRAME, PING_FRAME, PONG_FRAME = 1, 2, 8, 9, 10


class WebSocket(Tcp):
    """The client's side of RFC 6455. send() makes one binary frame; frame() makes any."""

    def __init__(self, address, path="/mqtt", protocols="mqtt", headers=(), handshake=True, version="13"):
        super().__init__(address)
        self.buffer = bytearray()
        self.message = None       # opcode of the message whose fragments are arriving
        self.control = []         # (opcode, payload) of control frames seen
        self.status = None
        self.headers = {}
        self.closed = False
        if handshake:
            self.handshake(address, path, protocols, headers, version)

    def handshake(self, address, path, protocols, headers, version):
        host = f"{address[0]}:{address[1]}" if not isinstance(address, str) else "localhost"
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}"]
        if protocols is not None:
            lines.append(f"Sec-WebSocket-Protocol: {protocols}")
        super().send("\r\n".join(lines + list(headers) + ["", ""]).encode())
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            part = super().recv()
            if not part:
                self.closed = True
                return
            answer += part
        head, _, rest = bytes(answer).partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        for field in fields:
            name, _, value = field.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if self.status == 101:
            import hashlib
            want = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            assert self.headers.get("sec-websocket-accept") == base64.b64encode(want).decode()
        self.buffer += rest

    @staticmethod
    def encode(opcode, payload, fin=True, mask=True, reserved=0):
        size = len(payload)
        head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
        bit = 0x80 if mask else 0
        if size < 126:
            head += bytes([bit | size])
        elif size < 65536:
            head += bytes([bit | 126]) + u16(size)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", size)
        if not mask:
            return head + payload
        key = os.urandom(4)
        stream = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(payload, "big") ^ stream).to_bytes(size, "big") if size else b""
        return head + key + masked

    def frame(self, opcode, payload=b"", fin=True, mask=True, reserved=0):
        super().send(self.encode(opcode, payload, fin, mask, reserved))

    def send(self, data):
        self.frame(BINARY_FRAME, data)

    def take_frame(self):
        """(opcode, payload, fin) of the first whole frame in the buffer, or None."""
        b = self.buffer
        if len(b) < 2:
            return None
        size, at = b[1] & 0x7F, 2
        assert not b[1] & 0x80, "a server never masks"
        assert not b[0] & 0x70, "reserved bits of a frame from the server"
        if size == 126:
            if len(b) < 4:
                return None
            size, at = struct.unpack(">H", b[2:4])[0], 4
        elif size == 127:
            if len(b) < 10:
                return None
            size, at = struct.unpack(">Q", b[2:10])[0], 10
        if len(b) < at + size:
            return None
        out = b[0] & 0x0F, bytes(b[at:at + size]), bool(b[0] & 0x80)
        del b[:at + size]
        return out

    def recv(self):
        """Payload of binary frames; b"" at the end. None when only control frames came."""
        if not self.has_frame():
            part = super().recv()
            if not part:
                return b""
            self.buffer += part
        data = b""
        while (frame := self.take_frame()) is not None:
            opcode, payload, _fin = frame
            if opcode in (CLOSE_FRAME, PING_FRAME, PONG_FRAME):
                self.control.append((opcode, payload))
                if opcode == CLOSE_FRAME:
                    self.closed = True
            else:
                assert opcode in (0, BINARY_FRAME), "MQTT travels in binary frames"  # [MQTT-6.0.0-1]
                data += payload
        return data or None

    def has_frame(self):
        return len(self.buffer) >= 2 and len(self.buffer) >= 2 + (self.buffer[1] & 0x7F) \
            and self.buffer[1] & 0x7F < 126

    def wait(self, seconds):
        return self.has_frame() or super().wait(seconds)


# ---------------------------------------------------------------------------------- client

_test = threading.local()


def clients_of_this_test():
    """The clients made in this thread since forget_clients(): the runner closes and prints them."""
    return getattr(_test, "clients", [])


def forget_clients():
    for client in clients_of_this_test():
        client.close()
    _test.clients = []


class Client:
    """One connection. Methods named after packets send them and check the answer."""

    def __init__(self, port, version=5, transport=None, host="127.0.0.1", label=""):
        self.version = version
        self.transport = transport or Tcp((host, port))
        self.buffer = bytearray()
        self.stash = []         # PUBLISH packets that overtook an answer
        self.label = label
        self.record = []        # (seconds, "->" or "<-", text)
        self.start = time.monotonic()
        self.next_pid = 1
        self.eof = False
        if not hasattr(_test, "clients"):
            _test.clients = []
        _test.clients.append(self)

    # -- bytes

    def note(self, arrow, what):
        self.record.append((time.monotonic() - self.start, arrow, what))

    def send(self, data):
        """Any bytes: whole packets, parts of them, or garbage."""
        name = NAMES[data[0] >> 4] if data else ""
        self.note("->", f"{name} {data[:80].hex()}{'...' if len(data) > 80 else ''} ({len(data)} bytes)")
        self.transport.send(data)

    def send_or_closed(self, data):
        """As send(), for when the server may have closed already."""
        try:
            self.send(data)
        except OSError:
            pass

    def half_close(self):
        self.note("->", "FIN")
        self.transport.sock.shutdown(socket.SHUT_WR)

    def vanish(self):
        """Close without DISCONNECT, and wait until the server has noticed."""
        self.half_close()
        self.expect_close()
        self.close()

    def abort(self):
        """Close with a reset: the network failed."""
        self.note("->", "RST")
        self.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()

    def close(self):
        """Close without DISCONNECT."""
        self.transport.close()

    def _whole_packet(self):
        b = self.buffer
        size = shift = 0
        for at in range(1, 5):
            if len(b) <= at:
                return None
            size |= (b[at] & 0x7F) << shift
            shift += 7
            if not b[at] & 0x80:
                break
        else:
            raise AssertionError("remaining length of more than four bytes")
        if len(b) < at + 1 + size:
            return None
        raw = bytes(b[:at + 1 + size])
        del b[:at + 1 + size]
        return decode(raw[0] >> 4, raw[0] & 0x0F, raw[at + 1:], self.version, raw)

    def recv(self, timeout=None):
        """The next packet. Raises Closed or Silence."""
        return self.stash.pop(0) if self.stash else self.recv_new(timeout)

    def recv_new(self, timeout=None):
        until = time.monotonic() + (WAIT_S if timeout is None else timeout)
        while True:
            p = self._whole_packet()
            if p is not None:
                self.note("<-", f"{p.name} {p.raw[:80].hex()} ({len(p.raw)} bytes)")
                check_from_server(p)
                return p
            left = until - time.monotonic()
            if self.eof:
                raise Closed("the server closed the connection")
            if left <= 0 or not self.transport.wait(left):
                raise Silence("nothing came from the server")
            part = self.transport.recv()
            if part == b"":
                self.note("<-", "closed")
                self.eof = True
            elif part:
                self.buffer += part

    # -- expectations

    def expect(self, kind, timeout=None, **fields):
        p = self.recv(timeout)
        assert p.kind == kind, f"{NAMES[kind]} expected, {p.name} came: {p}"
        for name, want in fields.items():
            got = getattr(p, name)
            assert got == want, f"{p.name}.{name} is {got!r}, {want!r} expected"
        return p

    def answer(self, kind, **fields):
        """As expect(), but PUBLISH packets that come first are kept for recv(), in their order."""
        while True:
            p = self.recv_new()
            if p.kind == PUBLISH:
                self.stash.append(p)
                continue
            assert p.kind == kind, f"{NAMES[kind]} expected, {p.name} came: {p}"
            for name, want in fields.items():
                got = getattr(p, name)
                assert got == want, f"{p.name}.{name} is {got!r}, {want!r} expected"
            return p

    def expect_nothing(self, seconds=QUIET_S):
        """Neither a packet nor a close within the time."""
        try:
            p = self.recv(seconds)
        except Silence:
            return
        raise AssertionError(f"nothing expected, {p.name} came: {p}")

    def expect_close(self, timeout=None):
        """The server closes; packets before that are returned."""
        seen = []
        until = time.monotonic() + (WAIT_S if timeout is None else timeout)
        while True:
            try:
                seen.append(self.recv(max(0.0, until - time.monotonic())))
            except Closed:
                return seen
            except Silence:
                raise AssertionError("the server did not close the connection") from None

    def expect_refusal(self, *reasons, timeout=None):
        """The server ends this connection for an error: v5 hears DISCONNECT (or CONNACK, if that is
        still owed) with one of the reasons, 3.x just sees the close. Nothing else may come before."""
        seen = self.expect_close(timeout)
        if self.version == 5:
            assert len(seen) == 1 and seen[0].kind in (DISCONNECT, CONNACK), f"got {seen}"
            assert not reasons or seen[0].reason in reasons, \
                f"reason {seen[0].reason:#x}, expected {[hex(x) for x in reasons]}"
        else:
            assert seen == [], f"3.x just closes, got {seen}"
        return seen[0] if seen else None

    # -- conversations

    def pid(self):
        self.next_pid = self.next_pid % 65535 + 1
        return self.next_pid

    def connect(self, client_id="", reason=0, **how):
        """CONNECT and its CONNACK, which must carry the reason (None: any)."""
        self.send(connect(client_id, version=self.version, **how))
        p = self.expect(CONNACK)
        assert reason is None or p.reason == reason, f"CONNACK reason {p.reason:#x}"
        return p

    def subscribe(self, *filters, qos=0, props=None, reasons=None, **options):
        """Filters are texts, or (text, options byte). Returns the SUBACK; messages that come before it
        stay for recv(). options: no_local, retain_as_published, retain_handling."""
        bits = qos | (4 if options.get("no_local") else 0) | (8 if options.get("retain_as_published") else 0)
        bits |= options.get("retain_handling", 0) << 4
        pairs = [f if isinstance(f, tuple) else (f, bits) for f in filters]
        pid = self.pid()
        self.send(subscribe(pid, pairs, props, self.version))
        p = self.answer(SUBACK, pid=pid)
        want = reasons if reasons is not None else [options_byte & 3 for _, options_byte in pairs]
        assert p.reasons == want, f"SUBACK {p.reasons}, expected {want}"
        return p

    def unsubscribe(self, *filters, props=None):
        pid = self.pid()
        self.send(unsubscribe(pid, filters, props, self.version))
        return self.answer(UNSUBACK, pid=pid)

    def publish(self, topic, payload=b"", qos=0, retain=False, props=None, dup=False, pid=None):
        """The whole exchange of the QoS, which must succeed (0x00 or 0x10). Returns PUBACK or PUBREC."""
        if qos:
            pid = self.pid() if pid is None else pid
        self.send(publish(topic, payload, qos, pid, dup, retain, props, self.version))
        if qos == 1:
            p = self.answer(PUBACK, pid=pid)
        elif qos == 2:
            p = self.answer(PUBREC, pid=pid)
        else:
            return None
        assert p.reason in (0x00, 0x10), f"{p.name} reason {p.reason:#x}"
        if qos == 2:
            self.send(ack(PUBREL, pid))
            self.answer(PUBCOMP, pid=pid, reason=0)
        return p

    def receive(self, topic=None, payload=None, qos=None, timeout=None, **fields):
        """The next PUBLISH, checked and acknowledged to the end of its exchange."""
        p = self.expect_publish(topic, payload, qos, timeout, **fields)
        if p.qos == 1:
            self.send(ack(PUBACK, p.pid))
        elif p.qos == 2:
            self.send(ack(PUBREC, p.pid))
            self.answer(PUBREL, pid=p.pid, reason=0)
            self.send(ack(PUBCOMP, p.pid))
        return p

    def expect_publish(self, topic=None, payload=None, qos=None, timeout=None, **fields):
        """The next PUBLISH, checked and not acknowledged."""
        p = self.expect(PUBLISH, timeout, **fields)
        payload = payload.encode() if isinstance(payload, str) else payload
        assert topic is None or p.topic == topic, f"topic {p.topic!r}, expected {topic!r}"
        assert payload is None or p.payload == payload, f"payload {p.payload[:80]!r}, expected {payload!r}"
        assert qos is None or p.qos == qos, f"QoS {p.qos}, expected {qos}"
        return p

    def ping(self):
        """A round trip: everything sent before has been handled, everything owed before has come."""
        self.send(pingreq())
        self.expect(PINGRESP)

    def disconnect(self, reason=None, props=None):
        """DISCONNECT, and wait until the server has closed."""
        self.send(disconnect(reason, props))
        assert self.expect_close() == [], "something came after DISCONNECT"
        self.close()

    def leave(self):
        """DISCONNECT of somebody to whom a message may be on its way: that comes before the close."""
        self.send(disconnect())
        assert all(p.kind == PUBLISH for p in self.expect_close()), "something else than messages came"
        self.close()


def websocket_client(port, version=5, host="127.0.0.1", **how):
    return Client(port, version, transport=WebSocket((host, port), **how))
