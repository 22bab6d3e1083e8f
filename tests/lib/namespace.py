"""A network of one's own for the calling thread, with addresses that are not loopback's.

    with namespace.own("192.0.2.1") as given:     Skip where the system does not let us
        ... brokers and clients made here see only that network
"""

import contextlib
import ctypes
import os
import subprocess
import threading

from suite import Skip

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def here():
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def own(*addresses):
    home = here()
    try:
        if LIBC.unshare(CLONE_NEWNET) != 0:
            raise Skip(f"no network of one's own: {os.strerror(ctypes.get_errno())} (needs CAP_SYS_ADMIN)")
        try:
            commands = [["link", "set", "lo", "up"]]
            for address in addresses:
                bits = 128 if ":" in address else 32
                commands.append(["addr", "add", f"{address}/{bits}", "dev", "lo"])
            for command in commands:
                subprocess.run(["ip", *command], check=True, capture_output=True)
            yield addresses[0]
        finally:
            assert LIBC.setns(home, CLONE_NEWNET) == 0, "the way back to the first network is lost"
    finally:
        os.close(home)
