"""What tests of bridges need beside a broker: Debian's mosquitto, a wire that can be cut, and another
side that is played by the test itself, packet by packet.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

import broker as broker_module
import mqtt
from suite import Skip, eventually

CLIENT_ONLY = (mqtt.CONNECT, mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE, mqtt.PINGREQ)


def mosquitto_program():
    found = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        raise Skip("mosquitto is not installed")
    return found


class Mosquitto:
    """A running mosquitto. lines: of its configuration, after the listener's; kill() is -9, start() again
    keeps port and folder."""

    def __init__(self, t, lines=(), port=None):
        self.program, self.lines = mosquitto_program(), list(lines)
        self.folder = os.path.join(t.folder(), f"mosquitto{id(self)}")
        os.makedirs(self.folder)
        os.chmod(t.folder(), 0o755)
        self.log_path = os.path.join(self.folder, "log")
        self.process = None
        self.port = port or broker_module.free_port()
        self.start()
        t.programs.append(self)

    def start(self):
        path = os.path.join(self.folder, "mosquitto.conf")
        with open(path, "w", encoding="utf-8") as file:
            rows = [f"listener {self.port} 127.0.0.1", "user root", "allow_anonymous true", "log_type all"]
            rows += ["max_inflight_messages 100", "max_queued_messages 100000"]
            file.write("\n".join(rows + self.lines) + "\n")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", path], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(self.answers, what="mosquitto")

    def answers(self):
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


class Relay:
    """A wire from a port of its own to another one. cut(): what is on it is lost, and nobody comes in."""

    def __init__(self, t, target):
        self.target, self.port = target, broker_module.free_port()
        self.sockets, self.lock, self.listener = set(), threading.Lock(), None
        self.mend()
        t.programs.append(self)

    def mend(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(50)
        self.listener = listener
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                if self.listener is not listener:
                    return
                near.close()  # nobody is at the other end
                continue
            with self.lock:
                self.sockets |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # an end went, or cut() took both: the pump is done either way
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the pump of the other direction was first

    def cut(self):
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self.lock:
            for end in self.sockets:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                    end.close()
                except OSError:
                    pass
            self.sockets.clear()

    stop = cut


class Remote:
    """The other side of a bridge, played by the test. accept() takes the next connection and its CONNECT."""

    def __init__(self, t):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(10)
        self.listener.settimeout(mqtt.WAIT_S)
        self.port = self.listener.getsockname()[1]
        self.peers = []
        t.programs.append(self)

    def accept(self):
        sock, _ = self.listener.accept()
        peer = Peer(sock)
        self.peers.append(peer)
        peer.hello = peer.expect(mqtt.CONNECT)
        return peer

    def welcome(self, session_present=False, props=None, subscribe=True):
        """The next connection, with CONNACK, and its SUBSCRIBE (if it has one) granted."""
        peer = self.accept()
        body = bytes([session_present, 0]) + (mqtt.properties(props or {}) if peer.version == 5 else b"")
        peer.send(mqtt.packet(mqtt.CONNACK, 0, body))
        if subscribe:
            peer.grant()
        return peer

    def stop(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()


class Peer:
    def __init__(self, sock):
        self.sock, self.buffer, self.version = sock, b"", 4
        sock.settimeout(mqtt.WAIT_S)

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()

    def take(self, count):
        while len(self.buffer) < count:
            part = self.sock.recv(65536)
            if not part:
                raise mqtt.Closed("the bridge closed the connection")
            self.buffer += part
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def recv(self):
        first, size, shift = self.take(1)[0], 0, 0
        while True:
            byte = self.take(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body, kind = self.take(size), first >> 4
        if kind not in CLIENT_ONLY:
            return mqtt.decode(kind, first & 15, body, self.version)
        packet = SimpleNamespace(kind=kind, name=mqtt.NAMES[kind], body=body, pid=int.from_bytes(body[:2], "big"))
        if kind == mqtt.CONNECT:
            name = 2 + int.from_bytes(body[:2], "big")
            packet.level = body[name]
            self.version = packet.version = body[name] & 0x7F
            packet.clean = bool(body[name + 1] & 2)
        return packet

    def expect(self, kind, **fields):
        packet = self.recv()
        while packet.kind == mqtt.PINGREQ and kind != mqtt.PINGREQ:
            self.send(mqtt.packet(mqtt.PINGRESP, 0, b""))
            packet = self.recv()
        assert packet.kind == kind, f"{mqtt.NAMES[kind]} expected, {packet.name} came: {packet}"
        for name, want in fields.items():
            assert getattr(packet, name) == want, f"{packet.name}.{name} is {getattr(packet, name)!r}, not {want!r}"
        return packet

    def expect_nothing(self, seconds=0.3):
        self.sock.settimeout(seconds)
        try:
            packet = self.recv()
        except TimeoutError:
            return
        finally:
            self.sock.settimeout(mqtt.WAIT_S)
        raise AssertionError(f"nothing expected, {packet.name} came: {packet}")

    def grant(self):
        """SUBACK of one SUBSCRIBE that has one filter."""
        request = self.expect(mqtt.SUBSCRIBE)
        props = mqtt.properties({}) if self.version == 5 else b""
        self.send(mqtt.packet(mqtt.SUBACK, 0, mqtt.u16(request.pid) + props + b"\x02"))
        return request

    def ack(self, kind, pid, reason=None):
        self.send(mqtt.ack(kind, pid, reason if self.version == 5 else None))

    def publish(self, topic, payload, qos=0, pid=None, **how):
        self.send(mqtt.publish(topic, payload, qos, pid, version=self.version, **how))


# ---------------------------------------------------------------------------------- two brokers

ROLES = ("tern", "mosquitto")  # who bridges to the other one


def block(port, *topics, name="one", more=()):
    """The lines of a `connection`."""
    # Two numbers: with one mosquitto 2.0.11 keeps its default beside it, and waits for 5 to 30 seconds.
    rows = [f"connection {name}", f"address 127.0.0.1:{port}", "restart_timeout 1 2"]
    rows += [f"topic {topic}" for topic in topics]
    return rows + list(more)


def two(t, role, *topics, more=(), lines=(), far_lines=(), relay=False):
    """A broker that bridges (near) and the other one (far), connected; relay: over a wire."""
    wide = ["max_inflight_messages 100", "max_queued_messages 100000"]
    if role == "tern":
        far = Mosquitto(t, far_lines)
    else:
        far = t.broker([*wide, *far_lines])
    wire = Relay(t, far.port) if relay else None
    rows = block(wire.port if relay else far.port, *topics, more=more)
    near = t.broker([*wide, *lines, *rows]) if role == "tern" else Mosquitto(t, [*lines, *rows])
    return SimpleNamespace(near=near, far=far, wire=wire, tern=near if role == "tern" else far)


def state(t, port, wanted, topic="$SYS/broker/connection/+/state", name="watcher"):
    """Wait until a broker tells that of a bridge."""
    client = t.client(port, name + str(time.monotonic_ns()), 4)
    client.subscribe(topic, qos=1)
    while client.receive(timeout=30).payload != wanted:
        pass
    client.leave()


def joined(t, pair, sender, receiver, topic, as_topic=None):
    """Wait until what is published at sender arrives at receiver: both subscriptions stand."""
    listener = t.client(receiver.port, f"probe{time.monotonic_ns()}", 4)
    listener.subscribe(as_topic or topic)
    speaker = t.client(sender.port, f"speaker{time.monotonic_ns()}", 4)

    def arrives():
        speaker.publish(topic, "probe")
        try:
            listener.expect_publish(timeout=0.2)
            return True
        except mqtt.Silence:
            return False

    eventually(arrives, 30, f"{topic} over the bridge")
    listener.leave()
    speaker.disconnect()


def drain(client, wanted, seconds=30):
    """Payloads of what comes, acknowledged, until all of wanted are there; then what comes within a moment."""
    got, missing, until = [], set(wanted), time.monotonic() + seconds
    while missing:
        assert time.monotonic() < until, f"{len(missing)} of {len(wanted)} are missing: {sorted(missing)[:5]}"
        try:
            got.append(client.receive(timeout=1).payload)
            missing.discard(got[-1])
        except mqtt.Silence:
            pass
    while True:
        try:
            got.append(client.receive(timeout=0.5).payload)
        except mqtt.Silence:
            return got
