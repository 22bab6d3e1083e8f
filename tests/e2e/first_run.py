"""Tern as a newcomer meets it: README's commands, in a clean copy of what git tracks.

deploy/quickstart is started as README says and must answer on 127.0.0.1:1883. That port is the
newcomer's own: the program runs in a network namespace of its own, so whatever else this machine
does with the port is neither seen nor disturbed.

    first_run.py                    the tests
    first_run.py --inside COMMAND   run a command with lo up; used by the tests in their namespace
"""

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))

import mqtt  # noqa: E402

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def raise_loopback():
    """A new network namespace has lo, down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | IFF_UP, b""))


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def readme_names_what_is_there():
    """Every path in README's code that looks like ours exists, and its commands can be run."""
    text = readme()
    for path in sorted(set(re.findall(r"(?:core|tests|deploy|cluster|storage|proto|bench)/[\w./-]*", text))):
        assert os.path.exists(os.path.join(ROOT, path)), f"README.md names {path}, which is not there"
    for command in ("deploy/quickstart", "tests/run"):
        assert command in text, f"README.md does not name {command}"
        assert os.access(os.path.join(ROOT, command), os.X_OK), f"{command} cannot be run"
    assert os.access(os.path.join(ROOT, ".ci", "run"), os.X_OK), ".ci/run cannot be run"


def readme_has_every_exit_code():
    text = readme()
    for code in (0, 64, 65, 69, 73, 78):
        assert re.search(rf"^\| {code} \|", text, re.MULTILINE), f"README.md does not explain exit code {code}"


def the_tree_has_no_foreign_names():
    """No registry's host and no path of somebody's machine; the tree is for everybody."""
    pattern = r"(deb|registry)\.(debian|npmjs)\.|/(farm|work)/[a-z.]+|/home/[a-z]+/"
    found = subprocess.run(
        ["git", "grep", "-nIE", pattern, "--", ".", ":!tests/e2e/first_run.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 1, found.stdout[:2000]


def quickstart_answers():
    """deploy/quickstart, in a clean copy of the tree and a network of its own."""
    inside(inner_quickstart)


def tern_without_configuration_says_where_everything_is():
    inside(inner_six_lines)


# ---- inside the namespace -----------------------------------------------------------------------


def inside(function):
    """Run one of the functions below in a network namespace of its own."""
    is_root = os.geteuid() == 0
    command = ["unshare", "--net", *([] if is_root else ["--user", "--map-root-user"])]
    command += [sys.executable, os.path.abspath(__file__), "--inside", function.__name__]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=600)
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]


def wait_port(process, port, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "it ended:\n" + process.stdout.read()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing answers on 127.0.0.1:{port} after {seconds} s")


def start(command, folder):
    return subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stop(process):
    """SIGTERM to the broker, which replaced quickstart's shell; what it had said."""
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError("it did not end within 30 s of SIGTERM") from None
    said = process.stdout.read()
    assert code == 0, f"exit code {code}:\n{said}"
    return said


def inner_quickstart():
    folder = tempfile.mkdtemp(prefix="tern-first-")
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for path in listed.decode().split("\0"):
            if path and os.path.exists(os.path.join(ROOT, path)):
                os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
                shutil.copy2(os.path.join(ROOT, path), os.path.join(folder, path))
        process = start([os.path.join(folder, "deploy", "quickstart")], folder)
        try:
            wait_port(process, 1883, 420)
            run = lambda *command: subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            run("mosquitto_pub", "-t", "room/light", "-m", "on", "-r", "-q", "1")
            heard = run("mosquitto_sub", "-t", "room/#", "-v", "-C", "1", "-W", "10").stdout
            assert heard == "room/light on\n", heard
            with urllib.request.urlopen("http://127.0.0.1:8888/metrics", timeout=10) as answer:
                assert b'tern_publish_received_total{qos="1"} 1\n' in answer.read()
            with urllib.request.urlopen("http://127.0.0.1:8888/health", timeout=10) as answer:
                assert answer.status == 200
        finally:
            if process.poll() is None:
                stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def inner_six_lines():
    """No configuration: this machine only, and at most a screenful that says where everything is."""
    folder = tempfile.mkdtemp(prefix="tern-first-")
    program = os.environ.get("TERN_BIN", os.path.join(ROOT, "build", "release", "tern"))
    try:
        process = start([program], folder)
        wait_port(process, 1883, 20)
        client = mqtt.Client(1883, 5)
        client.connect("newcomer")
        mqtt.forget_clients()
        listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
        everywhere = [row.split()[1] for row in listening.splitlines()[1:] if row.split()[3] == "0A"]
        assert all(address.startswith("0100007F:") for address in everywhere), f"listens at {everywhere}"
        said = stop(process)
        for word in ("1883", "8888"):
            assert word in said, f"{word} is not told:\n{said}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


TESTS = (
    readme_names_what_is_there,
    readme_has_every_exit_code,
    the_tree_has_no_foreign_names,
    tern_without_configuration_says_where_everything_is,
    quickstart_answers,
)


def main():
    if sys.argv[1:2] == ["--inside"]:
        raise_loopback()
        {"inner_quickstart": inner_quickstart, "inner_six_lines": inner_six_lines}[sys.argv[2]]()
        return 0
    failed = 0
    for test in TESTS:
        started = time.monotonic()
        try:
            test()
            verdict = "ok"
        except Exception as error:  # a test fails by any exception; the others go on
            failed += 1
            verdict = "FAIL"
            print(f"{test.__name__}: {type(error).__name__}: {error}")
        print(f"{verdict:4} {time.monotonic() - started:6.2f} s  {test.__name__}", flush=True)
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
