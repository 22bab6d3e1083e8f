"""Folders are floors: read every #include and fail on an arrow that does not point down.

    tests/lint/floors.py            check the tree, and this checker on made-up trees
    tests/lint/floors.py --draw     draw the house as the includes have it

What is checked, each one test: arrows between rooms, arrows in CMakeLists.txt, circles between files,
how an include is written, the doormen of foreign libraries, the entries of the top level. Long files
are named, and do not fail.
"""

import fnmatch
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Room -> floor. A room's files include their own room and the rooms of lower floors.
FLOORS = {
    "core/base": 0,
    "core/io": 1,
    "core/wire": 1,
    "proto": 1,
    "core/pubsub": 2,
    "core/session": 3,
    "core/access": 3,
    "core/broker": 4,
    "storage": 4,
    "core/admin": 5,
    "core/bridge": 5,
    "cluster": 6,
    "bench": 7,
    "tests": 7,
}
# Tables and bounds that stand in core/ itself belong to the lowest floor.
GROUND = "core/base"
# Down by number, and forbidden all the same: core as a whole knows nothing of the others, and the
# bench stands on sockets and bytes alone (its micro benches look at every room).
STRANGERS = {
    "core/": ("proto", "storage", "cluster"),
    "bench/": ("proto", "storage", "cluster", "core/pubsub", "core/session", "core/access", "core/broker", "core/admin", "core/bridge"),
}
STRANGERS_NOT_FOR = ("bench/micro/",)

# Foreign header -> the only files that may include it. First match decides.
DOORMEN = [
    ("liburing.h", ["core/io/uring*", "bench/limit/*"]),
    ("jansson.h", ["core/base/json.c"]),
    ("xxhash.h", ["core/base/*", "core/pubsub/level.h", "storage/store_backup.c"]),
    (
        "openssl/*",
        ["core/io/tls*.c", "core/access/password.c", "core/access/scram.c", "core/access/jwt.c"]
        + ["core/access/ace.c", "cluster/ca.c", "cluster/reg/reg_sign.c", "cluster/uaa/uaa_tokens.c"]
        + ["bench/micro/bench_tls.c"],
    ),
    ("argon2.h", ["core/access/password.c"]),
    ("rocksdb/*", ["storage/kv_rocks*"]),
    ("lz4*.h", ["storage/*", "cluster/link*.c"]),
    ("raft.h", ["cluster/consensus.c"]),
    ("raft/*", ["cluster/consensus.c"]),
    ("*.pb-c.h", ["cluster/*_msg.c", "tests/unit/test_record*.c", "tests/unit/test_*_msg.c", "bench/micro/bench_record.c"]),
    ("protobuf-c/*", ["cluster/*_msg.c", "bench/micro/bench_record.c"]),
    # The doors of the world: sockets stand behind core/io, chance behind rng.
    ("sys/socket.h", ["core/io/*", "bench/*"]),
    ("sys/un.h", ["core/io/*", "bench/*"]),
    ("sys/epoll.h", ["core/io/*"]),
    ("sys/eventfd.h", ["core/io/*"]),
    ("sys/timerfd.h", ["core/io/*"]),
    ("poll.h", ["core/io/*", "bench/*"]),
    ("netdb.h", ["core/io/*", "bench/*"]),
    ("netinet/*", ["core/io/*", "bench/*"]),
    ("arpa/*", ["core/io/*", "bench/*"]),
    ("net/*", ["core/io/*"]),
    ("linux/*", ["core/io/*"]),
    ("sys/random.h", ["core/base/rng.c"]),
    ("link.h", ["core/io/tls_library.c"]),
]
# The language and the system: nobody stands at these doors.
COMMON = set(
    "assert.h ctype.h dirent.h dlfcn.h endian.h errno.h execinfo.h fcntl.h fenv.h float.h fnmatch.h fts.h "
    "getopt.h glob.h grp.h inttypes.h limits.h locale.h malloc.h math.h pthread.h pwd.h sched.h setjmp.h "
    "signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h "
    "string.h strings.h syslog.h termios.h threads.h time.h unistd.h".split()
)
COMMON_FOLDERS = ("sys/", "sanitizer/")

TOP_LEVEL = set("CMakeLists.txt core cluster storage bench proto tests deploy README.md LICENSE".split())

LINES_MAX = 700
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
ROOM_CALL = re.compile(r"^room\(\s*(\w+)\s+(\S+)([^)]*)\)", re.MULTILINE)


def room_of(path):
    """The room a file belongs to, or None."""
    parts = path.split("/")
    if parts[0] == "core":
        return f"core/{parts[1]}" if len(parts) > 2 else GROUND
    return parts[0] if parts[0] in FLOORS else None


def includes(files):
    """(path, is_quoted, target) of every #include."""
    for path, text in sorted(files.items()):
        for mark, target in INCLUDE.findall(text):
            yield path, mark == '"', target


def arrow_trouble(path, room, target_room):
    """Why room may not look at target_room, or None."""
    if room == target_room:
        return None
    if room not in FLOORS:
        return f"{room} is no room of the house"
    if target_room not in FLOORS:
        return f"{target_room} is no room of the house"
    if not path.startswith(STRANGERS_NOT_FOR):
        for prefix, strangers in STRANGERS.items():
            if path.startswith(prefix) and target_room in strangers:
                return f"{room} does not know {target_room}"
    if FLOORS[room] < FLOORS[target_room]:
        return f"up: floor {FLOORS[room]} to floor {FLOORS[target_room]}"
    if FLOORS[room] == FLOORS[target_room]:
        return f"sideways: both on floor {FLOORS[room]}"
    return None


def check_arrows(files):
    for path, quoted, target in includes(files):
        target_room = room_of(target)
        if not quoted or target_room is None or "/" not in target or path.startswith("tests/"):
            continue
        why = arrow_trouble(path, room_of(path), target_room)
        if why:
            yield f"{path}: includes {target} ({why})"


def check_links(cmake):
    """The same arrows as CMakeLists.txt links them."""
    folders = {f"tern_{name}": folder for name, folder, _ in ROOM_CALL.findall(cmake)}
    for name, folder, rest in ROOM_CALL.findall(cmake):
        for library in rest.split():
            if library.startswith("tern_") and library not in folders:
                yield f"CMakeLists.txt: room {name} links {library}, which no room() line makes"
            elif library in folders:
                why = arrow_trouble(folder + "/", folder, folders[library])
                if why:
                    yield f"CMakeLists.txt: room {name} links {library} ({why})"


def check_circles(files):
    """A header that reaches itself: found by walking down, each file once."""
    edges = {}
    for path, quoted, target in includes(files):
        if quoted and target in files:
            edges.setdefault(path, []).append(target)
    done = set()

    def walk(path, trail):
        if path in trail:
            yield " -> ".join(trail[trail.index(path) :] + [path])
        elif path not in done:
            for target in edges.get(path, []):
                yield from walk(target, trail + [path])
            done.add(path)

    for path in sorted(edges):
        yield from walk(path, [])


def check_writing(files):
    """Includes are written from the root of the repository, and name a file that is there."""
    for path, quoted, target in includes(files):
        if not quoted:
            if target.startswith(("core/", "cluster/", "storage/", "bench/", "tests/")):
                yield f'{path}: our own <{target}> is written "{target}"'
        elif "/" not in target:
            yield f'{path}: "{target}" is written from the root of the repository'
        elif target not in files and not target.endswith(".pb-c.h"):
            yield f'{path}: "{target}" is not there'


def check_doormen(files):
    for path, quoted, target in includes(files):
        if path.startswith("tests/") or (quoted and not target.endswith(".pb-c.h")):
            continue
        for pattern, doors in DOORMEN:
            if fnmatch.fnmatch(target, pattern):
                if not any(fnmatch.fnmatch(path, door) for door in doors):
                    yield f"{path}: <{target}> is only for {' '.join(doors)}"
                break
        else:
            if target not in COMMON and not target.startswith(COMMON_FOLDERS):
                yield f"{path}: <{target}> has no doorman in tests/lint/floors.py"


def check_top_level(entries):
    for entry in sorted(set(entries) - TOP_LEVEL):
        if not entry.startswith("."):
            yield f"{entry} does not belong on the top level"
    for entry in sorted(TOP_LEVEL - set(entries)):
        yield f"{entry} is missing on the top level"


def tree_of_git():
    """(files with their text, entries of the top level): what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = [p for p in listed.split("\0") if p and os.path.exists(os.path.join(ROOT, p))]
    files = {}
    for path in paths:
        if path.endswith((".c", ".h", ".def")) and room_of(path):
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                files[path] = file.read()
    return files, {path.split("/")[0] for path in paths}


def draw(files):
    """The house from the top floor down: each room, its size, and the rooms it looks at."""
    looks, lines, counts = {}, {}, {}
    for path, text in files.items():
        room = room_of(path)
        lines[room] = lines.get(room, 0) + text.count("\n")
        counts[room] = counts.get(room, 0) + 1
    for path, quoted, target in includes(files):
        target_room = room_of(target)
        if quoted and "/" in target and target_room and target_room != room_of(path):
            looks.setdefault(room_of(path), set()).add(target_room)
    for floor in sorted(set(FLOORS.values()), reverse=True):
        print("  " + "─" * 96)
        for room in [r for r in FLOORS if FLOORS[r] == floor]:
            below = sorted(looks.get(room, ()), key=lambda r: (-FLOORS.get(r, 0), r))
            size = f"{counts[room]:3} files {lines[room]:6} lines" if room in counts else "empty"
            arrow = "  ─> " + " ".join(r.removeprefix("core/") for r in below) if below else ""
            print(f"  {floor}  {room:13} {size:23}{arrow}")
    print("  " + "─" * 96)


# Made-up trees: each breaks one rule in one way, beside something that is right.
SELF_TESTS = [
    ("an arrow up is found", check_arrows, {"core/wire/a.c": '#include "core/session/s.h"'}, 1),
    ("an arrow down is fine", check_arrows, {"core/session/a.c": '#include "core/wire/w.h"'}, 0),
    ("a neighbour on the same floor is found", check_arrows, {"core/wire/a.c": '#include "core/io/io.h"'}, 1),
    ("broker and storage have not met", check_arrows, {"core/broker/a.c": '#include "storage/kv.h"'}, 1),
    ("core does not know proto, though it lies lower", check_arrows, {"core/session/a.c": '#include "proto/p.h"'}, 1),
    ("a room that nobody drew is found", check_arrows, {"core/attic/a.c": '#include "core/base/err.h"'}, 1),
    ("nothing looks at tests", check_arrows, {"cluster/a.c": '#include "tests/sim/sim.h"'}, 1),
    ("the bench stands on sockets and bytes", check_arrows, {"bench/a.c": '#include "core/pubsub/trie.h"'}, 1),
    ("a micro bench looks at every room", check_arrows, {"bench/micro/a.c": '#include "core/pubsub/trie.h"'}, 0),
    ("tables of core/ lie on the ground", check_arrows, {"core/base/a.c": '#include "core/limits.h"'}, 0),
    ("an indented include is read too", check_arrows, {"core/base/a.c": '  #  include "core/io/io.h"'}, 1),
    (
        "a circle is found once",
        check_circles,
        {"core/base/a.h": '#include "core/base/b.h"', "core/base/b.h": '#include "core/base/a.h"'},
        1,
    ),
    (
        "a diamond is no circle",
        check_circles,
        {
            "core/base/a.c": '#include "core/base/b.h"\n#include "core/base/c.h"',
            "core/base/b.h": '#include "core/base/d.h"',
            "core/base/c.h": '#include "core/base/d.h"',
            "core/base/d.h": "",
        },
        0,
    ),
    ("a neighbourly include is found", check_writing, {"core/base/a.c": '#include "b.h"', "core/base/b.h": ""}, 1),
    ("an include of nothing is found", check_writing, {"core/base/a.c": '#include "core/base/b.h"'}, 1),
    ("our file in angle brackets is found", check_writing, {"core/base/a.c": "#include <core/base/b.h>"}, 1),
    ("liburing has one door", check_doormen, {"core/broker/a.c": "#include <liburing.h>"}, 1),
    ("and it is open", check_doormen, {"core/io/uring_buffers.c": "#include <liburing.h>"}, 0),
    ("sockets are for core/io", check_doormen, {"core/broker/a.c": "#include <sys/socket.h>"}, 1),
    ("JSON has one door", check_doormen, {"core/base/config.c": "#include <jansson.h>"}, 1),
    ("a library that nobody introduced is found", check_doormen, {"core/base/a.c": "#include <curl/curl.h>"}, 1),
    ("the language is free to all", check_doormen, {"core/base/a.c": "#include <stdint.h>\n#include <sys/mman.h>"}, 0),
    ("generated records have their doors", check_doormen, {"cluster/node.c": '#include "proto/op.pb-c.h"'}, 1),
    ("which are open", check_doormen, {"cluster/link_msg.c": '#include "proto/link.pb-c.h"'}, 0),
    ("a generated header need not be in the tree", check_writing, {"storage/a.c": '#include "proto/s.pb-c.h"'}, 0),
    ("but is written from the root", check_writing, {"storage/a.c": '#include "store.pb-c.h"'}, 1),
    ("a link up is found", check_links, "room(base core/base tern_io)\nroom(io core/io tern_base)\n", 1),
    ("a link to no room is found", check_links, "room(io core/io tern_base)\n", 1),
    ("a link down is fine", check_links, "room(base core/base m)\nroom(io core/io tern_base)\n", 0),
    ("a stranger on the top level is found", check_top_level, TOP_LEVEL | {".git", "src"}, 1),
    ("a missing room is found", check_top_level, TOP_LEVEL - {"proto"}, 1),
]


def main():
    files, top_level = tree_of_git()
    if "--draw" in sys.argv[1:]:
        draw(files)
        return 0
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as file:
        cmake = file.read()
    passed = failed = 0
    for name, check, tree, expected in SELF_TESTS:
        found = list(check(tree))
        if len(found) == expected:
            passed += 1
        else:
            failed += 1
            print(f"floors: self-test: {name}: expected {expected}, found {found}")
    for check, subject in [
        (check_arrows, files),
        (check_links, cmake),
        (check_circles, files),
        (check_writing, files),
        (check_doormen, files),
        (check_top_level, top_level),
    ]:
        found = list(check(subject))
        for line in found:
            print(f"floors: {line}")
        passed += not found
        failed += bool(found)
    for path, text in sorted(files.items()):
        if text.count("\n") > LINES_MAX:
            print(f"floors: warning: {path} has {text.count(chr(10))} lines: is it one idea?")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
