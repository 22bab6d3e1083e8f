"""Start a broker for a test, with ports given by the kernel, and stop it by SIGTERM.

The program is $TERN_BIN (default build/dev/tern); a TERN_BIN that ends in "mosquitto" is started with
keys that mosquitto knows. A broker that does not end with exit code 0 fails the test: this is how a
sanitizer's report is seen.
"""

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program():
    return os.environ.get("TERN_BIN", os.path.join(ROOT, "build/dev/tern"))


def is_mosquitto():
    return os.path.basename(program()).startswith("mosquitto")


def reserve_port(host="127.0.0.1"):
    """A socket bound to a port that the kernel chose, not listening. While it is open nobody else is
    given that port, but a broker that sets SO_REUSEADDR can bind and listen there.

    mosquitto's WebSocket library binds all addresses without it, so it gets a port on which not even
    an old connection is in TIME_WAIT, and the reservation has to end before it starts.
    """
    everywhere = is_mosquitto()
    s = socket.socket(socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET)
    if everywhere:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    else:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::" if everywhere else host, 0))
    return s


def free_port(host="127.0.0.1"):
    with reserve_port(host) as s:
        return s.getsockname()[1]


class Broker:
    """One running broker.

    listeners  name -> lines of its section, e.g. {"mqtt": [], "ws": ["protocol websockets"]}
    hosts      name -> address of that listener, where it is not 127.0.0.1
    lines      global lines of the configuration
    tern_only  more global lines, left out for mosquitto

    broker.port is the port of the first listener, broker.ports["ws"] that of another.
    """

    def __init__(self, lines=(), listeners=None, tern_only=(), hosts=None, args=(), env=None, wait_s=60):
        self.listeners = {"mqtt": []} if listeners is None else listeners
        self.hosts = hosts or {}
        self.lines = list(lines) + ([] if is_mosquitto() else list(tern_only))
        self.args, self.wait_s = list(args), wait_s
        # TERN_<OPTION> configures the broker; ours are not options
        self.env = {k: v for k, v in os.environ.items() if k != "TERN_BIN" and not k.startswith("TERN_TEST_")}
        self.env.update(env or {})
        self.folder = tempfile.mkdtemp(prefix="tern-test-")
        self.process = None
        atexit.register(self.kill)
        self.start_up()

    # -- life

    def start_up(self):
        """Start it, on other ports when somebody else was given these."""
        for _ in range(5):
            self.start()
            up = self.answers()
            for s in self.reserved.values():
                s.close()
            if up:
                return
            if not re.search("in use|unable to create", self.log().lower()):
                break
        log = self.log()
        self.kill()
        raise AssertionError(f"{program()} did not start:\n{log[-4000:]}")

    def persistence(self):
        """In memory, or on disk with $TERN_TEST_DURABLE: most tests are to pass with either."""
        if os.environ.get("TERN_TEST_DURABLE") and not is_mosquitto():
            return ["persistence true", f"persistence_location {self.folder}/data"]
        return ["persistence false"]

    def config_text(self):
        out = list(self.lines)
        if not any(line.startswith(("allow_anonymous", "per_listener_settings")) for line in out):
            out.append("allow_anonymous true")
        if not any(line.startswith("persistence ") for line in out):
            out += self.persistence()
        if is_mosquitto():
            out.append("user root")
        elif not any(line.startswith("http_listener") for line in out):
            out.append("http_listener none")
        for name, section in self.listeners.items():
            out.append(f"listener {self.ports[name]} {self.hosts.get(name, '127.0.0.1')}")
            out += section
        return "\n".join(out) + "\n"

    def start(self):
        self.reserved = {name: reserve_port(self.hosts.get(name, "127.0.0.1")) for name in self.listeners}
        self.ports = {name: s.getsockname()[1] for name, s in self.reserved.items()}
        if is_mosquitto():
            for s in self.reserved.values():
                s.close()
        self.port = next(iter(self.ports.values()), None)
        self.config = os.path.join(self.folder, "broker.conf")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(self.config_text())
        self.log_path = os.path.join(self.folder, "broker.log")
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen([program(), "-c", self.config] + self.args, cwd=self.folder,
                                        stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=subprocess.STDOUT, env=self.env)

    def answers(self):
        until = time.monotonic() + self.wait_s
        for name, port in self.ports.items():
            host = self.hosts.get(name, "127.0.0.1")
            while True:
                if self.process.poll() is not None:
                    return False
                try:
                    socket.create_connection((host, port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        return False
                    time.sleep(0.02)
        return True

    def stop(self, wait_s=30):
        """SIGTERM; it must end by itself with exit code 0."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            log = self.log()
            self.kill()
            raise AssertionError(f"the broker did not end within {wait_s} s of SIGTERM:\n{log[-4000:]}")
        log = self.log()
        self.kill()
        assert code == 0, f"the broker ended with exit code {code}:\n{log[-8000:]}"

    def kill(self):
        """At once, by pid; removes the folder. Safe to call again."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None
            self.log_file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    # -- looking at it

    def log(self):
        try:
            with open(self.log_path, "r", encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()
