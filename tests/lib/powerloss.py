"""What a disk holds after its power failed, made of the diary that powerloss.so kept.

    disk = powerloss.Disk(folder)            the folder as it is now is what the disk has
    Broker(..., env=disk.env())              the program below it, killed at some moment
    disk.lose_power(random)                  the folder becomes what may be left of it

Of a file: all that was synced, and of the rest nothing, or a beginning of it (the last write torn at
any byte), or any of its pages with zeros between them. Of a folder: the names as at its last sync,
and a beginning of the changes after it. A sync that failed covers nothing, and no later one brings
back what it should have covered: that is how Linux does it.

A file that is synced is not thereby in its folder: that takes a sync of the folder, as POSIX has it.
"""

import glob
import mmap
import os
import shutil
import struct

import broker as broker_module

# As powerloss.c has them.
(OPENED, WRITTEN, TRUNCATED, SYNCED, SYNC_FAILED, RENAMED, UNLINKED, FOLDER_MADE, FOLDER_REMOVED, LINKED,
 ALL_SYNCED) = range(1, 12)
WAS_MADE, WAS_EMPTIED, IS_FOLDER = 1, 2, 4
LINE = struct.Struct("<IIQQ")
CONTROL = struct.Struct("<iiqIIQQQQ")
PAGE = 4096

# Names of files that are written by stdio, which the diary does not see, and hold nothing of worth.
BLIND = ("LOG", "LOG.old.")


def library(name):
    """What the build has put beside the broker: of the same tree as it, never an older one that lies about.
    mosquitto has none of its own, and gets any."""
    paths = [os.path.join(os.path.dirname(broker_module.program()), "tests", name)]
    if broker_module.is_mosquitto():
        paths = sorted(glob.glob(os.path.join(broker_module.ROOT, "build", "*", "tests", name)))
    for path in paths:
        if os.path.exists(path):
            return path
    raise AssertionError(f"{name} is not built: cmake --build build/dev --target {name.removesuffix('.so')}")


def preload(env, path):
    """env with this library in front; the sanitizers are told that they are not the first."""
    before = env.get("LD_PRELOAD", "")
    out = dict(env, LD_PRELOAD=f"{path}:{before}" if before else path)
    asan = env.get("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", ""))
    out["ASAN_OPTIONS"] = f"{asan}:verify_asan_link_order=0".lstrip(":")
    return out


def is_blind(name):
    return name == BLIND[0] or name.startswith(BLIND[1])


class File:
    """Bytes on the disk, and what was done after them: (place in the diary, write or cut)."""

    def __init__(self, disk_bytes=b""):
        self.disk = bytearray(disk_bytes)
        self.rest = []

    @staticmethod
    def apply(content, change):
        kind, offset, data = change[1:]
        if kind == TRUNCATED:
            if offset < len(content):
                del content[offset:]
            else:
                content.extend(bytes(offset - len(content)))
            return
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def sync(self, place):
        covered = [change for change in self.rest if change[0] < place]
        for change in covered:
            self.apply(self.disk, change)
        self.rest = self.rest[len(covered) :]

    def forget(self, place):
        self.rest = [change for change in self.rest if change[0] >= place]

    def now(self):
        content = bytearray(self.disk)
        for change in self.rest:
            self.apply(content, change)
        return bytes(content)

    def after_loss(self, random, mode):
        if mode == "nothing" or not self.rest:
            return bytes(self.disk)
        if mode == "pages":
            return self.after_loss_of_pages(random)
        content = bytearray(self.disk)
        count = random.randrange(len(self.rest) + 1)
        for change in self.rest[:count]:
            self.apply(content, change)
        if count < len(self.rest) and self.rest[count][1] == WRITTEN:
            place, kind, offset, data = self.rest[count]
            self.apply(content, (place, kind, offset, data[: random.randrange(len(data) + 1)]))
        return bytes(content)

    def after_loss_of_pages(self, random):
        """The file is as long as it was to be; each page that was not synced came to the disk or did not."""
        before, after = bytes(self.disk), bytearray(self.now())
        for start in range(0, len(after), PAGE):
            old = before[start : start + PAGE]
            new = after[start : start + PAGE]
            if bytes(new) != old and random.random() < 0.5:
                after[start : start + PAGE] = old.ljust(len(new), b"\0")[: len(new)]
        return bytes(after)


class Folder:
    """Names on the disk, names now, and the changes between: (place, {name: what, or None})."""

    def __init__(self):
        self.disk, self.names, self.rest = {}, {}, []

    def change(self, place, changes):
        for name, what in changes.items():
            if what is None:
                self.names.pop(name, None)
            else:
                self.names[name] = what
        self.rest.append((place, changes))

    @staticmethod
    def apply(names, changes):
        for name, what in changes.items():
            if what is None:
                names.pop(name, None)
            else:
                names[name] = what

    def sync(self, place):
        while self.rest and self.rest[0][0] < place:
            self.apply(self.disk, self.rest.pop(0)[1])

    def after_loss(self, random, mode):
        names = dict(self.disk)
        count = 0 if mode == "nothing" else random.randrange(len(self.rest) + 1)
        for _, changes in self.rest[:count]:
            self.apply(names, changes)
        return names


def read_folder(path):
    """The tree as it lies there, all of it on the disk."""
    folder = Folder()
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            what = read_folder(entry.path)
        elif entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                what = File(file.read())
        else:
            continue
        folder.names[entry.name] = what
    folder.disk = dict(folder.names)
    return folder


class Diary:
    """The diary read from its beginning: self.root is the folder with all that was and was not synced."""

    def __init__(self, path, root):
        self.root, self.handles, self.has_failed_syncs = root, {}, False
        self.counts = {}
        size = os.path.getsize(path)
        if size == 0:
            return
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as diary:
            place = 0
            while place + LINE.size <= size:
                kind, tail_bytes, handle, number = LINE.unpack_from(diary, place)
                end = place + LINE.size + tail_bytes
                if end > size:
                    break  # the last line, which kill -9 cut: what it tells of was not synced
                self.read(kind, place, handle, number, diary[place + LINE.size : end])
                self.counts[kind] = self.counts.get(kind, 0) + 1
                place = end

    def find(self, path):
        """(its folder, its name)"""
        folder = self.root
        *parents, name = path.split("/")
        for parent in parents:
            folder = folder.names[parent]
        return folder, name

    def read(self, kind, place, handle, number, tail):
        if kind == OPENED:
            self.read_open(place, handle, number, tail.decode())
        elif kind in (WRITTEN, TRUNCATED):
            self.handles[handle].rest.append((place, kind, number, tail))
        elif kind == SYNCED:
            self.handles[handle].sync(number)
        elif kind == SYNC_FAILED:
            self.has_failed_syncs = True
            if isinstance(self.handles[handle], File):
                self.handles[handle].forget(number)
        elif kind == ALL_SYNCED:
            self.sync_all(self.root, number)
        elif kind in (RENAMED, LINKED):
            self.read_rename(kind, place, *tail.decode().split("\0"))
        elif kind in (UNLINKED, FOLDER_REMOVED):
            folder, name = self.find(tail.decode())
            folder.change(place, {name: None})
        elif kind == FOLDER_MADE:
            folder, name = self.find(tail.decode())
            folder.change(place, {name: Folder()})
        else:
            raise AssertionError(f"line of kind {kind} in the diary")

    def read_open(self, place, handle, number, path):
        if path == "":
            self.handles[handle] = self.root
            return
        folder, name = self.find(path)
        if name not in folder.names:
            # It was made by what the diary does not see (stdio), unless it says so itself.
            assert number & WAS_MADE or is_blind(name), f"{path} was made behind the diary's back"
            folder.change(place, {name: File()})
        what = folder.names[name]
        if number & WAS_EMPTIED:
            what.rest.append((place, TRUNCATED, 0, b""))
        self.handles[handle] = what

    def read_rename(self, kind, place, source, target):
        from_folder, from_name = self.find(source)
        to_folder, to_name = self.find(target)
        what = from_folder.names.get(from_name)
        if what is None:
            assert is_blind(from_name), f"{source} was made behind the diary's back"
            what = File()
        if kind == LINKED:
            to_folder.change(place, {to_name: what})
        elif from_folder is to_folder:
            from_folder.change(place, {from_name: None, to_name: what})
        else:
            from_folder.change(place, {from_name: None})
            to_folder.change(place, {to_name: what})

    def sync_all(self, folder, place):
        for what in [*folder.disk.values(), *folder.names.values()]:
            if isinstance(what, File):
                what.sync(place)
            else:
                self.sync_all(what, place)
        folder.sync(place)

    def differs_from(self, path, folder=None, label=""):
        """What of the folder at path is not as the diary tells: names, for people."""
        folder = self.root if folder is None else folder
        out = []
        here = {entry.name: entry for entry in os.scandir(path)}
        for name in sorted(set(here) | set(folder.names)):
            if is_blind(name):
                continue
            what, entry = folder.names.get(name), here.get(name)
            if what is None or entry is None:
                out.append(f"{label}{name} is {'not in the diary' if what is None else 'gone'}")
            elif isinstance(what, Folder):
                out += self.differs_from(entry.path, what, f"{label}{name}/")
            else:
                with open(entry.path, "rb") as file:
                    if file.read() != what.now():
                        out.append(f"{label}{name} has other bytes")
        return out


class Disk:
    """A folder whose power can fail. What the program asks of it is in `control`, faults are set there."""

    def __init__(self, folder, scratch):
        """folder: watched; scratch: a folder of the test's own for diary and control."""
        self.folder = os.path.realpath(folder)
        self.image = os.path.join(scratch, "image")
        self.diary = os.path.join(scratch, "diary")
        self.control_path = os.path.join(scratch, "control")
        os.makedirs(self.folder, exist_ok=True)
        with open(self.control_path, "wb") as file:
            file.write(CONTROL.pack(0, 0, -1, 0, 0, 0, 0, 0, 0).ljust(PAGE, b"\0"))
        self.control_file = open(self.control_path, "r+b")
        self.control = mmap.mmap(self.control_file.fileno(), PAGE)
        self.last_loss = ""
        self.begin()

    def begin(self):
        """What is there now is on the disk."""
        shutil.rmtree(self.image, ignore_errors=True)
        shutil.copytree(self.folder, self.image)
        open(self.diary, "wb").close()

    def env(self, env=None):
        watched = dict(POWERLOSS_FOLDER=self.folder, POWERLOSS_DIARY=self.diary,
                       POWERLOSS_CONTROL=self.control_path)
        return preload({**(env or {}), **watched}, library("powerloss.so"))

    # -- faults, while the program runs

    def fail_syncs(self, count=1):
        struct.pack_into("<i", self.control, 0, count)

    def fail_writes(self, count=1):
        struct.pack_into("<i", self.control, 4, count)

    def set_space(self, count):
        """So many bytes more can be written; None: as many as there are."""
        struct.pack_into("<q", self.control, 8, -1 if count is None else count)

    def slow_syncs(self, us):
        struct.pack_into("<I", self.control, 16, us)

    def told(self):
        names = ("sync_fail_count", "write_fail_count", "space_bytes", "sync_delay_us", "spare", "sync_count",
                 "write_count", "written_bytes", "refused_count")
        return dict(zip(names, CONTROL.unpack_from(self.control, 0)))

    # -- after it was killed

    def lose_power(self, random, mode=None):
        """The folder becomes what may be left of it. mode: nothing, beginning or pages; None: any."""
        diary = Diary(self.diary, read_folder(self.image))
        if not diary.has_failed_syncs:
            # kill -9 may come between a write and its line; a second difference is a hole in the shim.
            differences = diary.differs_from(self.folder)
            assert len(differences) <= 1, f"the diary does not tell of everything: {differences}"
        mode = mode or random.choice(("nothing", "nothing", "beginning", "pages"))
        pending = self.count_rest(diary.root, set())
        self.last_loss = f"{mode} of {pending} unsynced changes, after {diary.counts.get(SYNCED, 0)} syncs"
        for entry in os.scandir(self.folder):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        self.write(diary.root, self.folder, random, mode)
        self.begin()
        return self.last_loss

    @classmethod
    def count_rest(cls, folder, seen):
        count = len(folder.rest)
        for what in [*folder.disk.values(), *folder.names.values()]:
            if id(what) in seen:
                continue
            seen.add(id(what))
            count += len(what.rest) if isinstance(what, File) else cls.count_rest(what, seen)
        return count

    @classmethod
    def write(cls, folder, path, random, mode):
        for name, what in sorted(folder.after_loss(random, mode).items()):
            if isinstance(what, Folder):
                os.mkdir(os.path.join(path, name), 0o700)
                cls.write(what, os.path.join(path, name), random, mode)
                continue
            with open(os.path.join(path, name), "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
                file.write(what.after_loss(random, mode))

    def close(self):
        self.control.close()
        self.control_file.close()
