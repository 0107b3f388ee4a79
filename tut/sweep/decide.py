"""A sweep that trains seeds until each arm is decided: `hydra/sweeper=decide`.

Seeds come in batches. After each batch the arms are looked at as `python -m tut.report` does; one that is better, worse
or equivalent is decided and gets no more seeds, and one that has diverged in every seed is given up. The looks are
planned, so all of them together claim falsely as seldom as a single one; see `tut.report.sequential`. Each is written
into the sweep's record of looks.
"""

import logging
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from tut.config import NEVER, Config
from tut.errors import TutError
from tut.report.arms import Arm
from tut.report.comparison import Comparison, Comparisons
from tut.report.grouping import setting_of
from tut.report.look_record import add_look
from tut.report.looks import Plan
from tut.report.results import Results
from tut.report.summary import report_on
from tut.sweep.hydra_jobs import Failed
from tut.tracking.record import Record
from tut.words import counted

_ITS_OWN = ("seed", "report.seeds", "report.look_every")
"""The keys that the sweeper sets."""

log = logging.getLogger(__name__)


def plan_of(batch: int, most: int) -> Plan:
    """Return the plan that `hydra.sweeper.seeds` and `hydra.sweeper.max_seeds` stand for.

    Raises:
        TutError: they stand for none.
    """
    if batch < 2:
        raise TutError(f"hydra.sweeper.seeds={batch}: must be at least 2, for one seed says nothing of others")
    if most < batch:
        raise TutError(f"hydra.sweeper.max_seeds={most}: must be at least hydra.sweeper.seeds={batch}")
    return Plan(most, batch)


def without_seeds(params: dict[str, str], typed: Sequence[Override]) -> dict[str, str]:
    """Return the params of a named sweep without its seeds, which this sweeper chooses.

    Raises:
        TutError: seeds, or a plan of them, are typed.
    """
    for override in typed:
        if override.get_key_element() in _ITS_OWN:
            raise TutError(
                f"{override.input_line}: hydra/sweeper=decide chooses the seeds; hydra.sweeper.seeds (of a batch) and "
                "hydra.sweeper.max_seeds say how many"
            )
    return {key: value for key, value in params.items() if key not in _ITS_OWN}


def what_it_does(plan: Plan, params: dict[str, str]) -> str:
    """Say how many seeds there may be, and which seeds of a named sweep are not asked for."""
    looks = ", ".join(map(str, plan.looks))
    left_out = f"; seed={params['seed']} of the sweep is left out" if "seed" in params else ""
    return f"hydra/sweeper=decide: arms are looked at after {looks} seeds, those not decided by then get more{left_out}"


def jobs_of(arms: Sequence[Sequence[str]], seeds: range, plan: Plan) -> list[list[str]]:
    """Return the overrides of each run of a batch."""
    planned = [f"report.seeds={plan.seeds}", f"report.look_every={plan.look_every}"]
    return [[*arm, f"seed={seed}", *planned] for arm in arms for seed in seeds]


def check_arms(configs: Sequence[Config]) -> None:
    """Check that every setting has a tied run to compare to, and something to compare to it.

    Raises:
        TutError: one has not.
    """
    arms: dict[str, set[str]] = {}
    for config in configs:
        arms.setdefault(repr(setting_of(config.to_dict())), set()).add(config.untie.arm)
    for names in arms.values():
        if NEVER not in names:
            raise TutError(
                f"hydra/sweeper=decide: add the tied arm that others are compared to: untie.epoch=...,{NEVER}"
            )
    if not any(names - {NEVER} for names in arms.values()):
        raise TutError("hydra/sweeper=decide: every run stays tied, so there is nothing to decide")


def decide(launcher: Launcher, arms: Sequence[Sequence[str]], plan: Plan, folder: Path) -> list[Sequence[JobReturn]]:
    """Train and look until all arms are decided or have all their seeds; return the results of each batch.

    Args:
        launcher: who trains.
        arms: the overrides of each arm.
        plan: how many seeds, and when to look.
        folder: the sweep's.
    """
    batches = []
    runs: list[Path] = []
    open_arms = list(arms)
    first = 0
    for before, look in pairwise((0, *plan.looks)):
        jobs = jobs_of(open_arms, range(before, look), plan)
        results = launcher.launch(jobs, initial_job_idx=first)
        _end_if_failed(results)
        batches.append(results)
        first += len(jobs)
        runs += [run for job in results if (run := _folder_of(job)) and Record(run).state]
        report = report_on(runs)  # not on the whole folder, which has later seeds where a sweep is started again
        add_look([folder], report.comparisons)
        said = _said(report.comparisons)
        log.info("look %d of %d, %s: %s", plan.looks.index(look) + 1, len(plan.looks), counted(look, "seed"), said)
        first_of_each = results[:: look - before]
        labels = [_label_of(job, report.results) for job in first_of_each]
        still_open = _still_open(report.comparisons)
        open_arms = [arm for arm, label in zip(open_arms, labels, strict=True) if label in still_open]
        if not open_arms:
            break
    return batches


def _end_if_failed(results: Sequence[JobReturn]) -> None:
    """End if a run has failed, unless it has diverged: that is a result, with which the comparison deals."""
    for one in results:
        diverged = one.status == JobStatus.FAILED and Record(_folder_of(one)).state.get("diverged", False)
        if isinstance(one, Failed) and not diverged:
            sys.exit(1)  # all is said; of an exception Hydra would say more
        if not diverged:
            _ = one.return_value  # of another launcher, which raises what it failed with


def _folder_of(job: JobReturn) -> Path:
    assert job.hydra_cfg is not None
    where = job.hydra_cfg.hydra.sweep
    return Path(str(where.dir), str(where.subdir))


def _label_of(job: JobReturn, results: Results) -> str:
    """Return what a report calls the arm of a job; nothing if it has left no run."""
    runs = results.runs
    own = runs[runs["folder"] == str(_folder_of(job).resolve())]
    return "" if own.empty else f"{own.iloc[0]['setting']} {own.iloc[0]['arm']}".strip()


def _still_open(comparisons: Comparisons) -> set[str]:
    """Return the labels of the arms that get more seeds: those of no verdict yet, and what they are compared to.

    Where an arm, or what it is compared to, has diverged in every seed, more of them would decide nothing.
    """
    undecided = [one for one in comparisons.comparisons if one.verdict == "cannot tell" and not _diverged(one)]
    return {arm.label for one in undecided for arm in (one.arm, one.baseline)}


def _diverged(comparison: Comparison) -> list[Arm]:
    """Return which of an arm and its baseline have diverged in every seed."""
    return [arm for arm in (comparison.arm, comparison.baseline) if arm.always_diverged]


def _said(comparisons: Comparisons) -> str:
    """Return the verdicts in a line, and which arms are given up."""
    said = []
    for one in comparisons.comparisons:
        lost = [f"{arm.label} diverged in all {counted(len(arm.diverged), 'seed')}" for arm in _diverged(one)]
        said.append(f"{one.arm.label}: {f'given up, for {lost[0]}' if lost else one.verdict}")
    return "; ".join(said)
