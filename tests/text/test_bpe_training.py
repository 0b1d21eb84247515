"""Training BPE tokenizers: in time linear in the text, and in a process that Ctrl-C ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tinytorch.io.errors import InputError
from tinytorch.text import BPETokenizer, bpe_training
from tinytorch.text.bpe_training import learn_byte_pairs

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")

TEXT = "the quick brown fox jumps over the lazy dog.\n\n  And the dog, the lazy dog, sleeps on the mat - naïvely.\n" * 20


def learned(text: str, vocab_size: int) -> dict[str, Any]:
    return learn_byte_pairs([text], vocab_size, lambda done, total: None)["model"]


def test_a_text_of_short_words_gives_the_same_vocabulary_as_the_library() -> None:
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    engine.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
    assert BPETokenizer.train(TEXT, 300)._engine.to_str() == engine.to_str()


def test_long_words_are_split_before_pairs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is then linear in the text, not quadratic in the length of its longest word."""
    monkeypatch.setattr(bpe_training, "_LONGEST", 2)
    assert learned("abcd" * 50, 300)["merges"] == [["a", "b"], ["c", "d"]]  # but not ["b", "c"]
    monkeypatch.setattr(bpe_training, "_LONGEST", 4)
    assert learned("abcd" * 50, 300)["merges"] == [["a", "b"], ["c", "d"], ["ab", "cd"]]


@pytest.mark.parametrize(
    "text", ["ACGT" * 3000, "語彙は文字の並び" * 1500, " " * 5000, "-" * 5000], ids=["DNA", "Japanese", "spaces", "hyphens"]
)
def test_decoding_reproduces_a_text_without_word_boundaries(text: str) -> None:
    tokenizer = BPETokenizer.train(text, 300)
    ids = tokenizer.encode_array(text)
    assert len(ids) < len(text)
    assert tokenizer.decode(ids) == text


def test_progress_is_reported_until_all_merges_are_done() -> None:
    pytest.importorskip("tokenizers", minversion="0.23", reason="older versions of tokenizers do not report progress as JSON")
    reports: list[tuple[int, int]] = []
    BPETokenizer.train(TEXT, 300, lambda done, total: reports.append((done, total)))
    assert reports[-1] == (44, 44)
    assert reports == sorted(reports)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The training processes that were started."""
    processes: list[subprocess.Popen[bytes]] = []

    class RecordedPopen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", RecordedPopen)
    return processes


@pytest.mark.parametrize("reads", [True, False], ids=["during training", "while the text is sent"])
def test_ctrl_c_ends_the_training_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]], reads: bool
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import sys, time\nif {reads}: sys.stdin.buffer.read()\nsys.stderr.write('busy\\n')\ntime.sleep(600)\n", encoding="utf-8"
    )
    monkeypatch.setattr(bpe_training, "_WORKER", worker)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore SIGINT for background processes
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            learned("the " * 100_000, 300)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [process.poll() for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize(
    ("worker", "message"),
    [
        ("raise SystemExit('out of memory')", "cannot be learned from this text: out of memory"),
        ("import os; os.kill(os.getpid(), 9)", "the process was ended by signal 9; it may have run out of memory"),
    ],
)
def test_a_failed_training_process_raises_its_last_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: str, message: str
) -> None:
    (tmp_path / "worker.py").write_text(worker, encoding="utf-8")
    monkeypatch.setattr(bpe_training, "_WORKER", tmp_path / "worker.py")
    with pytest.raises(InputError, match=message):
        learned("the " * 100_000, 300)


def test_the_error_names_a_python_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/python")
    with pytest.raises(InputError, match="'/no/python' cannot be started"):
        learned(TEXT, 300)


def test_half_of_a_surrogate_pair_raises() -> None:
    with pytest.raises(InputError, match="half of a surrogate pair"):
        learned("a\ud800", 300)
