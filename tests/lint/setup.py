"""tests/lib/setup.sh: what it makes of the apt sources of a machine, tried on made-up ones.

    tests/lint/setup.py

Each case is files below /etc/apt and the entries for bookworm-backports that come of them, in order. The
first line of an entry says of which kind its file is.
"""

import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

DEBIAN = """\
Types: deb
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
OURS = """\
sources
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
KEY = """\
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEZ
 -----END PGP PUBLIC KEY BLOCK-----
"""


def stanza(**fields):
    """A stanza; a field of None is left out."""
    whole = {"Types": "deb", "URIs": "http://m/debian", "Suites": "bookworm", "Components": "main", **fields}
    return "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in whole.items() if value is not None)


def one(uri="http://m/debian", more=""):
    return f"sources\nTypes: deb\nURIs: {uri}\nSuites: bookworm-backports\nComponents: main\n{more}"


LINE = "list\ndeb http://m/debian bookworm-backports main\n"
CASES = [
    ("the sources of Debian's own images", {"d.sources": DEBIAN}, [OURS]),
    ("a one-line source", {"s.list": "deb http://m/debian bookworm main contrib\n"}, [LINE]),
    ("a one-line source without an end of line", {"s.list": "deb http://m/debian bookworm main"}, [LINE]),
    ("tabs, blanks and a remark", {"s.list": "  deb\thttp://m/debian  bookworm \t main # mine\r\n"}, [LINE]),
    (
        "options in brackets",
        {"s.list": "deb [ arch=amd64 signed-by=/k.gpg ] http://m/debian bookworm main\n"},
        ["list\ndeb [ arch=amd64 signed-by=/k.gpg ] http://m/debian bookworm-backports main\n"],
    ),
    ("brackets that never close", {"s.list": "deb [arch=amd64 http://m/debian bookworm main\n"}, []),
    ("commented lines", {"s.list": "# deb http://m/debian bookworm main\n#deb http://m/debian bookworm main\n"}, []),
    ("sources of sources", {"s.list": "deb-src http://m/debian bookworm main\n"}, []),
    ("a disc", {"s.list": "deb cdrom:[Debian_12]/ bookworm main\n", "c.sources": stanza(URIs="cdrom:x/")}, []),
    ("another suite", {"s.list": "deb http://m/debian trixie main\ndeb http://m/debian bookworm-updates main\n"}, []),
    ("backports alone", {"s.list": "deb http://m/debian bookworm-backports main\n"}, []),
    ("without main", {"s.list": "deb http://m/docker bookworm stable\n", "a.sources": stanza(Components="x")}, []),
    ("called by its age", {"s.list": "deb http://m/debian oldstable main\n"}, [LINE]),
    ("a list of mirrors", {"a.sources": stanza(URIs="mirror+file:/etc/m.list")}, [one("mirror+file:/etc/m.list")]),
    ("several places of one stanza", {"a.sources": stanza(URIs="http://a/ http://b/")}, [one("http://a/ http://b/")]),
    (
        "a field over several lines",
        {"a.sources": stanza(URIs="\n http://a/\n http://b/", Suites="\n bookworm\n bookworm-updates")},
        ["sources\nTypes: deb\nURIs: \n http://a/\n http://b/\nSuites: bookworm-backports\nComponents: main\n"],
    ),
    ("a key in the stanza", {"a.sources": stanza() + KEY}, [one(more=KEY)]),
    ("other options", {"a.sources": stanza(Trusted="yes", Check_Valid_Until="no")}, None),
    ("names of fields in any case", {"a.sources": stanza().replace("Suites", "sUITES")}, [one()]),
    ("both types", {"a.sources": stanza(Types="deb deb-src")}, [one()]),
    ("a stanza of sources", {"a.sources": stanza(Types="deb-src")}, []),
    ("a stanza that is switched off", {"a.sources": stanza(Enabled="no") + "\n" + stanza(URIs="http://n/")}, None),
    ("a stanza that is switched on", {"a.sources": stanza(Enabled="yes")}, [one()]),
    ("a commented stanza", {"a.sources": "".join("# " + line + "\n" for line in stanza().splitlines())}, []),
    ("a stanza without suites", {"a.sources": stanza(Suites=None)}, []),
    ("a file ends a stanza", {"a.sources": "Types: deb\nURIs: http://m/debian", "b.sources": "Suites: bookworm\n"}, []),
    (
        "several files, in their order, each entry once",
        {
            "a.list": "deb http://third/party bookworm main\ndeb http://m/debian bookworm main\n",
            "b.list": "deb http://m/debian bookworm main non-free\n",
            "c.sources": DEBIAN,
        },
        ["list\ndeb http://third/party bookworm-backports main\n", LINE, OURS],
    ),
    ("no files", {}, []),
]
WANTED = {
    "other options": [one(more="Trusted: yes\nCheck-Valid-Until: no\n")],
    "a stanza that is switched off": [one("http://n/")],
}


def entries_of(files):
    """All entries that setup_backports_of gives, in order."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in files.items():
            paths.append(os.path.join(folder, name))
            with open(paths[-1], "w", encoding="utf-8", newline="") as file:
                file.write(text)
        found = []
        while len(found) < 10:
            script = '. tests/lib/setup.sh; setup_backports_of "$@"'
            command = ["bash", "-euo", "pipefail", "-c", script, "bash", str(len(found) + 1), *paths]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            if not run.stdout:
                return found
            found.append(run.stdout)
        return found


def main():
    passed = failed = 0
    for name, files, wanted in CASES:
        wanted = WANTED[name] if wanted is None else wanted
        found = entries_of(files)
        if found == wanted:
            passed += 1
        else:
            failed += 1
            print(f"setup: {name}:\n  wanted {wanted}\n  found  {found}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
