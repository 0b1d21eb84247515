"""Downloading data sets into a cache, with pooch."""

from __future__ import annotations

import logging
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class Remote:
    """A file on the web and the MD5 sum of its content."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


def cache_directory() -> Path:
    """Where downloads are kept: the system's place for caches, ``~/.cache/tinytorch`` on Linux."""
    return Path(_pooch("finding the cache").os_cache("tinytorch"))


def fetch_files(files: Sequence[Remote], folder: Path) -> Path:
    """Have all files in ``folder``, downloaded where they are missing or do not match their sums; returns the folder.

    Raises:
        InputError: pooch is not installed, a file cannot be had, or what came is something else.
    """
    pooch = _pooch(f"downloading {files[0].name}")
    with _quiet(pooch.get_logger()), _bar() as bar:
        for file in files:
            _fetch(pooch, file, folder, bar)
    return folder


def fetch_archive(file: Remote, members: Sequence[str], folder: Path) -> Path:
    """Have the ``members`` of a tar archive, by their last names, in ``folder``; returns it.

    The folder appears when all are in it, and then the archive goes: no half of it is ever found by a later run.

    Raises:
        InputError: as `fetch_files`; or the archive lacks a member.
    """
    if folder.is_dir():
        return folder
    fetch_files([file], folder.parent)
    archive = folder.parent / file.name
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        complete = Path(temporary) / folder.name
        complete.mkdir()
        with tarfile.open(archive) as tar:
            found = {Path(member.name).name: member for member in tar if member.isfile()}
            for name in members:
                content = tar.extractfile(found[name]) if name in found else None
                if content is None:
                    raise InputError(f"{archive} has no {name} in it: remove it and try again")
                (complete / name).write_bytes(content.read())
        os.replace(complete, folder)
    archive.unlink()
    return folder


def _pooch(wish: str) -> Any:
    try:
        import pooch
    except ImportError as error:
        raise InputError(f"{wish} needs pooch: install it with `pip install pooch`, or give the data's directory as `data_dir`") from error
    return pooch


def _fetch(pooch: Any, file: Remote, folder: Path, bar: Progress) -> None:
    from requests.exceptions import RequestException  # pooch brings it

    downloader = pooch.HTTPDownloader(progressbar=_PoochBar(bar, file.name), chunk_size=2**16)
    elsewhere = "or download it elsewhere and give its directory as `data_dir`"
    try:
        pooch.retrieve(file.url, known_hash=f"md5:{file.md5}", fname=file.name, path=folder, downloader=downloader)
    except RequestException as error:
        raise InputError(f"{file.url} cannot be downloaded ({_reason(error)}): check the connection and try again, {elsewhere}") from error
    except ValueError as error:  # the sum
        raise InputError(f"{file.url} sent something else than the file with MD5 sum {file.md5}: try again, {elsewhere}") from error
    except OSError as error:
        raise InputError(f"{file.name} cannot be kept in {folder} ({error.strerror or error}): make room there, {elsewhere}") from error


def _reason(error: Exception) -> str:
    """What kept a request from working, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return {"ConnectionError": "no connection", "ConnectTimeout": "no answer", "ReadTimeout": "no answer"}.get(
        type(error).__name__, type(error).__name__
    )


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from announcing what the bar shows."""
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield bar


class _PoochBar:
    """One download in a rich progress bar, as pooch talks to it."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._name = name
        self._task: Any = None

    @property
    def total(self) -> int:
        """Bytes in all; set by pooch when the answer begins to come."""
        return int(self._bar.tasks[self._task].total or 0)

    @total.setter
    def total(self, value: int) -> None:
        self._task = self._bar.add_task(self._name, total=value or None)

    def update(self, n: int) -> None:
        """Count ``n`` bytes more."""
        self._bar.advance(self._task, n)

    def reset(self) -> None:
        """Count from 0 again."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """Nothing: the bar stays to the end of all downloads."""
