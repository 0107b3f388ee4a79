"""What a training step costs on a CPU: TUT beside a plain loop and Hugging Face's Trainer, and beside bare products.

python -m benchmarks.step                        about ten minutes on two CPU cores, and 15 GB
python -m benchmarks.step --rounds 9             more rounds, where the machine is noisy
python -m benchmarks.step --compile              TUT compiled as well; takes a C++ compiler
python -m benchmarks.step --text wiki.txt --tokenizer bert-base-uncased       on text of your own, a document a line

The first table has one network (3 layers x 512, FFN 2048), one text, one tokenizer, 128 rows of 128 and 25% of tokens
to predict: TUT in blocks, the others in lines that are cut and padded. The second has TUT alone, at three sizes: 32
rows of 128 for bert (that network) and mini (2 x 128), 8 rows of 256 for gpt (12 x 768, causal), each beside its own
matrix products, of the same shapes and layouts and with nothing between them: 1 over their ratio is a step's share of
that speed. All are on the CPU, each in a process of its own. They take turns, in rounds, and so do bare products of
large matrices in TUT's number format (bf16 where the CPU is faster in it, else fp32), with whose rate a step's is
compared: the floating-point operations of its matrix products / its seconds.
Every figure is a median over rounds, a ratio the median of the ratios within each round. Tokens are never padding.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks import contenders
from benchmarks.contenders import SIZES, Contender, Turn
from benchmarks.text import write_lines
from tut.config import TrainerConfig
from tut.system.device import choose_precision

ROUNDS = 3
SECONDS_A_TURN = 2.5
_SIDE = 2048


def precision() -> str:
    """Return the number format that TUT takes on this CPU."""
    return choose_precision(TrainerConfig(), torch.device("cpu"))


def matmul_rate() -> float:
    """Return floating-point operations a second of products of large matrices in that format, the best of a few."""
    number = torch.bfloat16 if precision() == "bf16" else torch.float32
    a, b = (torch.randn(_SIDE, _SIDE, dtype=number) for _ in range(2))
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        a @ b
        best = max(best, 2 * _SIDE**3 / (time.perf_counter() - started))
    return best


def take_turns(players: dict[str, Contender], rounds: int) -> tuple[list[dict[str, Turn]], list[float]]:
    """Have each train in each round, for about as long; return the rounds, and the rate of matrix products in each."""
    steps = {}
    for name, player in players.items():
        player.take_turn(1)
        steps[name] = max(1, round(SECONDS_A_TURN / player.take_turn(1).seconds))
    played, rates = [], []
    for _ in range(rounds):
        rates.append(matmul_rate())
        played.append({name: player.take_turn(steps[name]) for name, player in players.items()})
    for turns in played:  # from here on, of one step
        for name, turn in turns.items():
            turns[name] = Turn(turn.seconds / steps[name], turn.tokens // steps[name])
    return played, rates


def rows_of(players: dict[str, Contender], rounds: int, base: str) -> list[str]:
    """Return a row of the table for each contender; ratios are to `base`."""
    played, rates = take_turns(players, rounds)
    rows = []
    for name, player in players.items():
        said = player.finish()
        own, theirs = ([turns[who] for turns in played] for who in (name, base))
        speeds = [turn.tokens / turn.seconds for turn in own]
        ratio = median(speed * turn.seconds / turn.tokens for speed, turn in zip(speeds, theirs, strict=True))
        shares = [said.get("flops", 0) / turn.seconds / rate for turn, rate in zip(own, rates, strict=True)]
        share = f"{100 * median(shares):.0f}%" if any(shares) else ""
        rows.append(
            f"| {name} | {1000 * median(turn.seconds for turn in own):,.0f} | {median(speeds):,.0f} | {ratio:.1f} "
            f"| {share} | {said['peak'] / 1e6:,.0f} | {100 * said['padding']:.0f}% |"
        )
    return rows


def measure(rounds: int = ROUNDS, compiled: bool = False, text: Path | None = None, tokenizer: str = "trained") -> str:
    """Return both tables, in Markdown."""
    head = "| ms a step | real tokens/s | ratio | of bare products | peak MB | padding |\n|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        os.environ["TUT_HOME"] = f"{name}/home"
        lines = text or write_lines(Path(name) / "lines.txt")
        if tokenizer == "trained":
            tokenizer = contenders.train_tokenizer(lines, f"{name}/tokenizer")
        players = {
            f"TUT, {precision()}": Contender(contenders.tut, lines, tokenizer, contenders.BERT),
            "plain loop, fp32": Contender(contenders.plain, lines, tokenizer),
            "Hugging Face Trainer, fp32": Contender(contenders.hf_trainer, lines, tokenizer, False),
            "Hugging Face Trainer, bf16": Contender(contenders.hf_trainer, lines, tokenizer, True),
        }
        first = rows_of(players, rounds, "plain loop, fp32")
        second = []
        for size, words in SIZES.items():
            own = "trained" if size == "mini" else tokenizer
            players = {size: Contender(contenders.tut, lines, own, words)}
            players[f"{size}, its products alone"] = Contender(contenders.products, lines, own, words)
            if compiled:
                players[f"{size}, compiled"] = Contender(contenders.tut, lines, own, [*words, "trainer.compile=true"])
            second += rows_of(players, rounds, size)
    return "\n".join([f"| 3 layers x 512 {head}", *first, "", f"| TUT, {precision()} {head}", *second])


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--compile", action="store_true", help="measure TUT with trainer.compile=true as well")
    parser.add_argument("--text", type=Path, help="lines of text (default: docstrings of installed packages)")
    parser.add_argument("--tokenizer", default="trained", help="name or folder (default: BERT's kind, trained on them)")
    asked = parser.parse_args()
    print(measure(asked.rounds, asked.compile, asked.text, asked.tokenizer))


if __name__ == "__main__":
    main()
