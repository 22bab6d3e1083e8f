"""tern-bench, the scenarios about clients: storms, what a broker holds, sessions that are away.
Small counts; each run checks everything itself, and the liar shows that it does."""

import collections
import contextlib
import signal
import socket
import subprocess
import threading

import broker as broker_module
import liar_websocket
import mqtt
from liar import Liar
from suite import each, equal, short
from tern_bench import CLEAN, UNAVAILABLE, USAGE, VIOLATION, bench, program, report_of, violations

SMALL = {
    "connect": "connect -c 8 --seconds 0.3 --warmup 0.1",
    "storm": "storm -c 60 --rate 300 --held 20",
    "reconnect": "reconnect -c 30 --seconds 0.2",
    "idle": "idle -c 100 --seconds 0.1",
    "subscriptions": "subscriptions -c 1050 --subscribers 7",
    "retained": "retained -c 500",
    "queued": "queued -c 500 --subscribers 7",
    "persist": "persist -c 500 --subscribers 40",
}
HELD = {"idle": 100, "storm": 60, "subscriptions": 1050, "retained": 500, "queued": 500}


def lines():
    return ["max_queued_messages 0", "max_inflight_messages 1000"]


def phases(report):
    return {phase["name"]: phase["count"] for phase in report["phases"]}


@short
@each(*((name, options) for name in SMALL for options in ("-V 3", "-V 5 -q 1", "-V 4 -q 2 -s 1000")))
def test_every_scenario_about_clients_is_clean(t, case):
    name, options = case
    broker = t.broker(lines=lines())
    report = report_of(broker.port, f"{SMALL[name]} {options} --broker-pid {broker.process.pid}")
    equal(violations(report), {})
    equal(report["clean"], True)
    if name in HELD:
        equal(report["things"] or report["idle_connections"], HELD[name], "held")
        assert report["broker_resident"] > 0, report


def test_the_parts_of_a_life_are_told_one_by_one(t):
    broker = t.broker(lines=lines())
    report = report_of(broker.port, SMALL["persist"])
    equal(phases(report), {"subscribe": 40, "store": 500, "come back": 40, "drain": 500})
    equal((report["sent"], report["received"], report["delivered"]), (500, 500, 500))
    report = report_of(broker.port, SMALL["retained"])
    equal(phases(report), {"store": 500, "scan": 500, "erase": 500})
    report = report_of(broker.port, SMALL["subscriptions"])
    equal(phases(report), {"subscribe": 1050, "try": 2 * 1050})
    equal(report["received"], 1050, "those that match are delivered, and no other")


def test_others_are_listened_to_before_a_storm_and_in_it(t):
    broker = t.broker()
    report = report_of(broker.port, "storm -c 60 --rate 120 --held 20")
    told = phases(report)
    equal(told["held before"], 20)
    assert told["others, calm"] > 0 and told["others, storm"] > 0, told
    equal((report["connected"], report["sent"]), (60, 60))


def test_a_message_of_the_others_that_is_lost_in_a_storm_is_counted(t):
    with Liar("lose@30") as liar:
        report = report_of(liar.port, "storm -c 60 --rate 120", code=VIOLATION)
        equal(violations(report), {"lost": 1})


def test_nothing_is_left_behind(t):
    """Sessions and retained messages of an earlier run are gone: the next one is clean, too."""
    broker = t.broker(lines=lines())
    for _ in range(2):
        for name in ("retained", "queued", "persist"):
            equal(violations(report_of(broker.port, SMALL[name])), {}, name)


# scenario | what the server does wrong | what is reported, and nothing else
# In queued and persist 7 clients clear, subscribe, feed and come back: the fourth seven are numbers 21 to 27.
# fmt: off
LIES = (
    ("queued -c 400 --subscribers 7",     "forget_session@22",    {"lost": 57, "forgotten": 1}),
    ("queued -c 400 --subscribers 7",     "hide_session@22",      {"forgotten": 1}),
    ("queued -c 400 --subscribers 7",     "lose_queued@22=3",     {"lost": 3}),
    ("queued -c 400 --subscribers 7",     "swap@50",              {"disordered": 1}),
    ("queued -c 400 --subscribers 7",     "repeat@399",           {"repeated": 1}),
    ("persist -c 400 --subscribers 7 -q 2", "repeat@50",          {"repeated": 1}),
    ("persist -c 400 --subscribers 7",    "mark_dup@50",          {"lost": 1, "corrupt": 1}),
    ("persist -c 400 --subscribers 7",    "swallow@50",           {"lost": 1}),
    ("retained -c 300",                   "lose@10 repeat@20",    {"lost": 1, "repeated": 1}),
    ("retained -c 300",                   "change@20=30",         {"lost": 1, "corrupt": 1}),
    ("retained -c 300",                   "rename@20",            {"lost": 1, "corrupt": 1}),
    ("subscriptions -c 300 --subscribers 7", "lose@10",           {"lost": 1}),
    ("subscriptions -c 300 --subscribers 7", "misdeliver@10",     {"lost": 1, "misdelivered": 1}),
    ("subscriptions -c 300 --subscribers 7 -q 1", "repeat@299",   {"repeated": 1}),
    ("reconnect -c 10 --seconds 0.1 -q 1",  "also_other@12",        {"misdelivered": 1}),
    ("storm -c 20 --rate 200",            "refuse@12=0x87",        {"refused": 1}),
    ("connect -c 4 --seconds 0.2 --warmup 0", "refuse@3=0x87",    {"refused": 1}),
)
# fmt: on


@short
@each(*LIES)
def test_what_a_broker_does_wrong_is_counted(t, lie):
    scenario, faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, scenario, code=VIOLATION)
        assert liar.spoiled > 0, f"{faults} did not happen"
        equal({**violations(report), **({"forgotten": report["forgotten"]} if report["forgotten"] else {})}, wanted)


@each("idle -c 5 --seconds 0.1", "retained -c 10", "queued -c 10 --subscribers 5", "subscriptions -c 10 --subscribers 5")
def test_whoever_is_refused_at_the_begin_has_no_figures(t, scenario):
    with Liar("refuse@2=0x86") as liar:
        code, out, err = bench("run", *scenario.split(), "-V", 5, "-p", liar.port)
        equal((code, out), (UNAVAILABLE, ""))
        assert "0x86" in err and "Bad User Name or Password" in err, err


@each("connect", "storm", "reconnect", "idle", "subscriptions", "retained", "queued", "persist", "pairs")
def test_a_port_where_nobody_listens_is_said_to_be_one(t, name):
    port = broker_module.free_port()
    code, _, err = bench("run", *SMALL.get(name, "pairs").split(), "-p", port)
    assert code in (UNAVAILABLE, VIOLATION), f"exit code {code}"
    assert f"connection refused: is the broker listening on 127.0.0.1:{port}?" in err, err


@each(
    *("retained -c 10 -s 10", "persist --rate 5", "online --rate 5 --window 5", "idle --rate 5", "storm --window 5"),
    "storm --rate 0.0001 -q 3",
    *("idle --held 5", "retained --threads 2", "persist -c 5 -s 23"),
)
def test_options_without_use_are_refused(t, scenario):
    code, out, err = bench("run", *scenario.split())
    equal((code, out), (USAGE, ""))
    assert err.strip(), "nothing is said"


# ---------------------------------------------------------------------------------- ended early

LONG = ("retained -c 5M", "queued -c 5M", "subscriptions -c 5M", "idle -c 300 --seconds 60",
        "storm -c 100000 --rate 100", "reconnect -c 20 --seconds 60", "connect -c 4 --seconds 60")


def after_a_second(scenario, port, act):
    """(exit code, standard output, standard error) of a long run when act(process) came after its first second."""
    process = subprocess.Popen(
        [program(), "run", *scenario.split(), "-p", str(port), "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline(), "it ended before its first second"
    act(process)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@each(*LONG)
def test_a_run_that_is_ended_early_still_gives_its_account(t, scenario):
    broker = t.broker(lines=lines())
    code, out, err = after_a_second(scenario, broker.port, lambda process: process.send_signal(signal.SIGINT))
    equal(code, CLEAN, f"{out}{err}exit code")
    assert "nothing lost" in out and "stopped early" in out, out


@each(*LONG)
def test_a_broker_that_dies_is_told_in_the_account(t, scenario):
    broker = t.broker(lines=lines())
    code, out, err = after_a_second(scenario, broker.port, lambda process: broker.kill())
    equal(code, VIOLATION, f"{out}{err}exit code")
    assert "refused or broken" in out and "tern-bench: client bench-" in err, out + err


# ---------------------------------------------------------------------------------- WebSocket

class Shredder(liar_websocket.Server):
    """Cuts every MQTT packet into a message of many fragments, with pings between them, and gathers the pongs."""

    pongs = collections.Counter()

    def wrap(self, data):
        size = 1 + len(data) // 7
        pieces = [data[at:at + size] for at in range(0, len(data), size)]
        out = b""
        for number, piece in enumerate(pieces):
            opcode = mqtt.BINARY_FRAME if number == 0 else 0
            out += mqtt.WebSocket.encode(mqtt.PING_FRAME, b"there?", mask=False)
            out += mqtt.WebSocket.encode(opcode, piece, fin=number == len(pieces) - 1, mask=False)
        return out

    def take_frame(self):
        frame = super().take_frame()
        if frame is not None and frame[0] == mqtt.PONG_FRAME:
            self.pongs[frame[1]] += 1
        return frame


@short
@each("pairs -c 4 -q 2 --window 8 --burst 4", "fanout -c 10 --rate 200", "pairs -c 1 -s 200000 --window 2 -V 5",
      "connect -c 8", "idle -c 50", "queued -c 300 --subscribers 5", "retained -c 200", "subscriptions -c 300")
def test_everything_goes_over_websocket_too(t, scenario):
    broker = t.broker(lines=lines(), listeners={"ws": ["protocol websockets"]})
    timing = () if "-c 300" in scenario or "-c 200" in scenario else ("--seconds", "0.3", "--warmup", "0.1")
    report = report_of(broker.port, f"{scenario} --ws", *timing)
    equal(violations(report), {})
    equal(report["transport"], "websocket")


def test_frames_of_any_size_and_pings_between_them_are_taken(t):
    class Here(Shredder):
        pongs = collections.Counter()

    with Liar() as liar:
        liar.websocket_server = Here
        report = report_of(liar.port, "pairs -c 2 -q 1 --ws --rate 200 --seconds 0.5 --warmup 0")
        equal(violations(report), {})
        equal((report["sent"], report["received"]), (100, 100))
        equal(set(Here.pongs), {b"there?"})


class Saying:
    """A server that answers whatever comes with the same bytes."""

    def __init__(self, answer):
        self.answer, self.server = answer, socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client, contextlib.suppress(ConnectionResetError):
                client.recv(4096)
                client.sendall(self.answer)
                client.recv(4096)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


ANSWERS = {
    "no such path": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "the answer to another key": UPGRADE + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"
                                           b"Sec-WebSocket-Protocol: mqtt\r\n\r\n",
    "no answer to the key": UPGRADE + b"\r\n",
    "mail": b"220 mail.example.com ESMTP\r\n",
}


@each(*ANSWERS)
def test_a_server_that_is_no_broker_over_websocket_is_told_from_one(t, name):
    with Saying(ANSWERS[name]) as server:
        code, _, err = bench("run", "pairs", "-c", 1, "--ws", "-p", server.port)
        equal(code, UNAVAILABLE)
        assert "does 127.0.0.1" in err and "over WebSocket" in err, err


def test_a_path_that_is_none_is_refused(t):
    code, out, err = bench("run", "pairs", "--ws", "--ws-path", "mqtt")
    equal((code, out), (USAGE, ""))
    assert "mqtt" in err, err
