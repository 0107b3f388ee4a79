"""Benchmarks can be run: all of them by one command, and those of a GPU, at tiny sizes, on whatever is here."""

import importlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import command
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as costs
from benchmarks.gpu import flops, loop, losses, timing, training, untying, utilisation
from benchmarks.gpu.plain_gpt import PlainGPT
from benchmarks.gpu.training import Size, Training
from benchmarks.page import FAILED, Page, Part

CPU = torch.device("cpu")
TINY = {"vocabulary": 500, "rows": 4, "seq_len": 16}
LAYER = "hidden_size: 32, num_attention_heads: 2, intermediate_size: 64, num_hidden_layers: 1"
BERT = replace(training.BERT, words=(*training.BERT.words, f"model.config={{{LAYER}}}"), **TINY)
MASKED = replace(untying.MASKED, words=(*untying.MASKED.words, f"model.config={{{LAYER}}}"), **TINY)
GPT = replace(training.GPT, words=("model=gpt", "model.config={n_embd: 32, n_layer: 2, n_head: 2}"), **TINY)
LLAMA = replace(training.LLAMA, words=("model=llama", f"model.config={{{LAYER}, num_key_value_heads: 1}}"), **TINY)
BRIEF = {"rounds": 2, "turn": 0.01}


def cells(lines: Iterable[str]) -> list[list[str]]:
    """Return the cells of a table's rows, without their names, where none of them has failed."""
    _, _, *rows = [line for line in lines if line]
    assert rows
    assert FAILED not in "".join(rows), rows
    return [[cell.strip() for cell in row.split("|")[2:-1]] for row in rows]


def test_each_benchmark_is_a_function_and_has_its_place() -> None:
    folder = Path(costs.__file__).parent
    texts = {path.stem: path.read_text() for path in folder.glob("*.py") if path.stem != "__main__"}
    for name in (name for name, text in texts.items() if '__name__ == "__main__"' in text):
        assert name in costs.COSTS or f"python -m benchmarks.{name}" in costs.__doc__, name
    for name in costs.COSTS:
        measure = importlib.import_module(f"benchmarks.{name}").measure
        assert all(each.default is not each.empty for each in inspect.signature(measure).parameters.values()), name
        about = Part.of(f"benchmarks.{name}").about
        assert "\n\n" in about, f"{name}: what it measures is not said"
        assert "python -m benchmarks" not in about


@pytest.mark.processes
def test_a_page_has_what_was_printed_and_says_what_was_not(tmp_path: Path) -> None:
    there, minutes = tmp_path / "page.md", 2 / 60
    page = Page("Costs", "make them", minutes, there)
    for name, called in {"zen": "this", "lost": "no_such_module", "endless": "http.server 0", "late": "this"}.items():
        page.add(Part(name, called, f"About {name}."))
    zen, lost, endless, late = there.read_text().split("\n## ")[1:]
    assert re.fullmatch(
        r"zen\n\nAbout zen\.\n\n`python -m this`\n\nThe Zen.*those!\n\nIt took 0\.\d minutes\.\n", zen, re.DOTALL
    )
    assert "**It ended with exit code 1, after 0.0 minutes.**" in lost
    assert "**It was ended: there was no time left, after 0.0 minutes.**" in endless
    assert "**It was not begun: there was no time left, after 0.0 minutes.**" in late
    assert page.faults == ["lost", "endless", "late"]
    assert f"torch {torch.__version__}" in there.read_text()


def test_a_row_that_fails_says_why_and_costs_no_other_its_figures() -> None:
    def too_large() -> list[str]:
        raise MemoryError("of 80 GB\n| 79 are taken")

    lines = [*timing.table(("", "ms", "ratio"), {"large": too_large, "small": lambda: ["1", "2"]})]
    said = f"{FAILED}MemoryError: of 80 GB \\| 79 are taken"
    assert lines[2:] == [f"| large | {said} |  |", "| small | 1 | 2 |"]


@pytest.mark.parametrize("size", [BERT, GPT, LLAMA], ids=["bert", "gpt", "llama"])
def test_model_flops_are_what_a_step_multiplies(size: Size) -> None:
    with training.home() as folder:
        run = Training(size, folder, "trainer.device=cpu", "trainer.precision=fp32")
    run.state.network.set_attn_implementation("eager")  # the counter does not know all fused kernels
    batch = run.batch()
    with FlopCounterMode(display=False) as counted:
        run.model(batch)[0].backward()
    told = flops.flops_of_step(run.state.network, size.rows, size.seq_len, batch.n_predictions)
    assert told == pytest.approx(counted.get_total_flops(), rel=0 if size is not LLAMA else 1e-3)  # rotary angles


def test_a_card_is_known_by_its_name() -> None:
    known = {
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb": None,
        "NVIDIA GH200 480GB": None,
    }
    assert {name: flops.peak_of(name) for name in known} == known


@pytest.mark.slow
def test_nothing_is_compiled_at_the_untie_point() -> None:
    sizes, modes = {"gpt": GPT, "bert": MASKED}, {"compiled": {"backend": "eager"}}
    for before, after, *times in cells(untying.measure(CPU, sizes, modes, **BRIEF)):
        assert (before, after) == ("1, 0", "0, 0")
        assert all(float(time) > 0 for time in times[:3])


def test_utilisation_of_a_whole_model_and_of_a_divided_one() -> None:
    cases = {"whole": utilisation.Case(BERT, goal="50%"), "FSDP": utilisation.Case(LLAMA, ("trainer.sharding=fsdp",))}
    whole, divided = cells(utilisation.measure(CPU, cases, side=64, **BRIEF))
    assert whole[2:4] == ["peak not known", "50%"]
    assert float(divided[0]) > 0


def test_attention_is_named_by_its_kernel() -> None:
    with training.home() as folder:
        run = Training(GPT, folder, "trainer.device=cpu", "trainer.precision=fp32")
        assert utilisation.attention_of(run) == "flash"
        run.state.network.set_attn_implementation("eager")
        assert utilisation.attention_of(run) == ""


def test_all_ways_to_the_loss_have_its_gradient() -> None:
    rows = cells(losses.measure(CPU, {"tiny": (60, 16, 500)}, backend="eager", **BRIEF))
    assert len(rows) >= 4
    assert all(float(off) < 1e-2 for *_, off in rows)


@pytest.mark.slow
def test_a_plain_loop_trains_the_same_network_on_as_much() -> None:
    ((ms, ours, theirs, *_),) = cells(loop.measure(CPU, GPT, {"TUT": ()}, backend="eager", **BRIEF))
    assert all(float(figure.replace(",", "")) > 0 for figure in (ms, ours, theirs))
    with training.home() as folder:
        network = Training(GPT, folder, "trainer.device=cpu").state.network
        plain = PlainGPT(2, 32, 2, GPT.vocabulary, GPT.seq_len)
        weights = sum(each.numel() for each in network.parameters())
        tied_twice = network.get_output_embeddings().weight.numel()
        places = (network.config.n_positions - GPT.seq_len) * network.config.n_embd
    assert sum(each.numel() for each in plain.parameters()) == weights - tied_twice - places


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = command("benchmarks.gpu", "--minutes", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "benchmarks/gpu.sh: error: torch finds no CUDA device here"
