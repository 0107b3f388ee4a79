"""How often a report is wrong, and how often it finds what is there: simulated sweeps, judged as a report judges.

python -m benchmarks.errors                      a quarter of an hour on one CPU core
python -m benchmarks.errors --sweeps 500         rougher, in a few minutes

In each sweep the losses of all arms and of the tied baseline have noise of their own, so that differences to the
baseline are correlated by a half. Figures are shares of sweeps. `false` counts sweeps with any claim that is wrong:
that an arm differs which does not, or that one is equivalent which differs by the margin. A second table is of what is
said beside verdicts: see `errors_beside`. A third one is of arms that are each at their best of several values: see
`errors_selected`.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks import errors_beside, errors_selected
from tut.report.looks import Plan, look_at
from tut.report.pooled import dunnett_p
from tut.report.statistics import ALPHA, Floats
from tut.report.verdict import Evidence, Judgement, Measure, judge

PLAN = Plan(30, 4)
"""What `hydra/sweeper=decide` does by default."""
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Draws noise of standard deviation 1."""


@dataclass(frozen=True)
class Situation:
    """Sweeps of one kind."""

    name: str
    arms: int
    seeds: int
    """Of every arm, if `own_seeds` does not say otherwise."""
    effects: tuple[float, ...] = ()
    """What arms differ by, in standard deviations of a difference; the rest of the arms do not differ."""
    plan: Plan | None = None
    every_seed_from: int | None = None
    """Without a plan: looks after every seed from this one on, until all arms are decided. None: one look."""
    margin: float | None = None
    """In standard deviations of a difference."""
    step: float | None = None
    """What the metric moves in, likewise."""
    lost: float = 0.0
    """The share of the worst runs that diverge."""
    draw: Draw = np.random.Generator.standard_normal
    own_seeds: tuple[int, ...] = ()
    """How many seeds each arm has, where they are not equally many."""


def situations() -> Iterator[Situation]:
    """Yield all that is simulated."""
    for arms in (1, 2, 5):
        for seeds in (2, 3, 6, 20):
            yield Situation("one planned look", arms, seeds, plan=Plan(seeds))
    yield Situation("one look, not planned", 1, 6)
    yield Situation("one planned look, arm at the margin", 1, 6, (2.0,), Plan(6), margin=2.0)
    yield Situation("one planned look, arms at the margin", 5, 20, (1.0,) * 5, Plan(20), margin=1.0)
    for arms in (1, 3, 5):
        yield Situation("planned looks, 4 to 30 seeds", arms, 30, plan=PLAN)
    yield Situation("planned looks, arm at the margin", 1, 30, (1.0,), PLAN, margin=1.0)
    yield Situation("a look after every seed from 3 on, not planned", 1, 20, every_seed_from=3)
    yield Situation("a look after every seed from 3 on, not planned", 3, 20, every_seed_from=3)
    for seeds in (2, 3, 5, 10):
        for step in (0.5, 2.0):
            name = f"accuracy that moves in steps of {step:g} sd"
            yield Situation(name, 1, seeds, plan=Plan(seeds), step=step)
    yield Situation("accuracy in steps of 2 sd, planned looks", 3, 30, plan=PLAN, step=2.0)
    for seeds in (3, 6, 20):
        yield Situation("heavy tails (t with 3 degrees of freedom)", 1, seeds, plan=Plan(seeds), draw=_heavy)
    yield Situation("heavy tails, planned looks", 3, 30, plan=PLAN, draw=_heavy)
    for seeds in (6, 10, 20):
        yield Situation("the worst 20% of an arm's runs are lost", 1, seeds, plan=Plan(seeds), lost=0.2)
    yield Situation("the worst 20% are lost, planned looks", 3, 30, plan=PLAN, lost=0.2)
    yield Situation("the worst 20% of a worse arm's runs are lost", 1, 6, (2.0,), Plan(6), lost=0.2)
    for own in ((2, 6, 20), (3, 4, 6, 10, 20)):
        yield Situation("unequal numbers of seeds, one look, not planned", len(own), max(own), own_seeds=own)
    yield Situation("unequal numbers of seeds, planned looks", 3, 30, plan=PLAN, own_seeds=(30, 16, 8))
    name = "unequal numbers of seeds, a look after every seed from 3 on, not planned"
    yield Situation(name, 3, 20, every_seed_from=3, own_seeds=(20, 10, 5))
    for effect in (0.5, 1.0, 2.0):
        yield Situation("power: one planned look", 1, 30, (effect,), Plan(30))
        yield Situation("power: planned looks, 4 to 30 seeds", 1, 30, (effect,), PLAN)
    yield Situation("power: one planned look", 1, 6, (2.0,), Plan(6))
    yield Situation("power: equivalence at planned looks", 1, 30, (0.0,), PLAN, margin=1.0)


def _heavy(random: np.random.Generator, size: tuple[int, ...]) -> Floats:
    return np.asarray(random.standard_t(3, size) / np.sqrt(3))


@dataclass
class Count:
    """What came out of the sweeps of a situation."""

    sweeps: int = 0
    false: int = 0
    """Sweeps with a claim that is wrong."""
    covered: int = 0
    """Intervals of single arms, at the last look, that hold what is true."""
    intervals: int = 0
    found: int = 0
    """Arms that differ, of which it was said rightly how; or that do not, and were called equivalent."""
    to_find: int = 0
    seeds: int = 0
    """That were trained of each arm, summed over arms."""
    arms: int = 0


def simulate(situation: Situation, sweeps: int, seed: int) -> Count:
    """Return what comes out of so many sweeps."""
    random = np.random.default_rng([seed, *situation.name.encode(), situation.arms, situation.seeds])
    count = Count()
    for _ in range(sweeps):
        effects = np.zeros(situation.arms)
        effects[: len(situation.effects)] = situation.effects
        judgements = _sweep(situation, effects, random)
        count.sweeps += 1
        count.false += any(_is_wrong(one, effect, situation) for one, effect in zip(judgements, effects, strict=True))
        for one, effect in zip(judgements, effects, strict=True):
            count.arms += 1
            count.seeds += one.look.seeds
            if one.paired.t_interval is not None:
                low, high = one.paired.t_interval
                count.intervals += 1
                count.covered += bool(low <= effect <= high)
            if effect or situation.margin is not None:
                count.to_find += 1
                right = one.is_equivalent if not effect else one.direction == ("worse" if effect > 0 else "better")
                count.found += right
    return count


def _sweep(situation: Situation, effects: Floats, random: np.random.Generator) -> list[Judgement]:
    """Draw one sweep and judge it, at each look until all arms are decided."""
    # The baseline first. A difference of two independent runs has standard deviation 1.
    runs = situation.draw(random, (situation.arms + 1, situation.seeds)) / np.sqrt(2)
    runs[1:] += effects[:, None]
    if situation.step is not None:
        runs = np.round(runs / situation.step) * situation.step
    diverges = np.zeros(runs.shape, bool)
    if situation.lost:
        diverges[1:] = runs[1:] > stats.norm.isf(situation.lost) / np.sqrt(2) + effects[:, None]
    measure = Measure(-1, situation.margin)
    numbers = np.full(situation.arms, 0)
    most = np.array(situation.own_seeds or (situation.seeds,) * situation.arms)
    decided = np.zeros(situation.arms, bool)
    earlier: list[int] = []
    judgements: list[Judgement] = []
    for look in _looks(situation):
        numbers[~decided] = np.minimum(look, most)[~decided]
        evidence = []
        for arm, number in enumerate(numbers):
            seeds = range(number)
            before = () if situation.plan else tuple(n for n in earlier if n < number)
            own = look_at(int(number), situation.plan, before, goes_on=False)
            kept = {seed: float(runs[arm + 1, seed] - runs[0, seed]) for seed in seeds if not diverges[arm + 1, seed]}
            lost = tuple(seed for seed in seeds if diverges[arm + 1, seed])
            evidence.append(Evidence(kept, lost, (), own, situation.step))
        judgements = judge(evidence, measure)
        earlier.append(look)
        decided |= np.array([one.verdict != "cannot tell" for one in judgements])
        if decided.all():
            break
    return judgements


def _looks(situation: Situation) -> tuple[int, ...]:
    if situation.plan is not None:
        return situation.plan.looks
    if situation.every_seed_from is None:
        return (situation.seeds,)
    return tuple(range(situation.every_seed_from, situation.seeds + 1))


def _is_wrong(one: Judgement, effect: float, situation: Situation) -> bool:
    """Return whether a judgement claims what is not so."""
    if one.direction is not None and one.direction != {1: "worse", -1: "better"}.get(int(np.sign(effect))):
        return True
    return one.is_equivalent and situation.margin is not None and abs(effect) >= situation.margin


def pooled_power(sweeps: int, seed: int) -> tuple[float, float, float]:
    """Return how often 3 seeds of 5 arms find one that differs: by its own variance and by the pooled one; and false.

    It differs by 3 standard deviations of a difference; false claims are the pooled ones on the other arms.
    """
    random = np.random.default_rng(seed)
    own = pooled = false = 0
    for _ in range(sweeps):
        runs = random.standard_normal((6, 3)) / np.sqrt(2)
        runs[1] += 3
        evidence = []
        for arm in range(1, 6):
            differences = dict(enumerate((runs[arm] - runs[0]).tolist()))
            evidence.append(Evidence(differences, (), (), look_at(3, Plan(3), (), goes_on=False)))
        own += judge(evidence, Measure(-1, None))[0].direction == "worse"
        p = dunnett_p(runs)
        assert p is not None
        pooled += bool(p[0] < ALPHA)
        false += bool((p[1:] < ALPHA).any())
    return own / sweeps, pooled / sweeps, false / sweeps


def unadjusted(seed: int, sweeps: int = 100_000) -> float:
    """Return how often an unadjusted t-test after each of 3 to 20 seeds claims something where nothing differs."""
    differences = np.random.default_rng(seed).standard_normal((sweeps, 20))
    p = [stats.ttest_1samp(differences[:, :seeds], 0, axis=1).pvalue for seeds in range(3, 21)]
    return float((np.min(p, axis=0) < ALPHA).mean())


def main() -> None:
    """Simulate, and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=2000, help="of each situation (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    highest = stats.binom.ppf(0.999, asked.sweeps, ALPHA) / asked.sweeps
    print(
        f"{asked.sweeps} sweeps each. A rate of {ALPHA:.0%} comes out above {highest:.1%} once in a thousand times.\n"
    )
    print("| situation | arms | seeds | effect (sd) | false | found | 95% CI covers | seeds an arm |")
    print("|---|---|---|---|---|---|---|---|")
    for situation in situations():
        count = simulate(situation, asked.sweeps, asked.seed)
        effect = f"{situation.effects[0]:g}" if situation.effects else "0"
        found = f"{count.found / count.to_find:.1%}" if count.to_find else ""
        covers = f"{count.covered / count.intervals:.1%}"
        seeds = ", ".join(map(str, situation.own_seeds or (situation.seeds,)))
        cells = (situation.name, situation.arms, seeds, effect, f"{count.false / count.sweeps:.1%}", found)
        print(f"| {' | '.join(map(str, cells))} | {covers} | {count.seeds / count.arms:.1f} |", flush=True)
    print("\n| said of arms of which it is not so | looks | arms | seeds | false |")
    print("|---|---|---|---|---|")
    for one in errors_beside.situations(PLAN):
        rate = one.rate(asked.sweeps, asked.seed)
        print(f"| {one.claim.name} | {one.looks} | {one.arms} | {one.numbers[-1]} | {rate:.1%} |", flush=True)
    print("\n| values of the arm | of its baseline | correlation | seeds | better by (sd) | false |")
    print("|---|---|---|---|---|---|")
    for selected in errors_selected.situations():
        false_claims, favour = selected.rate(asked.sweeps, asked.seed)
        print(
            f"| {selected.values} | {selected.values_of_baseline} | {selected.correlation:g} | {selected.seeds} | "
            f"{favour:.2f} | {false_claims:.1%} |"
        )
    own, pooled, false = pooled_power(max(100, asked.sweeps // 10), asked.seed)
    print(
        f"\n3 seeds of 5 arms, one of which differs by 3 sd: found by its own variance in {own:.0%} of sweeps, by the "
        f"pooled one in {pooled:.0%} (which finds others in {false:.1%})."
    )
    print(
        "\nOne arm that does not differ, with an unadjusted t-test after each of 3 to 20 seeds: something is "
        f"claimed in {unadjusted(asked.seed):.0%} of sweeps."
    )


if __name__ == "__main__":
    main()
