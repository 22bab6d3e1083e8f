"""tern-limit forwards what tern-bench sends, whole and in order; bench/compare measures beside it."""

import json
import os
import random
import re
import socket
import subprocess
import sys

import broker as broker_module
import mqtt
from suite import each, equal, port_told, short

USAGE, UNAVAILABLE = 64, 69
QUICK = ["--seconds", "0.4", "--warmup", "0.1"]
COMPARE = os.path.join(broker_module.ROOT, "bench", "compare")

# --shape, and what tern-bench runs against it.
LOADS = (
    ("pairs", "pairs -c 16 --window 1"),
    ("pairs", "pairs -c 16 --window 32 --burst 8 -V 5"),
    ("pairs", "pairs -c 4 --window 8 -s 65536"),
    ("fanout", "fanout -c 100 --window 16 --burst 8"),
    ("fanout", "fanout -c 5 --window 4 -s 300000"),
    ("fanin", "fanin -c 100 --window 16 --burst 4"),
    ("fanin", "fanin -c 10 --window 4 -s 65536"),
)


def build():
    return os.path.dirname(broker_module.program())


def limit(t, *arguments):
    """(program, port) of a running tern-limit."""
    program = t.program(os.path.join(build(), "tern-limit"), *arguments)
    program.wait_line(r"on 127\.0\.0\.1:\d+")
    return program, port_told(lambda: "\n".join(program.lines), r"on 127\.0\.0\.1:(\d+)")


def bench(port, *arguments):
    command = [os.path.join(build(), "tern-bench"), "run", *arguments, *QUICK, "-p", str(port), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def end(program):
    """By SIGTERM, with exit code 0; what it says of itself."""
    program.process.terminate()
    return program.wait_end()[-1]


@short
@each(*LOADS)
def test_every_message_is_forwarded_once_in_order_and_unchanged(t, load):
    shape, arguments = load
    program, port = limit(t, "--shape", shape)
    done = bench(port, *arguments.split())
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["clean"] is True and report["sent"] > 0, done.stdout
    equal(report["received"], report["sent"] * (report["subscribers"] if shape == "fanout" else 1))
    frames = int(re.search(r"(\d+) frames in", end(program)).group(1))
    equal(frames, report["sent"], "what it says it forwarded")


def test_connections_come_and_go(t):
    program, port = limit(t)
    done = bench(port, "connect", "-c", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["connected"] > 10, done.stdout
    end(program)


def raw_client(port, client_id, topic=None):
    """A bare socket, connected as this client, with small buffers of its own."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    s.settimeout(mqtt.WAIT_S)
    s.connect(("127.0.0.1", port))
    s.sendall(mqtt.connect(client_id, version=4))
    equal(s.recv(4, socket.MSG_WAITALL), b"\x20\x02\x00\x00", "the CONNACK")
    if topic is not None:
        s.sendall(mqtt.subscribe(7, [(topic, 0)], version=4))
        equal(s.recv(5, socket.MSG_WAITALL), b"\x90\x03\x00\x07\x00", "the SUBACK")
    return s


def offer(publisher, frame, bytes_max):
    """Send frames until nothing is taken for a second; how many bytes were."""
    sent, block = 0, frame * 65
    publisher.settimeout(1)
    try:
        while sent < bytes_max:
            sent += publisher.send(block[sent % len(frame) :])
    except TimeoutError:
        pass
    return sent


def test_a_subscriber_that_reads_nothing_stops_its_publisher_and_nobody_else(t):
    program, port = limit(t, "--memory", "8")
    frame, bytes_max = mqtt.publish("bench/0", b"x" * 1000, version=4), 256 * 2**20
    with raw_client(port, "bench-sub-0", "bench/0") as slow, raw_client(port, "bench-pub-0") as publisher:
        sent = offer(publisher, frame, bytes_max)
        assert len(frame) < sent < bytes_max, f"{sent} bytes were taken"

        with raw_client(port, "bench-sub-1", "bench/1") as other, raw_client(port, "bench-pub-1") as beside:
            beside.sendall(mqtt.publish("bench/1", b"still here", version=4))
            assert other.recv(100).endswith(b"still here")

        wanted = sent // len(frame) * len(frame)
        got, ahead = 0, frame * 1000
        while got < wanted:
            part = slow.recv(min(wanted - got, 900 * len(frame)))
            begin = got % len(frame)
            assert part and part == ahead[begin : begin + len(part)], f"after {got} bytes of {wanted}"
            got += len(part)
        publisher.settimeout(mqtt.WAIT_S)
        publisher.sendall(frame[sent % len(frame) :] + frame)  # and it goes on where it stopped
        slow.recv(len(frame), socket.MSG_WAITALL)
        equal(slow.recv(len(frame), socket.MSG_WAITALL), frame)
    end(program)


def ended_or_more(s):
    """False at the end of the stream, which may be a reset."""
    try:
        return s.recv(4096) != b""
    except ConnectionResetError:
        return False


def test_another_qos_is_refused_and_named(t):
    program, port = limit(t)
    with raw_client(port, "bench-sub-3", "bench/3") as subscriber, raw_client(port, "bench-pub-3") as publisher:
        publisher.sendall(mqtt.publish("bench/3", b"x", qos=1, pid=1, version=4))
        equal(publisher.recv(1), b"", "an answer")
        program.wait_line("bench-pub-3: .*only QoS 0 is forwarded")
        subscriber.sendall(mqtt.pingreq())  # the others go on, and got nothing
        equal(subscriber.recv(2, socket.MSG_WAITALL), b"\xd0\x00")
    end(program)


@each(
    ("fanin", "pairs -c 2 --window 2", "does not fit"),
    ("pairs", "fanout -c 2 --window 2", "does not fit"),
)
def test_what_it_cannot_forward_is_refused_and_named(t, case):
    shape, arguments, said = case
    program, port = limit(t, "--shape", shape)
    done = bench(port, *arguments.split())
    assert done.returncode != 0, done.stdout
    end(program)
    assert any(said in line for line in program.lines), program.tell()


def test_nonsense_is_closed_and_harms_nobody(t):
    program, port = limit(t)
    chance = random.Random(1)
    hello = mqtt.connect("bench-sub-0", version=4)
    nonsense = [b"\x00\x00", b"\x30\x00", b"\x10\xff\xff\xff\xff\x01", b"\x10\x02\x00\xff", hello + hello]
    nonsense += [hello + b"\x82\x03\x00\x01\x00", hello + b"\x82\xff\x7f" + b"x" * 20000, hello + b"\x30\x02xx"]
    nonsense += [hello[:-1] + b"\xff" + chance.randbytes(chance.randrange(200)) for _ in range(50)]
    nonsense += [hello + chance.randbytes(chance.randrange(2000)) for _ in range(50)]
    for data in nonsense:
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            s.settimeout(mqtt.WAIT_S)
            while ended_or_more(s):
                pass
    done = bench(port, "pairs", "-c", "4", "--window", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    end(program)


@each(("--shape", "ring"), ("--port", "99999"), ("--cpu", "x"), ("--memory", "0"), ("what",))
def test_wrong_arguments_are_named(t, arguments):
    done = subprocess.run(
        [os.path.join(build(), "tern-limit"), *arguments], capture_output=True, text=True, timeout=20
    )
    equal(done.returncode, USAGE)
    equal(done.stdout, "")
    assert arguments[-1] in done.stderr, done.stderr


def compare(*arguments):
    command = [sys.executable, COMPARE, "--build", build(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


def test_a_comparison_is_a_table_with_tern_and_the_limit(t):
    path = os.path.join(t.folder(), "runs.json")
    done = compare("--quick", "--rows", "fanout-one", "--only", "tern,limit", "--json", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| work \| limit \| Tern \|", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^\| fanout-one \| Tern \|.*\| clean \|$", done.stdout, re.MULTILINE), done.stdout
    with open(path) as source:
        (row,) = json.load(source)["rows"]
    equal(row["key"], "fanout-one")
    equal({name: len(runs) for name, runs in row["runs"].items()}, {"limit": 1, "Tern": 1})
    assert row["median"]["Tern"] > 0 and row["share"] is None, row


def test_any_broker_can_be_measured_by_its_command(t):
    forwarder = os.path.join(build(), "tern-limit")
    more = f"mine={forwarder} --port {{port}}"
    done = compare("--quick", "--rows", "pairs-one", "--only", "limit", "--broker", more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| pairs-one \| mine \|.*\| clean \|$", done.stdout, re.MULTILINE), done.stdout


@each(
    (("--broker", "x=/bin/false {port}", "--only", "limit"), UNAVAILABLE, "did not start listening"),
    (("--broker", "x=no-such-program {port}"), USAGE, "no-such-program"),
    (("--broker", "x=tern"), USAGE, "{port}"),
    (("--rows", "no such row"), USAGE, "no such row"),
    (("--only", "nobody"), USAGE, "nobody"),
    (("--rounds", "0"), USAGE, "'0' is not above 0"),
    (("--broker-cpu", "100000"), USAGE, "core 100000"),
)
def test_what_cannot_be_measured_is_said(t, case):
    arguments, code, said = case
    done = compare("--quick", *(() if "--rows" in arguments else ("--rows", "pairs-one")), *arguments)
    equal(done.returncode, code, "the exit code")
    assert said in done.stdout + done.stderr, done.stdout + done.stderr
