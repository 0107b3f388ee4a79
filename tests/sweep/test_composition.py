"""A sweep's jobs are composed as Hydra composes them, one by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from small_sweeps import TINY, sweep

from tut.cli.configs import register_schema
from tut.cli.hydra_versions import VERSION_BASE
from tut.sweep import composition
from tut.sweep.composition import Composer, be_current
from tut.system.provenance import CONF_DIR

OF_ALL = (
    "hydra.mode=MULTIRUN",
    "hydra/launcher=slurm",
    "++hydra.launcher.sbatch.nice=100",
    "hydra.job.env_copy=[HOME]",
)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfigLoaderImpl]:
    register_schema()
    monkeypatch.setattr(composition, "_chosen", {})
    monkeypatch.setattr(composition, "_checked", {})
    with initialize_config_dir(str(CONF_DIR), job_name="train", **VERSION_BASE):
        found = GlobalHydra.instance().config_loader()
        assert isinstance(found, ConfigLoaderImpl)
        yield found


def base(loader: ConfigLoaderImpl, *words: str) -> DictConfig:
    return loader.load_configuration("config", [*OF_ALL, *words], RunMode.MULTIRUN)


def shape(node: Any) -> Any:
    """Return what a config holds, with the types and flags of each of its nodes."""
    about = (type(node), node._metadata.ref_type, node._metadata.flags)
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing() and not node._is_interpolation():
        return about, [(key, shape(node._get_node(key))) for key in node]
    return about, OmegaConf.to_container(node, resolve=False) if OmegaConf.is_list(node) else node._value()


@pytest.mark.parametrize(
    "job",
    [
        ["model=gpt", "untie=never", "seed=3"],
        ["untie=ramp", "seed=3", "untie.over_steps=7", "seed=4"],
        ["untie.epoch=2", "untie=ramp", "optimizer=sgd", "optimizer.betas=[0.5,0.6]"],
        ["experiment=seed", "untie.fraction=0.3", "++model.config.hidden_size=8"],
        ["untie=between/tether", "model={architecture: gpt2}", "wandb.tags=[a,b]", "data.path=null"],
        ["data=text", "data.files='a=b, c.txt'", "wandb.project=${oc.env:HOME}", "trainer.max_steps=${seed}"],
    ],
)
def test_a_job_is_as_hydra_composes_it(job: list[str], loader: ConfigLoaderImpl) -> None:
    whole = base(loader, "untie=never,ramp")
    expected = loader.load_sweep_config(whole, job)
    expected.hydra.job.id, expected.hydra.job.num = "5", 5
    for is_check in (False, True, False):
        composed = Composer(loader, whole).compose(job, 5, is_check)
        assert shape(composed) == shape(expected)


@pytest.mark.parametrize(
    "job",
    [
        ["untie=nothing"],
        ["+optimizer.lr=3"],
        ["optimizer.lr=high"],
        ["seed.x=3"],
        ["~nothing"],
        ["+untie=ramp"],
        ["seed=0,1"],
    ],
)
def test_and_refused_as_hydra_refuses_it(job: list[str], loader: ConfigLoaderImpl) -> None:
    whole = base(loader)
    with pytest.raises(HydraException) as expected:
        loader.load_sweep_config(whole, job)
    with pytest.raises(HydraException) as found:
        Composer(loader, whole).compose(job, 0)
    assert repr(found.value) == repr(expected.value)
    assert repr(found.value.__cause__) == repr(expected.value.__cause__)


def test_one_job_knows_nothing_of_another(loader: ConfigLoaderImpl) -> None:
    """What they have in common is theirs alone: neither values nor numbers of one are seen in the next."""
    composer = Composer(loader, base(loader))
    first = composer.compose(["seed=1", "model.config.hidden_size=8", "wandb.project=p${hydra:job.num}"], 0)
    second = composer.compose(["seed=2", "wandb.project=p${hydra:job.num}"], 1)
    first.optimizer.betas.append(0.5)
    for number, job in enumerate((first, second)):
        be_current(job)
        assert (job.seed, job.wandb.project) == (number + 1, f"p{number}")
    assert second.model.config.hidden_size != 8
    assert len(second.optimizer.betas) == 2


def test_every_run_of_a_sweep_has_its_own_number(tmp_path: Path) -> None:
    """Which seeds and folders may be made of."""
    words = (*TINY, "report.margin=0.1,0.2", "seed=${hydra:job.num}", "hydra.sweep.subdir=run${hydra:job.num}")
    said = sweep(*words, "hydra.launcher.dry_run=true", home=tmp_path / "home", folder=tmp_path / "sweep")
    assert "2 runs, 2 stages" in said
