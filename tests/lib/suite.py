"""Collect test_*.py of a folder, run their tests side by side, count them.

A test is a function test_*(t), or test_*(t, parameter) under @each(...). Its name is a sentence. It
fails by an exception; by Skip it says that this machine cannot run it, and counts as nothing.
What it started by t is stopped for it; a broker that does not end with exit code 0 fails it.

    run.py [-k PATTERN] [-j THREADS] [--short] [--long] [--list]
"""

import argparse
import glob
import importlib
import itertools
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import broker as broker_module  # noqa: E402
import mqtt  # noqa: E402

ROOT = broker_module.ROOT
BUILD = os.path.join(ROOT, "build", "e2e")  # what tests compile
SANITIZED = bool(os.environ.get("ASAN_OPTIONS") or os.environ.get("TSAN_OPTIONS"))

_serial = itertools.count(1)


class Skip(Exception):
    """What the test needs is not to be had here; the text says what. It is told, not counted as passed."""


def each(*parameters):
    """Run once for each parameter, which the test gets as its second argument."""

    def mark(function):
        function.parameters = parameters
        return function

    return mark


def short(function):
    """One of those that --short runs too."""
    function.short = True
    return function


def alone(function):
    """Nothing else runs beside it: it needs the machine, or measures time."""
    function.alone = True
    return function


def tern_only(function):
    """Left out when $TERN_BIN is mosquitto, which helps to tell a wrong test from a wrong broker."""
    function.tern_only = True
    return function


def plain_build(function):
    """Left out under a sanitizer, whose own memory hides what is measured; the release stage runs it."""
    function.plain_build = True
    return function


def once(function):
    """Left out under the thread sanitizer: a foreign tool looks at the protocol, and takes its time."""
    function.once = True
    return function


def long_only(function):
    """Left out unless --long asks for what takes minutes."""
    function.long_only = True
    return function


def equal(got, wanted, what="value"):
    assert got == wanted, f"{what} is {got!r}, {wanted!r} expected"


def eventually(condition, seconds=None, what="the condition"):
    """Wait until condition() is true; its last value is returned."""
    seconds = mqtt.WAIT_S if seconds is None else seconds
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)


def port_told(read_log, pattern):
    """The port that the kernel gave, as the broker says at its start."""
    return int(eventually(lambda: re.search(pattern, read_log()), what=f"/{pattern}/ in the log").group(1))


class Program:
    """A client program: its lines are read as they come. stop() ends it by its pid."""

    def __init__(self, command, env=None):
        self.command = [str(part) for part in command]
        self.lines, self.changed = [], threading.Condition()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **(env or {})),
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()

    def wait_line(self, pattern, seconds=15):
        """The first line that matches; lines stay."""
        until = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                left = until - time.monotonic()
                ended = self.process.poll() is not None and not self.reader.is_alive()
                if left <= 0 or ended:
                    raise AssertionError(f"no line /{pattern}/ from {self.tell()}")
                self.changed.wait(min(left, 0.2))

    def wait_end(self, seconds=30, status=0):
        """It ends by itself; its lines. status None: whatever it is."""
        try:
            got = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running: {self.tell()}") from None
        self.reader.join(5)
        assert status is None or got == status, f"status {got}: {self.tell()}"
        return self.lines

    def tell(self):
        return f"{' '.join(self.command)}:\n" + "\n".join(self.lines[-40:])

    def stop(self, hard=False):
        if self.process.poll() is None:
            self.process.kill() if hard else self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(5)
        self.process.stdout.close()


class Tests:
    """What a test gets as t: names of its own, brokers and programs that end with it."""

    shared = {}
    shared_lock = threading.Lock()

    def __init__(self):
        self.prefix = f"e{next(_serial)}"
        self.brokers, self.programs = [], []
        self.scratch = None

    def folder(self):
        """A folder of this test's own, gone with it."""
        if self.scratch is None:
            self.scratch = tempfile.mkdtemp(prefix="tern-test-")
        return self.scratch

    def topic(self, name="x"):
        return f"{self.prefix}/{name}"

    def id(self, name="a"):
        return f"{self.prefix}{name}"

    # -- brokers

    def broker(self, lines=(), metrics=False, **how):
        """A broker of this test's own. metrics: with an HTTP listener, read by t.metric()."""
        has_http = metrics and not broker_module.is_mosquitto()
        if has_http:
            lines = [*lines, "http_listener 127.0.0.1:0"]
        made = broker_module.Broker(lines=lines, **how)
        self.brokers.append(made)
        made.http_port = port_told(made.log, r"http://127\.0\.0\.1:(\d+)/metrics") if has_http else None
        return made

    @classmethod
    def kept(cls, name, make):
        """A broker that tests share: made by the first that asks for this name, stopped after the last test."""
        with cls.shared_lock:
            if name not in cls.shared:
                cls.shared[name] = make()
            found = cls.shared[name]
            assert found.is_alive(), f"the broker that tests share ({name}) died:\n" + found.log()[-6000:]
            return found

    @classmethod
    def common(cls):
        """The broker that the tests of a suite share: TCP on IPv4 and IPv6, and WebSocket."""

        def make():
            # mosquitto loses QoS 2 messages of 3.x clients beyond this; Tern does not, and keeps its default.
            lines = ["max_inflight_messages 1000"] if broker_module.is_mosquitto() else []
            listeners = {"mqtt": [], "ws": ["protocol websockets"], "six": []}
            return broker_module.Broker(lines=lines, listeners=listeners, hosts={"six": "::1"})

        return cls.kept("common", make)

    @staticmethod
    def metrics(broker):
        """{'tern_dropped_total{reason="queue_full"}': 3.0, ...}"""
        url = f"http://127.0.0.1:{broker.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=mqtt.WAIT_S) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    @classmethod
    def metric(cls, broker, name, **labels):
        """Sum of a metric over all rows that carry these labels; 0 when there is none."""
        total = 0.0
        for row, value in cls.metrics(broker).items():
            if row.split("{")[0] == name and all(f'{key}="{want}"' in row for key, want in labels.items()):
                total += value
        return total

    # -- clients

    def raw(self, port, version=5, label="raw", **how):
        """A connection on which nothing has been sent."""
        return mqtt.Client(port, version, label=label, **how)

    def client(self, port, name="a", version=5, **how):
        """A connected raw client with id t.id(name)."""
        client = mqtt.Client(port, version, label=name)
        client.connect(self.id(name), **how)
        return client

    def program(self, *command, env=None):
        program = Program(command, env)
        self.programs.append(program)
        return program

    def end(self, failed):
        """Stop what the test started; brokers are judged only when the test itself was fine."""
        for program in self.programs:
            program.stop()
        mqtt.forget_clients()
        trouble = []
        for each_broker in self.brokers:
            try:
                each_broker.kill() if failed or each_broker.process is None else each_broker.stop()
            except AssertionError as error:
                trouble.append(str(error))
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
        return trouble


class Case:
    def __init__(self, module, function, parameter, has_parameter):
        self.function, self.parameter, self.has_parameter = function, parameter, has_parameter
        self.name = f"{module}:{function.__name__.removeprefix('test_')}"
        if has_parameter:
            label = parameter if isinstance(parameter, (str, int)) else " ".join(str(p) for p in parameter)
            self.name += f"[{label}]"
        self.error, self.skipped, self.seconds = None, None, 0.0

    def run(self):
        started = time.monotonic()
        mqtt.forget_clients()
        t = Tests()
        try:
            self.function(t, self.parameter) if self.has_parameter else self.function(t)
        except Skip as reason:
            self.skipped = str(reason)
        except Exception as error:  # a test fails by any exception; the suite goes on
            self.error = self.explain(error, t)
        trouble = t.end(self.error is not None)
        if trouble:
            self.error = "\n".join(trouble)
        self.seconds = time.monotonic() - started

    @staticmethod
    def explain(error, t):
        where = ""
        for frame in traceback.extract_tb(error.__traceback__):
            if os.path.basename(frame.filename).startswith("test_"):
                where = f"\n    at {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}"
        text = f"{type(error).__name__}: {error}{where}"
        if not isinstance(error, (AssertionError, OSError)):
            text += "\n" + traceback.format_exc()
        for client in mqtt.clients_of_this_test()[:8]:
            for when, arrow, what in client.record[-12:]:
                text += f"\n    {client.start + when:.3f} {client.label:>10} {arrow} {what}"
        for each_broker in t.brokers:
            text += f"\n  the broker said:\n{each_broker.log()[-3000:]}"
        return text


def discover(folder):
    for path in sorted(glob.glob(os.path.join(folder, "test_*.py"))):
        name = os.path.basename(path)[: -len(".py")]
        module = importlib.import_module(name)
        for function in vars(module).values():
            ours = callable(function) and getattr(function, "__module__", "") == name
            if not ours or not function.__name__.startswith("test_"):
                continue
            if broker_module.is_mosquitto() and getattr(function, "tern_only", False):
                continue
            if SANITIZED and getattr(function, "plain_build", False):
                continue
            if "TSAN_OPTIONS" in os.environ and getattr(function, "once", False):
                continue
            label = name.removeprefix("test_")
            if hasattr(function, "parameters"):
                for parameter in function.parameters:
                    yield Case(label, function, parameter, True)
            else:
                yield Case(label, function, None, False)


def run_together(cases, threads, report):
    work = queue.SimpleQueue()
    for case in cases:
        work.put(case)

    def worker():
        while True:
            try:
                case = work.get_nowait()
            except queue.Empty:
                return
            case.run()
            report(case)

    pool = [threading.Thread(target=worker) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()


def main(folder):
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="", metavar="PATTERN", help="only tests whose name matches")
    parser.add_argument("-j", type=int, default=6, metavar="THREADS", help="tests at once")
    parser.add_argument("--short", action="store_true", help="one of each kind")
    parser.add_argument("--long", action="store_true", help="those too that take minutes")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, folder)
    cases = [case for case in discover(folder) if re.search(options.k, case.name)]
    if not options.long:
        cases = [case for case in cases if not getattr(case.function, "long_only", False)]
    if options.short:
        cases = [case for case in cases if getattr(case.function, "short", False)]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    os.makedirs(BUILD, exist_ok=True)

    def report(case):
        verdict = "FAIL" if case.error else "skip" if case.skipped else "ok"
        why = f": {case.skipped}" if case.skipped else ""
        sys.stdout.write(f"{verdict:4} {case.seconds:6.2f} s  {case.name}{why}\n")
        sys.stdout.flush()

    is_alone = [case for case in cases if getattr(case.function, "alone", False)]
    run_together([case for case in cases if case not in is_alone], options.j, report)
    run_together(is_alone, 1, report)

    failures = [(case.name, case.error) for case in cases if case.error]
    for name, shared in Tests.shared.items():
        try:
            assert shared.is_alive(), "it died:\n" + shared.log()[-6000:]
            shared.stop()
        except AssertionError as error:
            failures.append((f"the broker that tests shared: {name}", str(error)))
    for name, error in failures:
        print(f"\n{name}\n  {error}")
    failed_cases = sum(1 for case in cases if case.error)
    skipped = [case for case in cases if case.skipped and not case.error]
    for case in skipped:
        print(f"left out: {case.name}: {case.skipped}")
    print(f"{len(cases) - failed_cases - len(skipped)} passed, {len(failures)} failed")
    return 1 if failures else 0
