"""Run the ternctl that was built beside the broker under test."""

import os
import subprocess

import broker as broker_module

OK, NO, USAGE, DATA, UNAVAILABLE, CANNOT_CREATE, CONFIG = 0, 1, 64, 65, 69, 73, 78  # exit codes


def program():
    found = os.path.join(os.path.dirname(broker_module.program()), "ternctl")
    return found if os.path.exists(found) else os.path.join(broker_module.ROOT, "build", "dev", "ternctl")


def ternctl(*arguments, stdin="", seconds=60):
    """(exit code, standard output, standard error); texts, or bytes if stdin is bytes."""
    command = [program(), *arguments]
    how = {} if isinstance(stdin, bytes) else {"encoding": "utf-8"}
    result = subprocess.run(command, capture_output=True, input=stdin, timeout=seconds, **how)
    return result.returncode, result.stdout, result.stderr
