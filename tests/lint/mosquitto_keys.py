"""Every key of mosquitto.conf(5), as Debian installs it, has a row: works, accepted, or refused.

The rows stand in core/config.def and core/config_mosquitto.def. Where the program is built
($TERN_BIN, else build/release/tern), it is asked too: it must know each key by name and line.

    tests/lint/mosquitto_keys.py [MANUAL]

The manual is the installed page, or the one that tests/run keeps in build/man, or it is taken out
of Debian's package, which is downloaded for it.
"""

import glob
import gzip
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = "usr/share/man/man5/mosquitto.conf.5.gz"
PLACES = [os.path.join("/", PAGE), os.path.join(ROOT, "build/man/mosquitto.conf.5.gz")]
# Version 2.0.11 has 108. Many fewer found: the page changed its shape and we read it wrongly.
KEYS_LEAST = 105

# A key is a term of a list: bold, alone on its line but for its argument, with an indented text.
TERM = re.compile(r"^\.PP\n(\\fB.*)\n\.RS 4$", re.MULTILINE)
BOLD = re.compile(r"\\fB([a-z][^\\ ]*)\\fR")
SECTIONS = ("GENERAL OPTIONS", "LISTENERS", "CONFIGURING BRIDGES")

ROW = re.compile(r"^(OPTION\w*|CONFIG_LINE|MOSQUITTO_\w+)\s*\(([^\"\n]*)\"([^\"]+)\"", re.MULTILINE)


def download():
    """The page's bytes out of Debian's package."""
    with tempfile.TemporaryDirectory(prefix="tern-man-") as folder:
        os.chmod(folder, 0o755)  # apt drops its rights
        subprocess.run(["apt-get", "-q", "download", "mosquitto"], cwd=folder, check=True, capture_output=True)
        packages = glob.glob(os.path.join(folder, "mosquitto_*.deb"))
        subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)
        with open(os.path.join(folder, PAGE), "rb") as file:
            return file.read()


def manual(places):
    """(where it is from, its text)"""
    for place in places:
        if os.path.exists(place):
            with open(place, "rb") as file:
                return place, gzip.decompress(file.read()).decode()
    return "Debian's package", gzip.decompress(download()).decode()


def keys_of_manual(text):
    text = text.replace("\\&", "").replace("\\-", "-")
    found = []
    for part in re.split(r'^\.SH "', text, flags=re.MULTILINE)[1:]:
        if part.split('"')[0] in SECTIONS:
            for term in TERM.findall(part):
                found += BOLD.findall(term)
    return sorted(set(found))


def rows():
    """key -> macro of its row"""
    found = {}
    for table in ("core/config.def", "core/config_mosquitto.def"):
        with open(os.path.join(ROOT, table), encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match.group()), file.read(), flags=re.DOTALL)
        for macro, _, key in ROW.findall(text):
            if macro != "OPTION_GROUP":
                found[key] = macro
    return found


def answer_of_program(program, keys):
    """What --test-config says of a file with every key, a line each."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("".join(f"{key.replace('*', 'x')} x\n" for key in keys))
        file.flush()
        result = subprocess.run(
            [program, "-c", file.name, "--test-config"], capture_output=True, text=True, timeout=60
        )
        return (result.stdout + result.stderr).replace(file.name, "keys.conf")


def self_tests():
    """The reader of the page on a small page."""
    page = '.SH "GENERAL OPTIONS"\n.PP\n\\fBone_key\\fR \\fIvalue\\fR\n.RS 4\nSee \\fBtwo\\fR\\&.\n.RE\n'
    page += '.PP\n\\fBa\\&.3\\fR \\fIx\\fR, \\fBb\\fR \\fIx\\fR\n.RS 4\n.RE\n.SH "FILES"\n.PP\n\\fBno\\fR\n.RS 4\n'
    return keys_of_manual(page) == ["a.3", "b", "one_key"]


def main():
    passed = failed = 0
    where, text = manual(sys.argv[1:] or PLACES)
    keys, table = keys_of_manual(text), rows()
    program = os.environ.get("TERN_BIN", os.path.join(ROOT, "build/release/tern"))
    said = answer_of_program(program, keys) if os.path.exists(program) else None

    def count(name, trouble):
        nonlocal passed, failed
        passed += not trouble
        failed += bool(trouble)
        if trouble:
            print(f"mosquitto_keys: {name}: {trouble}")

    count("self-test", "" if self_tests() else "keys of a small page are not found")
    count("page", "" if len(keys) >= KEYS_LEAST else f"only {len(keys)} keys found in {where}")
    for line, key in enumerate(keys, 1):
        count(key, "" if key in table else "no row in core/config.def or core/config_mosquitto.def")
        if said is None:
            continue
        unknown = f'unknown option "{key.replace("*", "x")}"' in said
        # A key that works has nothing to say about itself; every other one is named with its line.
        silent = table.get(key, "").startswith("MOSQUITTO_") and f"keys.conf:{line}: " not in said
        count(f"{key}, asked", "unknown to the program" if unknown else "nothing is said about it" if silent else "")
    kinds = {"MOSQUITTO_ACCEPTED": 0, "MOSQUITTO_REFUSED": 0, "works": 0}
    for key in keys:
        macro = table.get(key, "works")
        kinds[macro if macro in kinds else "works"] += 1
    print(
        f"{len(keys)} keys in {where}: {kinds['works']} work, {kinds['MOSQUITTO_ACCEPTED']} are accepted, "
        f"{kinds['MOSQUITTO_REFUSED']} are refused" + ("" if said else f"; {program} is not built, so not asked")
    )
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
