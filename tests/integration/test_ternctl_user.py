"""ternctl user, the program itself, on files that mosquitto_passwd made, and on files that it did not."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import threading
import time

import broker as broker_module
from suite import each, equal, eventually, short, tern_only

OK, NO, USAGE, DATA, CANNOT_CREATE = 0, 1, 64, 65, 73
CHEAP = ["--scrypt-cost", "10"]
WAIT_S = 60


def program():
    return os.path.join(os.path.dirname(broker_module.program()), "ternctl")


def ternctl(*words, stdin=""):
    """(exit code, standard output, standard error)"""
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([program(), *words], input=stdin, capture_output=True, timeout=WAIT_S)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def add(path, name, password, *options):
    code, out, err = ternctl("user", "add", path, name, *CHEAP, *options, stdin=password + "\n")
    equal(code, OK, f"exit code of user add ({err})")
    return out, err


def check(path, name, password):
    code, out, err = ternctl("user", "check", path, name, stdin=password + "\n")
    assert (code, out) in ((OK, "yes\n"), (NO, "no\n")), (code, out, err)
    return code == OK


def text(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def write(t, content, name="passwords"):
    path = os.path.join(t.folder(), name)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(content)
    return path


def new(t):
    return os.path.join(t.folder(), "passwords")


def only_file(path):
    equal(os.listdir(os.path.dirname(path)), [os.path.basename(path)], "files in the folder")


def mosquitto_passwd(path, name, password, *options):
    if not os.path.exists(path):
        options = ("-c", *options)
    subprocess.run(["mosquitto_passwd", *options, "-b", path, name, password], check=True, capture_output=True)


# ---- what is in a file --------------------------------------------------------------------------


@tern_only
@short
def test_a_new_file_is_for_its_owner_alone_and_lets_its_user_in(t):
    path = new(t)
    out, _ = add(path, "alice", "secret")
    assert "alice is added" in out, out
    equal(os.stat(path).st_mode & 0o7777, 0o600, "mode")
    assert text(path).startswith("alice:$scrypt$ln=10,r=8,p=1$"), text(path)
    equal(text(path).count("\n"), 1, "lines")
    assert check(path, "alice", "secret")
    assert not check(path, "alice", "Secret")
    assert not check(path, "bob", "secret")
    only_file(path)


@tern_only
@short
def test_the_default_cost_is_16_mib(t):
    path = new(t)
    equal(ternctl("user", "add", path, "alice", stdin="secret")[0], OK, "exit code")
    assert "$scrypt$ln=14,r=8,p=1$" in text(path), text(path)
    assert check(path, "alice", "secret")


@tern_only
@short
def test_what_mosquitto_passwd_writes_is_read(t):
    path = new(t)
    mosquitto_passwd(path, "pbkdf2", "secret one")
    mosquitto_passwd(path, "sha512 user", "secret two", "-H", "sha512")
    add(path, "scrypt", "secret three")
    for name, password in (("pbkdf2", "secret one"), ("sha512 user", "secret two"), ("scrypt", "secret three")):
        assert check(path, name, password), name
        assert not check(path, name, "secret"), name
    code, out, _ = ternctl("user", "list", path)
    equal(code, OK, "exit code")
    equal(out, "pbkdf2  sha512-pbkdf2\nsha512 user  sha512\nscrypt  scrypt\n", "the list")


@tern_only
@short
def test_scram_is_a_second_line_that_goes_with_the_next_password(t):
    path = new(t)
    add(path, "alice", "one", "--scram")
    kinds = [line.split(":$")[1].split("$")[0] for line in text(path).splitlines()]
    equal(kinds, ["scrypt", "scram-sha-256"], "kinds")
    equal(json.loads(ternctl("user", "list", path, "--json")[1]), [{"user": "alice", "kinds": kinds}], "list")
    out, _ = add(path, "alice", "two")
    assert "SCRAM is gone" in out, out
    equal(text(path).count("\n"), 1, "lines")
    assert check(path, "alice", "two") and not check(path, "alice", "one")


@tern_only
@short
def test_other_lines_stay_as_they_are(t):
    before = "# staff\n\n  # indented\nbob:$7$damaged\nplain:text"
    path = write(t, before)
    _, err = add(path, "alice", "secret")
    assert "line 4" in err and "mended" in err and "text" not in err, err
    assert text(path).startswith(before + "\nalice:$scrypt$"), text(path)
    add(path, "bob", "secret")
    lines = text(path).splitlines()
    assert lines[3].startswith("bob:$scrypt$") and lines[4] == "plain:text", lines  # where it stood
    code, out, err = ternctl("user", "list", path)
    equal(code, DATA, "exit code of a list of a file with a password in plain text")
    assert "plain  unknown" in out and "line 5" in err, (out, err)
    equal(ternctl("user", "check", path, "alice", stdin="secret")[0], DATA, "exit code")
    equal(ternctl("user", "del", path, "plain")[0], OK, "exit code")
    assert check(path, "bob", "secret")


@tern_only
@short
def test_line_ends_of_windows_stay(t):
    path = write(t, "# staff\r\n")
    add(path, "alice", "one")
    add(path, "bob", "two", "--scram")
    equal(text(path).count("\r\n"), 4, "line ends")
    equal(text(path).count("\n"), 4, "lines")
    assert check(path, "alice", "one") and check(path, "bob", "two")


@tern_only
@short
def test_a_user_goes_with_all_lines(t):
    path = write(t, "# staff\n")
    add(path, "alice", "one", "--scram")
    add(path, "alice b", "two")
    code, out, _ = ternctl("user", "del", path, "alice")
    equal((code, out), (OK, f"alice is removed from {path}\n"), "answer")
    assert not check(path, "alice", "one") and check(path, "alice b", "two")
    assert text(path).startswith("# staff\nalice b:"), text(path)
    before = os.stat(path)
    code, _, err = ternctl("user", "del", path, "alice")
    equal(code, NO, "exit code")
    assert "there is no user alice" in err, err
    equal(os.stat(path).st_ino, before.st_ino, "inode of a file that was left alone")


@tern_only
@short
@each("bj\u00f6rn", "with blanks in it", "-dash", "=,;$", "\u65e5\u672c")
def test_a_name_may_be(t, name):
    path = new(t)
    code, _, err = ternctl("user", "add", *CHEAP, "--", path, name, stdin="secret")
    equal(code, OK, f"exit code ({err})")
    equal(ternctl("user", "check", "--", path, name, stdin="secret")[0], OK, "exit code")
    equal(json.loads(ternctl("user", "list", "--json", path)[1])[0]["user"], name, "the name")


REFUSED_NAMES = {
    "empty": "",
    "with a colon": "a:b",
    "of two lines": "a\nb",
    "with a blank before it": " a",
    "with a blank behind it": "a ",
    "that looks like a comment": "#a",
    "that moves the cursor": "a\x1b[2J",
}


@tern_only
@short
@each(*REFUSED_NAMES)
def test_a_name_may_not_be(t, kind):
    name = REFUSED_NAMES[kind]
    code, _, err = ternctl("user", "add", new(t), name, stdin="secret")
    equal(code, USAGE, f"exit code ({err})")
    assert "the name" in err and "\x1b" not in err, err
    equal(os.listdir(t.folder()), [], "files")


# ---- where a password comes from -----------------------------------------------------------------


@tern_only
@short
def test_a_password_is_never_an_argument(t):
    for words in (
        ("FILE", "alice", "s3cret"),
        ("-b", "FILE", "alice", "s3cret"),
        ("FILE", "alice", "--password", "s3cret"),
        ("FILE", "alice", "--password=s3cret"),
        ("FILE", "alice", "-P", "s3cret"),
        ("FILE", "alice", "-ps3cret"),
    ):
        code, out, err = ternctl("user", "add", *(new(t) if word == "FILE" else word for word in words))
        equal(code, USAGE, f"exit code of {words} ({err})")
        assert "never an argument" in err and "s3cret" not in out + err, (out, err)
    equal(os.listdir(t.folder()), [], "files")


@tern_only
@short
def test_a_password_is_the_first_line_of_a_file_or_of_standard_input(t):
    path = new(t)
    for content, password in ((" p w \r\nx\n", " p w "), ("caf\u00e9", "caf\u00e9"), ("x" * 65535 + "\n", "x" * 65535)):
        secret = write(t, content, "secret")
        equal(ternctl("user", "add", path, "alice", *CHEAP, "--password-file", secret)[0], OK, "exit code")
        assert check(path, "alice", password), repr(password[:10])
        equal(ternctl("user", "check", path, "alice", "--password-file", "-", stdin=content)[0], OK, "exit code")
    os.remove(path)
    wrong = [("", "empty"), ("\nx", "empty"), ("x\0\n", "NUL"), ("x" * 65536, "too long"), ("x" * 99999, "too long")]
    for content, words in wrong:
        code, _, err = ternctl("user", "add", path, "alice", stdin=content)
        equal(code, DATA, f"exit code of {content[:5]!r}")
        assert words in err, err
    code, _, err = ternctl("user", "add", path, "alice", "--password-file", os.path.join(t.folder(), "none"))
    equal(code, DATA, "exit code")
    assert "No such file" in err, err
    code, _, err = ternctl("user", "add", path, "alice", "--password-file", t.folder())
    equal(code, DATA, "exit code")
    assert not os.path.exists(path)


class Terminal:
    """ternctl at a terminal of its own."""

    def __init__(self, *words):
        self.master, slave = pty.openpty()
        self.slave = slave
        # A shell that starts the tests in the background has them, and what they start, ignore SIGINT.
        self.process = subprocess.Popen(
            [program(), *words], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.seen = b""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                self.seen += os.read(self.master, 4096)
            except OSError:
                return

    def is_hidden(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ECHO

    def answer(self, question, line):
        eventually(lambda: self.seen.endswith(question) and self.is_hidden(), what=f"{question} in {self.seen}")
        os.write(self.master, line + b"\n")

    def end(self):
        code = self.process.wait(WAIT_S)
        assert not self.is_hidden(), "the terminal shows nothing any more"
        time.sleep(0.05)  # what was said last may still be on its way
        os.close(self.slave)
        return code, self.seen.decode()


@tern_only
@short
def test_a_terminal_asks_twice_and_shows_nothing(t):
    path = new(t)
    terminal = Terminal("user", "add", path, "alice", *CHEAP)
    terminal.answer(b"New password: ", b"s3cret")
    terminal.answer(b"again: ", b"s3cret")
    code, seen = terminal.end()
    equal(code, OK, f"exit code ({seen})")
    assert "s3cret" not in seen, seen
    assert check(path, "alice", "s3cret")
    terminal = Terminal("user", "check", path, "alice")
    terminal.answer(b"Password: ", b"s3cret")
    code, seen = terminal.end()
    equal(code, OK, f"exit code ({seen})")


@tern_only
@short
def test_two_that_differ_change_nothing(t):
    path = new(t)
    terminal = Terminal("user", "add", path, "alice", *CHEAP)
    terminal.answer(b"New password: ", b"s3cret")
    terminal.answer(b"again: ", b"s3cre")
    code, seen = terminal.end()
    equal(code, DATA, f"exit code ({seen})")
    assert not os.path.exists(path)


@tern_only
@short
@each("SIGINT", "SIGTERM")
def test_who_is_interrupted_leaves_a_terminal_that_shows_what_is_typed(t, name):
    path = new(t)
    terminal = Terminal("user", "add", path, "alice", *CHEAP)
    eventually(lambda: terminal.seen.endswith(b"New password: ") and terminal.is_hidden(), what="the question")
    terminal.process.send_signal(getattr(signal, name))
    code, _ = terminal.end()
    equal(code, -getattr(signal, name), "how it ended")
    assert not os.path.exists(path)


# ---- the file ------------------------------------------------------------------------------------


@tern_only
@short
def test_mode_and_owner_stay(t):
    path = write(t, "# staff\n")
    os.chmod(path, 0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    before = os.stat(path)
    add(path, "alice", "secret")
    after = os.stat(path)
    for field in ("st_mode", "st_uid", "st_gid"):
        equal(getattr(after, field), getattr(before, field), field)
    assert after.st_ino != before.st_ino, "written in place: who reads it meanwhile sees half of it"
    only_file(path)


@tern_only
@short
def test_a_link_stays_and_what_it_points_to_is_replaced(t):
    folder = os.path.join(t.folder(), "real")
    os.mkdir(folder)
    path, link = os.path.join(folder, "passwords"), os.path.join(t.folder(), "link")
    os.symlink("real/passwords", link)
    code, _, err = ternctl("user", "add", link, "alice", stdin="x")
    equal(code, CANNOT_CREATE, "exit code of a link to nothing")
    assert "a link to a file that is not there" in err, err
    add(path, "bob", "one")
    add(link, "alice", "two")
    assert os.path.islink(link)
    assert check(path, "alice", "two") and check(path, "bob", "one")
    only_file(path)


@tern_only
@short
def test_what_cannot_be_read_or_written_is_said(t):
    folder = t.folder()
    for command in ("del", "list", "check"):
        words = ["user", command, os.path.join(folder, "none")] + ["x"] * (command != "list")
        code, _, err = ternctl(*words, stdin="x")
        equal(code, DATA, f"exit code of {command} ({err})")
        assert "No such file" in err, err
    code, _, err = ternctl("user", "add", os.path.join(folder, "none", "file"), "alice", stdin="x")
    equal(code, CANNOT_CREATE, f"exit code ({err})")
    assert "make the folder first" in err, err
    code, _, err = ternctl("user", "add", folder, "alice", stdin="x")
    equal(code, DATA, f"exit code of a folder ({err})")
    os.mkfifo(os.path.join(folder, "pipe"))
    code, _, err = ternctl("user", "add", os.path.join(folder, "pipe"), "alice", stdin="x")
    equal(code, DATA, f"exit code of a pipe ({err})")
    code, _, err = ternctl("user", "add", "/proc/none", "alice", stdin="x")
    equal(code, CANNOT_CREATE, f"exit code of a folder where nothing can be made ({err})")


@tern_only
@short
def test_a_full_disk_changes_nothing(t):
    path = write(t, "# staff\n")
    shell = f"ulimit -f 0; trap '' XFSZ; exec {program()} user add {path} alice {' '.join(CHEAP)}"
    done = subprocess.run(["bash", "-c", shell], input=b"x", capture_output=True, timeout=WAIT_S)
    equal(done.returncode, CANNOT_CREATE, f"exit code ({done.stderr})")
    equal(text(path), "# staff\n", "the file")
    only_file(path)


@tern_only
@short
def test_twenty_at_once_lose_nobody(t):
    path = new(t)
    names = [f"user{i}" for i in range(20)]
    threads = [threading.Thread(target=add, args=(path, name, "x")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = json.loads(ternctl("user", "list", path, "--json")[1])
    equal(sorted(row["user"] for row in listed), sorted(names), "users")
    only_file(path)


@tern_only
@short
def test_who_comes_second_waits_for_the_first(t):
    path = new(t)
    folder = os.open(t.folder(), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    words = [program(), "user", "add", path, "alice", *CHEAP]
    second = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    second.stdin.write(b"x\n")
    second.stdin.close()
    time.sleep(0.3)
    assert second.poll() is None and not os.path.exists(path)
    os.close(folder)
    equal(second.wait(WAIT_S), OK, "exit code")
    assert check(path, "alice", "x")


# ---- the program ----------------------------------------------------------------------------------


@tern_only
@short
def test_help_says_how_each_command_is_written(t):
    code, out, _ = ternctl("--help")
    equal(code, OK, "exit code")
    for command in ("user add", "user del", "user list", "user check"):
        assert command in out, out
        for words in (["help", *command.split()], [*command.split(), "--help"], [*command.split(), "FILE", "-h"]):
            code, text_, _ = ternctl(*words)
            equal(code, OK, f"exit code of {words}")
            assert text_.startswith(f"Usage: ternctl {command} FILE"), text_
    code, out, _ = ternctl("--version")
    assert code == OK and out.startswith("ternctl "), out


@tern_only
@short
@each(
    ("", "Usage"),
    ("usr add", "did you mean user add?"),
    ("user ad FILE x", "did you mean user add?"),
    ("frobnicate", "there is no command"),
    ("user", "user add, user del, user list, user check"),
    ("user add", "FILE is missing"),
    ("user add FILE", "NAME is missing"),
    ("user list FILE x", "too many arguments"),
    ("user add FILE x --scrypt-cost 9", "from 10 to 16"),
    ("user add FILE x --scrypt-cost", "a value is missing"),
    ("user add FILE x --frob=s3cret", "--frob: there is no such option"),
    ("user list FILE -x", "-x: there is no such option"),
)
def test_wrong_arguments_are_64_and_say_what_is_right(t, line_and_words):
    line, words = line_and_words
    code, out, err = ternctl(*line.split())
    equal(code, USAGE, f"exit code ({out}{err})")
    assert words in out + err and "s3cret" not in out + err, out + err


@tern_only
@short
def test_what_cannot_be_printed_is_an_error(t):
    path = new(t)
    add(path, "alice", "x")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program(), "user", "list", path], stdout=full, stderr=subprocess.PIPE, timeout=WAIT_S)
    equal(done.returncode, CANNOT_CREATE, f"exit code ({done.stderr})")
