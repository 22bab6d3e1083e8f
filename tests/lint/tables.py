"""What is listed is a table (*.def): its rows keep the conventions that readers rely on.

Each table has one check here; a table without a check, or a check without its table, fails.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STRING = r'"(?:[^"\\]|\\.)*"'
COMMENT = re.compile(rf"({STRING})|/\*.*?\*/|//[^\n]*", re.DOTALL)
ROW = re.compile(rf"^([A-Z][A-Z0-9_]*)\(((?:{STRING}|[^()\"]|\([^()]*\))*)\)", re.MULTILINE)
PART = re.compile(rf"((?:{STRING}|\([^()]*\)|[^,\"(])+)")


def rows(text):
    """[(macro, [column...])] of a table; quotes of columns stay, comments and #define lines go."""
    text = COMMENT.sub(lambda match: match.group(1) or "", text)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.MULTILINE)
    found = []
    for macro, columns in ROW.findall(text):
        found.append((macro, [part.strip() for part in PART.findall(columns)]))
    return found


def plain(column):
    return column[1:-1] if column.startswith('"') else column


def repeated(what, names):
    seen = set()
    for name in names:
        if name in seen:
            yield f"{what} {name} stands twice"
        seen.add(name)


def bad_help(name, text):
    text = plain(text)
    if not text:
        yield f"{name}: no help"
    elif text.endswith("."):
        yield f"{name}: help is a phrase, without a full stop"


def check_metrics(table):
    """Prometheus' conventions: counters end in _total, histograms in their unit, gauges in neither."""
    table = [columns for macro, columns in table if macro == "METRIC"]
    yield from repeated("field", (row[0] for row in table))
    yield from repeated("exported name", (row[1] for row in table))
    for _, exported, kind, scale, _, text in table:
        name = plain(exported)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            yield f"{name}: not in lower case with underscores"
        if kind not in ("COUNTER", "GAUGE", "HISTO"):
            yield f"{name}: {kind} is no kind of metric"
        if (kind == "COUNTER") != name.endswith("_total"):
            yield f"{name}: counters, and nothing else, end in _total"
        if kind == "HISTO" and not name.endswith(("_seconds", "_bytes")):
            yield f"{name}: a histogram ends in its unit, _seconds or _bytes"
        if (scale == "1e-9") != ("_seconds" in name):
            yield f"{name}: kept in nanoseconds (1e-9) and exported in seconds, or neither"
        yield from bad_help(name, text)


def check_options(table):
    """Fields and keys are unique per scope; keys look like mosquitto's."""
    named = []
    for macro, columns in table:
        if macro.startswith("OPTION") and macro != "OPTION_GROUP":
            named.append((columns[0], plain(columns[1]), columns[2], columns[-1]))
    if not named:
        yield "no option found"
    for scope in ("GLOBAL", "LISTENER", "BRIDGE"):
        shown = [row for row in named if row[2] in (scope, "EITHER")]
        yield from repeated(f"{scope} field", (row[0] for row in shown))
    yield from repeated("key", (row[1] for row in named))
    for _, key, scope, text in named:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            yield f"{key}: not in lower case with underscores"
        if scope not in ("GLOBAL", "LISTENER", "EITHER", "BRIDGE"):
            yield f"{key}: {scope} is no scope"
        yield from bad_help(key, text)


def check_foreign_keys(table):
    """A key of mosquitto is either ours or stands here, and says why or what instead."""
    with open(os.path.join(ROOT, "core/config.def"), encoding="utf-8") as file:
        ours = {plain(columns[1]) for macro, columns in rows(file.read()) if macro != "OPTION_GROUP"}
    keys = [plain(columns[0]) for _, columns in table]
    yield from repeated("key", keys)
    for key in keys:
        if key in ours:
            yield f"{key} stands in config.def too"
    for _, columns in table:
        if columns[-1].startswith('"') and len(plain(columns[-1])) < 10:
            yield f"{plain(columns[0])}: say why, or what to write instead"


BENCH_COLUMNS = {  # of bench/command/options.def: where name, letter, commands stand
    "OPTION": (2, 3, 7),
    "OPTION_TEXT": (1, 2, 5),
    "OPTION_LIST": (1, 2, 3),
    "OPTION_REFUSED": (0, 1, 2),
}
BENCH_COMMANDS = {"CLASSIC": ("CONN", "PUB", "SUB"), "LOAD": ("CONN", "PUB", "SUB", "RUN")}


def check_bench_options(table):
    """Names and letters are unique per command, of what is there and what is refused alike."""
    fields, uses = [], []
    for macro, columns in table:
        if macro not in BENCH_COLUMNS:
            continue
        name, letter, commands = (columns[at] for at in BENCH_COLUMNS[macro])
        if macro != "OPTION_REFUSED":
            fields.append(columns[0])
        if not re.fullmatch(r'"[a-z][a-z0-9_-]+"', name):
            yield f"{name}: not in lower case"
        for word in (part.strip() for part in commands.split("|")):
            for command in BENCH_COMMANDS.get(word, (word,)):
                uses.append(f"--{plain(name)} of {command}")
                uses += [] if letter == "0" else [f"-{letter[1]} of {command}"]
        yield from bad_help(name, columns[-1])
    if not fields:
        yield "no option found"
    yield from repeated("field", fields)
    yield from repeated("option", uses)
    for macro, columns in table:
        if macro == "OPTION_DEFAULT" and columns[0] not in fields:
            yield f"{columns[0]}: another default of no option"


def check_unique_rows(table):
    """The least that holds for every table: its first column tells rows apart."""
    if not table:
        yield "no row found"
    yield from repeated("row", (f"{macro} {columns[0]}" for macro, columns in table))


CHECKS = {
    "core/metrics.def": check_metrics,
    "core/config.def": check_options,
    "core/config_mosquitto.def": check_foreign_keys,
    "bench/command/options.def": check_bench_options,
    "core/wire/props.def": check_unique_rows,
    "core/wire/reason.def": check_unique_rows,
}

GOOD_METRIC = 'METRIC(turns, "turns_total", COUNTER, 1, NONE, "turns (of the shards), all")'
BENCH_ROW = "OPTION(rate, NUMBER, \"rate\", 'r', 0, 0, 9, CLASSIC, \"N\", \"so many\")\n"
SELF_TESTS = [
    ("a good row passes", check_metrics, GOOD_METRIC, 0),
    ("a row in a comment is none", check_metrics, GOOD_METRIC + "/*\n" + GOOD_METRIC + "*/", 0),
    ("a comment mark in a text is text", check_metrics, GOOD_METRIC.replace("all", "/* all"), 0),
    ("a field that stands twice is found, and its name", check_metrics, GOOD_METRIC + "\n" + GOOD_METRIC, 2),
    ("a counter without _total is found", check_metrics, GOOD_METRIC.replace("_total", ""), 1),
    ("a gauge with _total is found", check_metrics, GOOD_METRIC.replace("COUNTER", "GAUGE"), 1),
    ("seconds kept in seconds are found", check_metrics, GOOD_METRIC.replace("turns_total", "turns_seconds_total"), 1),
    ("a metric without help is found", check_metrics, GOOD_METRIC.replace("turns (of the shards), all", ""), 1),
    ("a row of the bench passes", check_bench_options, BENCH_ROW, 0),
    ("a letter of two options of a command is found", check_bench_options,
     BENCH_ROW + "OPTION_TEXT(file, \"file\", 'r', NULL, NULL, PUB | RUN, \"F\", \"a file\")", 1),
    ("a letter of two commands is fine", check_bench_options,
     BENCH_ROW + "OPTION_TEXT(file, \"file\", 'r', NULL, NULL, RUN, \"F\", \"a file\")", 0),
    ("an option that is refused too is found", check_bench_options,
     BENCH_ROW + 'OPTION_REFUSED("rate", 0, CONN, "there is none")', 1),
    ("a default of no option is found", check_bench_options, BENCH_ROW + "OPTION_DEFAULT(rat, COUNT, RUN, 4)", 1),
    ("a key in capitals is found", check_options, 'OPTION(a, "aB", GLOBAL, BOOL, 0, 0, 1, true, "help")', 1),
    (
        "one field in both scopes is fine",
        check_options,
        'OPTION(a, "a", GLOBAL, BOOL, 0, 0, 1, true, "h")\nOPTION(a, "b", LISTENER, BOOL, 0, 0, 1, true, "h")',
        0,
    ),
    (
        "one field twice in a scope is found",
        check_options,
        'OPTION(a, "a", GLOBAL, BOOL, 0, 0, 1, true, "h")\nOPTION(a, "b", EITHER, BOOL, 0, 0, 1, true, "h")',
        1,
    ),
]


def main():
    passed = failed = 0

    def count(name, found):
        nonlocal passed, failed
        for line in found:
            print(f"tables: {name}: {line}")
        passed += not found
        failed += bool(found)

    for name, check, text, expected in SELF_TESTS:
        found = list(check(rows(text)))
        count(f"self-test: {name}", [] if len(found) == expected else [f"expected {expected}, found {found}"])
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.def"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    for path in sorted(set(listed) | set(CHECKS)):
        if path not in CHECKS:
            count(path, ["has no check in tests/lint/tables.py"])
        elif not os.path.exists(os.path.join(ROOT, path)):
            count(path, ["is not there, though tests/lint/tables.py checks it"])
        else:
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                count(path, list(CHECKS[path](rows(file.read()))))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
