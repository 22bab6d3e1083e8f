"""Under load: certificates change and nobody notices; bad connections storm in and nobody who is connected
loses a message. The figures (goodput, latency) are told by tern-bench, see bench/README.md; here it is only
asked that nothing breaks, with a few hundred clients, and with --long with thousands."""

import json
import os
import random
import socket
import ssl
import threading
import time

import certs
import mqtt
import tls
from suite import equal, eventually, long_only, short, tern_only
from tern_bench import start, violations
from test_access import sha512_line


def traffic(port, clients, seconds, rate):
    """Pairs of clients over TLS, a steady rate of messages, QoS 1."""
    return start(port, f"pairs -c {clients // 2} -q 1 --rate {rate} --seconds {seconds} --warmup 0.5",
                 "--ssl", "--cacertfile", certs.ca(), "--tls-server-name", "localhost")


def finish(run):
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, f"exit code {run.returncode}:\n{out}\n{err}"
    report = json.loads(out)
    equal(violations(report), {}, "what went wrong")
    equal(report.get("disconnected", 0), 0, "clients that were disconnected")
    return report


def percentiles(report):
    return " / ".join(str(report["latency_ns"][name] // 1000) for name in ("p50", "p99", "p999"))


def reload_under_load(t, clients, seconds, rate):
    folder = t.folder()
    pair = certs.copied(certs.server("ecdsa"), folder)
    lines = [f"certfile {pair.cert}", f"keyfile {pair.key}"]
    broker = t.broker(metrics=True, listeners={"tls": lines})
    run = traffic(broker.port, clients, seconds, rate)
    eventually(lambda: t.metric(broker, "tern_clients_connected") >= clients, seconds=180, what="all clients")
    handshakes = t.metric(broker, "tern_tls_handshakes_total")
    for i, name in enumerate(("rsa", "ed25519", "ecdsa")):
        reloads = t.metric(broker, "tern_security_reloads_total")
        certs.copied(certs.server(name), folder)
        if i == 1:
            broker.reload()  # the other two are found by watching
        eventually(lambda: t.metric(broker, "tern_security_reloads_total") > reloads, seconds=30, what="a reload")
    with open(pair.key, "w", encoding="utf-8") as file:
        file.write("not a key\n")
    eventually(lambda: t.metric(broker, "tern_security_stale", kind="tls") == 1, seconds=30, what="it is noticed")
    report = finish(run)
    equal(t.metric(broker, "tern_tls_handshakes_total"), handshakes, "nobody had to come again")
    equal(t.metric(broker, "tern_disconnects_server_total"), 0, "disconnects")
    return report


@tern_only
@short
def test_certificates_change_under_load_and_nobody_is_disconnected(t):
    reload_under_load(t, 100, 12, 200)


@tern_only
@long_only
def test_certificates_change_under_5000_clients_and_nobody_is_disconnected(t):
    report = reload_under_load(t, 5000, 60, 5000)
    print(f"5000 clients: {report['received']} messages received")


# ---- a storm of bad connections


def client_hello():
    """As a real client sends it. Sent again and again it costs the broker a signature each time."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class Storm:
    """Threads that connect badly, in every way there is, until count of them were made."""

    def __init__(self, ports, count, threads=8):
        self.ports, self.left, self.made, self.lock = ports, count, 0, threading.Lock()
        self.hello = client_hello()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def ways(self, dice):
        wrong = mqtt.connect(f"x{dice.randrange(1000)}", username="alice", password="wrong")
        return [
            ("tls", self.hello),                              # costs a signature, and vanishes
            ("tls", self.hello[: dice.randrange(1, 60)]),     # half a hello
            ("tls", dice.randbytes(200)),                     # garbage
            ("tls", b"GET / HTTP/1.1\r\n\r\n"),               # somebody else's language
            ("tls", b""),                                     # silence
            ("plain", wrong),                                 # costs a password check
            ("plain", dice.randbytes(40)),
        ]

    def run(self, seed):
        dice = random.Random(seed)
        while True:
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
            where, said = dice.choice(self.ways(dice))
            try:
                sock = socket.create_connection(("127.0.0.1", self.ports[where]), timeout=5)
                if said:
                    sock.sendall(said)
                if dice.random() < 0.05:
                    sock.settimeout(0.05)
                    sock.recv(4096)
                sock.close()
            except OSError:
                pass  # refused, reset: what the broker may do to such clients
            with self.lock:
                self.made += 1

    def wait(self):
        for thread in self.threads:
            thread.join(600)


def storm(t, count, clients, seconds, rate):
    folder = t.folder()
    passwords = os.path.join(folder, "passwords")
    with open(passwords, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(sha512_line("alice", "right") + "\n")
    broker = t.broker(["per_listener_settings true", "connect_timeout 5"], metrics=True, listeners={
        "tls": [*certs.listener(), "allow_anonymous true"],
        "plain": ["allow_anonymous false", f"password_file {passwords}"],
    })
    run = traffic(broker.ports["tls"], clients, seconds, rate)
    eventually(lambda: t.metric(broker, "tern_clients_connected") >= clients, seconds=120, what="all clients")
    began = time.monotonic()
    bad = Storm(broker.ports, count)
    bad.wait()
    took = time.monotonic() - began
    report = finish(run)
    equal(bad.made, count, "bad connections made")
    eventually(lambda: t.metric(broker, "tern_connections") == 0, seconds=30, what="nothing is left of them")
    assert t.metric(broker, "tern_tls_handshakes_failed_total") > 0, "no handshake failed"
    return report, took


@tern_only
@short
def test_a_storm_of_bad_connections_costs_nobody_a_message(t):
    storm(t, 600, 40, 8, 200)


@tern_only
@long_only
def test_a_storm_of_20000_bad_connections_costs_nobody_a_message(t):
    calm = finish(traffic(t.broker(listeners={"tls": certs.listener()}).port, 200, 10, 5000))
    report, took = storm(t, 20000, 200, 40, 5000)
    print(f"20000 bad connections in {took:.1f} s; {report['received']} messages sent and received; latency "
          f"p50/p99/p99.9 us {percentiles(report)}, without a storm {percentiles(calm)}")
