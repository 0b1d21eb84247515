"""Downloads data sets into a cache directory, with pooch."""

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
    """The URL of a file and the MD5 checksum of its content."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


def fetch_files(files: Sequence[Remote], folder: Path) -> Path:
    """Download the files that are missing in ``folder`` or do not match their checksums; returns the folder.

    Raises:
        InputError: pooch is not installed, a download fails, or a downloaded file does not match its checksum.
    """
    pooch = _pooch(f"downloading {files[0].name}")
    with _quiet(pooch.get_logger()), _bar() as bar:
        for file in files:
            _fetch(pooch, file, folder, bar)
    return folder


def fetch_archive(file: Remote, members: Sequence[str], folder: Path) -> Path:
    """Download a tar archive and extract ``members``, given by file name, to ``folder``; returns the folder.

    The folder is created atomically with all members, then the archive is deleted, so that later runs never find an incomplete folder.

    Raises:
        InputError: as `fetch_files`; or a member is not in the archive.
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
                    raise InputError(f"{archive} does not contain {name}: delete the archive and try again")
                (complete / name).write_bytes(content.read())
        os.replace(complete, folder)
    archive.unlink()
    return folder


def _pooch(task: str) -> Any:
    try:
        import pooch
    except ImportError as error:
        raise InputError(f"{task} needs pooch: install it with `pip install pooch`, or pass the data's directory as `data_dir`") from error
    return pooch


def _fetch(pooch: Any, file: Remote, folder: Path, bar: Progress) -> None:
    from requests.exceptions import RequestException  # a dependency of pooch

    downloader = pooch.HTTPDownloader(progressbar=_PoochBar(bar, file.name), chunk_size=2**16)
    alternative = "or download it by other means and pass its directory as `data_dir`"
    try:
        pooch.retrieve(file.url, known_hash=f"md5:{file.md5}", fname=file.name, path=folder, downloader=downloader)
    except RequestException as error:
        raise InputError(
            f"{file.url} cannot be downloaded ({_reason(error)}): check the connection and try again, {alternative}"
        ) from error
    except ValueError as error:  # pooch's error for a wrong checksum
        raise InputError(f"the download of {file.url} does not have the MD5 checksum {file.md5}: try again, {alternative}") from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{file.name} cannot be written to {folder} ({reason}): make the directory writable, {alternative}") from error


def _reason(error: Exception) -> str:
    """The reason for a failed request, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return {"ConnectionError": "no connection", "ConnectTimeout": "no answer", "ReadTimeout": "no answer"}.get(
        type(error).__name__, type(error).__name__
    )


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Silence pooch's messages; the progress bar shows the downloads."""
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
    """One download of a rich progress bar, with the interface of pooch's progress bars."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._name = name
        self._task: Any = None

    @property
    def total(self) -> int:
        """Total number of bytes; pooch sets it when the response starts."""
        return int(self._bar.tasks[self._task].total or 0)

    @total.setter
    def total(self, value: int) -> None:
        self._task = self._bar.add_task(self._name, total=value or None)

    def update(self, n: int) -> None:
        """Add ``n`` bytes to the progress."""
        self._bar.advance(self._task, n)

    def reset(self) -> None:
        """Reset the progress to 0."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """Do nothing: the bar stays until all downloads are done."""
