"""Run the tern-bench that was built beside the broker under test."""

import json
import os
import subprocess

import broker as broker_module

CLEAN, VIOLATION, USAGE, NO_HOST, UNAVAILABLE = 0, 1, 64, 68, 69  # exit codes

# What a report says of a run in which nothing went wrong.
NOTHING = {"lost": 0, "repeated": 0, "disordered": 0, "corrupt": 0, "misdelivered": 0, "forgotten": 0,
           "refused": 0, "stalled": False}


def program():
    found = os.path.join(os.path.dirname(broker_module.program()), "tern-bench")
    return found if os.path.exists(found) else os.path.join(broker_module.ROOT, "build", "dev", "tern-bench")


def bench(*arguments, seconds=120, **how):
    """(exit code, standard output, standard error)"""
    command = [program(), *(str(argument) for argument in arguments)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, **how
    )
    return result.returncode, result.stdout, result.stderr


def start(port, scenario, *arguments):
    """A run that goes on beside the test: a process, whose communicate() gives (JSON, standard error)."""
    command = [program(), "run", *scenario.split(), *(str(argument) for argument in arguments)]
    command += ["-p", str(port), "--json"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def report_of(port, scenario, *arguments, code=CLEAN, seconds=120):
    """What `tern-bench run SCENARIO --json` reports; scenario is a text with its options."""
    got, out, err = bench("run", *scenario.split(), *arguments, "-p", port, "--json", seconds=seconds)
    assert got == code, f"exit code {got}, {code} expected:\n{out}{err}"
    return json.loads(out)


def violations(report):
    """Those of NOTHING that are not as they should be."""
    return {name: report[name] for name, none in NOTHING.items() if report.get(name, none) != none}
