"""The server's side of RFC 6455, as little as the liar needs of it."""

import base64
import hashlib

import mqtt

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Server:
    """feed(): bytes of the client in, MQTT out; wrap(): MQTT in, a binary frame out."""

    def __init__(self, transport):
        self.transport, self.buffer, self.is_open = transport, bytearray(), False

    def feed(self, data):
        self.buffer += data
        if not self.is_open and not self.shake_hands():
            return b""
        out = b""
        while (frame := self.take_frame()) is not None:
            opcode, payload = frame
            if opcode == mqtt.PING_FRAME:
                self.transport.write(mqtt.WebSocket.encode(mqtt.PONG_FRAME, payload, mask=False))
            elif opcode == mqtt.CLOSE_FRAME:
                self.transport.write(mqtt.WebSocket.encode(mqtt.CLOSE_FRAME, payload[:2], mask=False))
                self.transport.close()
            elif opcode in (0, mqtt.BINARY_FRAME):
                out += payload
        return out

    def shake_hands(self):
        head, end, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not end:
            return False
        fields = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
        wanted = ("websocket", "13", "mqtt")
        got = tuple(fields.get(name) for name in ("upgrade", "sec-websocket-version", "sec-websocket-protocol"))
        assert got == wanted, f"the client asks for {got}"
        key = next(line.split(": ", 1)[1] for line in head.decode("latin-1").split("\r\n")
                   if line.lower().startswith("sec-websocket-key: "))
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        self.transport.write(
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n").encode()
        )
        self.buffer, self.is_open = bytearray(rest), True
        return True

    def take_frame(self):
        b = self.buffer
        if len(b) < 2:
            return None
        assert b[1] & 0x80, "a client always masks"
        size, at = b[1] & 0x7F, 2
        if size >= 126:
            at += 2 if size == 126 else 8
            if len(b) < at:
                return None
            size = int.from_bytes(b[2:at], "big")
        if len(b) < at + 4 + size:
            return None
        key, opcode = bytes(b[at:at + 4]), b[0] & 0x0F
        stream = (key * (size // 4 + 1))[:size]
        payload = bytes(x ^ y for x, y in zip(b[at + 4:at + 4 + size], stream))
        del b[:at + 4 + size]
        return opcode, payload

    @staticmethod
    def wrap(data):
        return mqtt.WebSocket.encode(mqtt.BINARY_FRAME, data, mask=False)
