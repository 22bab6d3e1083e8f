#!/usr/bin/python3
"""Run the simulator of one build folder.

    tests/sim/run.py [--long] [folder]     folder: build/asan unless said
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    folders = [word for word in sys.argv[1:] if not word.startswith("--")]
    folder = folders[0] if folders else os.path.join(ROOT, "build", "asan")
    mode = "--long" if "--long" in sys.argv[1:] else "--short"
    return subprocess.run([os.path.join(folder, "tests", "sim", "tern-sim"), mode], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
