"""What only a GPU can show."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from conftest import SMALL, assert_equal, make_config, newest, rows, untimed
from test_benchmarks import GPT

from benchmarks.gpu import untying
from benchmarks.gpu.training import Training
from tut.config import TrainerConfig
from tut.training.run import run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.mark.parametrize("words", [(), ("trainer.compile=true",), ("trainer.precision=tf32",)])
def test_forked_at_the_untie_point_is_straight(words: tuple[str, ...], tmp_path: Path) -> None:
    common = (*SMALL, "trainer.device=cuda", "trainer.precision=bf16", "trainer.max_steps=12", "untie.step=6", *words)
    run(make_config(*common), tmp_path / "straight")
    fork = tmp_path / "straight/checkpoints/step-00000006"
    run(make_config(*common, f"resume={fork}"), tmp_path / "forked")
    assert untimed(tmp_path / "straight", "test") == untimed(tmp_path / "forked", "test")
    ends = [torch.load(newest(tmp_path / name) / "training.pt", weights_only=True) for name in ("straight", "forked")]
    assert_equal(*ends)


@pytest.mark.parametrize("how", [{}, {"mode": "reduce-overhead"}], ids=["compiled", "CUDA graphs"])
def test_nothing_is_compiled_or_captured_at_the_untie_point(how: dict[str, str], tmp_path: Path) -> None:
    words = ("trainer.device=cuda", "trainer.precision=bf16", f"untie.step={untying.STEPS}")
    (graphs, captures), after = untying.cross(Training(GPT, tmp_path, *words, compiled_by=how))
    assert graphs > 0
    assert (captures > 0) == bool(how)
    assert after == (0, 0)


@pytest.mark.parametrize(("precision", "rel"), [("fp32", 1e-5), ("bf16", 1e-3)])
def test_a_divided_model_trains_as_a_whole_one(
    precision: str, rel: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a group of one, which is all that one GPU can show: divided on the CPU, gathered and reduced by NCCL."""
    words = (*SMALL, "trainer.device=cuda", f"trainer.precision={precision}", "trainer.max_steps=12", "untie.step=6")
    run(make_config(*words), tmp_path / "whole")
    monkeypatch.setattr(TrainerConfig, "shards", property(lambda own: own.sharding == "fsdp"))
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        run(make_config(*words, "trainer.sharding=fsdp"), tmp_path / "divided")
    finally:
        dist.destroy_process_group()
    for split in ("train", "valid", "test"):
        whole, divided = ([row["loss"] for row in rows(tmp_path / name, split)] for name in ("whole", "divided"))
        assert divided == pytest.approx(whole, rel=rel)
