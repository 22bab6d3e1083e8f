"""A real process under raw sockets, signals and bad days: tests/integration/run.py [-k PATTERN] [-j THREADS] [--short] [--list]"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import suite  # noqa: E402

if __name__ == "__main__":
    sys.exit(suite.main(HERE))
