"""A small file system that fills up with the kernel's own ENOSPC.

    small_disk.on(t, 96, work)      work(folder), in a thread of its own: a tmpfs of 96 MiB lies in folder

The mount is seen by that thread, and by the programs it starts, and is gone when they are.
"""

import ctypes
import errno
import os
import threading

import mqtt
from suite import Skip, equal

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_FS, MS_REC, MS_PRIVATE = 0x20000, 0x200, 0x4000, 0x40000


def on(t, mebibytes, work):
    trouble = []
    thread = threading.Thread(target=lambda: trouble.append(mounted(t, mebibytes, work)))
    thread.start()
    thread.join()
    if isinstance(trouble[0], Exception):
        raise trouble[0]


def mounted(t, mebibytes, work):
    try:
        if LIBC.unshare(CLONE_NEWNS | CLONE_FS) != 0:
            raise Skip(f"no mounts of one's own: {os.strerror(ctypes.get_errno())} (needs CAP_SYS_ADMIN)")
        folder = os.path.join(t.folder(), "small")
        os.makedirs(folder)
        if LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
            raise Skip(f"mounts would not stay our own: {os.strerror(ctypes.get_errno())}")
        if LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size=%dm" % mebibytes) != 0:
            raise Skip(f"no tmpfs: {os.strerror(ctypes.get_errno())}")
        work(folder)
    except Exception as error:  # carried to the thread of the test
        return error
    finally:
        mqtt.forget_clients()
    return None


def fill(path):
    """A file that takes all the space there is."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while True:
            os.write(file, b"x" * 65536)
    except OSError as error:
        equal(error.errno, errno.ENOSPC, "what ended the writing")
    finally:
        os.close(file)
