#!/usr/bin/python3
"""The specification, the tests and the code agree about the numbered statements.

tests/conform/rules.csv has one row per numbered statement of MQTT 5.0 and 3.1.1, and no other: covered
by the tests that carry its mark in their docstring, or not_applicable for a reason. Marks in core/ and
tests/ ([MQTT-3.3.1-4] of 5.0, [v3:MQTT-3.1.2-24] of 3.1.1) are statements that exist.

With --write the column `test` is written anew from the docstrings; the rest of rules.csv stays.
"""

import ast
import csv
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = os.path.join(ROOT, "tests/conform/rules.csv")
COLUMNS = ["version", "id", "status", "test", "why"]

# section: numbers, as in the appendices of the two standards
STATEMENTS = {
    "5.0": """1.5.4:1-3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:2-6 2.2.2:1 3.1.0:1-2 3.1.2:1-30 3.1.3:1-12 3.1.4:1-6
        3.2.0:1-2 3.2.2:1-22 3.3.1:1-13 3.3.2:1-20 3.3.4:1-10 3.4.2:1-3 3.5.2:1-3 3.6.1:1 3.6.2:1-3
        3.7.2:1-3 3.8.1:1 3.8.3:1-5 3.8.4:1-8 3.9.2:1-2 3.9.3:1-2 3.10.1:1 3.10.3:1-2 3.10.4:1-6
        3.11.2:1-2 3.11.3:1-2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:1-4 3.14.4:1-3 3.15.1:1 3.15.2:1-3
        4.1.0:1-2 4.2:1 4.2.0:1 4.3.1:1 4.3.2:1-5 4.3.3:1-13 4.4.0:1-2 4.5.0:1-2 4.6.0:1-6 4.7.0:1
        4.7.1:1-2 4.7.2:1 4.7.3:1-4 4.8.2:1-6 4.9.0:1-3 4.12.0:1-7 4.12.1:1-2 4.13.1:1 4.13.2:1
        6.0.0:1-4""",
    "3.1.1": """1.5.3:1-3 2.2.2:1-2 2.3.1:1-7 3.1.0:1-2 3.1.2:1-4,6,8-24 3.1.3:1-11 3.1.4:1-5 3.2.0:1
        3.2.2:1-6 3.3.1:2-12 3.3.2:1-3 3.3.4:1 3.3.5:1-2 3.6.1:1 3.8.1:1 3.8.3:1-3 3.8.4:1-2,4 3.9.3:1-2
        3.10.1:1 3.10.3:1-2 3.10.4:1-6 3.12.4:1 3.14.1:1 3.14.4:1-3 4.1.0:1-2 4.3.1:1 4.3.2:1-2 4.3.3:1-2
        4.4.0:1 4.5.0:1-2 4.6.0:1-6 4.7.1:1-3 4.7.2:1 4.7.3:1-4 4.8.0:1-2 6.0.0:1-4 7.0.0:1-2 7.1.1:1
        7.1.2:1""",
}

# Numbered in the text of 3.1.1 and lost or misspelled in its appendix: code may name them, and tests
# do, but they have no row.
ONLY_IN_TEXT = {("3.1.1", "MQTT-" + number) for number in
                "3.1.2-5 3.1.2-7 3.3.1-1 3.8.3-4 3.8.4-3 3.8.4-5 3.8.4-6".split()}

MARK = re.compile(r"\[(v3:)?(MQTT-[^\]\s]+)\]")


def statements():
    for version, sections in STATEMENTS.items():
        for part in sections.split():
            section, _, numbers = part.partition(":")
            for span in numbers.split(","):
                first, _, last = span.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    yield version, f"MQTT-{section}-{number}"


def marks(text):
    return [("3.1.1" if old else "5.0", name) for old, name in MARK.findall(text)]


def tests():
    """(file:function, marks of its docstring), in the order of the files."""
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/conform/test_*.py"))):
        with open(path, encoding="utf-8") as f:
            tree = ast.parse(f.read())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"{os.path.basename(path)}:{node.name}", marks(ast.get_docstring(node) or "")


def covering():
    out = {}
    for name, found in tests():
        for mark in found:
            if name not in out.setdefault(mark, []):
                out[mark].append(name)
    return out


def check_rules(rows, known, covered_by):
    """Complaints about rules.csv."""
    seen = set()
    for number, row in enumerate(rows, 2):
        key, where = (row["version"], row["id"]), f"tests/conform/rules.csv:{number}: {row['version']} {row['id']}"
        if key not in known:
            yield f"{where}: no such statement"
        if key in seen:
            yield f"{where}: a second row"
        seen.add(key)
        named = row["test"].split()
        if row["status"] == "covered":
            if not named:
                yield f"{where}: covered by no test"
            if set(named) != set(covered_by.get(key, [])):
                yield f"{where}: its tests are {' '.join(covered_by.get(key, [])) or 'none'}; " \
                      "run tests/lint/spec_marks.py --write"
        elif row["status"] == "not_applicable":
            if not row["why"]:
                yield f"{where}: not_applicable without a reason"
            if named or key in covered_by:
                yield f"{where}: not_applicable, but a test carries its mark"
        else:
            yield f"{where}: status is covered or not_applicable"
    for version, name in known:
        if (version, name) not in seen:
            yield f"tests/conform/rules.csv: {version} {name} has no row"


def check_marks(known):
    """Complaints about marks of statements that do not exist."""
    paths = [path for pattern in ("core/**/*.[ch]", "core/**/*.def", "cluster/**/*.[ch]", "tests/**/*.[ch]")
             for path in glob.glob(os.path.join(ROOT, pattern), recursive=True)]
    for path in sorted(paths) + sorted(glob.glob(os.path.join(ROOT, "tests/conform/*.py"))):
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                for mark in marks(line):
                    if mark not in known and mark not in ONLY_IN_TEXT:
                        yield f"{os.path.relpath(path, ROOT)}:{number}: {mark[0]} has no {mark[1]}"


def main():
    known = dict.fromkeys(statements())
    covered_by = covering()
    with open(RULES, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    if "--write" in sys.argv[1:]:
        for row in rows:
            row["test"] = " ".join(covered_by.get((row["version"], row["id"]), []))
        with open(RULES, "w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    complaints = list(check_rules(rows, known, covered_by)) + list(check_marks(known))
    for complaint in complaints:
        print(complaint)
    count = sum(row["status"] == "covered" for row in rows)
    print(f"spec_marks: {len(rows)} statements, {count} covered, {len(rows) - count} not applicable")
    print(f"{0 if complaints else 1} passed, {len(complaints)} failed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
