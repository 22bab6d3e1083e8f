"""A broker that is killed and comes back, and clients that remember everything.

    broker = durable.DurableBroker(folder)      persistence on; crash(), restart()
    swarm = durable.Swarm(broker, seed)
    swarm.run(0.5)                              publishers, subscribers online and away, retained, subscriptions
    broker.crash(); swarm.drain()               what was acknowledged before the end is still read
    broker.restart(); ...
    swarm.settle(); swarm.promises.assert_kept()

The swarm is one thread over many non-blocking sockets, so that what it tells the checker is in order.
"""

import errno
import os
import random
import select
import socket
import subprocess
import time

import broker as broker_module
import checker
import mqtt

SESSION_S = 3600
# mosquitto's default is 1000 queued messages a session; none of these tests is about that limit.
COMMON_LINES = ("max_queued_messages 0", "max_inflight_messages 100")


class DurableBroker(broker_module.Broker):
    """A broker with persistence in a folder that outlives it."""

    def __init__(self, folder, lines=(), durability=None, disk=None, env=None, **how):
        self.data, self.disk = folder, disk
        os.makedirs(folder, mode=0o700, exist_ok=True)
        keys = ["persistence true", f"persistence_location {folder}/", *COMMON_LINES]
        if broker_module.is_mosquitto():
            keys.append("autosave_interval 1800")
        elif durability:
            keys.append(f"durability {durability}")
        env = dict(env or {}, **(disk.env(env) if disk else {}))
        super().__init__(lines=[*keys, *lines], env=env, **how)

    def crash(self):
        """kill -9; what it had on its disk stays."""
        self.process.kill()
        self.process.wait()
        self.process = None
        self.log_file.close()

    def restart(self, env=None):
        if env is not None:
            self.env.update(env)
        self.start_up()

    def stop_keeping(self, wait_s=30):
        """SIGTERM; it must end by itself, and the folder stays."""
        self.process.terminate()
        code = self.process.wait(wait_s)
        self.process = None
        self.log_file.close()
        assert code == 0, f"the broker ended with exit code {code}:\n{self.log()[-4000:]}"

    def refuses(self, wait_s=20):
        """Started, it must end by itself: (exit code, what it said this time)."""
        before = len(self.log())
        self.start()
        for s in self.reserved.values():
            s.close()
        try:
            code = self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.crash()
            raise AssertionError(f"it runs, and was to refuse:\n{self.log()[before:][-3000:]}") from None
        self.process = None
        self.log_file.close()
        return code, self.log()[before:]


class Actor:
    """One client through all its connections. Subclasses answer packets and say what comes next."""

    def __init__(self, swarm, name, version):
        self.swarm, self.name, self.version = swarm, name, version
        self.promises, self.random = swarm.promises, swarm.random
        self.sock, self.is_open, self.is_clean = None, False, False
        self.again_at, self.connection = 0.0, 0
        self.incoming, self.outgoing = bytearray(), bytearray()
        swarm.actors.append(self)

    # -- the connection

    def connect(self, clean=False):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self.sock.connect_ex(("127.0.0.1", self.swarm.broker.port))
        if code not in (0, errno.EINPROGRESS):
            self.lost()
            return
        self.connection += 1
        self.is_open, self.is_clean = False, clean
        self.incoming, self.outgoing = bytearray(), bytearray()
        self.promises.asks_to_connect(self.name, clean)
        self.send(self.connect_packet())

    def connect_packet(self):
        props = {"session_expiry": SESSION_S} if self.version == 5 else None
        return mqtt.connect(self.name, self.version, self.is_clean, keepalive=0, props=props)

    def send(self, data):
        self.outgoing += data

    def write(self):
        if not self.outgoing:
            return
        try:
            sent = self.sock.send(self.outgoing)
            del self.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.read()  # what came before the end is still to be had
            self.lost()

    def read(self):
        """Everything that is there."""
        while self.sock is not None:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.lost()
                return
            self.incoming += data
            self.take_packets()

    def take_packets(self):
        data, at = self.incoming, 0
        while self.sock is not None and len(data) - at >= 2:
            size = shift = 0
            start = at + 1
            while start < len(data):
                size |= (data[start] & 0x7F) << shift
                shift += 7
                start += 1
                if not data[start - 1] & 0x80:
                    break
            else:
                break
            if len(data) < start + size:
                break
            packet = mqtt.decode(data[at] >> 4, data[at] & 15, bytes(data[start : start + size]), self.version)
            at = start + size
            self.take(packet)
        del data[:at]

    def take(self, packet):
        mqtt.check_from_server(packet)
        if packet.kind == mqtt.CONNACK:
            assert packet.reason == 0, f"{self.name}: CONNACK reason {packet.reason:#x}"
            self.is_open = True
            self.promises.welcomed(self.name, packet.session_present)
            self.opened(packet.session_present)
            return
        self.on_packet(packet)

    def lost(self):
        if self.sock is not None:
            self.sock.close()
        self.sock, self.is_open = None, False
        self.again_at = time.monotonic() + self.random.uniform(0.0, 0.05)
        self.closed()

    def leave(self, politely):
        """Go away: with DISCONNECT, or as a network that fails."""
        if politely:
            self.send(mqtt.disconnect())
            self.write()
        if self.sock is not None:
            self.read()
        if self.sock is not None:
            self.lost()

    def closed(self):
        pass


class Publisher(Actor):
    """Sends numbered messages to topics of its own, each of one QoS, and resends as the standard says."""

    def __init__(self, swarm, name, version, window, retains=False):
        super().__init__(swarm, name, version)
        self.window, self.retains, self.is_stopped = window, retains, False
        self.topics = [f"{name}/{qos}/{at}" for qos in ((1,) if retains else (1, 2)) for at in range(3)]
        self.numbers = dict.fromkeys(self.topics, 0)
        self.pid = 0
        self.under_way = {}  # packet id -> [topic, number, qos, payload, released?], in the order sent

    def opened(self, present):
        self.promises.connection_began(self.name)
        for pid, (topic, number, qos, payload, is_released) in self.under_way.items():
            if is_released and present:
                self.send(mqtt.ack(mqtt.PUBREL, pid))
            elif not is_released:
                self.promises.sent(self.name, topic, number, qos, self.retains, not payload)
                self.send(mqtt.publish(topic, payload, qos, pid, True, self.retains, version=self.version))
        if not present:  # the exchanges that were to be released are over
            for pid in [pid for pid, exchange in self.under_way.items() if exchange[4]]:
                del self.under_way[pid]

    def turn(self, now):
        if self.sock is None and now >= self.again_at:
            self.connect()
        while self.is_open and not self.is_stopped and len(self.under_way) < self.window:
            if len(self.outgoing) > 1 << 16:
                break
            self.send_new()

    def send_new(self):
        topic = self.random.choice(self.topics)
        qos = int(topic.split("/")[1])
        self.numbers[topic] += 1
        number = self.numbers[topic]
        self.pid = self.pid % 65535 + 1
        while self.pid in self.under_way:
            self.pid = self.pid % 65535 + 1
        is_empty = self.retains and self.random.random() < 0.2
        payload = b"" if is_empty else f"{number}|".encode() + b"x" * self.random.randrange(200)
        self.under_way[self.pid] = [topic, number, qos, payload, False]
        self.promises.sent(self.name, topic, number, qos, self.retains, is_empty)
        self.send(mqtt.publish(topic, payload, qos, self.pid, False, self.retains, version=self.version))

    def on_packet(self, packet):
        exchange = self.under_way.get(packet.pid) if packet.kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP) else None
        if packet.kind == mqtt.PUBACK and exchange and exchange[2] == 1:
            self.promises.accepted(self.name, exchange[0], exchange[1], 1, packet.reason)
            del self.under_way[packet.pid]
        elif packet.kind == mqtt.PUBREC and exchange and exchange[2] == 2:
            if not exchange[4]:
                self.promises.accepted(self.name, exchange[0], exchange[1], 2, packet.reason)
            exchange[4] = True
            self.send(mqtt.ack(mqtt.PUBREL, packet.pid))
        elif packet.kind == mqtt.PUBCOMP and exchange and exchange[4]:
            del self.under_way[packet.pid]
        elif packet.kind == mqtt.PUBREC:
            self.promises.breaks("acks_disordered", f"{self.name}: PUBREC of id {packet.pid}, which is not under way")
            self.send(mqtt.ack(mqtt.PUBREL, packet.pid))
        else:
            self.promises.breaks("acks_disordered", f"{self.name}: {packet.name} of id {getattr(packet, 'pid', 0)}")


class Subscriber(Actor):
    """A session that is now online, now away; it answers late, and changes one of its subscriptions."""

    def __init__(self, swarm, name, version, filters, changing=None, qos=2, presence=0.5, forgets=0.0):
        super().__init__(swarm, name, version)
        self.filters, self.qos, self.presence = list(filters), qos, presence
        self.forgets = forgets  # of its connects, this share is a clean start
        self.changing, self.has_changing = changing, False
        self.acknowledged = set()  # filters with a SUBACK in this session
        self.asked = {}  # packet id -> (kind, filter)
        self.answers = []  # (when, bytes, packet id): sent in this order
        self.held = {}  # QoS 2: packet ids received, not released
        self.pid, self.stay_until, self.change_at = 0, 0.0, 0.0
        self.is_staying = False

    def opened(self, present):
        self.asked.clear()
        self.answers.clear()
        if not present:
            self.held.clear()
            self.acknowledged.clear()
            self.has_changing = False
        for name in self.filters:
            if name not in self.acknowledged:
                self.ask(mqtt.SUBSCRIBE, name)
        now = time.monotonic()
        # For a moment as it was: a subscription that came back by itself would be overlooked.
        self.change_at = now + self.random.uniform(0.05, 0.4)
        self.stay_until = now + self.random.expovariate(1.0) * self.presence

    def closed(self):
        self.answers.clear()  # they were of this connection
        if not self.is_staying and self.presence < 100:
            self.again_at = time.monotonic() + self.random.expovariate(1.0) * 0.3

    def ask(self, kind, name):
        self.pid = self.pid % 65535 + 1
        self.asked[self.pid] = kind, name
        if kind == mqtt.SUBSCRIBE:
            self.promises.subscribing(self.name, name)
            self.send(mqtt.subscribe(self.pid, [(name, self.qos)], version=self.version))
        else:
            self.promises.unsubscribing(self.name, name)
            self.send(mqtt.unsubscribe(self.pid, [name], version=self.version))

    def turn(self, now):
        if self.sock is None:
            if now >= self.again_at:
                self.connect(clean=not self.is_staying and self.random.random() < self.forgets)
            return
        while self.is_open and self.answers and self.answers[0][0] <= now:
            _, data, pid = self.answers.pop(0)
            self.send(data)
            if data[0] >> 4 == mqtt.PUBACK:
                self.promises.finished(self.name, pid)
            else:
                self.promises.noted(self.name, pid, f"{mqtt.NAMES[data[0] >> 4]} sent")
        if not self.is_open or self.is_staying:
            return
        if self.changing and not self.asked and now >= self.change_at:
            self.change_at = now + self.random.uniform(0.05, 0.4)
            self.ask(mqtt.UNSUBSCRIBE if self.has_changing else mqtt.SUBSCRIBE, self.changing)
        if now >= self.stay_until and self.presence < 100:
            self.leave(self.random.random() < 0.5)

    def answer(self, data, pid):
        """Mostly at once, now and then later, never out of order."""
        when = time.monotonic()
        if not self.is_staying and self.random.random() < 0.1:
            when += self.random.uniform(0, 0.2)
        if self.answers:
            when = max(when, self.answers[-1][0])
        self.answers.append((when, data, pid))

    def on_packet(self, packet):
        if packet.kind == mqtt.PUBLISH:
            self.on_publish(packet)
        elif packet.kind == mqtt.PUBREL:
            self.held.pop(packet.pid, None)
            self.promises.finished(self.name, packet.pid)
            self.answer(mqtt.ack(mqtt.PUBCOMP, packet.pid), packet.pid)
        elif packet.kind in (mqtt.SUBACK, mqtt.UNSUBACK):
            kind, name = self.asked.pop(packet.pid)
            if kind == mqtt.SUBSCRIBE:
                self.promises.subscribed(self.name, name, packet.reasons[0])
                self.acknowledged.add(name)
            else:
                self.promises.unsubscribed(self.name, name)
                self.acknowledged.discard(name)
            if name == self.changing:
                self.has_changing = kind == mqtt.SUBSCRIBE

    def on_publish(self, packet):
        number = int(packet.payload.split(b"|")[0])
        self.promises.delivered(self.name, self.connection, packet.topic, number, packet.qos, packet.pid, packet.dup)
        if packet.qos == 1:
            self.answer(mqtt.ack(mqtt.PUBACK, packet.pid), packet.pid)
        elif packet.qos == 2:
            self.held[packet.pid] = packet.topic, number
            self.answer(mqtt.ack(mqtt.PUBREC, packet.pid), packet.pid)


class Mourner(Actor):
    """Each of its connections has a will of its own, and ends without DISCONNECT."""

    def __init__(self, swarm, name):
        super().__init__(swarm, name, 5)
        self.topic, self.number = f"{name}/will", 0
        self.stay_until, self.is_staying, self.is_welcome = 0.0, False, False

    def connect_packet(self):
        self.number += 1
        self.is_welcome = False
        self.promises.will_set(self.topic, self.number, 2)
        delay = self.random.choice((0, 0, 1))
        text = dict(topic=self.topic, payload=f"{self.number}|", qos=2, props={"will_delay": delay})
        props = {"session_expiry": SESSION_S}
        return mqtt.connect(self.name, 5, False, keepalive=0, props=props, will=text)

    def opened(self, _present):
        self.is_welcome = True
        self.stay_until = time.monotonic() + self.random.expovariate(1.0) * 0.3

    def closed(self):
        self.again_at = time.monotonic() + self.random.expovariate(1.0) * 0.5

    def turn(self, now):
        if self.sock is None and now >= self.again_at and not self.is_staying:
            self.connect()
        elif self.is_open and now >= self.stay_until:
            self.leave(False)

    def on_packet(self, packet):
        raise AssertionError(f"{self.name} got {packet.name}")

    def stay_away(self):
        """For good. Whether its last connection had begun is known only when it was welcomed."""
        self.is_staying = True
        if self.sock is not None:
            self.leave(False)
        if self.is_welcome:
            self.promises.will_due(self.topic, self.number)


class Swarm:
    def __init__(self, broker, seed, publishers=4, window=20, mourners=3):
        self.broker, self.random = broker, random.Random(seed)
        self.promises = checker.Promises()
        self.actors = []
        self.publishers = [
            Publisher(self, f"p{at}", 4 if at % 2 else 5, self.random.choice((1, window, window)))
            for at in range(publishers)
        ]
        self.retainer = Publisher(self, "r", 5, 4, retains=True)
        self.publishers.append(self.retainer)
        names = [f"p{at}/#" for at in range(publishers)]
        self.subscribers = [
            Subscriber(self, "always", 5, names, presence=1000),
            Subscriber(self, "old", 4, names[:2], changing=names[-1], presence=1000),
            Subscriber(self, "roaming", 5, names[1:], changing=names[0]),
            Subscriber(self, "seldom", 4, names, presence=0.05),
            Subscriber(self, "once", 5, names, qos=1, presence=0.3),
            Subscriber(self, "forgetful", 5, names[:1], presence=0.2, forgets=0.3),
            Subscriber(self, "heir", 5, [f"m{at}/#" for at in range(mourners)], presence=0.3),
        ]
        # Groups: at QoS 2 nobody's session ends, as what it had in flight ended with it [MQTT-4.8.2-5].
        team, crew = "$share/team/p0/#", "$share/crew/p1/#"
        self.subscribers += [
            Subscriber(self, "mate", 5, [team], presence=1000),
            Subscriber(self, "roaming_mate", 4, [team], presence=0.3),
            Subscriber(self, "moody_mate", 5, [], changing=team, presence=0.5),
            Subscriber(self, "hand", 4, [crew], qos=1, presence=0.5),
            Subscriber(self, "moody_hand", 5, [], changing=crew, qos=1, presence=1000),
            Subscriber(self, "forgetful_hand", 5, [crew], qos=1, presence=0.2, forgets=0.3),
        ]
        self.mourners = [Mourner(self, f"m{at}") for at in range(mourners)]

    # -- taking turns

    def turn(self, wait_ms=10):
        now = time.monotonic()
        for actor in self.actors:
            actor.turn(now)
        poller = select.poll()
        by_file = {}
        for actor in self.actors:
            if actor.sock is not None:
                by_file[actor.sock.fileno()] = actor
                poller.register(actor.sock, select.POLLIN | (select.POLLOUT if actor.outgoing else 0))
        for file, events in poller.poll(wait_ms):
            actor = by_file[file]
            if events & select.POLLOUT and actor.sock is not None:
                actor.write()
            if events & ~select.POLLOUT and actor.sock is not None:
                actor.read()

    def run(self, seconds, until=None):
        """Go on for so long, or until(), and tell whether that came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()
            if until is not None and until():
                return True
        return False

    def drain(self):
        """The broker is dead: read what it had sent."""
        for actor in self.actors:
            if actor.sock is not None:
                actor.read()
            if actor.sock is not None:
                actor.lost()
        self.promises.life += 1

    # -- looking

    def look_retained(self):
        """What a new subscriber is told."""
        client = mqtt.Client(self.broker.port, 5, label="scan")
        found = {}
        client.connect("scan", clean=True)
        client.subscribe("r/#", qos=0, props=None)
        client.send(mqtt.pingreq())
        is_over = False
        while True:
            try:
                packet = client.recv(0.3 if is_over else None)
            except mqtt.Silence:
                break
            is_over = is_over or packet.kind == mqtt.PINGRESP
            if packet.kind == mqtt.PUBLISH and packet.retain:
                found[packet.topic] = int(packet.payload.split(b"|")[0])
        client.disconnect()
        self.promises.look_retained(found, self.retainer.topics)

    def is_quiet(self):
        return not any(p.under_way for p in self.publishers) and self.promises.missing_count() == 0

    def settle(self, seconds=30):
        """No more is sent; everybody stays, until all has come or, for so long, nothing more of it comes. Then it
        is judged."""
        for publisher in self.publishers:
            publisher.is_stopped = True
        for mourner in self.mourners:
            if not mourner.is_staying:
                mourner.stay_away()
        for subscriber in self.subscribers:
            subscriber.is_staying, subscriber.again_at = True, 0.0
        end, fewest = time.monotonic() + seconds, None
        while time.monotonic() < end:
            before = self.promises.now
            self.run(0.5)
            if self.is_quiet():
                break
            missing = self.promises.missing_count()
            if fewest is None or missing < fewest:  # a long queue may take its time
                end, fewest = time.monotonic() + seconds, missing
            if self.promises.now == before and all(actor.is_open for actor in self.publishers + self.subscribers):
                self.run(2.0)  # nothing moves: a last chance
                if self.promises.now == before:
                    break
        self.run(0.3)  # for what comes once too often
        stuck = [p.name for p in self.publishers if p.under_way]
        if stuck:
            self.promises.breaks("lost", f"never finished by the broker: {stuck}")
        self.look_retained()
        self.promises.judge()
        for actor in self.actors:
            if actor.sock is not None:
                actor.sock.close()
