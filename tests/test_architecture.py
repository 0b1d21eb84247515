"""Rules on the code: no imports of array libraries, layered imports, fast `import tinytorch`, explicit encodings."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinytorch

ROOT = Path(tinytorch.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

ARRAY_LIBRARIES = {"cupy", "cupyx", "torch", "jax", "jaxlib", "array_api_strict", "array_api_compat"}
BACKENDS = {
    "numpy",
    "cupy",
    "strict",
    "torch",
    "jax",
    "tinytorch_numpy",
    "tinytorch_cupy",
    "tinytorch_jax",
    "tinytorch_strict",
    "tinytorch_torch",
}

#: Modules and packages that may import numpy, with the reason: they handle host data.
HOST_MODULES = {
    "backend/host.py": "checks and conversions of host arrays",
    "backend/rng.py": "random numbers between steps, from numpy generators",
    "evolution/picture.py": "images of weights",
    "io/files.py": "reading and writing files",
    "models/gpt2_files.py": "reading and writing weights",
    "ops/random.py": "the seed and the host generator",
    "testing": "kernels are compared with the portable versions on the CPU",
    "text": "texts and token ids, before they are copied to a device",
    "vision/cifar.py": "reading image files",
    "vision/idx.py": "reading image files",
    "vision/images.py": "images, before they are copied to a device",
    "vision/loader.py": "batches, before they are copied to a device",
}

#: Packages and modules by layer, lowest first. A file may import from lower layers. ``__init__`` is ``tinytorch/__init__.py``.
LAYERS = [
    ("backend", "io"),
    ("autograd.graph", "autograd.grad_mode"),
    ("tensor",),
    ("autograd",),
    ("array_api",),
    ("__init__",),
    ("ops",),
    ("nn", "testing"),
    ("optim", "text", "vision"),
    ("generation",),
    ("models",),
    ("training",),
    ("evolution",),
    ("cli",),
    ("__main__",),
]
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree except blocks under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from runtime_nodes(child)


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports; for `from package import name` package.name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        return [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return []


def imports(path: Path) -> set[str]:
    return {module for node in runtime_nodes(parse(path)) for module in imported(node)}


# ---- no imports of array libraries ----


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_array_library_and_no_plugin_is_imported(path: Path) -> None:
    tops = {module.partition(".")[0] for module in imports(path)}
    assert not tops & ARRAY_LIBRARIES
    assert not [top for top in tops if top.startswith("tinytorch_")]


def test_numpy_is_imported_in_host_modules_only() -> None:
    users = {name(path) for path in FILES if any(module.partition(".")[0] == "numpy" for module in imports(path))}
    allowed = {user: [entry for entry in HOST_MODULES if user == entry or user.startswith(entry + "/")] for user in users}
    assert {user for user, entries in allowed.items() if not entries} == set()
    assert {entry for entries in allowed.values() for entry in entries} == set(HOST_MODULES)  # no unused entries


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_code_compares_the_name_of_a_backend(path: Path) -> None:
    comparisons = [ast.unparse(node) for node in runtime_nodes(parse(path)) if _compares_backend(node)]
    assert comparisons == []


def _compares_backend(node: ast.AST) -> bool:
    """Whether a comparison, match or startswith() uses the name of a backend, as a constant or an attribute."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(_is_backend_name(part) for side in sides for part in ast.walk(side))
    if isinstance(node, ast.MatchValue):
        return _is_backend_name(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("startswith", "endswith"):
        return any(_is_backend_name(part) for part in [node.func.value, *node.args])
    return False


def _is_backend_name(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.partition(":")[0] in BACKENDS
    return isinstance(node, ast.Attribute) and node.attr in ("name", "spec") and ast.unparse(node.value).endswith("backend")


@pytest.mark.parametrize(
    "code",
    [
        "if x.backend.name == wanted: pass",
        "fast = backend.spec in FAST",
        "y = 1 if name == 'cupy' else 2",
        "if kind in ('numpy', 'cupy:0'): pass",
        "if type(x).__module__.startswith('torch'): pass",
        "match name:\n    case 'jax': pass",
    ],
)
def test_comparisons_with_backend_names_are_detected(code: str) -> None:
    assert any(_compares_backend(node) for node in ast.walk(ast.parse(code)))


# ---- imports point down ----


def module_of(path: Path) -> str:
    """The dotted module name of a file."""
    return ".".join(("tinytorch", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def used_by(path: Path) -> set[str]:
    """The modules of tinytorch that a file imports, also inside functions."""
    found = {module if module in MODULES else module.rpartition(".")[0] for module in imports(path)}
    return {module for module in found & MODULES.keys() if module != module_of(path)}


def layer_of(module: str) -> str:
    """The entry of `LAYERS` that a module such as ``tinytorch.nn.attention`` belongs to."""
    parts = module.split(".")[1:]
    return next((part for part in (".".join(parts[:2]), *parts[:1]) if part in HEIGHT), "__init__")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_at_the_top_of_a_file_point_down(path: Path) -> None:
    own = layer_of(module_of(path))
    assert own in HEIGHT, f"add {own} to LAYERS"
    used = {layer_of(m) for node in parse(path).body for m in imported(node) if m.partition(".")[0] == "tinytorch"}
    assert {part for part in used if HEIGHT[part] >= HEIGHT[own] and part != own} <= ({"__init__"} if own == "__init__" else set())


def test_there_are_no_circular_imports() -> None:
    """Neither at module level nor inside functions."""
    graph = {module: used_by(path) for module, path in MODULES.items()}

    def reach(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    assert sorted(module for module in graph if module in reach(module)) == []


# ---- `import tinytorch` is fast ----


def loaded_by(statement: str) -> set[str]:
    """The top-level modules loaded after ``statement`` in a new process."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(output))


def test_import_loads_no_array_library_beyond_numpy() -> None:
    heavy = {*ARRAY_LIBRARIES, "array_api_extra", "safetensors", "rich", "typer", "click", "matplotlib", "pydoc_data", "tokenizers"}
    loaded = loaded_by("import tinytorch")
    assert "numpy" in loaded
    assert loaded & heavy == set()
    assert [module for module in loaded if module.startswith("tinytorch_")] == []


def test_using_one_backend_does_not_load_others() -> None:
    loaded = loaded_by("import tinytorch\ntinytorch.zeros(3, device='numpy') + 1")
    assert loaded & {"cupy", "torch", "jax", "array_api_strict"} == set()


# ---- explicit encodings ----

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("tinytorch", "backends", "benchmarks", "examples", "tests")
SOURCES = [REPOSITORY / "noxfile.py", *sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))]


def test_text_is_read_and_written_with_an_explicit_encoding() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and _uses_the_encoding_of_the_locale(node)
    ]
    assert found == []


def _uses_the_encoding_of_the_locale(call: ast.Call) -> bool:
    """Whether ``call`` opens, reads or writes a text file without ``encoding``."""
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if isinstance(call.func, ast.Attribute):
        return (call.func.attr, len(call.args)) in (("read_text", 0), ("write_text", 1))
    if not isinstance(call.func, ast.Name) or call.func.id != "open":
        return False
    modes = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


@pytest.mark.parametrize("code", ["path.read_text()", "path.write_text(text)", "open(name)", "open(name, 'w')", "open(name, mode='a')"])
def test_calls_without_an_encoding_are_detected(code: str) -> None:
    (call,) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert _uses_the_encoding_of_the_locale(call)
