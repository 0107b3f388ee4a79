"""From what is composed for a sweep to the overrides of each of its runs, as its sweeper will make them."""

# private, for Hydra tells nobody how a sweep becomes runs
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig

from tut.cli.grammar import parse_overrides
from tut.cli.overrides import examples
from tut.cli.shorthands import set_or_added
from tut.errors import TutError
from tut.sweep.composition import plain
from tut.sweep.hydra_jobs import is_listed
from tut.system.garbage import heavy_imports


def jobs_of(base: DictConfig, loader: ConfigLoaderImpl) -> list[list[str]]:
    """Return the overrides of every run of a sweep; of a sweeper that chooses them as it goes, examples."""
    sweeper = base.hydra.sweeper
    decides = decides_seeds(base)
    if (decides or chooses_values(base)) and base.hydra.launcher.get("wait") is False:
        raise TutError("hydra.launcher.wait=false: a sweeper that searches needs results; set it to true")
    params = dict(sweeper.get("params") or {})
    typed = parse_overrides(plain(base.hydra.overrides.task), loader)
    if decides:
        with heavy_imports():
            from tut.sweep import decide
        params = decide.without_seeds(params, typed)
    named = [set_or_added(f"{key}={value}") for key, value in params.items()]
    swept = [*parse_overrides(named, loader), *typed]
    if chooses_values(base):
        return examples(swept)
    for override in swept:
        if override.is_interval_sweep():
            raise TutError(f"{override.input_line}: an interval needs a sweeper that searches, as optuna does")
    ((*jobs,),) = BasicSweeper.split_arguments(swept, None)
    if decides:
        plan = decide.plan_of(sweeper.seeds, sweeper.max_seeds)
        return decide.jobs_of(jobs, range(plan.looks[0]), plan)
    return list(jobs)


def decides_seeds(base: DictConfig) -> bool:
    """Return whether the sweeper chooses seeds by what arms have come to: see `tut.sweep.decide`."""
    return str(base.hydra.sweeper._target_).endswith("DecideSweeper")


def chooses_values(base: DictConfig) -> bool:
    """Return whether the sweeper chooses values as it goes, so that only examples of its runs are known before."""
    return not (decides_seeds(base) or is_listed(base))
