"""What tokenising a corpus costs beside the tokenizers library itself, and how much memory it takes.

python -m benchmarks.tokenize                      about three minutes on two CPU cores
python -m benchmarks.tokenize --copies 16          more text: the embedded corpus as many times
python -m benchmarks.tokenize --rounds 9           longer, where the machine is noisy

By turns, over the same text, both on all cores, for each way of packing:

- the library alone: `encode_batch_fast` over texts that are in memory, in as many at once as it is best with, and the
  ids taken out of what it returns; nothing is done with them;
- TUT's build of a corpus, from the file with the text to the finished folder.

A ratio is the median of those within each round: the library's seconds over TUT's, so that 1 is its rate. Memory is the
peak of a process that builds the corpus, over its peak at building a smaller one, for the text once and four times.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from tut.config import DataConfig, ObjectiveConfig
from tut.data.corpus import open_corpus
from tut.data.pydocs import PythonDocumentation
from tut.data.sources import Source
from tut.data.text_files import TextFiles
from tut.data.tokenizer import load_tokenizer
from tut.splits import Split

COPIES, ROUNDS = 8, 5
PACKINGS = ("blocks", "lines")
TEXTS_AT_ONCE = 4096
PEAK = """
import re, sys
from pathlib import Path
from benchmarks.tokenize import build, parts

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1]) / 1024

folder, packing = Path(sys.argv[1]), sys.argv[2]
warm = parts(folder / "warm.txt", packing)
build(*warm)
before = peak()
build(*parts(folder / sys.argv[3], packing))
print(peak() - before)
"""


def parts(file: Path, packing: str) -> tuple[DataConfig, Source, PreTrainedTokenizerBase]:
    """Return what a corpus of a text file is built from. The tokenizer is the embedded corpus's."""
    config = DataConfig(source="text", files=str(file), packing=packing)
    tokenizer = load_tokenizer(DataConfig(), ObjectiveConfig(), PythonDocumentation())
    return config, TextFiles(config), tokenizer


def build(config: DataConfig, source: Source, tokenizer: PreTrainedTokenizerBase) -> int:
    """Build a corpus from nothing, and return how many tokens it has."""
    shared = os.environ["TUT_HOME"]
    with tempfile.TemporaryDirectory() as home:
        os.environ["TUT_HOME"] = home
        corpus = open_corpus(config, source, tokenizer)
        os.environ["TUT_HOME"] = shared
        return sum(len(rows.tokens) for rows in corpus.rows.values())


def alone(config: DataConfig, texts: list[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Have the library make the token ids of texts, as a corpus of that packing has them."""
    backend, lines = tokenizer.backend_tokenizer, config.packing == "lines"
    backend.no_truncation()
    if lines:
        backend.enable_truncation(config.seq_len)
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some = backend.encode_batch_fast(texts[first : first + TEXTS_AT_ONCE], add_special_tokens=lines)
        for encoding in some:
            encoding.ids  # noqa: B018 - makes a list


def rates(file: Path, packing: str, rounds: int) -> tuple[float, float, float]:
    """Return the median tokens a second of the library and of TUT, and the median ratio of these."""
    config, source, tokenizer = parts(file, packing)
    texts = [text for split in Split for text in source.documents(split)]
    if packing == "lines":
        texts = [line for text in texts for line in text.splitlines() if line.strip()]
    library, ours, tokens = [], [], 0
    for _ in range(rounds):
        started = time.perf_counter()
        alone(config, texts, tokenizer)
        between = time.perf_counter()
        tokens = build(config, source, tokenizer)
        library.append(between - started)
        ours.append(time.perf_counter() - between)
    ratio = median(a / b for a, b in zip(library, ours, strict=True))
    return tokens / median(library), tokens / median(ours), ratio


def measure(copies: int = COPIES, rounds: int = ROUNDS) -> str:
    """Return a Markdown table."""
    logging.set_verbosity_error()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    lines = [
        f"| packing, {rounds} rounds | library, tokens/s | TUT, tokens/s | ratio "
        f"| MB of memory, text x {copies} | x {4 * copies} |",
        "|---|---|---|---|---|---|",
    ]
    before = os.environ.get("TUT_HOME")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TUT_HOME"] = str(folder / "home")
        embedded = PythonDocumentation()
        text = "\n\n".join(text for split in Split for text in embedded.documents(split))
        for size, times in (("warm", 1), ("once", copies), ("four", 4 * copies)):
            (folder / f"{size}.txt").write_text("\n\n".join([text] * times))
        for packing in PACKINGS:
            library, ours, ratio = rates(folder / "once.txt", packing, rounds)
            peaks = [
                float(subprocess.check_output([sys.executable, "-c", PEAK, folder, packing, f"{size}.txt"]))
                for size in ("once", "four")
            ]
            lines.append(
                f"| {packing} | {library:,.0f} | {ours:,.0f} | {ratio:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} |"
            )
    if before is None:
        del os.environ["TUT_HOME"]
    else:
        os.environ["TUT_HOME"] = before
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=COPIES, help=f"of the embedded corpus (default: {COPIES})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of both by turns (default: {ROUNDS})")
    asked = parser.parse_args()
    print(measure(asked.copies, asked.rounds))


if __name__ == "__main__":
    main()
