"""Large payloads and many connections."""

import hashlib
import resource
import selectors
import socket
import time

import mqtt
from suite import alone, each, equal, eventually, plain_build, short, tern_only

PAYLOAD_BYTES = 64 * 1024 * 1024
CONNECTIONS = 10000


@alone
@each(*[(version, qos) for version in (4, 5) for qos in (0, 1, 2)])
def test_64_mib_arrive_whole(t, which):
    version, qos = which
    port = t.common().port
    payload = hashlib.sha256(t.id().encode()).digest() * (PAYLOAD_BYTES // 32)
    subscriber = t.client(port, "subscriber", version)
    subscriber.subscribe(t.topic(), qos=qos)
    publisher = t.client(port, "publisher", version)
    pid = 1 if qos else None
    publisher.send(mqtt.publish(t.topic(), payload, qos, pid, version=version))
    if qos == 1:
        publisher.expect(mqtt.PUBACK, 60, pid=1)
    if qos == 2:
        publisher.expect(mqtt.PUBREC, 60, pid=1)
        publisher.send(mqtt.ack(mqtt.PUBREL, 1))
        publisher.expect(mqtt.PUBCOMP, pid=1)
    message = subscriber.expect(mqtt.PUBLISH, 60, qos=qos, topic=t.topic())
    assert message.payload == payload, f"{len(message.payload)} bytes arrived, or changed"


def raise_file_limit(wanted):
    """As far as the hard limit allows; how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted * 2, hard)), hard))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_many(port, count, connect_packet):
    """count sockets, connected and sent their CONNECT; CONNACK is waited for. {socket: number}."""
    sockets = {}
    waiting = selectors.DefaultSelector()
    for number in range(count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Source addresses of their own, so that no range of ports runs dry.
        sock.bind((f"127.0.1.{1 + number % 8}", 0))
        sock.settimeout(mqtt.WAIT_S)
        sock.connect(("127.0.0.1", port))
        sock.sendall(connect_packet(number))
        sock.setblocking(False)
        sockets[sock] = number
        waiting.register(sock, selectors.EVENT_READ)
        if len(waiting.get_map()) >= 200:
            take_answers(waiting, b"\x20\x02\x00\x00")
    while waiting.get_map():
        take_answers(waiting, b"\x20\x02\x00\x00")
    return sockets


def take_answers(waiting, wanted):
    """Unregister those that have answered with exactly these bytes."""
    ready = waiting.select(mqtt.WAIT_S * 4)
    assert ready, f"{len(waiting.get_map())} connections have no answer"
    for key, _ in ready:
        got = key.fileobj.recv(100)
        assert got == wanted, f"{got.hex() or 'closed'} instead of {wanted.hex()}"
        waiting.unregister(key.fileobj)


@short
@alone
def test_ten_thousand_connections_are_held(t):
    count = raise_file_limit(CONNECTIONS + 1000) - 1000
    if count < CONNECTIONS:
        print(f"     the hard limit of open files allows {count} connections, not {CONNECTIONS}", flush=True)
    broker = t.broker(metrics=True)
    started = time.monotonic()
    packet = mqtt.connect  # 3.1.1, so that the answer is the same for all
    held = open_many(broker.port, count, lambda n: packet(f"c{n}", version=4, keepalive=300))
    print(f"     {count} connections in {time.monotonic() - started:.1f} s", flush=True)
    if broker.http_port:
        equal(t.metric(broker, "tern_clients_connected"), count, "tern_clients_connected")

    # All of them are alive: each answers a ping.
    waiting = selectors.DefaultSelector()
    for sock in held:
        sock.setblocking(True)
        sock.sendall(b"\xc0\x00")
        sock.setblocking(False)
        waiting.register(sock, selectors.EVENT_READ)
    while waiting.get_map():
        take_answers(waiting, b"\xd0\x00")

    # And they are served: every hundredth subscribes, one publishes, all of those hear it.
    listeners = [sock for sock, number in held.items() if number % 100 == 0]
    for sock in listeners:
        sock.setblocking(True)
        sock.settimeout(mqtt.WAIT_S)
        sock.sendall(mqtt.subscribe(1, [(t.topic(), 0)], version=4))
        equal(sock.recv(100).hex(), "9003000100", "SUBACK")
    t.client(broker.port, "publisher", 4).publish(t.topic(), b"all")
    for sock in listeners:
        equal(sock.recv(100), mqtt.publish(t.topic(), b"all", version=4), "what a listener got")

    for sock in held:
        sock.close()
    if broker.http_port:
        # Only the publisher is left.
        eventually(lambda: t.metric(broker, "tern_clients_connected") <= 1, 30, "that all are gone")


@tern_only
@plain_build
@alone
def test_connections_give_their_memory_back(t):
    """A second wave of connections needs no memory that the first one did not have."""
    count = min(2000, raise_file_limit(3000) - 1000)
    broker = t.broker()

    def wave():
        held = open_many(broker.port, count, lambda n: mqtt.connect(f"w{n}", version=4, keepalive=300))
        used = resident_bytes(broker.process.pid)
        for sock in held:
            sock.close()
        t.client(broker.port, "after", 4)
        return used

    first = wave()
    for _ in range(4):
        last = wave()
    growth = (last - first) / (4 * count)
    assert growth < 600, f"{growth:.0f} bytes are left behind by each connection"


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
