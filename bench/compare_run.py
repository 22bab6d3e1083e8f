"""One run of bench/compare: a broker on one core, tern-bench on another, and who else was there.

Processes are pinned with taskset, which becomes the program by exec: so the process id is the broker's.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS, STOP_SECONDS, RUN_SECONDS_MORE = 15, 10, 180


class Failure(Exception):
    """A run that gave no figures, and why."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]}: {done.stderr.strip()[-300:]}")


def make_certificates(folder):
    """A CA of our own, and ECDSA P-256 certificates for server and client, as everybody here gets them."""

    def path(name):
        return os.path.join(folder, name)

    def request(name, *more):
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"),
            *("-keyout", path(name + ".key"), "-subj", f"/CN={name}", *more),
        )

    request("ca", "-x509", "-days", "2", "-out", path("ca.crt"), "-addext", "keyUsage=critical,keyCertSign")
    with open(path("names"), "w") as out:
        out.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    for name in ("server", "client"):
        request(name, "-out", path(name + ".csr"))
        openssl(
            *("x509", "-req", "-days", "2", "-sha256", "-CAcreateserial", "-CA", path("ca.crt")),
            *("-CAkey", path("ca.key"), "-in", path(name + ".csr"), "-out", path(name + ".crt")),
            *("-extfile", path("names")),
        )
    for name in ("server.key", "client.key"):
        os.chmod(path(name), 0o644)  # mosquitto gives up root before it reads them; they last for this run


def secure_arguments(row, certs):
    """What tern-bench needs for a row over TLS."""
    arguments = ["--ssl", "--tls-version", "1.3", "--cacertfile", os.path.join(certs, "ca.crt")]
    if row.secure == "mtls":
        arguments += ["--certfile", os.path.join(certs, "client.crt")]
        arguments += ["--keyfile", os.path.join(certs, "client.key")]
    return arguments


def bare_handshake_us(program, cpu, quick):
    """CPU of a full handshake by BoringSSL itself."""
    command = ["taskset", "-c", str(cpu), program, "first", "--json"] + (["--quick"] if quick else [])
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return next(row["ns"] / 1e3 for row in rows if row["name"].endswith(": bare"))
    except (OSError, ValueError, KeyError, StopIteration, subprocess.TimeoutExpired):
        return None


class Running:
    """A broker from its start until it answers; ended by its process id."""

    def __init__(self, broker, row, options, find):
        self.name, self.port = broker.name, free_port()
        self.folder = tempfile.mkdtemp(prefix="tern-compare-")
        conf = os.path.join(self.folder, "conf")
        names = {"port": self.port, "dir": self.folder, "conf": conf, "shape": row.shape or "pairs"}
        names["certs"] = options.certs
        with open(conf, "w") as out:
            out.write(broker.configuration.format(**names))
            out.write(broker.secure[row.secure].format(**names) if row.secure else "")
        words = [word.format(**names) for word in shlex.split(broker.command)]
        words[0] = find(words[0]) or words[0]
        self.log_path = os.path.join(self.folder, "output")
        self.command = ["taskset", "-c", str(options.broker_cpu), *words]
        self.launch()

    def launch(self):
        """Start it, in the folder that it may have been in before."""
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def __enter__(self):
        return self.wait_listening(START_SECONDS)

    def wait_listening(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.01)
        with open(self.log_path, errors="replace") as log:
            said = log.read()[-400:].strip()
        self.__exit__()
        raise Failure(f"{self.name} did not start listening on its port: {said or 'it said nothing'}")

    def end(self, kill=False):
        """By SIGTERM and what patience there is, or at once; its folder stays."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __exit__(self, *_):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def busy_seconds():
    """CPU seconds of all cores since the start of the machine, idle time left out, stolen time not."""
    with open("/proc/stat") as source:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, source.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def process_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as source:
            fields = source.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    except OSError:
        return 0.0  # gone: the run says so


def own_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def bench_run(bench, running, row, options):
    """One tern-bench against a broker: its report, and with it `others_percent` of one core."""
    command = ["taskset", "-c", str(options.bench_cpu), bench, "run", *row.load.split()]
    command += ["--port", str(running.port), "--broker-pid", str(running.process.pid), "--json"]
    command += ["--seconds", str(options.seconds)]
    command += secure_arguments(row, options.certs) if row.secure else []
    if row.unit != "bytes":
        command += ["--warmup", str(options.warmup)]
    before = busy_seconds() - process_seconds(running.process.pid) - own_seconds()
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=options.seconds + options.warmup + RUN_SECONDS_MORE,
        )
    except subprocess.TimeoutExpired:
        raise Failure("tern-bench did not come to an end") from None
    seconds = time.monotonic() - began
    after = busy_seconds() - process_seconds(running.process.pid) - own_seconds()
    if not done.stdout.startswith("{"):
        raise Failure(done.stderr.strip()[-400:] or f"tern-bench ended with {done.returncode} and said nothing")
    report = json.loads(done.stdout)
    report["others_percent"] = max(0.0, 100 * (after - before) / seconds)
    report["said"] = done.stderr.strip()[-400:]
    return report


def measured(broker, row, options, bench, find, progress):
    """
    A run on a fresh broker. One that others disturbed is repeated, options.retries times; then the least
    disturbed counts, and says so by its `others_percent`.
    """
    best = None
    for attempt in range(1 + options.retries):
        with Running(broker, row, options, find) as running:
            report = bench_run(bench, running, row, options)
        if best is None or report["others_percent"] < best["others_percent"]:
            best = report
        if best["others_percent"] <= options.others_max:
            break
        if attempt < options.retries:
            progress(f"others took {report['others_percent']:.0f} % of a core: once more")
    return best
