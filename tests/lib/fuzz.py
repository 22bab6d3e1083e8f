"""Run every fuzzer of one build folder on its corpus, two at a time; each is one test.

    tests/lib/fuzz.py build/fuzz [--seconds 10] [name...]

What a fuzzer finds new goes to the build folder, never into the tree: a long run is followed by
`build/fuzz/tests/fuzz/fuzz_<what> -merge=1 tests/fuzz/corpus/<what> build/fuzz/found/<what>`.
"""

import argparse
import concurrent.futures
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(program, folder, seconds):
    """None, or the output of a fuzzer that found something."""
    what = os.path.basename(program).removeprefix("fuzz_")
    corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", what)
    found = os.path.join(folder, "found", what)
    crashes = os.path.join(folder, "crashes", what)
    os.makedirs(found, exist_ok=True)
    os.makedirs(crashes, exist_ok=True)
    if not os.path.isdir(corpus) or not os.listdir(corpus):
        return f"no corpus in tests/fuzz/corpus/{what}"
    command = [program, f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10"]
    command += [f"-artifact_prefix={crashes}/", "-print_final_stats=1", found, corpus]
    try:
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=seconds + 120
        )
    except subprocess.TimeoutExpired:
        return f"still running after {seconds + 120} s"
    return None if result.returncode == 0 else result.stderr[-6000:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    folder = os.path.abspath(options.folder)
    # The table of fuzzers is the sources: one that did not get built is a failure.
    sources = sorted(glob.glob(os.path.join(ROOT, "tests", "fuzz", "fuzz_*.c")))
    whats = [os.path.basename(source)[len("fuzz_") : -len(".c")] for source in sources]
    if options.names:
        whats = [what for what in whats if what in options.names]
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = {}
        for what in whats:
            program = os.path.join(folder, "tests", "fuzz", f"fuzz_{what}")
            runs[what] = pool.submit(run, program, folder, options.seconds)
        for what, future in runs.items():
            try:
                trouble = future.result()
            except OSError as error:
                trouble = str(error)
            print(f"fuzz_{what}: {'found something:' if trouble else 'clean'}", flush=True)
            if trouble:
                print(trouble)
                failed += 1
            else:
                passed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
