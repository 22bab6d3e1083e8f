"""The disk that forgets forgets what it should: little programs, killed by kill -9, then the power is gone."""

import os
import random
import subprocess
import sys

import powerloss
from suite import each, equal

HEAD = """
import errno, os, signal, sys
def put(name, data, how=os.O_WRONLY | os.O_CREAT, sync=False, at=None):
    file = os.open(name, how, 0o600)
    os.write(file, data) if at is None else os.pwrite(file, data, at)
    if sync:
        os.fdatasync(file)
    os.close(file)
def sync(name="."):
    file = os.open(name, os.O_RDONLY)
    os.fsync(file)
    os.close(file)
"""
END = "\nos.kill(os.getpid(), signal.SIGKILL)\n"

# what it is called: (program, what must be there after the loss of everything that was not synced)
STORIES = {
    "a synced file of a synced folder is there": ("put('a', b'1234', sync=True); sync()", {"a": b"1234"}),
    "a file that was not synced is empty": ("put('a', b'1234'); sync()", {"a": b""}),
    "a synced file is in no folder until that is synced, too": ("put('a', b'1234', sync=True)", {}),
    "what was appended after the sync is gone": (
        "put('a', b'12', sync=True); sync(); put('a', b'34', os.O_WRONLY | os.O_APPEND)",
        {"a": b"12"},
    ),
    "what was overwritten after the sync is as before": (
        "put('a', b'12345', sync=True); sync(); put('a', b'xx', os.O_WRONLY, at=1)",
        {"a": b"12345"},
    ),
    "a cut that was not synced did not happen": (
        "put('a', b'12345', sync=True); sync(); os.truncate(os.open('a', os.O_RDWR), 2)",
        {"a": b"12345"},
    ),
    "a file emptied by opening is as before": (
        "put('a', b'12345', sync=True); sync(); put('a', b'', os.O_WRONLY | os.O_TRUNC)",
        {"a": b"12345"},
    ),
    "a new name takes a sync of the folder": (
        "put('a', b'1', sync=True); sync(); os.rename('a', 'b')",
        {"a": b"1"},
    ),
    "and has it after that": ("put('a', b'1', sync=True); os.rename('a', 'b'); sync()", {"b": b"1"}),
    "a rename over a file keeps the old one": (
        "put('a', b'1', sync=True); sync(); put('b', b'2', sync=True); os.rename('b', 'a')",
        {"a": b"1"},
    ),
    "a rename before the sync of the bytes leaves an empty file": (
        "put('b', b'2'); os.rename('b', 'a'); sync()",
        {"a": b""},
    ),
    "a file that was removed is back": ("put('a', b'1', sync=True); sync(); os.unlink('a')", {"a": b"1"}),
    "a hard link keeps the bytes": (
        "put('a', b'1', sync=True); os.link('a', 'b'); sync(); os.unlink('a'); sync()",
        {"b": b"1"},
    ),
    "a folder takes a sync of the one above": (
        "os.mkdir('d'); put('d/a', b'1', sync=True); sync('d')",
        {},
    ),
    "and is there after it": (
        "os.mkdir('d'); put('d/a', b'1', sync=True); sync('d'); sync()",
        {"d": {"a": b"1"}},
    ),
    "nothing that happens elsewhere is meant": ("put('../b', b'1'); sync()", {}),
}


def tree(path):
    out = {}
    for entry in os.scandir(path):
        if entry.is_dir():
            out[entry.name] = tree(entry.path)
        else:
            with open(entry.path, "rb") as file:
                out[entry.name] = file.read()
    return out


def live(t, program, disk=None):
    """The program in a folder whose power can fail, up to its kill -9."""
    disk = disk or powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    env = disk.env(os.environ)
    result = subprocess.run([sys.executable, "-c", HEAD + program + END], cwd=disk.folder, env=env,
                            capture_output=True, text=True, timeout=30)
    assert result.returncode == -9, f"it ended with {result.returncode}: {result.stderr}"
    return disk


@each(*STORIES)
def test_after_the_loss_of_power(t, name):
    program, wanted = STORIES[name]
    disk = live(t, program)
    disk.lose_power(random.Random(1), "nothing")
    equal(tree(disk.folder), wanted)


def test_a_beginning_of_the_rest_may_be_there_and_never_what_came_before_it_missing(t):
    disk = live(t, "put('a', b'S' * 10, sync=True); sync()\n"
                   "for part in (b'1' * 5, b'2' * 5, b'3' * 5): put('a', part, os.O_WRONLY | os.O_APPEND)")
    diary, image = disk.diary + ".kept", disk.image + ".kept"
    os.rename(disk.diary, diary), os.rename(disk.image, image)
    seen = set()
    whole = b"S" * 10 + b"1" * 5 + b"2" * 5 + b"3" * 5
    for seed in range(60):
        root = powerloss.Diary(diary, powerloss.read_folder(image)).root
        content = root.names["a"].after_loss(random.Random(seed), "beginning")
        assert whole.startswith(content) and len(content) >= 10, content
        seen.add(len(content))
    assert len(seen) > 8 and min(seen) == 10 and max(seen) >= 24, seen


def test_pages_come_to_the_disk_in_any_order(t):
    disk = live(t, "put('a', b'S' * 4096, sync=True); sync()\n"
                   "put('a', b'x' * 4096 * 8, os.O_WRONLY | os.O_APPEND)")
    disk.lose_power(random.Random(5), "pages")
    content = tree(disk.folder)["a"]
    equal(len(content), 9 * 4096)
    equal(content[:4096], b"S" * 4096)
    pages = {content[at : at + 4096] for at in range(4096, len(content), 4096)}
    equal(pages, {b"x" * 4096, bytes(4096)}, "kinds of pages")


def test_a_sync_that_failed_covers_nothing_and_no_later_one_makes_it_good(t):
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    disk.fail_syncs(1)
    live(t, "sync_ok = 0\n"
            "put('a', b'lost')\n"
            "file = os.open('a', os.O_WRONLY | os.O_APPEND)\n"
            "try: os.fsync(file)\n"
            "except OSError as error: assert error.errno == errno.EIO\n"
            "else: sys.exit('the sync was to fail')\n"
            "os.write(file, b'kept'); os.fsync(file); sync()", disk)
    disk.lose_power(random.Random(1), "nothing")
    content = tree(disk.folder)["a"]
    equal(content, bytes(4) + b"kept")
    equal(disk.told()["sync_fail_count"], 0)


def test_space_ends_where_it_was_set_and_comes_back(t):
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    disk.set_space(10)
    live(t, "file = os.open('a', os.O_WRONLY | os.O_CREAT)\n"
            "assert os.write(file, b'x' * 8) == 8 and os.statvfs('.').f_bavail == 0\n"
            "assert os.write(file, b'x' * 8) == 2\n"
            "try: os.write(file, b'x')\n"
            "except OSError as error: assert error.errno == errno.ENOSPC\n"
            "else: sys.exit('there was no space')", disk)
    disk.set_space(None)
    live(t, "assert os.statvfs('.').f_bavail > 10; put('a', b'y' * 100, at=10, sync=True); sync()", disk)
    disk.lose_power(random.Random(1), "nothing")
    equal(len(tree(disk.folder)["a"]), 110)


def test_two_lives_in_one_diary_lose_what_neither_synced(t):
    disk = live(t, "put('a', b'1', sync=True); sync(); put('b', b'2')")
    live(t, "put('b', b'3', os.O_WRONLY | os.O_APPEND); put('a', b'4', os.O_WRONLY | os.O_APPEND, sync=True)", disk)
    disk.lose_power(random.Random(1), "nothing")
    equal(tree(disk.folder), {"a": b"14"})


def test_the_wall_clock_is_wrong_by_so_many_seconds(t):
    env = powerloss.preload(os.environ, powerloss.library("clockshift.so"))
    program = "import time; a = time.monotonic(); print(time.time(), time.clock_gettime(time.CLOCK_REALTIME), a)"
    shifted = subprocess.run([sys.executable, "-c", program], env=dict(env, CLOCK_SHIFT_S="-86400"),
                             capture_output=True, text=True, check=True)
    plain = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for at, (one, other) in enumerate(zip(shifted.stdout.split(), plain.stdout.split())):
        wanted = 86400 if at < 2 else 0
        assert abs(float(other) - float(one) - wanted) < 600, (shifted.stdout, plain.stdout)
