"""``python -m benchmarks.gpt2_small``: compare a model of GPT-2 small's size, with random weights, with transformers.

Prints the largest difference of logits on each backend, whether 64 greedy tokens are equal, the memory for loading, the time to the first
token of the command, and whether transformers can load a model that tinytorch has saved.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy

import tinytorch as tt
from tinytorch.models import TinyGPT
from tinytorch.text import BPETokenizer, python_reference

IDS = numpy.random.default_rng(0).integers(0, 50257, (2, 64))
LOAD = "import sys\nfrom tinytorch.models import TinyGPT\nTinyGPT.from_pretrained(sys.argv[1])\n"
COMMAND = "import sys\nfrom tinytorch.cli import main\nmain()\n"
PEAK = "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')], file=sys.stderr)"


def reference(path: Path) -> Any:
    """A GPT-2 small of transformers, saved to a directory. Its weights are large enough to reveal differences."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(path)
    return model.eval()


def logits_of(model: Any) -> Any:
    """Logits of `IDS` by transformers."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(IDS)).logits.numpy()


def greedy_of(model: Any, count: int) -> list[int]:
    """Greedy tokens of transformers after the first row of `IDS`."""
    import torch

    start = torch.from_numpy(IDS[:1])
    settings = {"max_new_tokens": count, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    found: list[int] = model.generate(start, attention_mask=torch.ones_like(start), **settings)[0, start.shape[1] :].tolist()
    return found


def run_in_new_process(code: str, *words: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of a new Python process, which reports its own peak: rusage of children may include the parent's."""
    begin = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", code + PEAK, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - begin, int(process.stderr.split()[-1]) / 1024


def main() -> None:
    """Create the model and print the comparisons."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpt2_small", description=__doc__)
    parser.add_argument("--backends", default="numpy", help="comma-separated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "small"
        theirs = reference(path)
        BPETokenizer.train(python_reference(), 512).save_pretrained(path)
        logits, greedy = logits_of(theirs), greedy_of(theirs, 64)
        print(f"logits from {logits.min():.1f} to {logits.max():.1f}; {len(set(greedy))} different tokens among 64 greedy ones")
        for name in options.backends.split(","):
            with tt.use_backend(name), tt.no_grad():
                ours = TinyGPT.from_pretrained(path)
                difference = numpy.abs(ours(IDS).numpy() - logits).max()
                same = ours.generate(IDS[0], 64, temperature=0.0) == greedy
            print(f"{name}: logits differ by {difference:.1e} at most; 64 greedy tokens are {'equal' if same else 'DIFFERENT'}", flush=True)
        size = 4 * ours.count_parameters() / 2**20
        ours.save_pretrained(path.with_name("ours"))
        from transformers import GPT2LMHeadModel

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded, report = GPT2LMHeadModel.from_pretrained(path.with_name("ours"), output_loading_info=True)
        print(f"saved by tinytorch: transformers reports {sum(map(len, report.values()))} mismatches,", end=" ")
        print(f"logits differ by {numpy.abs(logits_of(loaded.eval()) - logits).max():.1e} at most")
        del theirs, loaded, ours
        print(f"weights {size:.0f} MB; this process used {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
        seconds, peak = run_in_new_process(LOAD, str(path))
        print(f"loading: {seconds:.1f} s, {peak:.0f} MB, {peak / size:.2f} times the weights, Python and libraries included")
        for length in (1, 64):
            words = ("generate", str(path), "--prompt", "To be, or not to be", "--length", str(length), "--seed", "1")
            seconds, peak = run_in_new_process(COMMAND, *words)
            print(f"the command, {length} tokens: {seconds:.1f} s from its start, {peak:.0f} MB, {peak / size:.2f} times the weights")


if __name__ == "__main__":
    main()
