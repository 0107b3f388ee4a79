"""The configs of a sweep's jobs: as Hydra composes them, but each job once, and once what many have in common.

Hydra reads, copies and merges all files for each job anew, and that takes most of the time of a plan. Which files they
are depends on the options that a job chooses from groups. So these are composed for each choice once; a job is a copy,
with its own values. In one process a command line is checked, and then launched as it was checked.
"""

import os
import pickle
from collections.abc import Sequence

# private, for Hydra has no public way to put overrides into a config, nor to tell which of them choose options
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

_chosen: dict[str, bytes] = {}
"""Configs in which options are chosen and no values set yet; pickled, for nothing else copies them as quickly."""
_checked: dict[str, DictConfig] = {}
"""Jobs that are to be launched next."""


class Composer:
    """Composes the jobs of one sweep."""

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        """Look where options are.

        Args:
            loader: Hydra's own.
            base: what it has composed for the sweep as a whole, with its `hydra` node.
        """
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._base = base
        self._of_hydra = plain(base.hydra.overrides.hydra)
        self._name = base.hydra.job.config_name
        self._sources = [loader.config_search_path.get_path(), self._name, os.getcwd()]
        _, self._repository = loader._parse_overrides_and_create_caching_repo(self._name, self._of_hydra)
        self._parsed: dict[str, tuple[Override, bool]] = {}

    def compose(self, overrides: Sequence[str], number: int, is_check: bool = False) -> DictConfig:
        """Return the config of a job, with its `hydra` node.

        Args:
            overrides: what it changes.
            number: its place in the sweep.
            is_check: whether TUT will launch it, in this process, and ask for it again.

        Raises:
            HydraException: there is no such option, or a value is none that its key may have.
        """
        of_hydra = [line for line in self._of_hydra if not line.startswith("hydra.sweep.dir=")]  # chosen since, maybe
        key = repr((self._sources, of_hydra, list(overrides), number))
        composed = _checked.pop(key, None) or self._composed(overrides)
        if is_check:
            _checked[key] = composed
        OmegaConf.copy_cache(from_config=self._base, to_config=composed)  # one time for all that is named after it
        with open_dict(composed.hydra.job):
            composed.hydra.job.id = str(number)
            composed.hydra.job.num = number
        return composed

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        parsed = [self._parse(line) for line in (*self._of_hydra, *overrides)]
        composed = self._with([str(one.input_line) for one, chooses in parsed if chooses])
        ConfigLoaderImpl._apply_overrides_to_config([one for one, chooses in parsed if not chooses], composed)
        _note_overrides(composed, [one for one, _ in parsed if not one.is_hydra_override()])
        return composed

    def _parse(self, line: str) -> tuple[Override, bool]:
        """Return an override, and whether it chooses what is composed: an option of a group, or anything of Hydra's."""
        if line not in self._parsed:
            override = OverridesParser.create().parse_override(line)
            ConfigLoaderImpl.validate_sweep_overrides_legal([override], RunMode.RUN, from_shell=True)
            is_group = self._repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
            self._parsed[line] = override, is_group or override.is_hydra_override()
        return self._parsed[line]

    def _with(self, choices: list[str]) -> DictConfig:
        """Return a config in which nothing but options is chosen."""
        key = repr((self._sources, choices))
        if key not in _chosen:
            _chosen[key] = pickle.dumps(self._loader.load_configuration(self._name, choices, RunMode.RUN))
        copied: DictConfig = pickle.loads(_chosen[key])
        return copied


def plain(overrides: ListConfig) -> list[str]:
    """Return overrides as they were typed: to read one from the list would resolve what it refers to."""
    lines = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(lines, list)
    return lines


def be_current(composed: DictConfig) -> None:
    """Let `${hydra:...}` be found in the config of this job from now on."""
    # Hydra's own way makes a copy first, for the sake of configs whose `hydra` node is taken away later.
    HydraConfig.instance().cfg = composed  # type: ignore[assignment]


def _note_overrides(composed: DictConfig, overrides: list[Override]) -> None:
    """Write down where Hydra has them what the job itself changes."""
    composed.hydra.overrides.task = [one.input_line for one in overrides]
    job = composed.hydra.job
    if not OmegaConf.is_interpolation(job, "override_dirname"):  # as it is from Hydra 1.4 on
        how = job.config.override_dirname
        excluded = {*how.exclude_keys}
        lines = sorted(str(one.input_line) for one in overrides if one.key_or_group not in excluded)
        job.override_dirname = how.item_sep.join(lines).replace("=", how.kv_sep)
