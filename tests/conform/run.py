#!/usr/bin/python3
"""Run the conformance tests: tests/conform/run.py [-k PATTERN] [-j THREADS] [-v] [--list]

One broker ($TERN_BIN, default build/dev/tern) per group of configuration; tests run side by side on
it. Ends with "N passed, N failed". A broker that dies, or does not end with exit code 0, is a failure.
"""

import argparse
import glob
import importlib
import os
import queue
import re
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import harness  # noqa: E402
import mqtt     # noqa: E402
import broker   # noqa: E402


class Case:
    def __init__(self, module, function, version, many):
        self.function, self.version = function, version
        self.group = getattr(function, "group", "default")
        self.name = f"{module}:{function.__name__}" + (f"[v{version}]" if many else "")
        self.error = None
        self.seconds = 0.0


def discover():
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        name = os.path.basename(path)[:-3]
        module = importlib.import_module(name)
        usual = (4,) if name.startswith("test_v311") else (5,)
        for function in vars(module).values():
            if callable(function) and getattr(function, "__module__", "") == name \
                    and function.__name__.startswith("test_"):
                numbers = getattr(function, "versions", usual)
                for version in numbers:
                    yield Case(name, function, version, len(numbers) > 1)


class Brokers:
    """The running broker of each group, started when first needed."""

    def __init__(self):
        self.running, self.failures = {}, []
        self.locks = {name: threading.Lock() for name in harness.GROUPS}

    def get(self, name):
        with self.locks[name]:
            b = self.running.get(name)
            if b is not None and not b.is_alive():
                self.failures.append(f"the broker of group {name} died:\n{b.log()[-6000:]}")
                b.kill()
                b = None
            if b is None:
                b = self.running[name] = broker.Broker(**harness.GROUPS[name])
            return b

    def stop(self):
        for name, b in self.running.items():
            try:
                if not b.is_alive():
                    raise AssertionError("it died:\n" + b.log()[-6000:])
                b.stop()
            except AssertionError as error:
                self.failures.append(f"the broker of group {name}: {error}")


def exchange():
    """What the clients of this thread sent and received, in the order of time."""
    lines = []
    for number, client in enumerate(mqtt.clients_of_this_test()):
        for when, arrow, what in client.record:
            lines.append((client.start + when, f"    {client.label or number:>10} {arrow} {what}"))
    lines.sort(key=lambda line: line[0])
    return "\n".join(text for _, text in lines[-40:])


def run_case(case, brokers):
    started = time.monotonic()
    mqtt.forget_clients()
    try:
        case.function(harness.T(brokers.get(case.group), case.version))
    except Exception as error:  # a test fails by any exception; the runner goes on
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(HERE)
                  and os.path.basename(f.filename).startswith("test_")]
        where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
        what = f"{type(error).__name__}: {error}"
        if not isinstance(error, (AssertionError, OSError)):
            what += "\n" + traceback.format_exc()
        case.error = f"{what}{where}\n{exchange()}"
    finally:
        mqtt.forget_clients()
    case.seconds = time.monotonic() - started


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="", metavar="PATTERN", help="only tests whose name matches")
    parser.add_argument("-j", type=int, default=12, metavar="THREADS")
    parser.add_argument("-v", action="store_true", help="name every test, with its time")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()

    cases = [case for case in discover() if re.search(options.k, case.name)]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    work, brokers, started = queue.SimpleQueue(), Brokers(), time.monotonic()
    for case in cases:
        work.put(case)

    def worker():
        while True:
            try:
                case = work.get_nowait()
            except queue.Empty:
                return
            run_case(case, brokers)
            if case.error or options.v:
                print(f"{'FAIL' if case.error else 'ok  '} {case.seconds:6.2f} s  {case.name}", flush=True)

    threads = [threading.Thread(target=worker) for _ in range(max(1, options.j))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    brokers.stop()

    failed = [case for case in cases if case.error]
    for case in failed:
        print(f"\n{case.name}\n  {case.error}")
    for failure in brokers.failures:
        print(f"\n{failure}")
    count = len(failed) + len(brokers.failures)
    print(f"conform: {len(cases)} tests in {time.monotonic() - started:.1f} s")
    print(f"{len(cases) - len(failed)} passed, {count} failed")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
