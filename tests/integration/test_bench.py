"""tern-bench: a short run of every scenario; each counts and checks all its messages itself."""

import json
import subprocess

import broker as broker_module
import suite
import tern_bench
from suite import each, equal, short
from tern_bench import UNAVAILABLE, USAGE, bench

QUICK = ["--seconds", "0.5", "--warmup", "0.1"]

SCENARIOS = (
    "pairs -c 8",
    "pairs -c 8 --window 1",
    "pairs -c 8 --window 32 --burst 8",
    "pairs -c 4 -V 3 -q 1 --window 8",
    "pairs -c 4 -V 5 -q 2 --window 8 --burst 4",
    "pairs -c 2 -s 200000 --window 4 -q 1",
    "pairs -c 4 -V 5 -q 1 --rate 500",
    "fanout -c 40 --window 8 --burst 4",
    "fanout -c 20 -q 2 --window 4",
    "fanin -c 40 --window 8 --burst 4",
    "fanin -c 20 -q 1 --window 4",
)


def lines():
    return ["max_queued_messages 0", "max_inflight_messages 1000"]


@short
@each(*SCENARIOS)
def test_every_message_of_a_scenario_arrives_once_in_order_and_unchanged(t, scenario):
    broker = t.broker(lines=lines())
    code, out, err = bench(
        "run", *scenario.split(), *QUICK, "-p", str(broker.port), "--broker-pid", str(broker.process.pid), "--json"
    )
    assert code == 0, f"exit code {code}:\n{out}{err}"
    report = json.loads(out)
    assert report["clean"] is True and report["sent"] > 0, out
    assert suite.SANITIZED or report["delivered"] > 0, out  # within the time that was measured
    equal(report["received"], report["sent"] * (report["subscribers"] if scenario.startswith("fanout") else 1))


def test_connections_come_and_go(t):
    broker = t.broker()
    code, out, err = bench("run", "connect", "-c", "8", *QUICK, "-p", str(broker.port), "--json")
    assert code == 0, f"exit code {code}:\n{out}{err}"
    assert json.loads(out)["connected"] > 10, out


def test_silent_connections_are_held(t):
    broker = t.broker()
    code, out, err = bench(
        "run", "idle", "-c", "200", *QUICK, "-p", str(broker.port), "--broker-pid", str(broker.process.pid), "--json"
    )
    assert code == 0, f"exit code {code}:\n{out}{err}"
    equal(json.loads(out)["idle_connections"], 200)


def test_the_flags_of_emqtt_bench_publish_and_subscribe(t):
    broker = t.broker()
    port = ["-p", str(broker.port)]
    subscriber = subprocess.Popen(
        [tern_bench.program(), "sub", *port, "-c", "2", "-i", "1", "-t", "bench/%i/#", "-q", "1", "--seconds", "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        subscribed = 0
        while subscribed < 2:
            line = subscriber.stdout.readline()
            assert line, "the subscriber ended early"
            if " sub total=" in line:
                subscribed = int(line.split("total=")[1].split()[0])
        code, out, err = bench(
            "pub", *port, "-c", "2", "-i", "1", "-I", "1", "-t", "bench/%i/%c", "-q", "1", "-s", "16", "-L", "50"
        )
        assert code == 0, f"exit code {code}:\n{out}{err}"
        assert "pub_succ total=50 " in out, out
        received = 0
        while received < 50:
            line = subscriber.stdout.readline()
            assert line, "the subscriber ended early"
            if " recv total=" in line:
                received = int(line.split("total=")[1].split()[0])
        equal(received, 50)
    finally:
        subscriber.terminate()
        subscriber.wait(30)
    equal(subscriber.returncode, 0, "the subscriber's exit code")


def test_a_broker_that_goes_away_is_no_clean_run(t):
    port = broker_module.free_port()
    code, _, err = bench("run", "pairs", "-c", "1", "-p", str(port), *QUICK)
    equal(code, UNAVAILABLE)
    assert "refused or lost" in err, err


@each(
    ("run", "no-such-scenario"),
    ("run",),
    ("no-such-command",),
    ("run", "pairs", "--burst", "4"),
    ("run", "pairs", "-s", "10"),
    ("run", "pairs", "-q", "3"),
    ("run", "pairs", "-c", "0"),
    ("pub", "-c", "1"),
    ("run", "pairs", "what"),
)
def test_wrong_arguments_are_named(t, arguments):
    code, out, err = bench(*arguments)
    equal(code, USAGE)
    equal(out, "")
    assert err.strip(), "nothing is said"
