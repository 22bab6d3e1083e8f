"""The stages of tests/run: build, run, count, and say it in one line at the end.

A step is a command. A build only has to succeed; every other step ends its output with a line
"N passed, N failed", which is added up. A step that ends badly without having counted a failure, or
that counts nothing, is broken: that counts as one failure, so nothing vanishes silently.

The sanitizers write their reports to files. A report that no test noticed (a broker that was killed,
a child of a child) is found there after the step and counted as a failure too.
"""

import argparse
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "log")
COUNT = re.compile(r"^(\d+) passed, (\d+) failed\b", re.MULTILINE)
PYTHON = "/usr/bin/python3"  # Debian's: its packages (paho) are not seen by another python

SANITIZERS = {
    "asan": {
        "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:check_initialization_order=1"
        ":strict_string_checks=1:exitcode=99",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "LSAN_OPTIONS": f"print_suppressions=0:suppressions={ROOT}/tests/lib/lsan.supp",
    },
    "tsan": {
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=66"
        f":suppressions={ROOT}/tests/lib/tsan.supp",
    },
}


@dataclass
class Step:
    stage: str
    name: str
    command: list
    build: bool = False
    short: list = field(default_factory=list)  # the last arguments, and
    long: list = field(default_factory=list)  # what stands there with --long
    minutes: float = 10  # after which it is hung
    env: dict = field(default_factory=dict)


def build(stage):
    """Configure and compile one kind of build (CMakeLists.txt has the table); two compilers at once, as the
    smallest machines have."""
    script = f"cmake -G Ninja -B build/{stage} && cmake --build build/{stage} -j 2"
    return Step(stage, "build", ["bash", "-c", script], build=True, minutes=20)


DURABLE = {"TERN_TEST_DURABLE": "1"}  # state on disk where a test does not say (tests/lib/broker.py)
ON_DISK_ALONE = dict(DURABLE, TERN_RETAINED_MEMORY="1")  # and what is retained read back from there


def python(stage, name, script, *arguments, long=(), minutes=10, env=None):
    return Step(stage, name, [PYTHON, script, *arguments], long=list(long), minutes=minutes, env=env or {})


STEPS = [
    python("lint", "floors", "tests/lint/floors.py"),
    python("lint", "tables", "tests/lint/tables.py"),
    python("lint", "layout", "tests/lint/layout.py"),
    python("lint", "spec marks", "tests/lint/spec_marks.py"),
    python("lint", "setup", "tests/lint/setup.py"),
    build("release"),
    # As shipped, and the one build in which a test may put its own malloc in (test_pubsub_nomem).
    python("release", "unit", "tests/lib/unit.py", "build/release", minutes=15),
    python("release", "keys", "tests/lint/mosquitto_keys.py"),
    python("release", "first run", "tests/e2e/first_run.py", minutes=15),
    python("release", "size", "tests/integration/run.py", "-k", "^(size|ceiling):|:nothing_is_left_of"),
    build("asan"),
    python("asan", "unit", "tests/lib/unit.py", "build/asan", minutes=15),
    python("asan", "conform", "tests/conform/run.py", minutes=15),
    python("asan", "conform on disk", "tests/conform/run.py", minutes=15, env=ON_DISK_ALONE),
    python("asan", "integration", "tests/integration/run.py", minutes=15),
    python("asan", "e2e", "tests/e2e/run.py", long=["--long"], minutes=15),
    Step(
        *("asan", "simulator", ["build/asan/tests/sim/tern-sim"]),
        short=["--short"],
        long=["--long"],
        minutes=15,
    ),
    build("tsan"),
    python("tsan", "unit", "tests/lib/unit.py", "build/tsan", minutes=15),
    python("tsan", "conform", "tests/conform/run.py", minutes=15),
    # In memory under one sanitizer, on disk under the other: both ways are seen, and it takes no more time.
    # The harness has threads in the crew alone.
    python("tsan", "integration on disk", "tests/integration/run.py", "-k", "^(?!bench_(?!crew)|durable_bench)", minutes=15, env=DURABLE),
    python("tsan", "e2e", "tests/e2e/run.py", minutes=15),
    build("fuzz"),
    python("fuzz", "fuzzers", "tests/lib/fuzz.py", "build/fuzz", long=["--seconds", "600"], minutes=180),
]


def environment(step, reports):
    env = dict(os.environ, TERN_BIN=os.path.join(ROOT, "build", step.stage, "tern"), **step.env)
    env.setdefault("NODE_PATH", os.path.join(ROOT, "build", "npm", "node_modules"))
    for name, options in SANITIZERS.get(step.stage, {}).items():
        env[name] = f"{options}:log_path={reports}"
    return env


def kill_group(process):
    """End a hung step with all that it started: it leads a process group of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_command(command, env, log, seconds):
    """The exit status, or None after the time ran out. Output goes to the log."""
    with open(log, "wb") as out:
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            out.write(f"{command[0]}: {error}\n".encode())
            return 127
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            kill_group(process)


def tail(path, lines):
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-lines:])


def run_step(step, long):
    """(passed, failed) of one step; what is needed to understand a failure is printed."""
    name = f"{step.stage}-{step.name}".replace(" ", "-")
    log = os.path.join(LOGS, name + ".log")
    reports = os.path.join(LOGS, name + ".report")
    for old in glob.glob(reports + ".*"):
        os.remove(old)

    status = run_command(
        step.command + (step.long if long and step.long else step.short),
        environment(step, reports),
        log,
        step.minutes * 60 * (20 if long else 1),
    )
    with open(log, errors="replace") as file:
        counts = COUNT.findall(file.read())
    passed, failed = (int(counts[-1][0]), int(counts[-1][1])) if counts and not step.build else (0, 0)

    trouble = []
    if status is None:
        trouble.append(f"still running after {step.minutes} minutes")
    elif status != 0 and failed == 0:
        trouble.append(f"ended with status {status}")
    elif not step.build and passed + failed == 0:
        trouble.append("counted no test")
    found = sorted(glob.glob(reports + ".*"))
    if found:
        trouble.append(f"{len(found)} reports of the sanitizer")
    failed += len(trouble)
    if failed:
        print(f"---- {step.stage} {step.name}: {', '.join(trouble) or f'{failed} failed'}; {log} ends:")
        print(tail(log, 80))
        for report in found[:3]:
            print(f"---- {report}:")
            print(tail(report, 60))
    return passed, failed


def parse_arguments():
    stages = list(dict.fromkeys(step.stage for step in STEPS))
    parser = argparse.ArgumentParser(prog="tests/run", description="Build and run Tern's tests.")
    parser.add_argument("stages", nargs="*", metavar="stage", help=" ".join(stages))
    parser.add_argument("--long", action="store_true", help="the long modes, hours instead of minutes")
    parser.add_argument("--list", action="store_true", help="name the steps and end")
    options = parser.parse_args()
    for stage in options.stages:
        if stage not in stages:
            parser.error(f"no stage {stage}; there are: {' '.join(stages)}")
    options.stages = options.stages or stages
    return options


def main():
    options = parse_arguments()
    steps = [step for step in STEPS if step.stage in options.stages]
    if options.list:
        for step in steps:
            print(f"{step.stage:8} {step.name:12} {' '.join(step.command + step.short)}")
        return 0
    os.makedirs(LOGS, exist_ok=True)
    # Killed tests leave what they were writing; the next run starts without it.
    shutil.rmtree(os.path.join(ROOT, "build", "tmp"), ignore_errors=True)

    passed, failed, broken, started = 0, 0, set(), time.monotonic()
    for step in steps:
        label = f"{step.stage:8} {step.name:12}"
        if step.stage in broken:
            failed += 1
            print(f"{label}           0 passed, 1 failed: the build of its stage failed", flush=True)
            continue
        step_started = time.monotonic()
        step_passed, step_failed = run_step(step, options.long)
        passed += step_passed
        failed += step_failed
        if step.build and step_failed:
            broken.add(step.stage)
        minutes = (time.monotonic() - step_started) / 60
        counts = "" if step.build and not step_failed else f"{step_passed} passed, {step_failed} failed"
        print(f"{label} {minutes:5.1f} min  {counts}", flush=True)
    print(f"total {(time.monotonic() - started) / 60:.1f} min")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
