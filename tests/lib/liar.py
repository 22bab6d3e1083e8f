"""A small MQTT server that misbehaves exactly where it is told to: what tern-bench claims to notice,
it has to notice here, and without a fault it must have nothing to say.

    with Liar("lose@5", "repeat@9") as liar:    # the sixth delivery is lost, the tenth comes twice
        ... liar.port ...                       # liar.spoiled: how many things were spoiled

    liar.py [-p PORT] [FAULT...]                # by hand; liar.py --help lists the faults

Everything that it does is an act (Welcome, Grant, Accept, Answer, Choose, Deliver, Release). Acts of a
kind are counted from 0 as they are about to be done; a fault names acts of one kind and says what is done
instead: nothing, the act twice, another one. It is written NAME@WHICH[=VALUE], WHICH being 5, 5-9, 5-
or * (all). liar_faults.py has the table.

Without faults: MQTT 3.1, 3.1.1 and 5 over TCP and WebSocket, QoS 0 to 2, receive maximum, persistent
sessions, retained messages, wills, wildcards, shared groups in turn. It leaves out what tern-bench
does not use, and says so in CONNACK: subscription ids, topic aliases. Keep alives and expiry of
messages are not watched.

It runs in a thread of its own: a fault that stalls stalls the whole server, and nobody else.
"""

import asyncio
import collections
import dataclasses
import sys
import threading

import liar_websocket
import mqtt
from liar_faults import FAULTS, Fault

WILDCARDS = ("+", "#")


def matches(name, topic):
    """Does a filter match a topic? [MQTT-4.7.2-1]: wildcards at the front see no $ topics."""
    if topic.startswith("$") and name[0] in WILDCARDS:
        return False
    parts, levels = name.split("/"), topic.split("/")
    for at, part in enumerate(parts):
        if part == "#":
            return True
        if at == len(levels) or part not in ("+", levels[at]):
            return False
    return len(parts) == len(levels)


@dataclasses.dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    props: dict
    source: "Session"


class Session:
    """What outlives a connection. connection is None while the client is away."""

    def __init__(self, client_id):
        self.client_id, self.connection, self.is_persistent = client_id, None, False
        self.subscriptions = {}                # filter without $share: options byte
        self.inflight = {}                     # packet id: Deliver; None once only PUBREL is owed
        self.waiting = collections.deque()     # Deliver acts beyond the receive maximum, or for later
        self.unreleased = set()                # ids of QoS 2 messages that we have and must not take twice
        self.last_pid = 0

    def pid(self):
        while True:
            self.last_pid = self.last_pid % 65535 + 1
            if self.last_pid not in self.inflight:
                return self.last_pid

    def resume(self):
        """What was under way goes out again, in its order; then what had to wait."""
        for pid, deliver in self.inflight.items():
            self.connection.send(mqtt.ack(mqtt.PUBREL, pid) if deliver is None else deliver.packet(pid, dup=True))
        self.flush()

    def flush(self):
        while self.waiting and self.connection and len(self.inflight) < self.connection.receive_max:
            deliver, pid = self.waiting.popleft(), self.pid()
            self.inflight[pid] = deliver
            self.connection.send(deliver.packet(pid))

    def on_ack(self, kind, pid):
        if kind == mqtt.PUBREC and pid in self.inflight:
            self.inflight[pid] = None
            self.connection.liar.do(Release(self, pid))
        elif kind in (mqtt.PUBACK, mqtt.PUBCOMP):
            self.inflight.pop(pid, None)
            self.flush()


# ---------------------------------------------------------------------------------- acts

class Act:
    """Something that the server is about to do. but(): the same with other fields."""

    def but(self, **changes):
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass
class Welcome(Act):
    """CONNACK, and what follows from it."""
    connection: "Connection"
    session: Session
    is_present: bool
    reason: int = 0

    def do(self):
        connection = self.connection
        refusal = self.reason if connection.version == 5 or self.reason == 0 else 5
        body = bytes([1 if self.is_present else 0, refusal])
        if connection.version == 5:
            body += mqtt.properties({"subscription_id_available": 0})
        connection.send(mqtt.packet(mqtt.CONNACK, 0, body))
        if self.reason:
            connection.close()
        else:
            self.session.resume()


@dataclasses.dataclass
class Grant(Act):
    """SUBACK of a SUBSCRIBE."""
    connection: "Connection"
    pid: int
    reasons: list

    def do(self):
        props = mqtt.properties({}) if self.connection.version == 5 else b""
        self.connection.send(mqtt.packet(mqtt.SUBACK, 0, mqtt.u16(self.pid) + props + bytes(self.reasons)))


@dataclasses.dataclass
class Accept(Act):
    """A message of a publisher goes to whom it concerns."""
    connection: "Connection"
    message: Message

    def do(self):
        self.connection.liar.route(self.message)


@dataclasses.dataclass
class Answer(Act):
    """PUBACK, PUBREC or PUBCOMP to a publisher."""
    connection: "Connection"
    kind: int
    pid: int

    def do(self):
        self.connection.send(mqtt.ack(self.kind, self.pid))


@dataclasses.dataclass
class Choose(Act):
    """A message goes to one member of a shared group."""
    liar: "Liar"
    members: list  # all of them, who it is to be first
    message: Message
    qos: int

    def do(self):
        self.liar.do(Deliver(self.members[0], self.message, min(self.qos, self.message.qos)))


@dataclasses.dataclass
class Deliver(Act):
    """A message goes to one subscriber."""
    session: Session
    message: Message
    qos: int
    retain: bool = False
    is_dup: bool = False

    def packet(self, pid=None, dup=False):
        message, version, dup = self.message, self.session.connection.version, dup or self.is_dup
        return mqtt.publish(message.topic, message.payload, self.qos, pid, dup, self.retain, message.props, version)

    def do(self):
        session = self.session
        if self.qos == 0:
            if session.connection:
                session.connection.send(self.packet())
        elif session.connection or session.is_persistent:
            session.waiting.append(self)
            session.flush()


@dataclasses.dataclass
class Release(Act):
    """PUBREL to a subscriber."""
    session: Session
    pid: int

    def do(self):
        if self.session.connection:
            self.session.connection.send(mqtt.ack(mqtt.PUBREL, self.pid))


# ---------------------------------------------------------------------------------- connections

class Connection(asyncio.Protocol):
    def __init__(self, liar):
        self.liar, self.version, self.session, self.will = liar, 4, None, None
        self.receive_max = 65535
        self.buffer, self.websocket, self.is_begun = bytearray(), None, False

    def connection_made(self, transport):
        self.transport = transport
        self.liar.connections.add(self)

    def connection_lost(self, _error):
        self.liar.connections.discard(self)
        if self.session and self.session.connection is self:
            self.liar.on_away(self.session)
        if self.will:
            self.liar.route(self.will)

    def send(self, data):
        if not self.transport.is_closing():
            self.transport.write(self.websocket.wrap(data) if self.websocket else data)

    def close(self):
        self.transport.close()

    def data_received(self, data):
        if not self.is_begun:
            self.is_begun = True
            self.websocket = self.liar.websocket_server(self.transport) if data[:1] == b"G" else None
        self.buffer += self.websocket.feed(data) if self.websocket else data
        while not self.transport.is_closing():
            packet = take_packet(self.buffer)
            if packet is None:
                return
            self.on_packet(packet[0] >> 4, packet[0] & 0x0F, packet[1])

    def on_packet(self, kind, flags, body):
        if kind == mqtt.CONNECT:
            self.on_connect(mqtt.Reader(body))
        elif kind == mqtt.PUBLISH:
            self.on_publish(mqtt.decode(kind, flags, body, self.version))
        elif kind == mqtt.PUBREL:
            pid = mqtt.Reader(body).u16()
            self.session.unreleased.discard(pid)
            self.liar.do(Answer(self, mqtt.PUBCOMP, pid))
        elif kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP):
            self.session.on_ack(kind, mqtt.Reader(body).u16())
        elif kind == mqtt.SUBSCRIBE:
            self.on_subscribe(mqtt.Reader(body))
        elif kind == mqtt.UNSUBSCRIBE:
            self.on_unsubscribe(mqtt.Reader(body))
        elif kind == mqtt.PINGREQ:
            self.send(mqtt.packet(mqtt.PINGRESP, 0, b""))
        elif kind == mqtt.DISCONNECT:
            if body[:1] != b"\x04":  # "with will message"
                self.will = None
            self.close()

    def on_connect(self, r):
        r.text()  # MQTT or MQIsdp
        self.version, flags = r.byte(), r.byte()
        r.u16()   # keep alive
        props = r.properties() if self.version == 5 else {}
        client_id = r.text() or f"liar-{id(self)}"
        if flags & 4:
            will_props = r.properties() if self.version == 5 else {}
            will_props.pop("will_delay", None)
            topic, payload = r.text(), r.binary()
            self.will = Message(topic, payload, flags >> 3 & 3, bool(flags & 0x20), will_props, None)
        self.receive_max = props.get("receive_max", 65535)
        is_persistent = props.get("session_expiry", 0) > 0 if self.version == 5 else not flags & 2
        self.session, is_present = self.liar.session(client_id, is_fresh=bool(flags & 2))
        self.session.is_persistent, self.session.connection = is_persistent, self
        self.liar.do(Welcome(self, self.session, is_present))

    def on_publish(self, p):
        self.liar.received += 1
        p.props.pop("topic_alias", None)
        message = Message(p.topic, p.payload, p.qos, p.retain, p.props, self.session)
        if p.qos < 2 or p.pid not in self.session.unreleased:
            self.liar.do(Accept(self, message))
        if p.qos == 2:
            self.session.unreleased.add(p.pid)
        if p.qos > 0:
            self.liar.do(Answer(self, mqtt.PUBACK if p.qos == 1 else mqtt.PUBREC, p.pid))

    def on_subscribe(self, r):
        pid, reasons, fresh = r.u16(), [], []
        if self.version == 5:
            r.properties()
        while r.left():
            name, options = r.text(), r.byte()
            fresh.append((name, options, self.liar.subscribe(self.session, name, options)))
            reasons.append(options & 3)
        self.liar.do(Grant(self, pid, reasons))
        for name, options, is_new in fresh:
            handling = options >> 4 & 3
            if handling == 0 or handling == 1 and is_new:
                self.liar.send_retained(self.session, name, options)

    def on_unsubscribe(self, r):
        pid, reasons = r.u16(), []
        if self.version == 5:
            r.properties()
        while r.left():
            reasons.append(0x00 if self.liar.unsubscribe(self.session, r.text()) else 0x11)
        tail = mqtt.properties({}) + bytes(reasons) if self.version == 5 else b""
        self.send(mqtt.packet(mqtt.UNSUBACK, 0, mqtt.u16(pid) + tail))


def take_packet(buffer):
    """(first byte, body) of the whole packet at the front of the buffer, or None."""
    size = shift = 0
    for at in range(1, 5):
        if len(buffer) <= at:
            return None
        size |= (buffer[at] & 0x7F) << shift
        shift += 7
        if not buffer[at] & 0x80:
            break
    if len(buffer) < at + 1 + size:
        return None
    out = buffer[0], bytes(buffer[at + 1:at + 1 + size])
    del buffer[:at + 1 + size]
    return out


# ---------------------------------------------------------------------------------- server

class Liar:
    """The server; as a context manager it listens on a port of 127.0.0.1 given by the kernel."""

    websocket_server = liar_websocket.Server  # a test may set another one, which frames otherwise

    def __init__(self, *faults, port=0):
        self.faults = [Fault(text) for text in " ".join(faults).split()]
        self.port, self.received, self.counts = port, 0, collections.Counter()
        self.connections, self.sessions, self.retained = set(), {}, {}
        self.groups = {}  # (group, filter): list of members, who is next at the front
        self.routes = {}  # topic: what who_hears() has found out, until subscriptions change
        self.errors = []  # of the server itself: a test that meets one has failed
        self.loop, self.is_listening = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    @property
    def spoiled(self):
        return sum(fault.spoiled for fault in self.faults)

    # -- acts and faults

    def do(self, act):
        """Do the act, or what the faults make of it."""
        kind = type(act).__name__
        number, acts = self.counts[kind], [act]
        self.counts[kind] += 1
        for fault in self.faults:
            if fault.concerns(kind, number):
                acts = [out for one in acts for out in fault.spoil(self, one)]
        for one in acts:
            one.do()

    def later(self, seconds, act):
        self.loop.call_later(seconds, act.do)

    # -- sessions and subscriptions

    def session(self, client_id, is_fresh):
        """(session, was there one already)"""
        session = self.sessions.get(client_id)
        if session and session.connection:
            session.connection.close()  # [MQTT-3.1.4-3] the new one takes over
            self.on_away(session)
            session = self.sessions.get(client_id)
        if session and is_fresh:
            self.drop(session)
            session = None
        is_present = session is not None
        if not is_present:
            session = self.sessions[client_id] = Session(client_id)
        return session, is_present

    def on_away(self, session):
        session.connection = None
        if not session.is_persistent:
            self.drop(session)

    def drop(self, session):
        self.sessions.pop(session.client_id, None)
        for name in list(session.subscriptions):
            self.unsubscribe(session, name)

    def subscribe(self, session, name, options):
        """Whether it is a new one."""
        is_new = name not in session.subscriptions
        session.subscriptions[name] = options
        if is_new and name.startswith("$share/"):
            self.groups.setdefault(tuple(name.split("/", 2)[1:]), []).append(session)
        self.routes.clear()
        return is_new

    def unsubscribe(self, session, name):
        """Whether there was one."""
        if name.startswith("$share/") and name in session.subscriptions:
            self.groups[tuple(name.split("/", 2)[1:])].remove(session)
        self.routes.clear()
        return session.subscriptions.pop(name, None) is not None

    # -- messages

    def who_hears(self, topic):
        """([(session, options)], [(members of a group, its filter's full name)])"""
        if topic not in self.routes:
            single = []
            for session in self.sessions.values():
                options = [o for name, o in session.subscriptions.items()
                           if not name.startswith("$share/") and matches(name, topic)]
                if options:  # overlapping subscriptions: once, with the highest QoS [MQTT-3.3.4-2]
                    single.append((session, max(options, key=lambda o: o & 3)))
            shared = [(members, f"$share/{group}/{name}") for (group, name), members in self.groups.items()
                      if members and matches(name, topic)]
            self.routes[topic] = single, shared
        return self.routes[topic]

    def route(self, message):
        if message.retain:
            self.retained.pop(message.topic, None)
            if message.payload:
                self.retained[message.topic] = message
        single, shared = self.who_hears(message.topic)
        for session, options in single:
            if not (options & 4 and session is message.source):  # no local
                self.do(Deliver(session, message, min(options & 3, message.qos), message.retain and bool(options & 8)))
        for members, name in shared:
            members.append(members.pop(0))
            self.do(Choose(self, list(members), message, members[0].subscriptions[name] & 3))

    def send_retained(self, session, name, options):
        for message in list(self.retained.values()):
            if not name.startswith("$share/") and matches(name, message.topic):
                self.do(Deliver(session, message, min(options & 3, message.qos), True))

    # -- life

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=4096)
        )
        self.port = server.sockets[0].getsockname()[1]
        self.is_listening.set()
        self.loop.run_forever()
        server.close()
        for _ in range(3):  # some are only just being accepted
            for connection in list(self.connections):
                connection.transport.abort()
            self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    def __enter__(self):
        self.thread.start()
        assert self.is_listening.wait(mqtt.WAIT_S), "the liar does not listen"
        return self

    def __exit__(self, kind, value, trace):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(mqtt.WAIT_S)
        assert kind is not None or not self.errors, f"the liar itself went wrong: {self.errors}"


def main():
    arguments = sys.argv[1:]
    if "--help" in arguments:
        print(__doc__)
        for name, (kind, help_text, _) in FAULTS.items():
            print(f"  {name:16} {kind:8} {help_text}")
        return
    port = int(arguments.pop(arguments.index("-p") + 1)) if "-p" in arguments else 0
    with Liar(*[text for text in arguments if text != "-p"], port=port) as liar:
        print(f"listening on 127.0.0.1:{liar.port}", flush=True)
        try:
            liar.thread.join()
        except KeyboardInterrupt:
            print(f"received {liar.received}, spoiled {liar.spoiled}; {dict(liar.counts)}")


if __name__ == "__main__":
    main()
