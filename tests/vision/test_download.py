"""Downloads, from a server on localhost: files are verified, cached, and never cached incompletely."""

from __future__ import annotations

import hashlib
import http.server
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.vision.layouts import write_cifar, write_mnist
from tinytorch.io.errors import InputError
from tinytorch.vision import datasets, download, load_images
from tinytorch.vision.download import Remote, fetch_archive, fetch_files

pytest.importorskip("pooch")


class Site:
    """A file server on localhost that records the requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                site.requests.append(self.path)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def remote(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}", hashlib.md5((self.folder / name).read_bytes()).hexdigest())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(folder)
    thread = threading.Thread(target=partial(site.server.serve_forever, poll_interval=0.01))
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(datasets, "cache_directory", lambda: tmp_path / "cache")
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


def offline() -> Remote:
    """A file on a server that does not exist: port 9 is that of the discard service, which nobody runs."""
    return Remote("http://127.0.0.1:9/train-images-idx3-ubyte.gz", "0" * 32)


def pack(folder: Path, archive: Path, without: str = "") -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            if path.name != without:
                tar.add(path, f"cifar-10-batches-bin/{path.name}")
        outside = tarfile.TarInfo("../../outside.txt")
        tar.addfile(outside, io.BytesIO(b""))


def serve_cifar(site: Site, monkeypatch: pytest.MonkeyPatch, without: str = "") -> None:
    folder = write_cifar(site.folder.parent / "source")
    for i in (2, 4, 5):
        (folder / f"data_batch_{i}.bin").write_bytes((folder / "data_batch_1.bin").read_bytes())
    pack(folder, site.folder / "cifar.tar.gz", without)
    monkeypatch.setattr(datasets, "_CIFAR10", site.remote("cifar.tar.gz"))


def test_the_four_files_of_mnist_are_downloaded_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(site.folder, ".gz")
    files = tuple(site.remote(path.name) for path in sorted(site.folder.iterdir()))
    monkeypatch.setitem(datasets._IDX_FILES, "mnist", files)
    for _ in range(2):
        train, test = load_images("mnist")
        assert (len(train), len(test)) == (4, 2)
        assert len(site.requests) == 4


def test_cifar_is_extracted_completely_and_the_archive_is_deleted(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cifar(site, monkeypatch)
    for _ in range(2):
        train, test = load_images("cifar10")
        assert (len(train), len(test)) == (14, 2)
        assert len(site.requests) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cifar-10-batches-bin"]
    assert not list(tmp_path.rglob("outside.txt"))


def test_an_archive_with_a_missing_file_raises_and_leaves_no_directory(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cifar(site, monkeypatch, without="test_batch.bin")
    with pytest.raises(InputError, match=r"does not contain test_batch\.bin"):
        load_images("cifar10")
    assert not (tmp_path / "cache" / "cifar-10-batches-bin").exists()


def test_a_download_with_a_wrong_checksum_raises_and_is_not_kept(site: Site, tmp_path: Path) -> None:
    (site.folder / "file.gz").write_bytes(b"right")
    wrong = replace(site.remote("file.gz"), md5="0" * 32)
    with pytest.raises(InputError, match=r"does not have the MD5 checksum 0+: try again.*`data_dir`"):
        fetch_files([wrong], tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_a_damaged_file_in_the_cache_is_downloaded_again(site: Site, tmp_path: Path) -> None:
    (site.folder / "file.gz").write_bytes(b"right")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file.gz").write_bytes(b"wro")
    fetch_files([site.remote("file.gz")], tmp_path / "kept")
    assert (tmp_path / "kept" / "file.gz").read_bytes() == b"right"


def test_without_a_connection_the_error_is_one_line_with_a_suggestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"cannot be downloaded \(no connection\): check the connection.*`data_dir`") as caught:
        fetch_files([offline()], tmp_path)
    assert offline().url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_on_the_server_raises(site: Site, tmp_path: Path) -> None:
    missing = Remote(f"{site.url}/none.gz", "0" * 32)
    with pytest.raises(InputError, match=r"none\.gz cannot be downloaded \(the server answered 404 .*`data_dir`"):
        fetch_archive(missing, ["a"], tmp_path / "folder")


def test_a_cache_that_cannot_be_written_raises(site: Site, tmp_path: Path) -> None:
    (site.folder / "file.gz").write_bytes(b"right")
    (tmp_path / "taken").write_bytes(b"a file where the directory should be")
    with pytest.raises(InputError, match=r"file\.gz cannot be written to .*taken.*`data_dir`"):
        fetch_files([site.remote("file.gz")], tmp_path / "taken")


def test_the_error_without_pooch_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"needs pooch: install it with `pip install pooch`, or .*`data_dir`"):
        load_images("fashion")


def test_the_progress_bar_counts_bytes(site: Site, tmp_path: Path) -> None:
    (site.folder / "file.gz").write_bytes(bytes(200_000))
    with download._bar() as bar:
        download._fetch(download._pooch("testing"), site.remote("file.gz"), tmp_path / "kept", bar)
        (task,) = bar.tasks
        assert (task.description, task.completed, task.total) == ("file.gz", 200_000, 200_000)


def test_every_url_has_its_own_checksum() -> None:
    files = [datasets._CIFAR10, *datasets._IDX_FILES["mnist"], *datasets._IDX_FILES["fashion"]]
    assert len({file.md5 for file in files}) == len({file.url for file in files}) == 9
    assert all(len(file.md5) == 32 for file in files)
