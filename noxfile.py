"""Every check of the project: `pip install nox && nox`.

Plain `nox` lints, checks types, runs the tests on numpy and on array-api-strict, and tries the built wheel. `nox -l` lists all sessions.
Arguments after `--` go to pytest: `nox -s "tests(numpy)" -- -k tokenizer`.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import nox

HERE = Path(__file__).parent
BACKENDS = ["numpy", "strict", "cupy", "torch", "jax"]
PYTHONS = ["3.11", "3.12", "3.13"]
PACKAGES = nox.project.load_toml("pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
RUN_FILES = ["config.json", "tokenizer.json", "metrics.jsonl", "model.safetensors", "optimizer.safetensors"]

#: Versions of cupy that are tested without a GPU, with what they need: Colab's, and the newest.
EMULATED_CUPY = {
    "14.0.1": ["cupy-cuda12x==14.0.1", "cuda-toolkit[cudart,nvcc,nvrtc]==12.8.*"],
    "14.2.0": ["cupy-cuda13x==14.2.0", "cuda-toolkit[crt,cudart,nvrtc]==13.*"],
}

#: The tests for them. Those of array_api/test_properties.py draw shapes and dtypes, each of which compiles a kernel.
EMULATED_TESTS = [
    *[
        f"tests/{name}"
        for name in ("array_api", "autograd", "backend", "backends/tinytorch_cupy", "generation", "models", "nn", "ops", "optim")
    ],
    *[f"tests/{name}" for name in ("habits", "testing", "training", "vision")],
    *[
        f"tests/test_{name}.py"
        for name in ("mismatch", "numpy_functions", "operators", "residency", "saving", "settings", "tensor", "tensor_methods")
    ],
    "--deselect=tests/array_api/test_properties.py",
]

nox.options.sessions = ["lint", "types", "tests(numpy)", "tests(strict)", "wheel"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False  # without this they are errors if CI is set


@nox.session
def lint(session: nox.Session) -> None:
    """Lint and check the formatting."""
    session.install(_requirement("dev", "ruff"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy in strict mode."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pytest", "tests/test_typing.py")  # the types of the public API


@nox.session
@nox.parametrize("backend", [nox.param(name, id=name) for name in [*BACKENDS, "cupy_emulated"]])
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests with one backend as the default; cupy_emulated is real cupy without a GPU."""
    if backend == "cupy_emulated":
        _test_cupy_emulated(session)
        return
    extra = _cuda_extra() if backend == "cupy" else {"numpy": "fast", "torch": "torch", "jax": "jax"}.get(backend)
    session.install("-e", f".[test,{extra}]" if extra else ".[test]")
    _require_backend(session, backend)
    _pytest(session, TINYTORCH_BACKEND=backend)


@nox.session
def oracle(session: nox.Session) -> None:
    """Compare models, layers and GPT-2 directories with PyTorch and transformers, on numpy."""
    session.install("-e", ".[test,oracle]")
    session.run(
        "pytest", *(session.posargs or ["tests/models", "tests/nn", "tests/optim", "tests/ops"]), env={"TINYTORCH_BACKEND": "numpy"}
    )


@nox.session
def portable(session: nox.Session) -> None:
    """Run the tests on numpy with all kernel overrides off."""
    session.install("-e", ".[test]")
    _pytest(session, TINYTORCH_BACKEND="numpy", TINYTORCH_KERNELS="portable")


@nox.session
def faults(session: nox.Session) -> None:
    """Interrupt training runs at many moments, kill them at every file operation, and start two at once."""
    session.install("-e", ".[test]")
    for trials in ("20", "all"):
        session.run("pytest", "tests/cli/test_faults.py", *session.posargs, env={"TINYTORCH_BACKEND": "numpy", "TINYTORCH_TRIALS": trials})


@nox.session(python=PYTHONS)
def tests_python(session: nox.Session) -> None:
    """Run the tests on numpy with each installed Python."""
    session.install("-e", ".[test]")
    _pytest(session, TINYTORCH_BACKEND="numpy")


@nox.session
def cuda_compile(session: nox.Session) -> None:
    """Compile every CUDA kernel for four generations of GPUs; needs no GPU."""
    session.install("numpy>=2.0", "cuda-core[cu13]>=1.0", "cuda-toolkit[cudart,cccl,crt]==13.*")
    session.env["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE / "backends")])
    session.run("python", "tests/backends/tinytorch_cupy/compile_sources.py", *session.posargs)


@nox.session
def array_api(session: nox.Session) -> None:
    """Run the official Array API suite on tinytorch and on its array libraries: `nox -s array_api -- PATH_TO_SUITE [BACKEND ...]`."""
    if not session.posargs:
        session.error("expected a clone of data-apis/array-api-tests: nox -s array_api -- PATH [numpy strict torch torch_signed jax]")
    suite, *backends = session.posargs
    extras = ",".join(["test", *[name for name in ("torch", "jax") if any(chosen.startswith(name) for chosen in backends)]])
    session.install("-e", f".[{extras}]", "-r", str(Path(suite) / "requirements.txt"))
    session.run("python", "tests/conformance/compare.py", suite, *backends)


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it in an empty environment outside the checkout, then train and generate there."""
    with tempfile.TemporaryDirectory() as away:
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", away, str(HERE))
        built = next(Path(away).glob("*.whl"))
        _require_whole(session, built)
        session.run("python", "-m", "pip", "install", "--quiet", str(built))
        session.chdir(away)
        session.env.update(PYTHONPATH="", TINYTORCH_BACKEND="numpy")
        session.run("python", "-c", f"import tinytorch; assert not tinytorch.__file__.startswith({str(HERE / 'tinytorch')!r})")
        session.run("python", "-c", "import importlib.util as u; assert u.find_spec('backends') is None, 'the wheel installs backends'")
        session.run("tinytorch", "backends")
        session.run("tinytorch", "train", "--steps", "20", "--out", "run")
        session.run("tinytorch", "generate", "run", "--prompt", "The ", "--seed", "1")
        missing = [name for name in RUN_FILES if not (Path(away) / "run" / name).is_file()]
        if missing:
            session.error(f"the run wrote no {', '.join(missing)}")
        session.chdir(HERE)  # before the directory is removed


def _test_cupy_emulated(session: nox.Session) -> None:
    """Run the tests with cupy on an emulated CUDA: `nox -s "tests(cupy_emulated)" -- [VERSION OF CUPY ...] [ARGUMENTS OF PYTEST]`.

    Without a version, runs them on each of EMULATED_CUPY. The first run compiles several thousand kernels for the CPU and takes an hour.
    """
    if not sys.platform.startswith("linux") or shutil.which("g++") is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        session.skip("the emulated CUDA needs Linux, g++ and the headers of Python")
    versions = [word for word in session.posargs if word in EMULATED_CUPY] or list(EMULATED_CUPY)
    arguments = [word for word in session.posargs if word not in EMULATED_CUPY]
    for version in versions:
        directory = Path(session.virtualenv.location) / f"cupy-{version}"
        python, libraries = str(directory / "bin" / "python"), directory / "emulated_cuda"
        installed = directory / "installed"
        if not installed.exists():
            session.run("python", "-m", "venv", "--clear", str(directory))
            session.run(
                python, "-m", "pip", "install", "--quiet", "-e", ".[test]", *EMULATED_CUPY[version], "cython>=3.1,<3.2", external=True
            )
            installed.touch()
        session.run(python, "tests/emulated_cuda/build.py", str(libraries), external=True)
        env = {
            "TINYTORCH_BACKEND": "cupy",
            "TINYTORCH_SELF_CHECK": "off",  # it would take all of its time in each process
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "tests" / "emulated_cuda" / "site")]),
            "LD_LIBRARY_PATH": str(libraries),
            "EMULATED_CUDA_CACHE": str(directory / "kernels"),
        }
        pytest = [python, "-m", "pytest", "-n", "auto", "--dist", "worksteal"]
        session.run(*pytest, *(arguments or EMULATED_TESTS), env=env, external=True)
        if not arguments or "tests/backends/tinytorch_cupy" in arguments:
            session.run(*pytest, "tests/backends/tinytorch_cupy/test_two_gpus.py", env={**env, "EMULATED_CUDA_DEVICES": "2"}, external=True)


def _pytest(session: nox.Session, **env: str) -> None:
    """Run pytest with one process per core, the arguments after `--` (such as `-n 0` for one process) and these environment variables."""
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs, env=env)


def _requirement(extra: str, name: str) -> str:
    """Return the requirement for a package in an extra of pyproject.toml."""
    requirements: list[str] = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"][extra]
    return next(line for line in requirements if line.startswith(name))


def _cuda_extra() -> str | None:
    """Return the extra whose cupy fits the CUDA driver; None if there is no driver, or it is too old."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))  # 12080 is CUDA 12.8
    major = min(version.value // 1000, 13)
    return f"cuda{major}" if major >= 12 else None


def _require_backend(session: nox.Session, name: str) -> None:
    """Skip the session if the backend cannot run on this machine, and give the reason."""
    # without the kernels' self-check, whose progress on standard error nox would mix with the output
    output = session.run("python", "-m", "tinytorch", "backends", "--json", silent=True, env={"TINYTORCH_SELF_CHECK": "off"})
    if not isinstance(output, str):  # in a dry run
        return
    found = {entry["name"]: entry for entry in json.loads(output)}
    entry = found.get(name) or session.error(f"tinytorch knows no backend {name}")
    if entry["ready"]:
        return
    message = f"the {name} backend cannot run here: {entry['reason']} ({entry['hint']})"
    if name == "cupy":
        session.skip(message)
    session.error(message)  # the others are installed by the session and must run everywhere


def _require_whole(session: nox.Session, built: Path) -> None:
    """Fail if the wheel lacks a file of the packages, such as CUDA source."""
    with zipfile.ZipFile(built) as archive:
        packed = set(archive.namelist())
    for package in map(Path, PACKAGES):
        wanted = {path.relative_to(HERE / package.parent).as_posix() for path in (HERE / package).rglob("*") if path.is_file()}
        missing = sorted(name for name in wanted - packed if "__pycache__" not in name)
        if missing:
            session.error(f"the wheel lacks {', '.join(missing)}")
