"""tern-bench of what lasts: the scenario of sessions that are there, stores at a rate, the limit of the disk."""

import os
import re
import subprocess

import broker as broker_module
from liar import Liar
from suite import each, equal
from tern_bench import VIOLATION, report_of, violations

# fmt: off
LIES = (
    ("online -c 400 --subscribers 7",              "lose@50",      {"lost": 1}),
    ("online -c 400 --subscribers 7 -q 2",         "swallow@50",   {"lost": 1}),
    ("online -c 400 --subscribers 7",              "repeat@399",   {"repeated": 1}),
    ("online -c 400 --subscribers 7",              "swap@50",      {"disordered": 1}),
    ("online -c 400 --subscribers 7",              "misdeliver@50", {"lost": 1, "misdelivered": 1}),
    ("online -c 400 --subscribers 7 --rate 2000",  "lose@50",      {"lost": 1}),
    ("queued -c 400 --subscribers 7 --rate 2000",  "repeat@399",   {"repeated": 1}),
)
# fmt: on


@each(*LIES)
def test_what_goes_wrong_is_counted_exactly(t, lie):
    scenario, faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, scenario, code=VIOLATION)
        assert liar.spoiled > 0, f"{faults} did not happen"
        equal(violations(report), wanted, f"what is reported of {faults}")


@each("-q 1", "-q 2 -V 5", "--rate 1000", "--window 1 --publishers 3", "--publishers 64 --subscribers 5")
def test_an_honest_server_is_clean_and_everything_is_counted(t, how):
    with Liar() as liar:
        report = report_of(liar.port, f"online -c 500 --subscribers 20 {how}")
        equal(report["sent"], 500, "messages sent")
        equal(report["delivered"], 500, "acknowledged messages")
        phases = {phase["name"]: phase for phase in report["phases"]}
        equal([phases[name]["count"] for name in ("subscribe", "store", "deliver")][1:], [500, 500])


def test_what_waits_for_its_turn_has_waited_since_its_moment(t):
    with Liar("stall@100=1") as liar:
        report = report_of(liar.port, "online -c 400 --subscribers 5 --rate 400 -q 1")
        phases = {phase["name"]: phase for phase in report["phases"]}
        assert phases["store"]["max_ns"] > 800e6, phases["store"]
        assert phases["store"]["p50_ns"] > 1e6, "a second of silence is in the latencies of all that fell into it"


def test_the_broker_under_test_passes_online_and_at_a_rate(t):
    broker = t.broker(lines=["max_queued_messages 0", "max_inflight_messages 1000"])
    for scenario in ("online -c 2000 --subscribers 30", "online -c 300 --rate 600", "queued -c 300 --rate 600"):
        report_of(broker.port, scenario, "--broker-pid", broker.process.pid)


def test_the_disk_says_how_fast_it_syncs(t):
    program = os.path.join(os.path.dirname(broker_module.program()), "tern-limit")
    result = subprocess.run([program, "--sync", t.folder()], capture_output=True, text=True, timeout=60)
    equal(result.returncode, 0, "exit code")
    found = re.search(r"(\d+) syncs a second, p50 ([\d.]+) ms, p99 ([\d.]+) ms, max ([\d.]+) ms", result.stdout)
    assert found, result.stdout
    rate, p50, p99, most = map(float, found.groups())
    assert rate > 0 and 0 < p50 <= p99 <= most, result.stdout
    equal(os.listdir(t.folder()), [], "what it left behind")
    gone = os.path.join(t.folder(), "gone")
    result = subprocess.run([program, "--sync", gone], capture_output=True, text=True, timeout=60)
    equal(result.returncode, 69, "exit code of a folder that is not there")
    assert gone in result.stderr, result.stderr
