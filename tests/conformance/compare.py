"""The official test suite of the standard, on tinytorch and on the array library below it: ``python tests/conformance/compare.py PATH``.

PATH is a clone of https://github.com/data-apis/array-api-tests with its submodule; its requirements must be installed. For each backend the
suite runs twice with the same seed. What only tinytorch fails is an error (exit code 1); what both fail is the array library's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "2024.12"

#: What tinytorch calls the array library's namespace, by backend.
NAMESPACES = {"numpy": "array_api_compat.numpy", "strict": "array_api_strict", "torch": "array_api_compat.torch", "jax": "jax.numpy"}


def failures(module: str, backend: str, tests: list[str], examples: int, options: argparse.Namespace) -> tuple[set[str], int]:
    """The tests that fail with ``module`` as the namespace, and how many ran."""
    wanted = {
        "ARRAY_API_TESTS_MODULE": module,
        "ARRAY_API_TESTS_VERSION": VERSION,
        "TINYTORCH_BACKEND": backend,
        "JAX_ENABLE_X64": "1",  # the suite wants every type of the standard
    }
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pytest", *tests, "-q", "--tb=no", "-p", "no:cacheprovider"]
        command += [f"--max-examples={examples}", "--hypothesis-seed=0", "--hypothesis-disable-deadline"]
        command += ["--json-report", "--json-report-omit", "log", "streams", "keywords", f"--json-report-file={report}"]
        log = sys.stderr if options.verbose else subprocess.DEVNULL
        subprocess.run(command, cwd=options.suite, env={**os.environ, **wanted}, stdout=log, stderr=log, check=False)
        if not report.is_file():
            raise SystemExit(f"the suite did not run with {module}; see why with --verbose")
        results = json.loads(report.read_text(encoding="utf-8"))["tests"]
    ran = [test for test in results if test["outcome"] in ("passed", "failed", "error", "xfailed", "xpassed")]
    return {test["nodeid"] for test in ran if test["outcome"] in ("failed", "error")}, len(ran)


def compare(backend: str, options: argparse.Namespace) -> set[str]:
    """Run both and print their failures side by side; returns those that are tinytorch's alone."""
    module = NAMESPACES[backend]
    print(f"## {backend}: {options.examples} examples a test\n", flush=True)
    theirs, _ = failures(module, backend, options.tests, options.examples, options)
    ours, ran = failures("tinytorch", backend, options.tests, options.examples, options)
    if ours - theirs:  # the examples of the two runs are not the same: look longer for what the other one may only have missed
        theirs |= failures(module, backend, sorted(ours - theirs), 10 * options.examples, options)[0]
    print(f"{ran} tests; {module} fails {len(theirs)}, tinytorch {len(ours)}, of which {len(ours - theirs)} alone.\n")
    if ours | theirs:
        print(f"| fails | {module} | tinytorch |\n|---|---|---|")
    for name in sorted(ours | theirs):
        escaped = name.partition("::")[2].replace("|", "\\|")
        print(f"| `{escaped}` | {'yes' if name in theirs else ''} | {'yes' if name in ours else ''} |")
    print(flush=True)
    return ours - theirs


def main() -> None:
    """Compare on every backend that was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, metavar="PATH", help="the clone of array-api-tests")
    parser.add_argument("backends", nargs="*", default=["numpy"], metavar="BACKEND", help=", ".join(NAMESPACES))
    parser.add_argument("--examples", type=int, default=200, help="how many examples hypothesis draws for a test")
    parser.add_argument("--tests", nargs="+", default=["array_api_tests/"], help="files of the suite, or tests in them")
    parser.add_argument("--verbose", action="store_true", help="show what pytest prints")
    options = parser.parse_args()
    if not (options.suite / "array_api_tests").is_dir():
        parser.error(
            f"{options.suite} is no clone of array-api-tests; type git clone --recursive https://github.com/data-apis/array-api-tests"
        )
    alone = [compare(backend, options) for backend in options.backends]
    sys.exit(1 if any(alone) else 0)


if __name__ == "__main__":
    main()
