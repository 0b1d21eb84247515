"""Run the standard's official test suite on tinytorch and on its array libraries: ``python tests/conformance/compare.py PATH``.

PATH is a clone of https://github.com/data-apis/array-api-tests with its submodule; its requirements must be installed. For each backend the
suite runs twice with the same seed. The exit code is 1 if a test fails only on tinytorch, or if it fails on both and `reasons.toml` has no
reason for it. The output is the second half of docs/array_api.md.
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
SEEDS = 20  #: number of further seeds to run on the library for tests that failed only on tinytorch
HERE = Path(__file__).parent
REASONS = tomllib.loads((HERE / "reasons.toml").read_text(encoding="utf-8"))["reason"]


@dataclass(frozen=True)
class Comparison:
    """A backend, the array library's namespace that it uses, and the dtypes that the tests skip."""

    backend: str
    module: str
    without: str = ""

    @property
    def title(self) -> str:
        return f"{self.backend} without {self.without.replace(',', ', ')}" if self.without else self.backend


COMPARISONS = {
    "numpy": Comparison("numpy", "array_api_compat.numpy"),
    "strict": Comparison("strict", "array_api_strict"),
    "torch": Comparison("torch", "array_api_compat.torch"),
    # PyTorch implements few operations for these dtypes, and their failures would hide others
    "torch_signed": Comparison("torch", "array_api_compat.torch", without="uint16,uint32,uint64"),
    "jax": Comparison("jax", "jax.numpy"),
}


class Suite:
    """The clone of the suite. ``results`` contains a report for each test file; an interrupted run resumes from the existing reports."""

    def __init__(self, path: Path, results: Path, examples: int, verbose: bool) -> None:
        self.path = path
        self.results = results
        self.examples = examples
        self.verbose = verbose

    def outcomes(self, name: str, who: str) -> dict[str, bool]:
        """Whether each test that ran passed, on tinytorch ("ours") or the array library ("raw")."""
        found: dict[str, bool] = {}
        for file in sorted((self.path / "array_api_tests").glob("test_*.py")):
            report = self.results / f"{name}-{who}" / f"{file.stem}.json"
            if not report.is_file():
                self.run(COMPARISONS[name], who, [f"array_api_tests/{file.name}"], report)
            found |= _read(report)
        return found

    def fail_sometimes(self, name: str, who: str, tests: set[str]) -> set[str]:
        """The tests among these that fail with other seeds; some tests draw a single example."""
        found: set[str] = set()
        with tempfile.TemporaryDirectory() as scratch:
            for seed in range(1, 1 + SEEDS):
                report = Path(scratch) / f"{seed}.json"
                if tests - found:
                    self.run(COMPARISONS[name], who, sorted(tests - found), report, seed)
                    found |= {test for test, passed in _read(report).items() if not passed}
        return found

    def run(self, comparison: Comparison, who: str, tests: list[str], report: Path, seed: int = 0) -> None:
        """Run tests of the suite and write pytest's report to ``report``."""
        settings = {
            "ARRAY_API_TESTS_MODULE": "tinytorch" if who == "ours" else comparison.module,
            "ARRAY_API_TESTS_VERSION": VERSION,
            "ARRAY_API_TESTS_SKIP_DTYPES": comparison.without,
            "TINYTORCH_BACKEND": comparison.backend,
            "JAX_ENABLE_X64": "1",  # the suite requires every dtype of the standard
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "pytest", *tests, "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no_shrinking"]
        command += [f"--max-examples={self.examples}", f"--hypothesis-seed={seed}", "--hypothesis-disable-deadline"]
        command += ["--json-report", "--json-report-omit", "log", "streams", "keywords", f"--json-report-file={report}"]
        log = sys.stderr if self.verbose else subprocess.DEVNULL
        report.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, cwd=self.path, env={**os.environ, **settings}, stdout=log, stderr=log, check=False)
        if not report.is_file():
            raise SystemExit(f"{tests[0]} did not run with {settings['ARRAY_API_TESTS_MODULE']}; use --verbose to see the cause")


def _read(report: Path) -> dict[str, bool]:
    tests = json.loads(report.read_text(encoding="utf-8"))["tests"]
    return {test["nodeid"]: test["outcome"] == "passed" for test in tests if test["outcome"] in ("passed", "failed", "error")}


def reason_for(backend: str, test: str) -> str | None:
    """The reason why a test fails on the array library, if known."""
    for reason in REASONS:
        if backend in reason["backends"] and any(re.search(pattern, test) for pattern in reason["tests"]):
            return str(reason["why"])
    return None


def compare(name: str, suite: Suite) -> bool:
    """Run both and print a table of their failures.

    Returns:
        True if no test fails only on tinytorch and every failure of tinytorch has a reason.
    """
    comparison = COMPARISONS[name]
    raw, ours = suite.outcomes(name, "raw"), suite.outcomes(name, "ours")
    theirs, own = ({test for test, passed in found.items() if not passed} for found in (raw, ours))
    if own - theirs:  # the two runs draw different examples: try more seeds on the library
        theirs |= suite.fail_sometimes(name, "raw", own - theirs)
    print(f"### {comparison.title}\n")
    alone = len(own - theirs)
    print(f"{len(ours)} tests: `{comparison.module}` fails {len(theirs)}, tinytorch fails {len(own)}, {alone} fail only on tinytorch.\n")
    if own | theirs:
        print(f"| fails | {comparison.module} | tinytorch | why |\n|---|---|---|---|")
    explained = True
    for test in sorted(own | theirs, key=lambda test: (test not in own, test)):
        why = reason_for(comparison.backend, test) or ("" if test in theirs - own else None)
        explained = explained and why is not None
        cell = test.partition("::")[2].replace("|", "\\|")
        marks = " | ".join("yes" if test in failed else "" for failed in (theirs, own))
        print(f"| `{cell}` | {marks} | {'NO REASON' if why is None else why} |")
    print(flush=True)
    return explained and not own - theirs


def main() -> None:
    """Compare on every given backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, metavar="PATH", help="the clone of array-api-tests")
    parser.add_argument("backends", nargs="*", default=["numpy"], metavar="BACKEND", help=", ".join(COMPARISONS))
    parser.add_argument("--examples", type=int, default=200, help="number of hypothesis examples per test")
    parser.add_argument("--results", type=Path, help="directory for the reports; existing reports are reused")
    parser.add_argument("--verbose", action="store_true", help="show the output of pytest")
    options = parser.parse_args()
    if not (options.suite / "array_api_tests").is_dir():
        parser.error(
            f"{options.suite} is not a clone of array-api-tests; run git clone --recursive https://github.com/data-apis/array-api-tests"
        )
    unknown = [name for name in options.backends if name not in COMPARISONS]
    if unknown:
        parser.error(f"unknown backend {unknown[0]}; choose from {', '.join(COMPARISONS)}")
    with tempfile.TemporaryDirectory() as scratch:
        results = (options.results or Path(scratch)).resolve()
        suite = Suite(options.suite.resolve(), results, options.examples, options.verbose)
        successes = [compare(name, suite) for name in options.backends]
    sys.exit(0 if all(successes) else 1)


if __name__ == "__main__":
    main()
