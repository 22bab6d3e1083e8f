"""tern-bench's command line: what is refused and how it is said, goals, searches, presets, files, signals."""

import json
import os
import signal
import subprocess
import xml.etree.ElementTree

import broker as broker_module
import tern_bench
from suite import each, equal
from tern_bench import CLEAN, NO_HOST, UNAVAILABLE, USAGE, VIOLATION, bench, report_of

QUICK = ["--seconds", "0.5", "--warmup", "0.1"]


def refused(code, words, *arguments):
    """tern-bench ends with this code before it has done anything, and says these words."""
    got, out, err = bench(*arguments)
    equal(got, code, err)
    equal(out, "")
    for word in words:
        assert word in err, f"{word!r} is not in {err!r}"
    assert err.startswith("tern-bench: ") and err.count("\n") == 1, err


# ---- what is refused -------------------------------------------------------------------------------------------------


@each(
    (["nobody"], "'nobody' is no command"),
    (["rum", "pairs"], "did you mean run?"),
    (["run"], "run needs SCENARIO"),
    (["run", "pears"], "did you mean pairs?"),
    (["run", "p2p-1K-1K-1K-2K"], "did you mean p2p-1K-1K-1K-1K?"),
    (["run", "pairs", "--windw", "3"], "--windw: no such option; did you mean --window?"),
    (["run", "pairs", "--window", "0.5"], "--window: '0.5' is not a whole number"),
    (["run", "pairs", "--burst", "0"], "--burst: 0 is below 1"),
    (["run", "pairs", "--window", "0"], "--window: 0 is below 1"),
    (["run", "pairs", "--seconds", "0"], "--seconds: a run measures for some time, such as 5s"),
    (["run", "pairs", "-s", "300M"], "-s: 300M is above 268369000 (255.9M)"),
    (["run", "pairs", "-c", "20M"], "-c: 20M is above 10000000 (10M)"),
    (["pub", "-t", "a", "-q", "3"], "-q: 3 is above 2\n"),
    (["run", "pairs", "-s", "10"], "24 bytes"),
    (["run", "pairs", "--rate", "10", "--window", "4"], "exclude each other"),
    (["run", "pairs", "--window", "2", "--burst", "4"], "does not fit into the window"),
    (["run", "pairs", "--scale", "2"], "--scale: it is for presets"),
    (["run", "p2p-1K-1K-1K-1K", "--scale", "0"], "--scale: nothing is left"),
    (["run", "pairs", "-t", "x"], "-t (--topic): run has no use for it; it belongs to pub and sub"),
    (["run", "pairs", "-P", "secret"], "-P: MQTT 3 has no password without a user name"),
    (["run", "pairs", "-x", "60"], "-x: MQTT 3 has no session expiry"),
    (["run", "pairs", "--ws", "--ws-path", "mqtt"], "--ws-path: the path of a URL begins with a slash"),
    (["run", "pairs", "-h", "a,b"], "-h: one host at a time"),
    (["run", "pairs", "-h", ""], "-h: the name is empty"),
    (["run", "pairs", "-h", "mqtt://127.0.0.1:1883"], "'mqtt://127.0.0.1:1883' is more than a host"),
    (["conn", "-h", "localhost:1883"], "say host and port apart, without mqtt://: -h HOST -p PORT"),
    (["pub", "-t", "a", "-h", "[::1]:1883"], "'[::1]:1883' is more than a host"),
    (["run", "pairs", "--broker-pid", "2147483647"], "--broker-pid: there is no process 2147483647"),
    (["run", "pairs", "--assert", "p98<5ms"], "--assert: there is no figure 'p98'"),
    (["run", "pairs", "--assert", "p99<5"], "'5' (character 5) is not a time"),
    (["run", "pairs", "--assert", "p99<5ms,,"], "goal 2 is empty"),
    (["run", "pairs", "--assert", "cpu<5us"], "--assert: cpu, cores, memory and each are the broker's"),
    (["run", "pairs", "--search", "p99"], "--search: 'p99' has none of"),
    (["run", "pairs", "--search", "p99<5ms", "--window", "4"], "--window has none"),
    (["run", "idle", "--search", "p99<5ms"], "--search: this scenario has no rate"),
    (["run", "pairs", "--json", "--markdown"], "only one of --json, --markdown"),
    (["run", "pairs", "--json", "/nonexistent/file"], "--json: /nonexistent/file: No such file"),
    (["run", "pairs", "--plot", "/nonexistent/file.svg"], "--plot: /nonexistent/file.svg: No such file"),
    (["pub", "-c", "1"], "-t: a topic is needed"),
    (["pub", "-t", "a/#"], "-t: a message is published to a topic"),
    (["pub", "-t", "a", "-t", "b"], "-t: pub has one topic"),
    (["pub", "-t", "a", "--payload-hdrs", "seq"], "--payload-hdrs: 'seq'"),
    (["pub", "-t", "a", "-m", "template:///nonexistent"], "-m: /nonexistent: not found"),
    (["pub", "-t", "a", "--prefix", "x" * 25], "--prefix: 24 characters at most"),
    (["pub", "-t", "a", "--min-random-wait", "5"], "--min-random-wait: it is above"),
    (["sub", "-t", "a", "--log_to", "file"], "--log_to: console or null"),
    (["compare", "a"], "compare needs A B"),
    (["agent", "--listen", "nowhere"], "--listen: 'nowhere' is no HOST:PORT"),
)
def test_a_mistake_is_named_with_its_cause(t, case):
    arguments, words = case
    refused(USAGE, [words], *arguments)


@each(
    *("--signature-algs x", "--keyex-algs=x25519", "--quic", "-Q true", "--prometheus", "--restapi 8080", "-l", "--topics-payload f.json"),
    "--num-retry-connect 3",
)
def test_what_emqtt_bench_has_and_we_have_not_names_what_to_use_instead(t, option):
    code, _, err = bench("pub", "-t", "a", *option.split())
    equal(code, USAGE)
    name = option.split()[0].split("=")[0]
    assert err.startswith(f"tern-bench: {name}: "), err
    assert len(err) > 40, err


def test_what_we_have_not_may_be_switched_off(t):
    broker = t.broker()
    off = ["-S", "false", "--quic=false", "-Q", "false"]
    code, out, err = bench("conn", "-p", broker.port, "-c", "2", "-i", "1", "--seconds", "0.3", *off)
    equal(code, CLEAN, err)
    assert "connect_succ" in out, out


@each(["run", "pairs"], ["conn"], ["run", "pairs", "--ifaddr", "no.such.host.invalid"])
def test_a_host_that_does_not_exist_is_told(t, command):
    where = [] if "--ifaddr" in command else ["-h", "no.such.host.invalid"]
    refused(NO_HOST, ["no.such.host.invalid"], *command, *where)


@each(["run", "pairs", *QUICK], ["conn", "-c", "2"], ["pub", "-c", "2", "-t", "x"], ["sub", "-c", "2", "-t", "x"])
def test_a_broker_that_is_not_there_is_told(t, command):
    port = broker_module.free_port()
    code, _, err = bench(*command, "-p", port)
    equal(code, UNAVAILABLE)
    assert f"connection refused: is the broker listening on 127.0.0.1:{port}?" in err, err


def test_help_and_version_need_nothing(t):
    for arguments, words in ((["--help"], "tern-bench run"), (["run", "--help"], "--window N"),
                             (["run", "--help"], "p2p-1K-1K-1K-1K"), (["sub", "--help"], "--payload-hdrs"),
                             (["--version"], "tern-bench "), (["list"], "sharedsub-50K-500-50K-50K")):
        code, out, err = bench(*arguments)
        equal((code, err), (CLEAN, ""))
        assert words in out, out
    code, out, err = bench()
    equal((code, out), (USAGE, ""))
    assert "usage:" in err, err


# ---- goals, searches, presets ----------------------------------------------------------------------------------------


def test_goals_decide_the_exit_code(t):
    broker = t.broker()
    run = ["run", "pairs", "-c", "4", "--rate", "500", *QUICK, "-p", broker.port]
    code, out, err = bench(*run, "--assert", "max<60s, loss=0, rate>1, duplicates=0%")
    equal(code, CLEAN, err)
    equal(out.count(": kept, "), 4)
    code, out, err = bench(*run, "--assert", "max<1ns,loss=0")
    equal(code, VIOLATION, err)
    assert "goal max<1ns: BROKEN, " in out and "goal loss=0: kept, 0" in out, out
    code, out, err = bench(*run, "--assert", "fairness>0.1")  # a figure that this run has not
    equal(code, VIOLATION, err)
    assert "BROKEN, not known" in out, out


def test_goals_beside_json_leave_the_json_alone(t):
    broker = t.broker()
    code, out, err = bench("run", "pairs", "-c", "2", "--rate", "100", *QUICK, "-p", broker.port, "--json",
                           "--assert", "max<1ns")
    equal(code, VIOLATION, err)
    equal(json.loads(out)["clean"], True)
    assert "goal max<1ns: BROKEN" in err, err


def test_a_search_ends_at_a_rate_that_keeps_its_goals(t):
    broker = t.broker()
    port = ["-p", broker.port]
    # Latency falls short of 1 ns at no rate: nothing is found, however fast the machine is.
    code, out, err = bench("run", "pairs", "-c", "2", "--seconds", "0.05", "--warmup", "0", *port, "--rate", "4",
                           "--search", "max<1ns")
    equal(code, VIOLATION, err)
    assert "search: no rate was found that keeps the goals" in out, out
    # Everything keeps a minute; what ends it is the generator or the broker, and a best step is reported.
    code, out, err = bench("run", "pairs", "-c", "2", "--seconds", "0.1", "--warmup", "0", *port, "--rate", "100",
                           "--search", "p50<60s,rate<1000")
    equal(code, CLEAN, err)
    assert "step  1:" in out and "kept" in out and "broken" in out, out
    assert "search: " in out and " messages/s" in out, out  # the knee's, or where the generator gave up
    assert "pairs: 2 publishers" in out, out


def test_a_preset_is_a_scenario_with_options(t):
    broker = t.broker(lines=["max_queued_messages 0"])
    code, out, err = bench("run", "p2p-1K-1K-1K-1K", "--scale", "0.01", "--seconds", "1", "-p", broker.port)
    equal(code, CLEAN, err)
    assert out.startswith("p2p-1K-1K-1K-1K: ") and "times 0.01" in out and "16 hold no stamp" in out, out
    assert "pairs: 10 publishers, 10 subscribers, QoS 1, 24 bytes" in out, out
    report = report_of(broker.port, "sharedsub-1K-5-1K-1K --scale 0.02 --seconds 1")
    equal((report["scenario"], report["publishers"], report["subscribers"]), ("shared", 20, 1))
    report = report_of(broker.port, "fanout-5-1000-5-250K --scale 0.02 --seconds 1 --subscribers 4")
    equal((report["scenario"], report["publishers"], report["subscribers"]), ("fanout", 1, 4))


def test_the_brokers_own_page_stands_in_for_its_process(t):
    broker = t.broker(lines=["max_queued_messages 0"], metrics=True)
    run = ["run", "pairs", "-c", "8", "--rate", "2000", "--seconds", "1.5", "--warmup", "0.1", "-p", broker.port]
    url = f"http://127.0.0.1:{broker.http_port}/metrics"
    code, out, err = bench(*run, "--target-metrics", url, "--json", "--assert", "cpu<60s,cores<99,memory<99G")
    equal(code, CLEAN, err)
    report = json.loads(out)
    assert report["broker_cpu_us"] > 0 and report["broker_resident"] > 0, out
    code, _, err = bench(*run, "--target-metrics", url + "/nothing")
    equal(code, UNAVAILABLE)
    assert err.startswith("tern-bench: --target-metrics: ") and url + "/nothing" in err, err
    refused(USAGE, ["--target-metrics", "ftp://x/"], *run, "--target-metrics", "ftp://x/")
    refused(USAGE, ["--broker-pid and --target-metrics"], *run, "--target-metrics", url, "--broker-pid", os.getpid())


# ---- what is left of a run -------------------------------------------------------------------------------------------


def test_a_run_leaves_the_files_it_was_asked_for(t):
    broker = t.broker()
    place = {name: os.path.join(t.folder(), name) for name in ("a.json", "a.md", "a.svg", "a.html", "a.csv")}
    code, out, err = bench("run", "pairs", "-c", "2", "--rate", "200", "--seconds", "1", "-p", broker.port,
                           *("--json", place["a.json"], "--markdown", place["a.md"], "--plot", place["a.svg"]),
                           *("--series", place["a.csv"]))
    equal(code, CLEAN, err)
    assert out.startswith("pairs: 2 publishers"), out  # the lines for people stay
    with open(place["a.json"], encoding="utf-8") as file:
        report = json.load(file)
    equal(report["clean"], True)
    xml.etree.ElementTree.parse(place["a.svg"])
    with open(place["a.csv"], encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(",") for line in file]
    equal(sum(int(row[3]) for row in rows[1:]), report["received"], "deliveries of all seconds")
    with open(place["a.md"], encoding="utf-8") as file:
        assert "|" in file.read()
    code, out, err = bench("compare", place["a.json"], place["a.json"])
    equal(code, CLEAN, err)


def test_a_file_that_cannot_be_written_is_told_before_the_run(t):
    missing = os.path.join(t.folder(), "no-folder", "a.json")
    refused(USAGE, ["--json", missing, "No such file"], "run", "pairs", "--json", missing)
    full = "/dev/full"
    broker = t.broker()
    code, _, err = bench("run", "pairs", "-c", "1", *QUICK, "-p", broker.port, "--json", full)
    equal(code, UNAVAILABLE)
    assert "--json: /dev/full: No space left" in err, err


def test_standard_output_that_is_full_is_told(t):
    broker = t.broker()
    load = ["-p", str(broker.port), "-c", "1"]
    for command in (["run", "pairs", *load, *QUICK], ["run", "pairs", *load, *QUICK, "--json"],
                    ["conn", *load, "--seconds", "0.2"], ["--help"], ["run", "--help"], ["--version"], ["list"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([tern_bench.program(), *command], stdout=full, stderr=subprocess.PIPE, text=True,
                                    timeout=60, check=False)
        equal(result.returncode, UNAVAILABLE, f"{command}: {result.stderr}")
        assert "tern-bench: " in result.stderr, result.stderr


@each(["run", "pairs", "-c", "200", *QUICK], ["run", "idle", "-c", "200", *QUICK])
def test_too_few_open_files_are_the_machines_fault(t, command):
    broker = t.broker()
    limits = ["prlimit", "--nofile=100:100", tern_bench.program(), *command, "-p", str(broker.port)]
    result = subprocess.run(limits, capture_output=True, text=True, timeout=60, check=False)
    equal(result.returncode, UNAVAILABLE, result.stderr)
    assert "ulimit -n" in result.stderr, result.stderr


def test_progress_is_a_line_for_every_second(t):
    broker = t.broker()
    code, _, err = bench("run", "pairs", "-c", "2", "--rate", "100", "--seconds", "1.5", "--warmup", "0.5",
                         "-p", broker.port, "--progress")
    equal(code, CLEAN, err)
    assert "   1 s: sent 100, delivered " in err and "   2 s: sent " in err, err
    code, _, err = bench("run", "pairs", "-c", "2", "--rate", "100", "--seconds", "1", "-p", broker.port)
    equal((code, err), (CLEAN, ""))  # no terminal, no lines


@each(signal.SIGINT, signal.SIGTERM)
def test_a_signal_ends_a_run_with_its_account(t, number):
    broker = t.broker()
    process = subprocess.Popen(
        [tern_bench.program(), "run", "pairs", "-c", "4", "--rate", "200", "--seconds", "600", "--warmup", "0",
         "-p", str(broker.port), "--json", "--progress"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        assert "1 s: sent" in process.stderr.readline()  # it is in the middle of it
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    equal(process.returncode, CLEAN, err)
    report = json.loads(out)
    equal((report["stopped_early"], report["clean"]), (True, True))
    equal(report["received"], report["sent"])
    assert report["sent"] > 0 and report["seconds"] < 600, out


# ---- conn, pub, sub --------------------------------------------------------------------------------------------------


def run_sub(port, *arguments):
    """A `tern-bench sub` which has subscribed with all its clients; and how many that are."""
    process = subprocess.Popen(
        [tern_bench.program(), "sub", "-p", str(port), "-i", "0", "--seconds", "60", *arguments],
        stdout=subprocess.PIPE, text=True,
    )
    for line in process.stdout:
        if " sub total=" in line:
            return process
    raise AssertionError("the subscriber ended early")


def end_sub(process, received):
    """Stop it once it has received that many; all that it has printed."""
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if f" recv total={received} " in line:
                break
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    return process.returncode, "".join(lines)


@each(
    (["-s", "64"], "latency ms: p50"),
    (["-s", "5", "--payload-hdrs", "cnt64,ts"], "publish_latency avg="),
    (["-m", "hello"], "recv"),
    (["-q", "2", "-F", "3", "-I", "0"], "latency ms: p50"),
    (["-q", "1", "-F", "0", "-w"], "latency ms: p50"),
)
def test_pub_and_sub_meet(t, case):
    arguments, words = case
    broker = t.broker(lines=["max_queued_messages 0"])
    headers = arguments[arguments.index("--payload-hdrs"):][:2] if "--payload-hdrs" in arguments else []
    subscriber = run_sub(broker.port, "-c", "3", "-t", "bench/%i", "-q", "2", *headers)
    code, out, err = bench("pub", "-p", broker.port, "-c", "3", "-i", "0", "-t", "bench/%i", "-L", "60", "-I", "1",
                           *arguments)
    equal(code, CLEAN, err)
    assert "pub total=60 " in out and "after " in out, out
    code, out = end_sub(subscriber, 60)
    equal(code, CLEAN, out)
    assert words in out, out


def test_topics_of_each_message_and_several_filters(t):
    broker = t.broker(lines=["max_queued_messages 0"])
    subscriber = run_sub(broker.port, "-c", "1", "-t", "one/+", "-t", "other/#")
    for topic in ("one/%s", "other/%rand_5/%c"):
        code, _, err = bench("pub", "-p", broker.port, "-c", "2", "-i", "0", "-t", topic, "-L", "20", "-I", "1")
        equal(code, CLEAN, err)
    code, out = end_sub(subscriber, 40)
    equal(code, CLEAN, out)


def test_clients_come_from_several_addresses(t):
    broker = t.broker()
    code, out, err = bench("conn", "-p", broker.port, "-c", "4", "-R", "1000", "--ifaddr", "127.0.0.2,127.0.0.3",
                           "--seconds", "0.5", "--log_to", "null")
    equal(code, CLEAN, err)
    assert "connect_succ" in out and "connect ms: p50" in out and "total=" not in out, out


def test_lines_that_nobody_reads_end_it(t):
    broker = t.broker()
    process = subprocess.Popen(
        [tern_bench.program(), "pub", "-p", str(broker.port), "-c", "1", "-t", "x", "-I", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        assert process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    equal(process.returncode, UNAVAILABLE, err)
    assert "standard output cannot be written" in err, err


@each("localhost", "127.0.0.1")
def test_a_name_is_tried_until_somebody_listens(t, host):
    broker = t.broker()  # on 127.0.0.1 only; localhost may be ::1 first
    code, out, err = bench("conn", "-h", host, "-p", broker.port, "-c", "2", "-i", "0", "--seconds", "0.2")
    equal(code, CLEAN, out + err)


def test_a_client_that_is_refused_is_counted(t):
    broker = t.broker(lines=["allow_anonymous false"])
    code, out, err = bench("conn", "-p", broker.port, "-c", "8", "-i", "0", "--seconds", "5")
    equal(code, UNAVAILABLE)
    assert "connect_fail" in out and "more of them are counted" in err, out + err
