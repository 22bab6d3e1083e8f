"""tern-bench over TLS and WSS, against Tern and against Debian's mosquitto with the same certificates."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import broker as broker_module
import certs
from suite import each, equal, short
from test_bench_crew import Agent
from tern_bench import CLEAN, UNAVAILABLE, USAGE, VIOLATION, bench, report_of

QUICK = ("--seconds", "0.4", "--warmup", "0.1")
LISTENERS = {
    "plain": lambda: [],
    "tls": lambda: certs.listener(),
    "rsa": lambda: certs.listener("rsa"),
    "mtls": lambda: certs.listener("ecdsa", "require_certificate true"),
    "new": lambda: certs.listener("ecdsa", "tls_version tlsv1.3"),
    "wss": lambda: ["protocol websockets", *certs.listener()],
}
BOTH = ("tern", "mosquitto")


def mosquitto(t, names):
    """The ports of a mosquitto of this test's own. It does not start when all it has is WebSocket."""
    names = dict.fromkeys(("plain", *names))
    reserved = {name: broker_module.reserve_port() for name in names}
    ports = {name: s.getsockname()[1] for name, s in reserved.items()}
    lines = ["user root", "allow_anonymous true", "persistence false", "max_inflight_messages 1000"]
    lines += ["max_queued_messages 0"]
    for name in names:
        lines += [f"listener {ports[name]} 127.0.0.1", *LISTENERS[name]()]
    path = os.path.join(t.folder(), "mosquitto.conf")
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    for s in reserved.values():
        s.close()
    t.program(shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", path).wait_line("running")
    return ports


def ports_of(t, broker, *names):
    if broker == "mosquitto":
        return mosquitto(t, names)
    lines = ["max_queued_messages 0", "max_inflight_messages 1000"]
    return t.broker(lines, listeners={name: LISTENERS[name]() for name in names}).ports


def trusting(*more):
    return ("--ssl", "--cacertfile", certs.ca(), *more)


def proving(name="alice"):
    pair = certs.client(name)
    return ("--certfile", pair.cert, "--keyfile", pair.key)


# ---- what works ---------------------------------------------------------------------------------------


@short
@each(*BOTH)
def test_every_connect_makes_a_full_handshake(t, broker):
    port = ports_of(t, broker, "tls")["tls"]
    report = report_of(port, "connect -c 4", *trusting(), *QUICK)
    assert report["handshakes"] >= report["connected"] > 0, report
    equal((report["resumed"], report["resuming"], report["transport"]), (0, False, "tls"))
    assert re.match(r"TLSv1\.3 TLS_AES_\d+_GCM_SHA\d+ X25519", report["agreed"]), report["agreed"]


@each(*((broker, version) for broker in BOTH for version in ("1.2", "1.3")))
def test_who_comes_again_resumes(t, case):
    broker, version = case
    port = ports_of(t, broker, "tls")["tls"]
    report = report_of(port, "connect -c 4 --tls-resume", "--tls-version", version, *trusting(), *QUICK)
    assert report["handshakes"] >= report["connected"] > 0, report
    equal((report["resumed"], report["resuming"]), (report["handshakes"], True))
    assert report["agreed"].startswith(f"TLSv{version} "), report["agreed"]


@each(*((broker, name) for broker in BOTH for name in ("alice", "rsa", "chained")))
def test_clients_prove_who_they_are(t, case):
    broker, name = case
    port = ports_of(t, broker, "mtls")["mtls"]
    report = report_of(port, "connect -c 4", *trusting(), *proving(name), *QUICK)
    equal(report["refused"], 0)
    assert report["connected"] > 0, report


def test_a_resumed_client_need_not_prove_itself_anew(t):
    port = ports_of(t, "tern", "mtls")["mtls"]
    report = report_of(port, "connect -c 4 --tls-resume", *trusting(), *proving(), *QUICK)
    equal(report["resumed"], report["handshakes"])
    assert report["connected"] > 0, report


@each(*BOTH)
def test_messages_of_every_size_come_whole(t, broker):
    port = ports_of(t, broker, "tls")["tls"]
    for load in ("pairs -c 4 --window 16 --burst 4", "mixed -c 6 --rate 600", "pairs -c 2 -q 1 --window 2 -s 200000"):
        report = report_of(port, load, *trusting(), *QUICK)
        assert report["received"] > 0, report
    equal(report["handshakes"], 4)


@each(*BOTH)
def test_websocket_over_tls(t, broker):
    port = ports_of(t, broker, "wss")["wss"]
    report = report_of(port, "pairs -c 4 --window 8 --ws", *trusting(), *QUICK)
    equal((report["transport"], report["handshakes"]), ("wss", 8))
    assert report["received"] > 0, report


@each(*BOTH)
def test_an_rsa_certificate_and_no_verification(t, broker):
    port = ports_of(t, broker, "rsa")["rsa"]
    report = report_of(port, "connect -c 4", "--ssl", "--tls-insecure", *QUICK)
    assert report["connected"] > 0, report


@each(*BOTH)
def test_a_storm_tells_what_others_feel_before_and_during(t, broker):
    port = ports_of(t, broker, "tls")["tls"]
    report = report_of(port, "storm -c 60 --rate 100 --tls-resume", *trusting())
    equal((report["handshakes"], report["resumed"]), (60, 60))
    phases = {phase["name"]: phase for phase in report["phases"]}
    assert phases["others, calm"]["p99_ns"] > 0 and phases["others, storm"]["p99_ns"] > 0, phases
    code, out, err = bench("run", "storm", "-c", 30, "--rate", 100, *trusting(), "-p", port)
    equal(code, CLEAN, err)
    assert re.search(r"others: +before -> during the storm: p50 \S+ \S+ -> ", out), out
    assert "connects with a full handshake/s" in out, out


def test_those_who_come_back_resume(t):
    port = ports_of(t, "tern", "tls")["tls"]
    report = report_of(port, "reconnect -c 20 --tls-resume", *trusting(), "--seconds", "0.3")
    assert report["handshakes"] >= 40, report
    equal(report["resumed"], report["handshakes"])


def test_threads_and_agents_make_one_load(t):
    port = ports_of(t, "tern", "tls")["tls"]
    with Agent() as agent:
        more = ("--threads", 2, "--agents", agent.address)
        report = report_of(port, "pairs -c 6 --rate 300", *more, *trusting(), *QUICK)
        equal((report["handshakes"], report["generators"]), (12, 3))
        assert report["agreed"].startswith("TLSv1.3 "), report
        report = report_of(port, "connect -c 6 --tls-resume", *more, *trusting(), *QUICK)
        equal(report["resumed"], report["handshakes"])
        assert report["connected"] > 0, report


@each("conn", "pub", "sub")
def test_the_commands_of_emqtt_bench_take_their_own_names(t, command):
    port = ports_of(t, "tern", "mtls")["mtls"]
    topic = [] if command == "conn" else ["-t", "a/%i"]
    code, out, err = bench(
        command, "-S", "true", "--cacertfile", certs.ca(), *proving(), "--ssl-version", "tlsv1.2",
        *topic, "-c", 3, "-i", 1, "-p", port, "--seconds", "0.4",
    )  # fmt: skip
    equal(code, CLEAN, out + err)
    assert re.search(r"connect_succ +3\b", out), out


# ---- what does not, and how that is told ---------------------------------------------------------------


@each(*BOTH)
def test_a_ca_that_has_not_signed_is_told(t, broker):
    port = ports_of(t, broker, "tls")["tls"]
    wrong = ("--ssl", "--cacertfile", certs.path("other.pem"))
    code, _, err = bench("run", "pairs", "-c", 2, *wrong, "-p", port, *QUICK)
    equal(code, UNAVAILABLE, err)
    assert re.search(rf"TLS with 127\.0\.0\.1:{port} failed: .*certificate", err, re.I), err
    code, _, err = bench("conn", "-c", 2, "-i", 1, *wrong, "-p", port, "--seconds", 2)
    equal(code, UNAVAILABLE, err)
    assert re.search(r"TLS with .* failed: ", err), err


def test_a_reason_is_told_once_however_often_it_comes(t):
    port = ports_of(t, "tern", "tls")["tls"]
    wrong = ("--ssl", "--cacertfile", certs.path("other.pem"))
    code, out, err = bench("run", "connect", "-c", 4, *wrong, "-p", port, "--json", "--seconds", "0.3")
    equal(code, VIOLATION, err)
    equal(err.count("was refused"), 1, err)


@each(*BOTH)
def test_another_name_than_the_certificate_has_is_told(t, broker):
    port = ports_of(t, broker, "tls")["tls"]
    wrong = trusting("--tls-server-name", "elsewhere.example.test")
    code, _, err = bench("run", "pairs", "-c", 2, *wrong, "-p", port, *QUICK)
    equal(code, UNAVAILABLE, err)
    assert re.search(r"TLS with .* failed: ", err), err
    right = trusting("-h", "localhost", "--tls-server-name", "localhost")
    report_of(port, "pairs -c 2", *right, *QUICK)


@each(*BOTH)
def test_versions_that_do_not_meet_are_told(t, broker):
    port = ports_of(t, broker, "new")["new"]
    report_of(port, "pairs -c 2", *trusting("--tls-version", "1.3"), *QUICK)
    code, _, err = bench("run", "pairs", "-c", 2, *trusting("--tls-version", "1.2"), "-p", port, *QUICK)
    equal(code, UNAVAILABLE, err)
    assert re.search(r"TLS with .* failed: .*(version|protocol)", err, re.I), err


@each(*BOTH)
def test_a_client_without_the_certificate_that_is_asked_for_is_told(t, broker):
    port = ports_of(t, broker, "mtls")["mtls"]
    for version in ("1.2", "1.3"):
        code, _, err = bench("run", "pairs", "-c", 2, *trusting("--tls-version", version), "-p", port, *QUICK)
        equal(code, UNAVAILABLE, err)
        assert re.search(r"TLS with .* failed: .", err), err


def test_a_listener_without_tls_and_one_with(t):
    ports = ports_of(t, "tern", "plain", "tls")
    code, _, err = bench("run", "pairs", "-c", 2, *trusting(), "-p", ports["plain"], *QUICK)
    equal(code, UNAVAILABLE, err)
    assert "does it listen for TLS there?" in err, err
    code, _, err = bench("run", "pairs", "-c", 2, "-p", ports["tls"], *QUICK)
    equal(code, UNAVAILABLE, err)


class Nonsense:
    """A server that answers whatever it is told with the same bytes, and hangs up."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
                with client:
                    client.recv(4096)
                    client.sendall(self.answer)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(4096):
                        pass
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


ANSWERS = {
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS with .* failed: ."),
    "alert": (bytes.fromhex("15030300020228"), "TLS with .* failed: ."),
    "large": (bytes.fromhex("160303ffff") + bytes(70000), "TLS with .* failed: ."),
    "hello": (bytes.fromhex("160303000402000000"), "TLS with .* failed: ."),
    "half": (bytes.fromhex("1603030040020000"), "during the handshake of TLS"),
    "nothing": (b"", "during the handshake of TLS"),
}


@each(*ANSWERS)
def test_a_server_that_talks_nonsense_is_told(t, name):
    answer, said = ANSWERS[name]
    with Nonsense(answer) as server:
        code, _, err = bench("run", "pairs", "-c", 2, "--ssl", "--tls-insecure", "-p", server.port, *QUICK)
        equal(code, UNAVAILABLE, err)
        assert re.search(said, err), err


@each(
    ("-S", "--cacertfile FILE"),
    ("-S --cacertfile /no/such/file", "/no/such/file"),
    ("-S --tls-insecure --certfile /no/such/file", "--keyfile"),
    ("-S --tls-insecure --tls-version 1.1", "1.2 and 1.3"),
    ("--tls-insecure", "add --ssl"),
    ("-S --tls-insecure --tls-resume", "connect, storm or reconnect"),
)
def test_a_line_that_cannot_be_meant_is_told_before_anybody_connects(t, case):
    arguments, said = case
    code, out, err = bench("run", "pairs", "-p", 1, *arguments.split())
    equal((code, out), (USAGE, ""), err)
    assert said in err, err


def test_a_comparison_sets_tls_beside_plain(t):
    path = os.path.join(t.folder(), "runs.json")
    compare = os.path.join(broker_module.ROOT, "bench", "compare")
    build = os.path.dirname(os.path.abspath(broker_module.program()))
    command = [sys.executable, compare, "--build", build, "--quick", "--rows", "tls-resume"]
    command += ["--only", "tern", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    equal(done.returncode, 0, done.stdout + done.stderr)
    with open(path, encoding="utf-8") as source:
        plain, secure = json.load(source)["rows"]
    equal((plain["key"], secure["key"]), ("connect", "tls-resume"))
    (run,) = secure["runs"]["Tern"]
    equal((run["resumed"], run["transport"]), (run["handshakes"], "tls"))
    equal(secure["over_plain"], secure["median"]["Tern"] - plain["median"]["Tern"])
    equal(plain["over_plain"], None)


class Terminator:
    """TLS in front of a plain broker, by Python's ssl, that gives no tickets."""

    def __init__(self, port):
        self.to = port
        pair = certs.server()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair.cert, pair.key)
        self.context.num_tickets = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        try:
            with self.context.wrap_socket(client, server_side=True) as inside:
                with socket.create_connection(("127.0.0.1", self.to)) as plain:
                    threading.Thread(target=self.back, args=(plain, inside), daemon=True).start()
                    while data := inside.recv(4096):
                        plain.sendall(data)
        except OSError:
            pass

    @staticmethod
    def back(plain, inside):
        try:
            while data := plain.recv(4096):
                inside.sendall(data)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_a_server_that_gives_no_tickets_is_found_out(t):
    with Terminator(t.broker().port) as terminator:
        arguments = ("run", "connect", "-c", 2, "--tls-resume", *trusting(), "-p", terminator.port, *QUICK)
        code, out, err = bench(*arguments)
        equal(code, CLEAN, err)
        assert "NOT ALL WERE RESUMED: 0.0 % of the handshakes" in out, out
        report = report_of(terminator.port, "connect -c 2 --tls-resume", *trusting(), *QUICK)
        equal((report["resumed"], report["resuming"]), (0, True))
        assert report["handshakes"] > 0, report
