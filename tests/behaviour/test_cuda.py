"""What only a GPU can show."""

from pathlib import Path

import pytest
import torch
from conftest import SMALL, assert_equal, make_config, newest, untimed

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
