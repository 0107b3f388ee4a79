import re
import subprocess
from pathlib import Path

import pytest
import torch

from tut.config import TrainerConfig
from tut.errors import TutError
from tut.model import numerics
from tut.system import device, provenance

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bf16"),
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": True, "avx512_fp16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, "bf16"),
        ({"avx512_bf16": True, "avx512_fp16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, "fp32"),
        ({"avx512_bf16": True, "avx512_fp16": True, "cpu_name": "AMD EPYC"}, "bf16"),
        ({"avx512_f": True}, "fp32"),
    ],
)
def test_auto_takes_bf16_where_the_cpu_is_faster_in_it(capabilities: dict, precision: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert device.choose_precision(TrainerConfig(), CPU) == precision
    assert device.choose_precision(TrainerConfig(precision="fp32"), CPU) == "fp32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_devices_that_are_not_there() -> None:
    for wanted in ("cuda", "cuda:1"):
        with pytest.raises(TutError, match=re.escape(f"trainer.device={wanted}: torch finds no CUDA device here")):
            device.check_hardware(TrainerConfig(device=wanted))
    assert device.choose_device(TrainerConfig(device="cpu")) == CPU
    with pytest.raises(TutError, match="trainer.precision=tf32: cpu has no TF32"):
        device.check_hardware(TrainerConfig(device="cpu", precision="tf32"))


def test_a_gpu_that_is_not_counted_or_has_no_bf16(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert device.choose_device(TrainerConfig()).type == "cuda"
    with pytest.raises(TutError, match="trainer.device=cuda:2: torch finds 2 CUDA devices, counted from 0"):
        device.choose_device(TrainerConfig(device="cuda:2"))
    with pytest.raises(TutError, match="trainer.precision=bf16: this GPU has no bf16"):
        device.check_hardware(TrainerConfig(device="cuda:1", precision="bf16"))
    assert device.choose_precision(TrainerConfig(), torch.device("cuda")) == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(TutError, match="trainer.precision=tf32: cuda:1 has no TF32; choose from auto, fp32, bf16"):
        device.check_hardware(TrainerConfig(device="cuda:1", precision="tf32"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    device.check_hardware(TrainerConfig(device="cuda:1", precision="tf32"))


def test_what_is_said_about_the_machine() -> None:
    assert provenance.hardware(CPU)["device"] == "cpu"
    assert provenance.hardware(CPU)["cpu"]
    assert provenance.versions()["torch"] == torch.__version__
    revision = provenance.git_revision()
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)


def test_a_revision_is_that_of_the_code_and_of_nothing_around_it(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    inside = checkout / "venv/site-packages"
    for root in (checkout, inside):
        (root / "tut").mkdir(parents=True)
        (root / "tut/code.py").write_text("one = 1")
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    for words in (("init",), ("add", "tut"), (*me, "commit", "--message=one")):
        subprocess.run(["git", *words], cwd=checkout, check=True, capture_output=True)
    commit = provenance.git_revision(checkout / "tut")
    assert commit is not None
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert provenance.git_revision(inside / "tut") is None
    (inside / "tut" / provenance.REVISION_FILE).write_text("f00")
    provenance.git_revision.cache_clear()
    assert provenance.git_revision(inside / "tut") == "f00"


@pytest.mark.processes
def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_revision(tmp_path / "tut") is None


def test_autocast_computes_in_bf16_alone_where_asked() -> None:
    a = torch.ones(2, 2)
    with numerics.autocast(CPU, "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with numerics.autocast(CPU, "fp32"):
        assert (a @ a).dtype == torch.float32
