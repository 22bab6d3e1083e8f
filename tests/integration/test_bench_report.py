"""What a run of tern-bench leaves: lines, JSON, Markdown, seconds, a picture; and what is made of kept runs."""

import csv
import json
import os
import xml.etree.ElementTree as xml

from suite import each, equal, short
from tern_bench import CLEAN, UNAVAILABLE, USAGE, VIOLATION, bench, report_of

QUICK = ("--seconds", "1.2", "--warmup", "0.3")
LOAD = "pairs -c 2 --rate 200"


def kept(t, name, *arguments, broker=None):
    """The path of a run's JSON, and the broker it was of."""
    broker = broker or t.broker()
    path = os.path.join(t.folder(), name)
    code, out, err = bench("run", *LOAD.split(), *QUICK, "-p", broker.port, "--json", path, *arguments)
    equal(code, CLEAN, out + err)
    return path, broker


def read(path):
    with open(path, encoding="utf-8") as source:
        return source.read()


@short
def test_one_run_is_written_in_every_form_and_they_agree(t):
    broker = t.broker()
    folder = t.folder()
    names = {form: os.path.join(folder, "run." + form) for form in ("json", "md", "csv", "svg", "html")}
    code, out, err = bench(
        "run", *LOAD.split(), *QUICK, "-p", broker.port, "--broker-pid", broker.process.pid, "-P", "hush", "-u", "me",
        "--json", names["json"], "--markdown", names["md"], "--series", names["csv"], "--plot", names["svg"],
    )  # fmt: skip
    equal(code, CLEAN, out + err)
    for subject in ("rate:", "broker:", "generator:", "latency:", "checked:"):
        assert subject in out, out
    run = json.loads(read(names["json"]))
    seconds = run["series"]["seconds"]
    equal(sum(second["sent"] for second in seconds), run["sent"])
    equal(sum(second["delivered"] for second in seconds), run["received"])
    cells = run["histogram"]["cells"]
    # Of messages that were due in the window, while "delivered" counts those that came in it.
    assert 0 < sum(cells[1::2]) <= run["received"], run
    for key in ("kernel", "cpu", "cores", "generator", "command", "broker_command", "broker_process", "load_after"):
        assert run["environment"].get(key), key
    assert run["broker_user_us"] <= run["broker_cpu_us"] + 0.001, run
    with open(names["csv"], newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    equal(len(rows), len(seconds))
    equal([int(row["delivered"]) for row in rows], [second["delivered"] for second in seconds])
    page = read(names["md"])
    assert "# tern-bench: pairs" in page and "**Clean**" in page and "## Environment" in page, page
    xml.parse(names["svg"])
    for name in names.values():
        assert not os.path.exists(name) or "hush" not in read(name), name


def test_a_kept_run_is_shown_again(t):
    path, _ = kept(t, "a.json")
    code, out, err = bench("show", path)
    equal(code, CLEAN, err)
    assert out.startswith("pairs: 2 publishers"), out
    picture = os.path.join(t.folder(), "again.html")
    code, out, err = bench("show", path, "--plot", picture)
    equal(code, CLEAN, err)
    assert "<svg" in read(picture)
    code, out, _ = bench("show", path, "--series", "-")
    equal((code, out.splitlines()[0].split(",")[0]), (CLEAN, "second"))


def test_kept_runs_are_compared(t):
    a, broker = kept(t, "a.json", "--broker-pid", "0")
    b, _ = kept(t, "b.json", "-s", "200", broker=broker)
    code, out, err = bench("compare", a, b)
    equal(code, CLEAN, err)
    assert "latency p99" in out and "payload bytes" in out, out
    code, out, err = bench("compare", f"{a},{a}", f"{a},{b}", "--json")
    equal(code, CLEAN, err)
    assert "payload bytes" in [item["what"] for item in json.loads(out)["differences"]], out


def test_new_violations_are_worse_than_anything(t):
    a, _ = kept(t, "a.json")
    changed = json.loads(read(a))
    changed["lost"] = 3
    b = os.path.join(t.folder(), "b.json")
    with open(b, "w", encoding="utf-8") as out:
        json.dump(changed, out)
    code, out, _ = bench("compare", a, b)
    equal(code, VIOLATION)
    assert "VIOLATIONS in B" in out, out
    equal(bench("compare", b, a)[0], CLEAN)


@each("no-such-file.json", "tests/integration/run.py", "tests", "")
def test_what_is_no_report_is_named_and_nothing_is_said_of_it(t, wrong):
    a, _ = kept(t, "a.json")
    for command in (("compare", a, wrong), ("compare", wrong, a), ("show", wrong)):
        code, out, err = bench(*command)
        equal((code, out), (USAGE, ""), err)
        assert wrong in err and err.startswith("tern-bench: "), err


def test_a_broker_elsewhere_is_measured_by_its_own_page(t):
    broker = t.broker(metrics=True)
    url = f"http://127.0.0.1:{broker.http_port}/metrics"
    report = report_of(broker.port, LOAD, *QUICK, "--target-metrics", url)
    account = report["account"]
    equal((account["received"], account["sent"], account["dropped"]), (report["sent"], report["received"], 0))
    equal(sum(account["reasons"].values()), 0)
    assert report["broker_resident"] > 0 and report["broker_cpu_ns"] > 0, report


def test_a_page_that_is_none_is_told_before_the_run(t):
    broker = t.broker()
    for url, said in (
        (f"http://127.0.0.1:{broker.port}/metrics", "does not speak HTTP"),
        (f"http://127.0.0.1:{broker.port + 1 if broker.port < 65535 else 1}/metrics", ""),
    ):
        code, out, err = bench("run", *LOAD.split(), *QUICK, "-p", broker.port, "--target-metrics", url)
        equal((code, out), (UNAVAILABLE, ""), err)
        assert url in err and said in err, err


@each("--json", "--markdown", "--series", "--plot")
def test_a_file_that_cannot_be_written_is_told_before_the_run(t, option):
    path = os.path.join(t.folder(), "no", "such", "folder")
    code, out, err = bench("run", *LOAD.split(), "-p", 1, option, path)
    equal((code, out), (USAGE, ""), err)
    assert option in err and path in err, err
