"""Token files: the tokens and the text are read back, and each kind of invalid file raises a specific error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from tinytorch.io.errors import InputError
from tinytorch.io.files import load_arrays
from tinytorch.text import BPETokenizer, CharTokenizer, TokenFile, is_token_file, text_digest, write_token_file

TEXT = "To be, or not to be: that is the question 🐢\n" * 50
TOKENIZER = CharTokenizer().fit(TEXT)


def chunks(size: int = 7) -> list[str]:
    return [TEXT[i : i + size] for i in range(0, len(TEXT), size)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_token_file(tmp_path / "a.tokens", chunks(), TOKENIZER)
    return tmp_path / "a.tokens"


def test_opening_a_token_file_returns_what_was_written(file: Path) -> None:
    found = TokenFile.open(file)
    assert isinstance(found.tokens, numpy.memmap)
    assert found.tokens.dtype == numpy.uint16
    assert found.tokens.tolist() == TOKENIZER.encode(TEXT)
    assert found.tokenizer.to_json() == TOKENIZER.to_json()
    assert (found.characters, found.sha256) == (len(TEXT), text_digest(TEXT))
    assert load_arrays(file)[0]["tokens"].tolist() == TOKENIZER.encode(TEXT)  # it is an ordinary safetensors file


def test_a_large_vocabulary_is_stored_as_uint32(tmp_path: Path) -> None:
    text = "".join(map(chr, range(0x20000, 0x20000 + 2**16)))
    found = write_token_file(tmp_path / "a.tokens", [text], CharTokenizer().fit(text))
    assert found.tokens.dtype == numpy.uint32
    assert int(found.tokens[-1]) == 2**16 + 1


def test_one_process_at_a_time_writes_a_file_and_removes_temporary_files_of_killed_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens"
    (tmp_path / ".a-0123abcd.tokens").write_text("half of the tokens", encoding="utf-8")

    def chunks_during_another_write() -> Iterator[str]:
        with pytest.raises(InputError, match=r"a\.tokens is in use by process"):
            write_token_file(path, chunks(), TOKENIZER)
        yield from chunks()

    write_token_file(path, chunks_during_another_write(), TOKENIZER)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tokens"]
    assert TokenFile.open(path).characters == len(TEXT)


def test_is_token_file_distinguishes_token_files_from_other_files(file: Path, tmp_path: Path) -> None:
    assert is_token_file(file)
    for name, data in {"text": TEXT.encode(), "short": b"ab", "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        assert not is_token_file(tmp_path / name)
    assert not is_token_file(tmp_path)
    assert not is_token_file(tmp_path / "none")


def test_opening_a_truncated_file_raises(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])
    assert is_token_file(file)
    with pytest.raises(InputError, match=r"a\.tokens is truncated"):
        TokenFile.open(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is not a token file"),
        ({"version": "9"}, "has format version 9"),
        ({"sha256": None}, "has no 'sha256' in its metadata"),
    ],
)
def test_invalid_metadata_raises(file: Path, change: dict[str, str | None], message: str) -> None:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = {**header["__metadata__"], **change}
    header["__metadata__"] = {name: value for name, value in metadata.items() if value is not None}
    file.write_bytes(data[:8] + json.dumps(header, ensure_ascii=False).encode().ljust(length) + data[8 + length :])
    with pytest.raises(InputError, match=message):
        TokenFile.open(file)


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no text to encode"):
        write_token_file(tmp_path / "a.tokens", [], TOKENIZER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_is_token_file_does_not_open_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_token_file(tmp_path / "pipe")


@pytest.mark.parametrize("at_once", [4, 5, 7, 10**6])
def test_text_decodes_in_parts_that_end_at_character_boundaries(tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    monkeypatch.setattr("tinytorch.text.token_file._AT_ONCE", at_once)
    text = "żółw 🐢🐢 \ufffd\ufffd\ufffd\ufffd\ufffd ok"
    for tokenizer in (CharTokenizer().fit(text), BPETokenizer.train("ab" * 9, 258)):
        (tmp_path / "a.tokens").unlink(missing_ok=True)
        found = write_token_file(tmp_path / "a.tokens", [text], tokenizer)
        assert "".join(found.text()) == text
        assert numpy.concatenate(list(found.parts())).tolist() == found.tokens.tolist()
