"""Training text: read from a file or from Python's language reference, with a specific error for each kind of bad file."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tinytorch.io.errors import InputError
from tinytorch.text import python_reference, read_text, text_digest


def test_text_is_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("naïve €😀\n".encode())
    assert read_text(path) == "naïve €😀\n"
    assert read_text(str(path)) == "naïve €😀\n"


def test_all_line_endings_become_newlines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"dos\r\n\r\nmac\runix\n")
    assert read_text(path) == "dos\n\nmac\nunix\n"


def test_a_byte_order_mark_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfhello")
    assert read_text(path) == "hello"


BAD = {
    "empty": (b"", "holds no text"),
    "only a byte order mark": (b"\xef\xbb\xbf", "holds no text"),
    "blank": (b" \n\t\n", "holds no text"),
    "binary": (b"text\x00more", "is a binary file"),
    "latin-1": ("caf\xe9 au lait".encode("latin-1"), r"is not UTF-8 text \(byte 0xe9 at offset 3\).*iconv"),
    "truncated within a character": (b"abc\xe2\x82", r"is not UTF-8 text \(byte 0xe2 at offset 3\)"),
    "utf-16": ("hello".encode("utf-16"), "is UTF-16.*iconv -f UTF-16"),
}


@pytest.mark.parametrize("damage", BAD)
def test_a_file_without_usable_text_raises_an_error_with_its_path(tmp_path: Path, damage: str) -> None:
    data, message = BAD[damage]
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_text(path)
    assert str(path) in str(caught.value)


def test_a_path_that_is_not_a_file_raises_an_error_with_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*none\.txt: check the path"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a directory, not a text file"):
        read_text(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        read_text(tmp_path / ("x" * 5000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        read_text(tmp_path / "pipe")


def test_the_error_for_denied_permission_says_how_to_fix_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("secret", encoding="utf-8")

    def refuse(self: Path, mode: str) -> None:  # chmod does not stop the superuser, who may run these tests
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"secret\.txt cannot be read \(permission denied\): allow it with `chmod"):
        read_text(path)


def test_the_language_reference_is_a_large_reproducible_corpus() -> None:
    text = python_reference()
    assert len(text) > 300_000
    assert 'The "with" statement' in text
    assert text == python_reference()
    assert text.endswith("\n")
    assert "\r" not in text


def reference_of(topics: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("pydoc_data.topics")
    module.topics = topics  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
    return python_reference()


def test_topics_are_joined_in_alphabetical_order(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = {"b": "Bees\n****\n\nbuzz\n", "a": "Ants\n****\n\nmarch\n"}
    assert reference_of(topics, monkeypatch) == "Ants\n****\n\nmarch\n\n\nBees\n****\n\nbuzz\n"


def test_a_topic_that_another_topic_contains_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = {
        "all": "All\n***\n\nBees\n====\n\nbuzz\n\nin\n--\n\nspring\n",
        "bees": "Bees\n****\n\nbuzz\n\nin\n==\n\nspring\n",
        "bees-too": "Bees\n****\n\nbuzz\n\nin\n==\n\nspring\n",
    }
    assert reference_of(topics, monkeypatch) == topics["all"]


def test_one_of_two_equal_topics_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = "The if statement\n****\n\nif it is\n"
    assert reference_of({"else": topic, "if": topic}, monkeypatch) == topic


def test_a_python_without_the_reference_raises_and_suggests_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="pass a text file"):
        python_reference()


def test_the_digest_is_the_sha256_of_the_utf8_bytes() -> None:
    assert text_digest("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()
    assert text_digest("a") != text_digest("b")
