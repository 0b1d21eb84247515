"""The official test suite of the standard, on tinytorch and on the array library below it: ``python tests/conformance/compare.py PATH``.

PATH is a clone of https://github.com/data-apis/array-api-tests with its submodule; its requirements must be installed. For each backend the
suite runs twice with the same seed. What only tinytorch fails is an error (exit code 1), as is a failure of both that `reasons.toml` does
not explain. What is printed is the second half of docs/array_api.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

VERSION = "2024.12"
SEEDS = 20  #: how often the library gets a chance to fail what only tinytorch failed
HERE = Path(__file__).parent
REASONS = tomllib.loads((HERE / "reasons.toml").read_text(encoding="utf-8"))["reason"]


@dataclass(frozen=True)
class Contest:
    """A backend, what tinytorch calls the array library's namespace there, and types of the standard that are left out."""

    backend: str
    module: str
    without: str = ""

    @property
    def title(self) -> str:
        return f"{self.backend} without {self.without.replace(',', ', ')}" if self.without else self.backend


CONTESTS = {
    "numpy": Contest("numpy", "array_api_compat.numpy"),
    "strict": Contest("strict", "array_api_strict"),
    "torch": Contest("torch", "array_api_compat.torch"),
    # three types that PyTorch has for little more than storage hide what else a test would find
    "torch_signed": Contest("torch", "array_api_compat.torch", without="uint16,uint32,uint64"),
    "jax": Contest("jax", "jax.numpy"),
}


class Suite:
    """The clone, and how it is run; ``results`` keeps the report of each of its files, so that a run that was stopped goes on there."""

    def __init__(self, path: Path, results: Path, examples: int, verbose: bool) -> None:
        self.path = path
        self.results = results
        self.examples = examples
        self.verbose = verbose

    def outcomes(self, name: str, who: str) -> dict[str, bool]:
        """Whether each test passed, for those that ran, on "ours" or the "raw" library."""
        found: dict[str, bool] = {}
        for file in sorted((self.path / "array_api_tests").glob("test_*.py")):
            report = self.results / f"{name}-{who}" / f"{file.stem}.json"
            if not report.is_file():
                self.run(CONTESTS[name], who, [f"array_api_tests/{file.name}"], report)
            found |= _read(report)
        return found

    def fail_sometimes(self, name: str, who: str, tests: set[str]) -> set[str]:
        """Which of these tests fail when other examples are drawn; some tests draw a single one."""
        found: set[str] = set()
        with tempfile.TemporaryDirectory() as scratch:
            for seed in range(1, 1 + SEEDS):
                report = Path(scratch) / f"{seed}.json"
                if tests - found:
                    self.run(CONTESTS[name], who, sorted(tests - found), report, seed)
                    found |= {test for test, passed in _read(report).items() if not passed}
        return found

    def run(self, contest: Contest, who: str, tests: list[str], report: Path, seed: int = 0) -> None:
        """Run tests of the suite and leave pytest's report there."""
        wanted = {
            "ARRAY_API_TESTS_MODULE": "tinytorch" if who == "ours" else contest.module,
            "ARRAY_API_TESTS_VERSION": VERSION,
            "ARRAY_API_TESTS_SKIP_DTYPES": contest.without,
            "TINYTORCH_BACKEND": contest.backend,
            "JAX_ENABLE_X64": "1",  # the suite wants every type of the standard
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "pytest", *tests, "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no_shrinking"]
        command += [f"--max-examples={self.examples}", f"--hypothesis-seed={seed}", "--hypothesis-disable-deadline"]
        command += ["--json-report", "--json-report-omit", "log", "streams", "keywords", f"--json-report-file={report}"]
        log = sys.stderr if self.verbose else subprocess.DEVNULL
        report.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, cwd=self.path, env={**os.environ, **wanted}, stdout=log, stderr=log, check=False)
        if not report.is_file():
            raise SystemExit(f"{tests[0]} did not run with {wanted['ARRAY_API_TESTS_MODULE']}; see why with --verbose")


def _read(report: Path) -> dict[str, bool]:
    tests = json.loads(report.read_text(encoding="utf-8"))["tests"]
    return {test["nodeid"]: test["outcome"] == "passed" for test in tests if test["outcome"] in ("passed", "failed", "error")}


def reason_for(backend: str, test: str) -> str | None:
    """Why a test fails on the array library."""
    for reason in REASONS:
        if backend in reason["backends"] and any(re.search(pattern, test) for pattern in reason["tests"]):
            return str(reason["why"])
    return None


def compare(name: str, suite: Suite) -> bool:
    """Run both and print their failures side by side; whether none is tinytorch's alone, and each has a reason."""
    contest = CONTESTS[name]
    raw, ours = suite.outcomes(name, "raw"), suite.outcomes(name, "ours")
    theirs, own = ({test for test, passed in found.items() if not passed} for found in (raw, ours))
    if own - theirs:  # the examples of the two runs are not the same: look longer for what the other one may only have missed
        theirs |= suite.fail_sometimes(name, "raw", own - theirs)
    print(f"### {contest.title}\n")
    print(f"{len(ours)} tests: `{contest.module}` fails {len(theirs)}, tinytorch {len(own)}, of which {len(own - theirs)} alone.\n")
    if own | theirs:
        print(f"| fails | {contest.module} | tinytorch | why |\n|---|---|---|---|")
    explained = True
    for test in sorted(own | theirs, key=lambda test: (test not in own, test)):
        why = reason_for(contest.backend, test) or ("" if test in theirs - own else None)
        explained = explained and why is not None
        cell = test.partition("::")[2].replace("|", "\\|")
        marks = " | ".join("yes" if test in failed else "" for failed in (theirs, own))
        print(f"| `{cell}` | {marks} | {'NO REASON' if why is None else why} |")
    print(flush=True)
    return explained and not own - theirs


def main() -> None:
    """Compare on every backend that was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, metavar="PATH", help="the clone of array-api-tests")
    parser.add_argument("backends", nargs="*", default=["numpy"], metavar="BACKEND", help=", ".join(CONTESTS))
    parser.add_argument("--examples", type=int, default=200, help="how many examples hypothesis draws for a test")
    parser.add_argument("--results", type=Path, help="keep the reports there, and take those that are there already")
    parser.add_argument("--verbose", action="store_true", help="show what pytest prints")
    options = parser.parse_args()
    if not (options.suite / "array_api_tests").is_dir():
        parser.error(
            f"{options.suite} is no clone of array-api-tests; type git clone --recursive https://github.com/data-apis/array-api-tests"
        )
    unknown = [name for name in options.backends if name not in CONTESTS]
    if unknown:
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(CONTESTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        results = (options.results or Path(scratch)).resolve()
        suite = Suite(options.suite.resolve(), results, options.examples, options.verbose)
        good = [compare(name, suite) for name in options.backends]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
