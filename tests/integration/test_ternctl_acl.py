"""ternctl acl test: which rule decides, in words, in JSON, one question or many."""

import json
import os
import subprocess

from suite import each, equal, short, tern_only
from ternctl import CONFIG, DATA, NO, OK, USAGE, program, ternctl

FILE = """\
topic read public/#

user alice
topic readwrite home/#
topic deny home/safe/+
  topic  write   garden/fountain  \r
pattern readwrite clients/%c
pattern subscribe news/%u/#
"""

# CLIENT USER ACTION TOPIC: exit code, beginning of the answer.
QUESTIONS = {
    "lamp alice publish home/lamp": (OK, "allowed by line 4: topic readwrite home/#"),
    "lamp alice read home/safe/key": (NO, "denied by line 5: topic deny home/safe/+"),
    "lamp alice publish garden/fountain": (OK, "allowed by line 6: topic  write   garden/fountain"),
    "lamp alice read garden/fountain": (NO, "denied: no rule speaks of it"),
    "lamp bob publish home/lamp": (NO, "denied: no rule speaks of it"),
    "lamp - read public/1": (OK, "allowed by line 1: topic read public/#"),
    "lamp bob read clients/lamp": (OK, "allowed by line 7: pattern readwrite clients/%c"),
    "lamp bob subscribe news/bob/+": (OK, "allowed by line 8: pattern subscribe news/%u/#"),
    "lamp bob subscribe $share/g/news/bob/+": (OK, "allowed by line 8: pattern subscribe news/%u/#"),
    "lamp bob subscribe news/#": (NO, "denied: no subscribe rule holds all of it"),
    "lamp - subscribe clients/#": (OK, "allowed by line 7: pattern readwrite clients/%c"),
    "lamp - subscribe secret/#": (NO, "denied: no rule lets it read anything of it"),
    "a/b - read clients/a/b": (NO, "denied: no rule speaks of it (a client id or user name with a / is not put"),
    "a+b - read clients/x": (NO, "denied: no rule of its own speaks of it, and a client id or user name with + or"),
}

# What is wrong: a file, and what is said behind its name.
TROUBLES = {
    "a word that nobody knows": (
        "topic read a\ntopik a\n",
        ":2: unknown word 'topik': a line begins with topic, pattern, user or #",
    ),
    "a user without a name": ("user\n", ":1: user without a name: write user NAME"),
    "a wrong filter": ("topic a/#/b\n", ":1: 'a/#/b' is no topic filter"),
    "a filter with blanks": ("topic kitchen lamp\n", ":1: 'kitchen' is no kind of access"),
    "no UTF-8": (b"\n\nuser \xff\n", ":3: the line is no UTF-8"),
    "a NUL byte": (b"topic a\0\n", ":1: the line holds a NUL byte"),
    "an escape sequence": (b"\x1b[31mred\n", ":1: unknown word '?[31mred'"),
}

WRONG_ARGUMENTS = ["", "FILE", "FILE c u read", "FILE c u read a b", "FILE c u rede a", "FILE c u read a/+"]
WRONG_ARGUMENTS += ["FILE c u publish #", "FILE c u subscribe a/#/b", "FILE c u read a --colour", "FILE c --stdin"]
WRONG_ARGUMENTS += ["--stdin", "FILE c u read a --config", "--config FILE --stdin c u read a"]


def acl_file(t, text=FILE):
    path = os.path.join(t.folder(), "acl")
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return path


@short
@tern_only
@each(*QUESTIONS)
def test_a_question_is_answered_with_the_rule(t, words):
    code, said = QUESTIONS[words]
    got, out, err = ternctl("acl", "test", acl_file(t), *words.split(" "))
    equal((got, err), (code, ""))
    assert out.startswith(said) and out.endswith("\n") and out.count("\n") == 1, out


@tern_only
def test_the_answer_in_json(t):
    path = acl_file(t)
    code, out, _ = ternctl("acl", "test", path, "lamp", "alice", "read", "home/safe/key", "--json")
    equal(code, NO)
    asked = {"client": "lamp", "user": "alice", "action": "read", "topic": "home/safe/key"}
    rule = {"line": 5, "rule": "topic deny home/safe/+", "why": "a rule denies it"}
    equal(json.loads(out), {**asked, "allowed": False, **rule})
    code, out, _ = ternctl("acl", "test", "--json", path, "lamp", "-", "publish", "x")
    equal(code, NO)
    asked = {"client": "lamp", "user": None, "action": "publish", "topic": "x"}
    equal(json.loads(out), {**asked, "allowed": False, "why": "no rule speaks of it"})


@tern_only
def test_many_questions_get_a_line_each(t):
    path = acl_file(t)
    lines = "lamp\talice\tpublish\thome/lamp\nlamp\t-\tread\tpublic/a\tb\nnonsense\nlamp\t\tread\tpublic/1\n"
    code, out, err = ternctl("acl", "test", path, "--stdin", stdin=lines)
    equal(code, USAGE)
    wanted = ["allowed by line 4", "allowed by line 1", "wrong question", "allowed by line 1"]
    equal([line.split(":")[0] for line in out.splitlines()], wanted)
    assert "line 3: write CLIENT, USER, ACTION and TOPIC with tabs between them" in err, err
    code, out, err = ternctl("acl", "test", path, "--stdin", "--json", stdin=lines.replace("nonsense\n", ""))
    equal((code, err), (OK, ""))
    equal([json.loads(line)["allowed"] for line in out.splitlines()], [True] * 3)
    equal(ternctl("acl", "test", path, "--stdin"), (OK, "", ""))


@tern_only
def test_an_answer_comes_before_the_next_question(t):
    process = subprocess.Popen(
        [program(), "acl", "test", acl_file(t), "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        for _ in range(3):
            process.stdin.write(b"lamp\talice\tpublish\thome/lamp\n")
            process.stdin.flush()
            equal(process.stdout.readline(), b"allowed by line 4: topic readwrite home/#\n")
        process.stdin.close()
        equal(process.wait(10), OK)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@tern_only
@each(*TROUBLES)
def test_a_wrong_line_is_named(t, trouble):
    text, said = TROUBLES[trouble]
    path = acl_file(t, text)
    code, out, err = ternctl("acl", "test", path, "c", "u", "read", "a")
    equal((code, out), (DATA, ""))
    assert path + said in err, err


@tern_only
def test_a_file_that_cannot_be_read_is_named(t):
    missing = os.path.join(t.folder(), "none")
    for path in (missing, t.folder()):
        code, out, err = ternctl("acl", "test", path, "c", "u", "read", "a")
        equal((code, out), (DATA, ""))
        assert f"cannot read {path}: " in err, err


@tern_only
@each(*WRONG_ARGUMENTS)
def test_wrong_arguments_are_explained(t, words):
    path = acl_file(t)
    arguments = [path if word == "FILE" else word for word in words.split()]
    code, out, err = ternctl("acl", "test", *arguments)
    equal((code, out), (USAGE, ""))
    assert err.startswith("ternctl acl test: ") and err.endswith("; see: ternctl help acl test\n"), err


@tern_only
def test_what_a_rule_holds_does_not_reach_the_terminal(t):
    path = acl_file(t, "topic read a\x1b]0;x\x07/\u009b/ü\n".encode())
    _, out, _ = ternctl("acl", "test", path, "c", "-", "read", "a\x1b]0;x\x07/\u009b/ü")
    equal(out, "allowed by line 1: topic read a?]0;x?/?/ü\n")


@tern_only
def test_words_that_begin_with_a_dash(t):
    path = acl_file(t, "user -u\ntopic read -t\n")
    code, out, _ = ternctl("acl", "test", path, "--", "-c", "-u", "read", "-t")
    equal((code, out), (OK, "allowed by line 2: topic read -t\n"))


def config_file(t, text):
    path = os.path.join(t.folder(), "tern.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


@tern_only
def test_a_configuration_names_the_file(t):
    path = acl_file(t)
    question = ["lamp", "alice", "publish", "home/lamp"]
    allowed = (OK, "allowed by line 4: topic readwrite home/#\n", "")
    config = config_file(t, f"listener 1883 127.0.0.1\nlistener 1884 127.0.0.1\nacl_file {path}\n")
    equal(ternctl("acl", "test", "--config", config, *question), allowed)
    equal(ternctl("acl", "test", "--config", config, "--listener", "1884", *question), allowed)
    equal(ternctl("acl", "test", "--config", config, "--stdin", stdin="\t".join(question) + "\n"), allowed)
    bridge = "connection one\naddress 127.0.0.1\ntopic # both\n"  # its listener has no rules, and is nobody's
    config = config_file(t, f"listener 1883 127.0.0.1\nacl_file {path}\n{bridge}")
    equal(ternctl("acl", "test", "--config", config, *question), allowed)
    lines = "listener 1883 127.0.0.1\nallow_anonymous true\nlistener 1884 127.0.0.1\nallow_anonymous true\n"
    config = config_file(t, f"per_listener_settings true\n{lines}acl_file {path}\n")
    equal(ternctl("acl", "test", "--config", config, "--listener", "1884", *question), allowed)
    equal(ternctl("acl", "test", "--config", config, "--listener", "1884 127.0.0.1", *question), allowed)
    no_rules = (OK, "allowed: there are no rules\n", "")
    equal(ternctl("acl", "test", "--config", config, "--listener", "1883", *question), no_rules)


@tern_only
def test_a_configuration_that_does_not_say_which_file(t):
    question = ["lamp", "alice", "publish", "home/lamp"]
    lines = "listener 1883 127.0.0.1\nallow_anonymous true\nlistener 1884 127.0.0.1\nallow_anonymous true\n"
    config = config_file(t, f"per_listener_settings true\n{lines}acl_file {acl_file(t)}\n")
    for listener in ([], ["--listener", "188"], ["--listener", "1885"]):
        code, out, err = ternctl("acl", "test", "--config", config, *listener, *question)
        equal((code, out), (USAGE, ""))
        assert 'write --listener with one of: "1883 127.0.0.1", "1884 127.0.0.1"\n' in err, err
    code, out, err = ternctl("acl", "test", "--config", config_file(t, "acl_fiel x\n"), *question)
    equal((code, out), (CONFIG, ""))
    assert "tern.conf:1: error: " in err and "acl_file" in err, err
    code, out, err = ternctl("acl", "test", "--listener", "1883", acl_file(t), *question)
    equal((code, out), (USAGE, ""))
    assert "write --config too" in err, err
