"""tern-bench by several generators: threads of one process, agents that a leader sends its job to."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

import broker as broker_module
from suite import each, equal, eventually, short
from tern_bench import CLEAN, NO_HOST, UNAVAILABLE, USAGE, bench, program, report_of, violations

QUICK = ("--seconds", "0.5", "--warmup", "0.1")
WAIT_S = 30


class Agent:
    """A running `tern-bench agent` on a port of the kernel's choice; its lines are kept."""

    def __init__(self, *arguments, host="127.0.0.1"):
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [program(), "agent", "--listen", f"{host}:0", *arguments], stdin=subprocess.DEVNULL, stderr=self.log
        )
        try:
            self.address = self.await_line("listening on ").rsplit(" ", 1)[1]
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise
        self.port = int(self.address.rsplit(":", 1)[1])

    def lines(self):
        """All that it has said, without what is not a whole line yet."""
        text = os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")
        return text.split("\n")[:-1]

    def await_line(self, part):
        """The first line that has part in it, once it is there."""

        def found():
            return [line for line in self.lines() if part in line] or self.process.poll() is not None

        eventually(found, WAIT_S, f"'{part}'")
        lines = [line for line in self.lines() if part in line]
        assert lines, f"the agent ended without saying '{part}': {self.lines()}"
        return lines[0]

    def stop(self, number=signal.SIGTERM):
        """The exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self.log.close()


def list_of(*agents):
    return ",".join(agent.address for agent in agents)


def lines():
    return ["max_queued_messages 0", "max_inflight_messages 1000"]


# scenario with its options | how often each message is delivered
# fmt: off
SHAPES = (
    ("pairs -c 8 --window 4",                           1),
    ("pairs -c 8 --window 8 --burst 4 -q 1",            1),
    ("pairs -c 7 -q 2 --rate 400",                      1),
    ("fanout -c 12 --rate 200",                        12),
    ("fanout -c 4 --publishers 3 -q 1 --rate 200",      4),
    ("fanin -c 12 --rate 400",                          1),
    ("shared -c 12 --subscribers 4 -q 1 --rate 400",    1),
)
# fmt: on


@short
@each(*SHAPES)
def test_threads_make_one_load_and_one_account(t, shape):
    scenario, each_count = shape
    broker = t.broker(lines=lines())
    report = report_of(broker.port, scenario, *QUICK, "--threads", "2", "--broker-pid", broker.process.pid)
    equal(report["generators"], 2)
    equal(violations(report), {})
    assert report["sent"] > 0, report
    equal(report["received"], report["sent"] * each_count)
    assert report["broker_cpu_us"] > 0, report


@each(1, 2, 3, 8)
def test_an_open_loop_sends_as_many_messages_with_any_number_of_threads(t, threads):
    broker = t.broker(lines=lines())
    report = report_of(broker.port, "pairs -c 4 --rate 1000", *QUICK, "--threads", threads)
    equal(report["sent"], 600)
    equal(report["received"], 600)


def test_wildcards_are_judged_exactly_by_several(t):
    broker = t.broker(lines=lines())
    report = report_of(broker.port, "wildcards -c 10 --rate 400", *QUICK, "--threads", "2")
    equal(violations(report), {})
    assert report["sent"] < report["received"] <= 3 * report["sent"], report


@each("connect -c 8", "idle -c 50", "storm -c 50 --rate 500")
def test_clients_are_shared_out_among_threads(t, scenario):
    broker = t.broker()
    report = report_of(broker.port, scenario, *QUICK, "--threads", "3", "--broker-pid", broker.process.pid)
    equal(report["generators"], 3)
    equal(violations(report), {})
    if scenario.startswith("idle"):
        equal(report["idle_connections"], 50)
    if scenario.startswith("storm"):
        equal(report["connected"], 50)


def test_a_closed_loop_that_nobody_sees_whole_is_refused(t):
    code, out, err = bench("run", "fanout", "--window", "4", "--threads", "2", *QUICK)
    equal(code, USAGE)
    equal(out, "")
    assert "--rate" in err and "closed loop" in err, err


def test_threads_without_a_broker_say_so(t):
    port = broker_module.free_port()
    code, _, err = bench("run", "pairs", "-c", "4", "--threads", "2", "-p", port, *QUICK)
    equal(code, UNAVAILABLE)
    assert any("generator" in line and "connection refused" in line for line in err.splitlines()), err


def test_agents_without_a_broker_say_so(t):
    port = broker_module.free_port()
    with Agent() as agent:
        code, _, err = bench("run", "pairs", "-c", "4", "-p", port, "--agents", agent.address, *QUICK)
        equal(code, UNAVAILABLE)
        assert agent.address in err and "connection refused" in err and str(port) in err, err


@short
@each(*SHAPES)
def test_agents_make_one_load_and_one_account(t, shape):
    scenario, each_count = shape
    broker = t.broker(lines=lines())
    with Agent() as one, Agent("--threads", "2") as other:
        report = report_of(
            broker.port,
            scenario,
            *QUICK,
            *("--agents", list_of(one, other), "--broker-pid", broker.process.pid),
        )
        equal(one.stop(), 0)
        equal(other.stop(), 0)
    equal(report["generators"], 3)
    equal(violations(report), {})
    assert report["sent"] > 0, report
    equal(report["received"], report["sent"] * each_count)
    assert report["broker_cpu_us"] > 0, report  # the leader has looked


def test_a_leader_may_generate_too(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        report = report_of(
            broker.port, "fanin -c 9 --rate 500", *QUICK, "--agents", agent.address, "--threads", "2"
        )
    equal(report["generators"], 3)
    equal(report["sent"], 300)
    equal(report["received"], 300)


@each("", "--threads 1", "--threads 2")
def test_the_seconds_of_all_are_one_series(t, own):
    broker = t.broker(lines=lines())
    with Agent() as one, Agent("--threads", "2") as other:
        report = report_of(
            broker.port,
            "pairs -c 9 --rate 400 --seconds 1.2 --warmup 0.1",
            *own.split(),
            *("--agents", list_of(one, other), "--broker-pid", broker.process.pid, "--progress"),
        )
    seconds = report["series"]["seconds"]
    equal(report["sent"], 520)
    equal(sum(second["sent"] for second in seconds), 520)
    equal(sum(second["delivered"] for second in seconds), 520)
    assert seconds[0]["broker_resident"] > 0, seconds[0]


@each(("--threads", "3"), ("--agents",))
def test_progress_is_that_of_all(t, how):
    broker = t.broker(lines=lines())
    with Agent() as one, Agent() as other:
        agents = (list_of(one, other),) if how == ("--agents",) else ()
        scenario = ("pairs", "-c", "6", "--rate", "300", "--seconds", "2", "--warmup", "0.1")
        code, out, err = bench("run", *scenario, "-p", broker.port, "--progress", "--json", *how, *agents)
    equal(code, CLEAN, err)
    told = [line for line in err.splitlines() if " s: sent " in line]
    equal([int(line.split(" s: ")[0]) for line in told], list(range(1, len(told) + 1)))
    equal(sum(int(line.split(" sent ")[1].split(",")[0]) for line in told), 630, err)
    equal(json.loads(out)["sent"], 630)


def test_an_agent_may_be_reached_by_ipv6(t):
    broker = t.broker(lines=lines())
    with Agent(host="[::1]") as agent:
        assert agent.address.startswith("[::1]:"), agent.address
        report = report_of(broker.port, "pairs -c 2 --rate 200", *QUICK, "--agents", agent.address)
        equal(report["sent"], 120)


def test_an_agent_serves_one_leader_after_the_other(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        for _ in range(3):
            report = report_of(broker.port, "pairs -c 2 --rate 200", *QUICK, "--agents", agent.address)
            equal(report["sent"], 120)


def start_long_run(broker, *arguments):
    """A run that somebody will end; wait until it is under way."""
    return subprocess.Popen(
        [program(), "run", "pairs", "-c", "4", "--rate", "200", "--seconds", "60", "-p", str(broker.port), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_agent_that_dies_ends_the_run_by_its_name(t):
    broker = t.broker(lines=lines())
    with Agent() as well, Agent() as dying:
        leader = start_long_run(broker, "--agents", list_of(well, dying), "--json")
        dying.await_line("generators 1 to 1 of 2")
        well.await_line("generators 0 to 0 of 2")
        time.sleep(0.5)
        dying.stop(signal.SIGKILL)
        out, err = leader.communicate(timeout=WAIT_S)
        equal(leader.returncode, UNAVAILABLE)
        equal(out, "")
        assert dying.address in err and "lost" in err, err
        well.await_line("failed: the leader says")
        report = report_of(broker.port, "pairs -c 2 --rate 200", *QUICK, "--agents", well.address)
        equal(report["sent"], 120)


def test_an_agent_that_is_stopped_says_so_to_its_leader(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        leader = start_long_run(broker, "--agents", agent.address)
        agent.await_line("generators 0 to 0 of 1")
        time.sleep(0.5)
        equal(agent.stop(), 0)
        _, err = leader.communicate(timeout=WAIT_S)
        equal(leader.returncode, UNAVAILABLE)
        assert agent.address in err and "the agent was stopped" in err, err


def test_an_agent_survives_its_leader_and_works_for_the_next(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        leader = start_long_run(broker, "--agents", agent.address)
        agent.await_line("generators 0 to 0 of 1")
        time.sleep(0.5)
        leader.kill()
        leader.communicate()
        report = report_of(broker.port, "pairs -c 2 --rate 200", *QUICK, "--agents", agent.address)
        equal(report["sent"], 120)
        assert "the leader is gone" in agent.await_line("failed")


def test_ctrl_c_ends_all_with_their_account(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        leader = start_long_run(broker, "--agents", agent.address, "--threads", "1", "--warmup", "0.1", "--json")
        agent.await_line("generators 1 to 1 of 2")
        time.sleep(2)
        leader.send_signal(signal.SIGINT)
        out, err = leader.communicate(timeout=WAIT_S)
        equal(leader.returncode, CLEAN, err)
        report = json.loads(out)
        equal(report["generators"], 2)
        equal(violations(report), {})
        equal(report["received"], report["sent"])
        assert 0 < report["seconds"] < 59, report


def test_a_busy_agent_says_for_whom_it_works(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        leader = start_long_run(broker, "--agents", agent.address)
        agent.await_line("generators 0 to 0 of 1")
        code, _, err = bench("run", "pairs", "-c", "2", "-p", broker.port, "--agents", agent.address)
        equal(code, UNAVAILABLE)
        assert agent.address in err and "it works for 127.0.0.1:" in err, err
        leader.send_signal(signal.SIGINT)
        leader.communicate(timeout=WAIT_S)
        equal(leader.returncode, CLEAN)


# key of the agent | key of the leader | what is said of it; None: it is let in
# fmt: off
KEYS = (
    ("secret", "secret",  None),
    (None,     None,      None),
    ("secret", None,      "another --agent-key"),
    ("secret", "secre",   "another --agent-key"),
    ("secret", "secrets", "another --agent-key"),
    ("secret", "Secret",  "another --agent-key"),
    (None,     "secret",  "without --agent-key"),
)
# fmt: on


@each(*KEYS)
def test_an_agent_works_for_who_knows_its_key(t, keys):
    agents_key, leaders_key, complaint = keys
    broker = t.broker(lines=lines())
    with Agent(*(("--agent-key", agents_key) if agents_key else ())) as agent:
        code, out, err = bench(
            *("run", "pairs", "-c", "2", "--rate", "200", *QUICK, "-p", broker.port, "--agents", agent.address),
            *(("--agent-key", leaders_key) if leaders_key else ()),
        )
        equal(code, CLEAN if complaint is None else UNAVAILABLE, err)
        assert complaint is None or complaint in err, err
        agent.await_line("done" if complaint is None else "refused")
        assert not any("secre" in line for line in agent.lines()), agent.lines()


def test_a_password_is_sent_and_not_shown(t):
    broker = t.broker(lines=lines())
    with Agent() as agent:
        report_of(broker.port, "pairs -c 2 --rate 200 -u me -P hush", *QUICK, "--agents", agent.address)
        agent.await_line("done")
        assert any('"--username=me"' in line for line in agent.lines()), agent.lines()
        assert not any("hush" in line for line in agent.lines()), agent.lines()


@each(
    ("", USAGE, "--agents"),
    ("127.0.0.1", USAGE, "--agents"),
    ("127.0.0.1:0", USAGE, "port"),
    ("127.0.0.1:70000", USAGE, "--agents"),
    ("no-such-host.invalid:7883", NO_HOST, "no-such-host.invalid"),
)
def test_a_wrong_list_of_agents_is_named(t, case):
    text, wanted, part = case
    code, out, err = bench("run", "pairs", "--agents", text, *QUICK)
    equal(code, wanted, err)
    equal(out, "")
    assert part in err, err


def test_an_agent_that_is_not_there_is_named(t):
    address = f"127.0.0.1:{broker_module.free_port()}"
    code, _, err = bench("run", "pairs", "--agents", address, *QUICK)
    equal(code, UNAVAILABLE)
    assert address in err and "cannot be reached" in err, err


def test_what_does_not_fit_is_said_by_name(t):
    with Agent() as one, Agent() as other:
        code, _, err = bench("run", "fanin", "--window", "4", "--agents", list_of(one, other), *QUICK)
        equal(code, USAGE)
        assert "--rate" in err, err


def test_an_agent_cannot_listen_where_somebody_does(t):
    with Agent() as agent:
        code, _, err = bench("agent", "--listen", agent.address)
        equal(code, UNAVAILABLE)
        assert agent.address in err and "in use" in err, err


# ---- the protocol, spoken by hand ---------------------------------------------------------------


class Leader:
    """Our side of the lines, whose clock may be another one."""

    def __init__(self, agent, ahead_ns=0):
        self.ahead_ns = ahead_ns
        self.socket = socket.create_connection(("127.0.0.1", agent.port), WAIT_S)
        self.file = self.socket.makefile("rb")

    def now_ns(self):
        return time.monotonic_ns() + self.ahead_ns

    def say(self, **message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hear(self):
        """The next message but pings, which are answered, and seconds; None: it hung up."""
        while True:
            line = self.file.readline()
            if not line:
                return None
            message = json.loads(line)
            if message.get("say") == "ping":
                self.say(say="pong", ns=message["ns"], at_ns=self.now_ns())
            elif message.get("say") != "second":
                return message

    def greet(self, **changes):
        self.say(**{"say": "hello", "version": version(), "key": "", "clock": "another", **changes})
        return self.hear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


def version():
    """What agents of this build call themselves: they tell when they refuse another one."""
    with Agent() as agent, Leader(agent) as leader:
        leader.say(say="hello", version="0", key="", clock="")
        return leader.hear()["text"].split("tern-bench ")[1].split(", the leader")[0]


@short
def test_an_agent_of_another_version_refuses_clearly(t):
    with Agent() as agent, Leader(agent) as leader:
        answer = leader.greet(version="0.0.1 older")
        equal((answer["say"], answer["reason"]), ("refuse", "version"))
        assert "0.0.1 older" in answer["text"], answer
        equal(leader.hear(), None)


@each(3_600_000_000_000, -5_000_000_000)
def test_clocks_that_differ_are_reckoned_with(t, ahead_ns):
    broker = t.broker(lines=lines())
    job = ["run", "pairs", f"--port={broker.port}", "--count=2", "--rate=200", "--seconds=0.5", "--warmup=0.1"]
    with Agent() as agent, Leader(agent, ahead_ns) as leader:
        equal(leader.greet()["generators"], 1)
        leader.say(say="job", texts=job, first=0, count=1)
        for stage in ("ready", "sent", "drained"):
            arrived = leader.hear()
            equal((arrived["say"], arrived["stage"]), ("arrived", stage))
            leader.say(say="passed", stage=stage, begin_ns=leader.now_ns() + 100_000_000, sent=arrived["sent"])
        told = leader.hear()
        equal(told["say"], "report")
        report = leader.hear()
    off_ns = abs(told["offset_ns"] - ahead_ns)
    assert off_ns <= told["error_ns"], f"off by {off_ns} ns, said to be at most {told['error_ns']}"
    equal(report["sent"], 120)
    equal(report["received"], 120)
    equal(violations(report), {})


class Stretch(threading.Thread):
    """A wire between leader and agent on which nobody learns that both are on one machine."""

    def __init__(self, agent):
        super().__init__()
        self.agent = agent
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.start()

    def run(self):
        leader, _ = self.listener.accept()
        with leader, socket.create_connection(("127.0.0.1", self.agent.port)) as agent:
            back = threading.Thread(target=self.carry, args=(agent, leader))
            back.start()
            file = leader.makefile("rb")
            hello = json.loads(file.readline())
            hello["clock"] = "of a far machine"
            agent.sendall(json.dumps(hello).encode() + b"\n")
            self.carry(file, agent)
            back.join()
            file.close()

    @staticmethod
    def carry(source, target):
        read = source.read1 if hasattr(source, "read1") else source.recv
        while data := read(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.join(WAIT_S)
        self.listener.close()


def test_a_report_says_how_well_clocks_agree(t):
    broker = t.broker(lines=lines())
    with Agent() as near, Agent() as far, Stretch(far) as wire:
        report = report_of(
            broker.port, "fanout -c 4 --rate 200", *QUICK, "--agents", f"{near.address},{wire.address}"
        )
    equal(violations(report), {})
    equal(report["received"], 4 * report["sent"])
    assert report["clock_error_ns"] > 0, report
    with Agent() as near:
        report = report_of(broker.port, "pairs -c 2 --rate 200", *QUICK, "--agents", near.address)
    equal(report["clock_error_ns"], 0)


# What a stranger sends before it is hung up on.
NONSENSE = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "bytes": b"\x00\xff\n",
    "nothing": b"{}\n",
    "a job without a hello": b'{"say":"job","texts":[],"first":0,"count":1}\n',
    "half a hello": b'{"say":"hello"}\n',
    "no end": b"x" * 5000,
    "deep": b"[" * 300 + b"\n",
}


@each(*NONSENSE)
def test_nonsense_is_hung_up_on_and_harms_nobody(t, name):
    nonsense = NONSENSE[name]
    broker = t.broker(lines=lines())
    with Agent() as agent:
        with Leader(agent) as stranger:
            try:
                stranger.socket.sendall(nonsense)
                equal(stranger.hear(), None)
            except (ConnectionResetError, BrokenPipeError):
                pass
        agent.await_line("makes no sense" if b"\n" in nonsense else "gone without a hello")
        report = report_of(broker.port, "pairs -c 2 --rate 200", *QUICK, "--agents", agent.address)
        equal(report["sent"], 120)


@each(
    (["run", "no-such-scenario"], "no-such-scenario"),
    (["run", "pairs", "--no-such-option=1"], "no-such-option"),
    (["sub", "-t", "x"], "run"),
    (["run", "pairs", "--help"], "run"),
    ([], ""),
    (["run", "fanout", "--window=4"], "--rate"),
)
def test_a_job_that_makes_no_sense_is_refused_with_the_reason(t, case):
    texts, part = case
    with Agent() as agent, Leader(agent) as leader:
        equal(leader.greet()["say"], "welcome")
        leader.say(say="job", texts=texts, first=0, count=2)
        answer = leader.hear()
        equal(answer["say"], "failed")
        assert part in answer["text"], answer
        equal(leader.hear(), None)


@each((2, 2), (0, 0), (1, 1_000_000), (2**62, 2**62 + 1), (0, 1025))
def test_a_place_outside_the_crew_is_refused(t, place):
    first, count = place
    with Agent() as agent, Leader(agent) as leader:
        equal(leader.greet()["say"], "welcome")
        leader.say(say="job", texts=["run", "pairs"], first=first, count=count)
        equal(leader.hear()["say"], "failed")


# What a leader of ours would not say while its agent is at work.
@each(
    {"say": "passed", "stage": "ready", "begin_ns": 1, "sent": []},
    {"say": "passed", "stage": "drained", "begin_ns": 1, "sent": []},
    {"say": "job", "texts": ["run", "pairs"], "first": 0, "count": 1},
    {"say": "hello", "version": "1", "key": "", "clock": ""},
    {"say": "welcome", "version": "1", "clock": "", "generators": 1},
)
def test_words_out_of_place_end_the_job(t, message):
    broker = t.broker(lines=lines())
    with Agent() as agent, Leader(agent) as leader:
        equal(leader.greet()["say"], "welcome")
        leader.say(say="job", texts=["run", "pairs", f"--port={broker.port}", "--count=2"], first=0, count=2)
        agent.await_line("generators 0 to 0 of 2")
        leader.say(**message)
        while leader.hear() is not None:
            pass
        agent.await_line("failed")


def test_sums_of_other_publishers_are_refused(t):
    broker = t.broker(lines=lines())
    job = ["run", "pairs", f"--port={broker.port}", "--count=2", "--rate=200", "--seconds=0.3", "--warmup=0.1"]
    with Agent() as agent, Leader(agent, 0) as leader:
        equal(leader.greet()["say"], "welcome")
        leader.say(say="job", texts=job, first=0, count=1)
        equal(leader.hear()["stage"], "ready")
        leader.say(say="passed", stage="ready", begin_ns=leader.now_ns(), sent=[])
        equal(len(leader.hear()["sent"]), 2)
        leader.say(say="passed", stage="sent", begin_ns=0, sent=[60, 60, 60])
        while leader.hear() is not None:
            pass
        agent.await_line("failed")


def test_an_agent_says_goodbye_when_it_has_nothing_to_do(t):
    with Agent() as agent:
        equal(agent.stop(signal.SIGINT), 0)
