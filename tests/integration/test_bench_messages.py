"""tern-bench's messages: shapes, QoS side by side, persistent sessions; what fits together and what does not."""

import json
import signal
import subprocess

import mqtt
from suite import each, equal, short
from tern_bench import CLEAN, USAGE, bench, program, report_of, violations

QUICK = ("--seconds", "0.4", "--warmup", "0.1")
OTHERS = ["max_queued_messages 0", "max_inflight_messages 1000"]

# scenario with its options | how often each message is delivered; None: one to three times
# fmt: off
SHAPES = (
    ("pairs -c 4 -V 5",                                   1),
    ("mixed -c 9 --rate 400",                             1),
    ("mixed -c 6 --window 4 -V 5",                        1),
    ("fanout -c 6 --publishers 3 --rate 200",             6),
    ("fanin -c 6 --subscribers 2 -q 1 --rate 200",        2),
    ("shared -c 6 --subscribers 4 --groups 2 --rate 400", 2),
    ("shared -c 6 --subscribers 3 -q 2 --window 4",       1),
    ("wildcards -c 7 --filters 200 --rate 400",           None),
    ("wildcards -c 7 --filters 200 -q 1 --window 2",      None),
)
# fmt: on


@short
@each(*SHAPES)
def test_every_shape_delivers_what_it_should(t, shape):
    scenario, times = shape
    report = report_of(t.broker(lines=OTHERS).port, scenario, *QUICK)
    equal(violations(report), {})
    assert report["sent"] > 0, report
    if times is None:
        assert report["sent"] < report["received"] < 3 * report["sent"], report
    else:
        equal(report["received"], times * report["sent"])
    equal(report["unsent"], 0)


def test_a_group_is_served_and_its_shares_are_told(t):
    report = report_of(t.broker(lines=OTHERS).port, "shared -c 6 --subscribers 4 --groups 2 --rate 400", *QUICK)
    equal(report["members"], 4)
    assert report["member_least"] <= report["member_most"] <= report["received"], report
    assert 0 < report["jain"] <= 1, report


# What an earlier run left behind is no part of this one, and this one leaves nothing behind.
@each(4, 5)
def test_persistent_sessions_are_forgotten_before_and_after(t, version):
    broker = t.broker(lines=OTHERS)
    port = broker.port
    how = {"clean": False}
    if version == 5:
        how["props"] = {"session_expiry": 3600}
    left = mqtt.Client(port, version)
    left.connect("bench-sub-0", **how)
    left.subscribe("bench/#", qos=1)
    left.disconnect()
    feeder = mqtt.Client(port, version)
    feeder.connect("feeder")
    feeder.publish("bench/0", b"an old message", qos=1)

    report = report_of(port, f"pairs -c 2 -q 1 -V {version} --persistent --rate 200", *QUICK)
    equal(violations(report), {})
    equal(report["received"], report["sent"])
    equal(report["persistent"], True)

    for name in ("bench-sub-0", "bench-sub-1", "bench-pub-0", "bench-pub-1"):
        back = mqtt.Client(port, version)
        equal(back.connect(name, clean=False).session_present, False, name)
        back.disconnect()


def test_an_interrupted_run_still_accounts_for_every_message(t):
    port = t.broker(lines=OTHERS).port
    run = subprocess.Popen(
        [program(), "run", "pairs", "-c", "2", "-q", "1", "--seconds", "60", "--json", "--progress", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr.readline(), "no second of the run was told"
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    equal(run.returncode, CLEAN, err)
    report = json.loads(out)
    equal(violations(report), {})
    equal(report["stopped_early"], True)
    equal(report["received"], report["sent"])
    assert report["seconds"] < 60, report


# options | a word of the reason
# fmt: off
UNFIT = (
    ("pairs --rate 100 --window 4",               "exclude each other"),
    ("pairs --burst 4",                           "--window"),
    ("pairs --window 2 --burst 4",                "does not fit"),
    ("pairs --persistent",                        "-q 1"),
    ("pairs --publishers 2 --subscribers 3",      "as many publishers as subscribers"),
    ("mixed -q 1",                                "leave -q out"),
    ("shared --subscribers 2 --groups 3",         "more groups than subscribers"),
    ("wildcards -c 2",                            "-c 3"),
    ("wildcards -c 7 --filters 5",                "fewer filters"),
    ("fanout --window 4 --threads 2",             "--rate"),
    ("pairs -s 23",                               "24"),
)
# fmt: on


@each(*UNFIT)
def test_what_does_not_fit_together_is_refused_with_the_reason(t, case):
    options, word = case
    code, out, err = bench("run", *options.split(), "-p", 1)
    equal(code, USAGE)
    equal(out, "")
    assert word in err, err
