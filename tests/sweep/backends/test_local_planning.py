"""What is planned for the devices of this machine: no GPU is needed for these."""

import pytest
import torch
from conftest import make_config
from small_sweeps import TINY

from tut.sweep.backends.local import Local
from tut.sweep.config import LocalConfig
from tut.training.identity import environment


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: ["NVIDIA A100", "NVIDIA H100"][number])


def test_each_run_of_a_mixed_sweep_is_named_after_what_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [make_config(*TINY, f"trainer.device={device}") for device in ("cpu", "cuda")]
    backend = Local(LocalConfig(dry_run=True), configs)
    on_cpu, on_gpu = (backend.environment(backend.inputs(config)) for config in configs)
    assert on_cpu["processor"] == environment(backend.inputs(configs[0]))["processor"]
    assert on_gpu["processor"] == "NVIDIA A100 or NVIDIA H100"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert backend.environment(backend.inputs(configs[1]))["processor"].endswith(" NVIDIA_TF32_OVERRIDE=1")
