"""MQTT over TLS, as long as all goes well: large and small, slow readers, moving connections, resumption. What
breaks has test_tls_bad.py."""

import random
import threading

import certs
import mqtt
import tls
from suite import each, equal, eventually, short, tern_only

SIZES = (0, 1, 63, 1299, 1300, 1301, 16383, 16384, 16385, 65536, 1000003)


def broker_of(t, *more, **how):
    return t.broker(["threads 2"], listeners={
        "tls": certs.listener("ecdsa", *more),
        "wss": certs.listener("rsa", "protocol websockets"),
    }, tern_only=["max_output_bytes 64M"], **how)


def client_of(t, broker, kind, name, version="1.3", level=5, connect=True, **how):
    """kind: tls or wss; version: of TLS."""
    link = tls.Tls if kind == "tls" else tls.WebSocket
    transport = link(("127.0.0.1", broker.ports[kind]), tls.context(versions=(version,)))
    client = mqtt.Client(broker.ports[kind], level, transport=transport, label=name)
    if connect:
        client.connect(t.id(name), **how)
    return client


def payload_of(size, seed):
    return random.Random(seed).randbytes(size)


@tern_only
@short
@each(("tls", "1.2"), ("tls", "1.3"), ("wss", "1.2"), ("wss", "1.3"))
def test_messages_of_all_sizes_arrive_whole(t, how):
    broker = broker_of(t)
    for qos in (0, 1, 2):
        reader = client_of(t, broker, how[0], f"reader{qos}", how[1])
        reader.subscribe(t.topic(), qos=qos)
        writer = client_of(t, broker, how[0], f"writer{qos}", how[1])
        for size in SIZES:
            payload = payload_of(size, size + qos)
            writer.publish(t.topic(), payload, qos)
            equal(reader.receive(qos=qos, timeout=60).payload == payload, True, f"{size} bytes came back")


@tern_only
@short
@each("tls", "wss")
def test_many_small_packets_share_a_record_and_keep_their_order(t, kind):
    broker = broker_of(t)
    reader = client_of(t, broker, kind, "reader")
    reader.subscribe(t.topic(), qos=0)
    writer = client_of(t, broker, kind, "writer")
    writer.send(b"".join(mqtt.publish(t.topic(), f"{i}", version=5) for i in range(5000)))
    for i in range(5000):
        reader.receive(payload=f"{i}", timeout=60)


@tern_only
@short
@each("tls", "wss")
def test_a_client_that_reads_late_gets_everything(t, kind):
    """More than the sockets hold waits sealed and unsealed, and nothing is lost or changed on the way."""
    broker = broker_of(t)
    reader = client_of(t, broker, kind, "reader")
    reader.subscribe(t.topic(), qos=1)
    writer = client_of(t, broker, kind, "writer")
    payloads = [payload_of(200000, i) for i in range(60)]
    done = threading.Thread(target=lambda: [writer.publish(t.topic(), payload, 1) for payload in payloads])
    done.start()
    for payload in payloads:
        equal(reader.receive(qos=1, timeout=60).payload == payload, True, "came back")
    done.join(mqtt.WAIT_S)
    assert not done.is_alive(), "the writer is stuck"


@tern_only
@short
@each(("tls", "1.2"), ("tls", "1.3"), ("wss", "1.3"))
def test_connections_move_to_the_shard_of_their_session(t, how):
    """With what they said behind CONNECT, in one record with it or in the next."""
    broker = broker_of(t, metrics=True)
    for i in range(24):
        client = client_of(t, broker, how[0], f"mover{i}", how[1], connect=False)
        said = mqtt.connect(t.id(f"mover{i}")), mqtt.subscribe(1, [("x", 1)]) + mqtt.publish("x", b"1", 1, 2)
        if i % 2:
            client.send(said[0] + said[1])
        else:
            client.send(said[0])
            client.send(said[1])
        client.expect(mqtt.CONNACK, reason=0)
        client.expect(mqtt.SUBACK, reasons=[1])
        equal(sorted(client.recv().name for _ in range(2)), ["PUBACK", "PUBLISH"], "what came")
        client.ping()
        client.close()
    assert t.metric(broker, "tern_connections_moved_total") > 0, "none of 24 moved"


@tern_only
@short
@each("1.2", "1.3")
def test_a_session_is_resumed_by_its_ticket(t, version):
    broker = broker_of(t, metrics=True)
    how = tls.context(versions=(version,))
    address = ("127.0.0.1", broker.ports["tls"])
    first = tls.Tls(address, how)
    client = mqtt.Client(address[1], 5, transport=first)
    client.connect(t.id("a"))
    client.ping()
    session = first.ssl.session
    client.disconnect()
    second = tls.Tls(address, how, session=session)
    mqtt.Client(address[1], 5, transport=second).connect(t.id("a"))
    equal(second.ssl.session_reused, True, "resumed")
    equal(t.metric(broker, "tern_tls_handshakes_resumed_total"), 1, "counted")


@tern_only
@short
def test_close_notify_without_a_goodbye_of_mqtt_leaves_a_will(t):
    broker = broker_of(t)
    watcher = client_of(t, broker, "tls", "watcher")
    watcher.subscribe(t.topic("will"))
    leaver = client_of(t, broker, "tls", "leaver", will={"topic": t.topic("will"), "payload": b"gone"})
    leaver.transport.say_goodbye()
    watcher.receive(t.topic("will"), b"gone")


@tern_only
@short
def test_the_broker_says_goodbye_in_both_languages(t):
    """DISCONNECT, then close_notify: nobody can cut a conversation short unseen."""
    broker = broker_of(t)
    client = client_of(t, broker, "tls", "a")
    client_of(t, broker, "tls", "a")  # takes over
    equal(client.recv().reason, 0x8E, "session taken over")
    client.expect_close()
    equal(client.transport.said_goodbye, True, "close_notify")


@tern_only
@short
def test_a_hundred_handshakes_at_once(t):
    """More than a turn takes: they wait their turn, RSA ones with a worker, and all are served."""
    broker = broker_of(t, metrics=True)
    made, failed = [], []

    def come(kind, i):
        try:
            client = client_of(t, broker, kind, f"{kind}{i}")
            client.ping()
            made.append(client)
        except Exception as error:  # told below
            failed.append(repr(error))

    threads = [threading.Thread(target=come, args=(kind, i)) for kind in ("tls", "wss") for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    equal(failed, [], "failures")
    equal(len(made), 100, "clients served")
    for client in made:
        client.close()
    eventually(lambda: t.metric(broker, "tern_connections") == 0, what="all gone")
