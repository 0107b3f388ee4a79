"""Every architecture of transformers that has a masked or a causal language model: trained, untied, saved, read back.

python -m benchmarks.architectures                     about ten minutes on two CPU cores
python -m benchmarks.architectures bert mixtral        some of them

Each is made small by the names of its sizes, and goes through what `python -m tut.train` does: the checks before a run,
its own loss and gradients beside TUT's among them, then six steps, untied at the third, and the finished model scored
once more from disk. The table says of each architecture that it works, or in which line it is refused before anything
is written. What ends otherwise is a fault of TUT's, and so is a score that is not the same from disk.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from tut.cli.preflight import check
from tut.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainerConfig, UntieConfig
from tut.errors import TutError, one_line
from tut.evaluate import score_again
from tut.model.miniature import small_sizes
from tut.splits import Split
from tut.tracking.record import Record
from tut.training.run import run

MAPPINGS = {"mlm": MODEL_FOR_MASKED_LM_MAPPING, "clm": MODEL_FOR_CAUSAL_LM_MAPPING}
SECONDS, BYTES = 120, 16 * 10**9
BESIDE: dict[str, dict[str, Any]] = {
    # Values that follow from others which have become small.
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8},
    "mobilebert": {"intra_bottleneck_size": 64},
    "reformer": {"axial_pos_embds": False, "local_attn_chunk_length": 16, "lsh_attn_chunk_length": 16},
    "zamba": {"num_hidden_layers": 9, "attention_hidden_size": 128, "attention_head_dim": 32},
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["hybrid", "mamba", "hybrid", "mamba"],
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
    },
    # Values without which an architecture's own defaults are no model.
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "split_ngram_parts": 8,
    },
    "xmod": {"default_language": "en_XX"},
}


def small_model(architecture: str) -> ModelConfig:
    """Return an architecture with sizes that train in a moment."""
    try:
        sizes = small_sizes(CONFIG_MAPPING[architecture]())
    except Exception:  # its defaults are no config: TUT is to say so
        sizes = {}
    return ModelConfig(architecture, {**sizes, **BESIDE.get(architecture, {})})


def outcome(architecture: str, objective: str, text: Path, folder: Path) -> tuple[str, str]:
    """Train an architecture, and return `works`, `refused` or `fault`, and what there is to say of it."""
    config = Config(
        model=small_model(architecture),
        objective=ObjectiveConfig(name=objective),
        data=DataConfig(source="text", files=str(text), seq_len=32, vocab_size=500),
        trainer=TrainerConfig(max_steps=6, batch_size=8, device="cpu"),
        untie=UntieConfig(step=3),
        tracker="none",
    )
    record = Record(folder)
    try:
        with _at_most(SECONDS):
            check(config, launcher=None, passed=set())
            run(config, folder)
            there, again = record.state["test"]["loss"], score_again(folder, Split.TEST)["loss"]
    except Exception as error:  # whatever there is, is what is looked for
        if isinstance(error, TutError) and not record.state:
            return "refused", one_line(error)
        traceback.print_exception(error)
        return "fault", f"{type(error).__name__}: {one_line(error)}"
    if abs(there - again) > 1e-5 * there:
        return "fault", f"scored {there:.6f}, and {again:.6f} from disk"
    return "works", ""


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def give_up(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def survey(names: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the objective, the architecture and the outcome of each, as it is known."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        os.environ["TUT_HOME"] = f"{name}/home"
        text = here / "topics.txt"
        text.write_text("\n\n".join(topics[topic] for topic in sorted(topics))[:60_000])
        for objective, mapping in MAPPINGS.items():
            for architecture, config_class in CONFIG_MAPPING.items():
                if config_class in mapping and (not names or architecture in names):
                    found = outcome(architecture, objective, text, here / objective / architecture)
                    yield objective, architecture, *found


def main() -> None:
    """Try them, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE", help="default: all")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    counts: Counter[str] = Counter()
    print("| objective | architecture | works | refused in one line | fault |")
    print("|---|---|---|---|---|")
    for objective, architecture, how, said in survey(asked.names):
        counts[how] += 1
        quoted = said.replace("|", "\\|")
        columns = {"works": "yes | | ", "refused": f" | {quoted} | ", "fault": f" | | {quoted}"}
        print(f"| {objective} | {architecture} | {columns[how]} |", flush=True)
    print(f"\n{counts['works']} work, {counts['refused']} are refused, {counts['fault']} end in a fault.")
    sys.exit(counts["fault"] > 0)


if __name__ == "__main__":
    main()
