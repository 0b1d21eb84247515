"""File locks: held until the process ends, also if it is killed."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tinytorch.io import locking
from tinytorch.io.errors import InputError
from tinytorch.io.locking import locked

#: Locks the file in argv[1], prints "held", and waits.
HOLD = """
import sys
from pathlib import Path
from tinytorch.io.locking import locked
with locked(Path(sys.argv[1]), Path("run")):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(file: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_raises_with_the_id_of_the_holder(tmp_path: Path) -> None:
    process = hold(tmp_path / "lock")
    with pytest.raises(InputError, match=rf"run is in use by process {process.pid} on {platform.node()}; wait until it ends"):
        locked(tmp_path / "lock", Path("run")).__enter__()
    process.communicate()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "lock", Path("run")) as reason:
        assert reason is None


def test_a_lock_file_left_by_a_killed_process_is_not_locked(tmp_path: Path) -> None:
    process = hold(tmp_path / "lock")
    process.kill()
    process.communicate()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock", Path("run")):
        assert (tmp_path / "lock").read_text(encoding="utf-8") == f"process {os.getpid()} on {platform.node()}\n"
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_is_removed_if_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "lock", Path("run")):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"process 1 on \x1b[2J\n", b"\xff", b"process 1 on " + b"a b"])
def test_an_unreadable_holder_is_called_another_process(tmp_path: Path, content: bytes) -> None:
    with locked(tmp_path / "lock", Path("run")):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(InputError, match="run is in use by another process; wait"):
            locked(tmp_path / "lock", Path("run")).__enter__()


def test_locking_is_repeated_if_the_holder_removes_the_file_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, calls, lock = tmp_path / "lock", 0, locking._lock

    def removing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            file.unlink()
        lock(descriptor)

    monkeypatch.setattr(locking, "_lock", removing)
    with locked(file, Path("run")):
        monkeypatch.undo()
        with pytest.raises(InputError, match="in use"):
            locked(file, Path("run")).__enter__()
    assert calls == 2


def test_a_file_system_without_locks_yields_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locking, "_lock", lacking)
    with locked(tmp_path / "lock", Path("run")) as reason:
        assert reason == "No locks available"
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_creating_the_lock_file_names_the_locked_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        locked(tmp_path / "none" / "lock", Path("run")).__enter__()
    assert caught.value.filename == "run"
