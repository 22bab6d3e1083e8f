"""Is tern-bench to be believed? It runs against a server that lies (tests/lib/liar.py): what went
wrong is counted exactly, and where nothing went wrong it says so."""

import json
import shutil
import signal
import time

import mqtt
from broker import free_port
from liar import Liar
from suite import each, equal, eventually, short
from tern_bench import CLEAN, UNAVAILABLE, VIOLATION, bench, report_of, start, violations

STEADY = ("--rate", "400", "--seconds", "0.5", "--warmup", "0.1")  # 240 messages

# scenario with its options | what the server does wrong | what has to be reported, and nothing else
# fmt: off
LIES = (
    ("pairs -c 2",           "lose@50",                     {"lost": 1}),
    ("pairs -c 2",           "lose@0",                      {"lost": 1}),
    ("pairs -c 2",           "lose@239",                    {"lost": 1}),
    ("pairs -c 2 -q 1",      "lose@50-59",                  {"lost": 10}),
    ("pairs -c 2 -q 2",      "swallow@50",                  {"lost": 1}),
    ("fanout -c 5 -q 1",     "swallow@50",                  {"lost": 5}),
    ("fanout -c 5",          "lose@50",                     {"lost": 1}),
    ("fanin -c 5",           "lose@50 lose@60",             {"lost": 2}),
    ("pairs -c 2",           "repeat@50",                   {"repeated": 1}),
    ("pairs -c 2 -q 1",      "repeat@50-52",                {"repeated": 3}),
    ("pairs -c 2 -q 2",      "repeat@50",                   {"repeated": 1}),
    ("fanout -c 5 -q 2",     "accept_twice@50",             {"repeated": 5}),
    ("fanin -c 5",           "repeat@50",                   {"repeated": 1}),
    ("pairs -c 1",           "swap@50",                     {"disordered": 1}),
    ("pairs -c 1 -q 1",      "swap@50 swap@100",            {"disordered": 2}),
    ("pairs -c 1 -q 2",      "swap@50",                     {"disordered": 1}),
    ("pairs -c 2",           "lose@50 repeat@70",           {"lost": 1, "repeated": 1}),
    ("pairs -c 2",           "change@50=0",                 {"lost": 1, "corrupt": 1}),
    ("pairs -c 2",           "change@50=23",                {"lost": 1, "corrupt": 1}),
    ("pairs -c 2 -s 5000",   "change@50=-1",                {"lost": 1, "corrupt": 1}),
    ("pairs -c 2",           "cut@50=1",                    {"lost": 1, "corrupt": 1}),
    ("pairs -c 2",           "cut@50=60",                   {"lost": 1, "corrupt": 1}),
    ("pairs -c 2",           "rename@50",                   {"lost": 1, "corrupt": 1}),
    ("pairs -c 2 -q 1",      "lower_qos@50",                {"lost": 1, "corrupt": 1}),
    ("pairs -c 2 -q 1",      "mark_dup@50",                 {"lost": 1, "corrupt": 1}),
    ("pairs -c 2",           "mark_retained@50",            {"lost": 1, "corrupt": 1}),
    ("pairs -c 2",           "misdeliver@50",               {"lost": 1, "misdelivered": 1}),
    ("pairs -c 3 -q 2",      "also_other@50",               {"misdelivered": 1}),
    ("pairs -c 1",           "late@50=0.1",                 {"disordered": 1}),
    ("pairs -c 1 -q 2",      "late@50=0.1 late@100=0.2",    {"disordered": 2}),
    ("shared -c 8",          "lose@50",                     {"lost": 1}),
    ("shared -c 8 -q 1",     "group_twice@50",              {"repeated": 1}),
    ("shared -c 8 -q 2",     "repeat@50",                   {"repeated": 1}),
    ("shared -c 1",          "late@50=0.1",                 {"disordered": 1}),
    ("shared -c 8",          "change@50=30",                {"lost": 1, "corrupt": 1}),
    ("wildcards",            "lose@50 repeat@90",           {"lost": 1, "repeated": 1}),
    ("wildcards -q 1",       "misdeliver@50",               {"lost": 1, "misdelivered": 1}),
)
# fmt: on


@short
@each(*LIES)
def test_what_goes_wrong_is_counted_exactly(t, lie):
    scenario, faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, scenario, *STEADY, code=VIOLATION)
        assert liar.spoiled > 0, f"{faults} did not happen"
        equal(violations(report), wanted, f"what is reported of {faults}")
        equal(report["clean"], False)
        equal(report["sent"], liar.received, "messages sent")


@short
@each(
    *("pairs -c 2", "pairs -c 2 -q 1 -V 5", "pairs -c 2 -q 2 -V 3", "fanout -c 5 -q 1", "fanin -c 5 -q 2 -V 5"),
    *("pairs -c 1 -s 24", "pairs -c 1 -s 70000 -q 1"),
)
def test_where_nothing_goes_wrong_nothing_is_reported(t, scenario):
    with Liar() as liar:
        report = report_of(liar.port, scenario, *STEADY)
        equal(violations(report), {})
        equal(report["clean"], True)
        equal((report["sent"], report["received"]), (liar.received, liar.counts["Deliver"]))


@each("pairs -c 2 --window 4", "fanout -c 5 --window 8 --burst 4 -q 1", "fanin -c 3 --window 4 -q 2")
def test_in_a_closed_loop_too(t, scenario):
    short_run = ("--seconds", "0.3", "--warmup", "0.1")
    with Liar() as liar:
        report = report_of(liar.port, scenario, *short_run)
        equal(report["sent"], liar.received)
    with Liar("repeat@3", "repeat@9") as liar:
        report = report_of(liar.port, scenario, *short_run, code=VIOLATION)
        equal(liar.spoiled, 2)
        equal(violations(report), {"repeated": 2})
    with Liar("change@5=30") as liar:
        report = report_of(liar.port, scenario, *short_run, code=VIOLATION)
        equal(report["corrupt"], 1)


@each(
    *(("answer_twice@50", 1), ("answer_twice@50 no_answer@60", 1), ("answer_other@50", 1)),
    *(("answer_twice@50", 2), ("answer_twice@51", 2), ("answer_other@50", 2), ("answer_other@51", 2)),
)
def test_an_answer_to_nothing_hides_no_missing_one(t, lie):
    faults, qos = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, f"pairs -c 1 -q {qos}", *STEADY, code=VIOLATION)
        equal(report["refused"], 1, f"{violations(report)}: refused")


@each(("no_answer@50", 1), ("no_answer@50", 2), ("no_answer@51", 2), ("no_release@50", 2))
def test_an_answer_that_never_comes_is_noticed(t, lie):
    faults, qos = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, f"pairs -c 2 -q {qos}", *STEADY, code=VIOLATION)
        equal(violations(report), {"stalled": True})


@each("drop_publisher@50", "drop_subscriber@50")
def test_a_connection_that_breaks_ends_the_run_and_is_counted(t, faults):
    with Liar(faults) as liar:
        report = report_of(liar.port, "pairs -c 2 -q 1", *STEADY, code=VIOLATION)
        equal(report["refused"], 1)
        assert report["lost"] >= 1, violations(report)  # and what left before the break was noticed


@each(*range(24))
def test_bytes_that_are_no_packet_are_no_clean_run(t, seed):
    with Liar(f"garbage@20={seed}") as liar:
        report = report_of(
            liar.port, f"pairs -c 1 -q {seed % 3} -V {3 + seed % 3}", *STEADY, code=VIOLATION, seconds=30
        )
        equal(liar.spoiled, 1)
        assert report["lost"] > 0 or report["refused"] > 0, report


@each("refuse@3=0x87", "refuse_grant@1", "grant_less@1")
def test_a_client_that_is_refused_ends_the_run_before_it_begins(t, faults):
    with Liar(faults) as liar:
        code, out, err = bench("run", "pairs", "-c", 3, "-q", 1, *STEADY, "-p", liar.port)
        equal(code, UNAVAILABLE)
        equal(out, "")
        assert "refused or lost" in err, err
        equal(liar.received, 0)


@each(
    *("pairs -c 3", "pairs -c 3 -q 1 --window 4", "shared -c 3"),
    *("storm -c 100000", "connect -c 3", "idle -c 20", "reconnect -c 3"),
)
def test_a_broker_that_dies_in_the_middle_is_no_clean_run(t, scenario):
    with Liar() as liar:
        process = start(liar.port, scenario, "--seconds", 60, "--warmup", 0)
        eventually(lambda: liar.counts["Welcome"] >= 20 or liar.received > 50, what="the run has begun")
    out, err = process.communicate(timeout=30)
    assert process.returncode in (VIOLATION, UNAVAILABLE), f"exit code {process.returncode}:\n{out}{err}"
    assert out == "" or violations(json.loads(out))["refused"] > 0, out
    assert "lost" in err or "refused" in err, err


def test_a_slow_welcome_is_waited_for(t):
    with Liar("late_welcome@3=0.3") as liar:
        equal(violations(report_of(liar.port, "pairs -c 3", *STEADY)), {})


# ---------------------------------------------------------------------------------- what is kept

# fmt: off
LIES_ABOUT_WHAT_IS_KEPT = (
    ("persist",       "lose_queued@*=1",    {"lost": 3}),
    ("persist",       "repeat_queued@*",    {"repeated": 3}),
    ("persist",       "swap_queued@*",      {"disordered": 3}),
    ("persist",       "forget_session@*",   {"lost": 300, "forgotten": 3}),
    ("persist",       "hide_session@*",     {"forgotten": 3}),
    ("persist",       "no_answer@10",       {"stalled": True}),
    ("persist -q 2",  "lose@10",            {"lost": 1}),
    ("queued",        "lose_queued@*=2",    {"lost": 6}),
    ("queued",        "forget_session@*",   {"lost": 300, "forgotten": 3}),
    ("queued",        "change@10=3",        {"lost": 1, "corrupt": 1}),
    ("queued",        "misdeliver@10",      {"lost": 1, "misdelivered": 1}),
    ("retained",      "swallow@10",         {"lost": 1}),
    ("retained",      "lose@10",            {"lost": 1}),
    ("retained",      "repeat@10",          {"repeated": 1}),
    ("retained",      "mark_fresh@10",      {"lost": 1, "corrupt": 1}),
    ("retained",      "rename@10",          {"lost": 1, "corrupt": 1}),
    ("retained",      "swallow@310",        {"misdelivered": 1}),  # one of those that erase
    ("subscriptions", "lose@10",            {"lost": 1}),
    ("subscriptions", "also_other@10",      {"misdelivered": 1}),
    ("subscriptions", "no_grant@1",         {"stalled": True}),
)
# fmt: on


def count_of_300(scenario):
    return f"{scenario} -c 300" + ("" if scenario == "retained" else " --subscribers 3")


@each(*LIES_ABOUT_WHAT_IS_KEPT)
def test_what_a_broker_should_have_kept_is_missed(t, lie):
    scenario, faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, count_of_300(scenario), code=VIOLATION)
        equal(violations(report), wanted, f"what is reported of {faults}")


@each("persist", "persist -q 2 -V 5", "queued", "queued -q 2", "retained", "subscriptions -V 5")
def test_what_was_kept_is_found_again(t, scenario):
    with Liar() as liar:
        report = report_of(liar.port, count_of_300(scenario))
        equal(violations(report), {})
        equal(report["received"], 300)
        equal(liar.retained, {}, "retained messages left behind")


# ---------------------------------------------------------------------------------- connections

@each(
    ("storm -c 100", "refuse@30=0x87", {"refused": 1}),
    ("storm -c 100 --rate 200", "drop_later@30=0.1", {"refused": 1}),
    ("storm -c 100", "no_welcome@30", {"stalled": True}),
    ("idle -c 10", "drop_later@3=0.2", {"refused": 1}),
    ("connect -c 4", "refuse@30=0x87", {"refused": 1}),
    ("connect -c 4", "no_welcome@30", {"stalled": True}),
    ("reconnect -c 10", "repeat@30", {"repeated": 1}),
    ("reconnect -c 10", "lose@30", {"lost": 1, "stalled": True}),
)
def test_a_connection_that_is_not_served_is_counted(t, lie):
    scenario, faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, scenario, "--seconds", 0.5, "--warmup", 0, code=VIOLATION)
        equal(violations(report), wanted, f"what is reported of {faults}")


@each("storm -c 100", "idle -c 50", "connect -c 4", "reconnect -c 10")
def test_connections_that_are_served_are_no_alarm(t, scenario):
    with Liar("late_welcome@20=0.1") as liar:
        report = report_of(liar.port, scenario, "--seconds", 0.5, "--warmup", 0)
        equal(violations(report), {})
        if scenario.startswith(("storm", "connect")):
            assert report["latency_ns"]["max"] >= 0.1e9, report["latency_ns"]
        eventually(lambda: not liar.connections, what="everybody has left")


# ---------------------------------------------------------------------------------- WebSocket

@each(("", {}), ("lose@50", {"lost": 1}), ("change@50=40", {"lost": 1, "corrupt": 1}), ("swap@50", {"disordered": 1}))
def test_websocket_is_judged_alike(t, lie):
    faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, "pairs -c 1 -q 1 --ws", *STEADY, code=VIOLATION if wanted else CLEAN)
        equal(violations(report), wanted)
        equal(report["sent"], liar.received)


# ---------------------------------------------------------------------------------- several as one

@each(
    ("pairs -c 4 -q 1",  "lose@50 repeat@70 change@90=30", {"lost": 2, "repeated": 1, "corrupt": 1}),
    ("fanout -c 5 -q 1", "swallow@50",                     {"lost": 5}),
    ("fanin -c 5",       "repeat@50",                      {"repeated": 1}),
    ("shared -c 8",      "group_twice@50 lose@80",         {"lost": 1, "repeated": 1}),
    ("pairs -c 4 -q 2",  "no_answer@50",                   {"stalled": True}),
    ("wildcards",        "lose@50 repeat@90",              {"lost": 1, "repeated": 1}),
    ("pairs -c 4 -q 1",  "",                               {}),
)  # fmt: skip
def test_two_threads_give_one_account(t, lie):
    scenario, faults, wanted = lie
    with Liar(faults) as liar:
        report = report_of(liar.port, scenario, *STEADY, "--threads", 2, code=VIOLATION if wanted else CLEAN)
        equal(violations(report), wanted)
        equal(report["sent"] + report["unsent"], 240)
        equal(report["sent"], liar.received)


def test_a_search_accepts_no_rate_at_which_anything_goes_wrong(t):
    """From its 3000th delivery on everything comes twice, as if the broker broke under load: the third
    step is the first that meets it."""
    with Liar("repeat@3000-") as liar:
        code, out, err = bench(
            *("run", "pairs", "-c", 2, "--rate", 2000, "--seconds", 0.3, "--warmup", 0),
            *("--search", "loss=0", "--json", "-p", liar.port),
        )
        equal(code, CLEAN, err)
        report = json.loads(out)
        equal(violations(report), {})
        assert report["delivered"] <= 3000, report["delivered"]
        assert "repeated" in err, err


# ---------------------------------------------------------------------------------- time

def test_a_stall_is_seen_by_every_message_that_was_due_meanwhile(t):
    """No coordinated omission: at 200/s a second without service makes 200 late messages, half of
    them by half a second or more. Where requests wait for answers it would be one slow message."""
    with Liar("stall@100=1") as liar:
        report = report_of(liar.port, "pairs -c 2 --rate 200 --seconds 2 --warmup 0")
        latency = report["latency_ns"]
        equal(report["sent"], 400)
        assert latency["max"] >= 0.99e9, latency
        assert latency["p90"] >= 0.75e9, latency  # 160 of 400 or more are later than 0.2 s, 40 later than 0.8 s


def test_a_stall_at_the_end_of_the_window_is_seen_too(t):
    with Liar("stall@190=1") as liar:
        latency = report_of(liar.port, "pairs -c 2 --rate 200 --seconds 1 --warmup 0")["latency_ns"]
        assert latency["max"] >= 0.94e9, latency


def test_a_generator_that_stands_still_blames_itself(t):
    with Liar() as liar:
        process = start(liar.port, "pairs -c 2 --rate 200 --seconds 1.5 --warmup 0")
        eventually(lambda: liar.received > 50, what="the run is under way")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=30)
        equal(process.returncode, CLEAN, err)
        report = json.loads(out)
        equal(report["sent"], 300)
        equal(report["generator_bound"], True)
        assert report["lateness_max_ns"] >= 0.45e9, report["lateness_max_ns"]
        assert report["latency_ns"]["max"] >= 0.45e9, report["latency_ns"]  # since nobody else can tell


def test_a_delay_is_in_every_latency(t):
    with Liar("late@*=0.05") as liar:
        latency = report_of(liar.port, "pairs -c 2", *STEADY)["latency_ns"]
        assert latency["p50"] >= 50e6, latency
        assert latency["min"] >= 50e6, latency


def test_a_stall_in_the_warm_up_is_not(t):
    with Liar("stall@10=0.3") as liar:
        report = report_of(liar.port, "pairs -c 2 --rate 100 --seconds 0.5 --warmup 1")
        equal(report["sent"], 150)


@each((1000, 0.5, 0.2), (333, 1, 0), (7, 1, 0))
def test_an_open_loop_sends_as_many_as_rate_and_time_imply(t, case):
    rate, seconds, warmup = case
    with Liar() as liar:
        report = report_of(
            liar.port, "pairs -c 3", "--rate", rate, "--seconds", seconds, "--warmup", warmup
        )
        wanted = rate * (seconds + warmup)
        assert abs(report["sent"] - wanted) <= 1, f"{report['sent']} sent, {wanted} expected"
        equal(report["sent"], liar.received)


@each("pairs -c 2", "pairs -c 2 -q 1", "pairs -c 2 -s 100000")
def test_a_rate_that_cannot_be_reached_is_admitted(t, scenario):
    """Five million a second from one thread: what was not sent is counted, to the last message."""
    with Liar() as liar:
        report = report_of(liar.port, scenario, "--rate", 5000000, "--seconds", 0.2, "--warmup", 0)
        equal(report["sent"] + report["unsent"], 1000000)
        assert report["unsent"] > 0, report  # whether the generator or the liar was too slow: it is said
        equal(report["sent"], liar.received)
        code, out, _ = bench("run", *scenario.split(), "--rate", 5000000, "--seconds", 0.2, "-p", liar.port)
        assert "never left" in out, out


def test_a_broker_that_reads_nothing_for_a_while_gets_everything_later(t):
    """What it was not ready for waits in the schedule and keeps its moment."""
    with Liar("stall@0=0.6") as liar:
        report = report_of(liar.port, "pairs -c 1 -s 60000 --rate 2000 --seconds 0.5 --warmup 0")
        equal(report["sent"] + report["unsent"], 1000)
        equal(report["sent"], liar.received)
        assert report["latency_ns"]["max"] >= 0.55e9, report["latency_ns"]


# ---------------------------------------------------------------------------------- fairness

@each(("", 100, 100, 1.0), ("unfair@*", 0, 500, 0.2), ("unfair@0-399", 20, 420, 0.2809))
def test_the_shares_of_a_group_are_told(t, case):
    """500 messages to five members: evenly, all to one, or most to one. None of it breaks a promise."""
    faults, least, most, jain = case
    with Liar(faults) as liar:
        report = report_of(liar.port, "shared -c 8 --rate 1000 --seconds 0.5 --warmup 0")
        equal((report["members"], report["member_least"], report["member_most"]), (5, least, most))
        assert abs(report["jain"] - jain) < 0.0001, report["jain"]


# ---------------------------------------------------------------------------------- a witness

def mosquitto(t):
    """The port of a mosquitto of this test's own."""
    port = free_port()
    t.program(shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-p", port).wait_line("running")
    return port


@each("tern", "mosquitto", "liar")
def test_mosquitto_sub_counts_the_same_messages(t, broker):
    """An independent client on the same topics sees what tern-bench says it sent, whoever forwards it."""
    with Liar() as liar:
        port = {"tern": lambda: t.broker().port, "mosquitto": lambda: mosquitto(t), "liar": lambda: liar.port}[broker]()
        witness = t.program("mosquitto_sub", "-p", port, "-t", "bench/#", "-q", "2", "-F", "%t %l")
        probe = mqtt.Client(port, 4)
        probe.connect("probe")

        def is_heard():
            probe.publish("bench/probe", "here?", qos=1)
            return witness.lines

        eventually(is_heard, what="the witness hears")
        report = report_of(port, "pairs -c 4 -q 1", *STEADY)
        probe.publish("bench/end", "", qos=1)
        witness.wait_line("^bench/end")
        seen = [line for line in witness.lines if line not in ("bench/probe 5", "bench/end 0")]
        equal(len(seen), report["sent"])
        equal({line.split()[1] for line in seen}, {"64"})
        equal({line.split()[0] for line in seen}, {f"bench/{pair}" for pair in range(4)})


@each("pairs -c 4 -V 5", "pairs -c 4 -q 2", "fanout -c 8 -q 1", "fanin -c 8", "shared -c 8 -q 1", "wildcards -q 1")
def test_mosquitto_too_is_found_clean(t, scenario):
    """A broker that we did not write, and that nobody says loses messages at such a rate."""
    report = report_of(mosquitto(t), scenario, *STEADY)
    equal(violations(report), {})
    equal(report["sent"] + report["unsent"], 240)
