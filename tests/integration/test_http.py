"""The HTTP listener in its first form: /metrics as Prometheus reads it, /health, and nothing else."""

import http.client
import re
import socket

import mqtt
from suite import equal, eventually, short, tern_only

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (\S+)$')


def get(broker, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", broker.http_port, timeout=mqtt.WAIT_S)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@tern_only
@short
def test_metrics_are_what_prometheus_reads(t):
    broker = t.broker(metrics=True)
    answer, body = get(broker, "/metrics")
    equal(answer.status, 200, "status")
    assert answer.headers["Content-Type"].startswith("text/plain"), answer.headers["Content-Type"]
    kinds, seen = {}, set()
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds, f"{name} has two types"
            kinds[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, f"no sample: {line}"
            float(match.group(4))
            name = match.group(1)
            family = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
            assert family in kinds, f"{name} has no TYPE"
            equal(kinds[family] == "counter", name.endswith("_total"), f"{name} is a counter")
            assert (name, match.group(2)) not in seen, f"{line} stands twice"
            seen.add((name, match.group(2)))
    assert all(name.startswith(("tern_", "process_")) for name in kinds), kinds


@tern_only
@short
def test_counters_count(t):
    broker = t.broker(["sys_interval 0"], metrics=True)  # $SYS topics are retained messages too
    client = t.client(broker.port, "client", 5)
    client.subscribe(t.topic(), qos=1)
    for _ in range(7):
        client.publish(t.topic(), b"12345", qos=0)
        client.expect(mqtt.PUBLISH)

    def has(name, value):
        return eventually(lambda: t.metric(broker, name) == value, what=f"{name} is {value}")

    has("tern_clients_connected", 1)
    has("tern_subscriptions", 1)
    has("tern_publish_received_total", 7)
    has("tern_publish_sent_total", 7)
    has("tern_publish_received_bytes_total", 35)
    client.publish(t.topic("kept"), b"1234567", qos=1, retain=True)
    has("tern_retained_messages", 1)
    client.close()
    has("tern_clients_connected", 0)
    has("tern_disconnects_lost_total", 1)


@tern_only
@short
def test_health_is_told(t):
    broker = t.broker(metrics=True)
    answer, _ = get(broker, "/health")
    equal(answer.status, 200, "status")


@tern_only
def test_other_paths_and_methods_are_refused(t):
    broker = t.broker(metrics=True)
    equal(get(broker, "/nothing")[0].status, 404, "status of an unknown path")
    equal(get(broker, "/metrics", "DELETE")[0].status, 405, "status of a method that is not for it")
    equal(get(broker, "/../etc/passwd")[0].status in (400, 404), True, "a path that climbs is refused")


@tern_only
def test_garbage_and_silence_on_the_http_port_harm_nobody(t):
    broker = t.broker(metrics=True)
    silent = [socket.create_connection(("127.0.0.1", broker.http_port)) for _ in range(20)]
    for garbage in (b"\0" * 5000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 100_000, b"\x10\x0c\0\4MQTT"):
        with socket.create_connection(("127.0.0.1", broker.http_port), timeout=mqtt.WAIT_S) as sock:
            try:
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            except OSError:
                pass  # it hung up on us, which is fine
    equal(get(broker, "/health")[0].status, 200, "status")
    t.client(broker.port, "client", 5)
    for sock in silent:
        sock.close()
