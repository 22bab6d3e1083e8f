"""tern-bench, the scenarios about clients: storms, what a broker holds, sessions that are away.
Small counts; each run checks everything itself, and the liar shows that it does."""

import signal
import subprocess

import broker as broker_module
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
    ("storm -c 20 --rate 200",            "refuse@3=0x87",        {"refused": 1}),
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
    *("retained -c 10 -s 10", "queued --rate 5", "idle --rate 5", "storm --window 5", "storm --rate 0.0001 -q 3"),
    *("idle --held 5", "retained --threads 2", "persist -c 5 -s 23"),
)
def test_options_without_use_are_refused(t, scenario):
    code, out, err = bench("run", *scenario.split())
    equal((code, out), (USAGE, ""))
    assert err.strip(), "nothing is said"


# ---------------------------------------------------------------------------------- ended early

@each("retained -c 1000000", "queued -c 1000000", "idle -c 3000 --seconds 60", "storm -c 100000 --rate 100",
      "subscriptions -c 1000000", "reconnect -c 20 --seconds 60", "connect -c 4 --seconds 60")
def test_a_run_that_is_ended_early_still_gives_its_account(t, scenario):
    broker = t.broker(lines=lines())
    process = subprocess.Popen(
        [program(), "run", *scenario.split(), "-p", str(broker.port), "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline(), "it ended before its first second"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    equal(process.returncode, CLEAN, f"{out}{err}exit code")
    assert "nothing lost" in out, out
