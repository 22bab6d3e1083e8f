"""Run the unit tests of one build folder by ctest and count each cmocka test, not each program.

    tests/lib/unit.py build/asan [regex]
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

PASSED = re.compile(r"\[  PASSED  \] (\d+) test\(s\)\.")
FAILED = re.compile(r"\[  FAILED  \] +(\d+) test\(s\)")


def count(case):
    """(passed, failed) of one program: cmocka's own count, and one failure for a program that ended
    badly without counting any (a crash, a sanitizer's report, a time-out)."""
    output = case.findtext("system-out") or ""
    passed = sum(int(n) for n in PASSED.findall(output))
    failed = sum(int(n) for n in FAILED.findall(output))
    if case.get("status") != "run":
        failed = max(failed, 1)
    elif passed + failed == 0:
        passed = 1  # a program without cmocka: its exit status is its one test
    return passed, failed


def main():
    folder, names = sys.argv[1], sys.argv[2:]
    junit = os.path.abspath(os.path.join(folder, "unit.xml"))
    if os.path.exists(junit):
        os.remove(junit)
    command = ["ctest", "--test-dir", folder, "-j", "2", "--output-on-failure", "--no-tests=error"]
    command += ["--output-junit", junit, "--test-output-size-passed", "10000000"]
    command += ["--test-output-size-failed", "10000000"]
    for name in names:
        command += ["-R", name]
    status = subprocess.run(command).returncode
    passed = failed = 0
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        case_passed, case_failed = count(case)
        passed += case_passed
        failed += case_failed
    if status != 0 and failed == 0:
        failed = 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
