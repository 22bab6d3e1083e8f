"""The formatter settles layout: every C file of the tree as clang-format has it. One test a file."""

import concurrent.futures
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VERSION = "14"  # other versions break lines elsewhere


def program():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        try:
            out = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
        except FileNotFoundError:
            continue
        if f"version {VERSION}." in out:
            return name
    return None


def check(path):
    """What clang-format would change, or nothing."""
    command = [program_name, "--dry-run", "-Werror", "--style=file", path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr


if __name__ == "__main__":
    program_name = program()
    if program_name is None:
        sys.exit(f"layout: clang-format {VERSION} is missing")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.c", "*.h"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = sorted(p for p in listed.split("\0") if p and os.path.exists(os.path.join(ROOT, p)))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, trouble in zip(paths, pool.map(check, paths)):
            if trouble:
                failed += 1
                print(f"layout: {path}: run clang-format -i on it")
                print("\n".join(trouble.splitlines()[:6]))
    print(f"{len(paths) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
