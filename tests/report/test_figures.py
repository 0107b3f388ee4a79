"""What figures show of schedules: a line for each arm, thresholds, coupling, steps that were found."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from planted import PLATEAU, plant_found, plant_sweep

from tut.report.drawing import RC_PARAMS
from tut.report.effect import effect
from tut.report.figures import parting
from tut.report.frequency import by_frequency, within_buckets
from tut.report.frequency_figure import loss_by_frequency
from tut.report.over_training import curves, difference
from tut.report.summary import Report, report_on
from tut.tracking.record import Record

pytestmark = pytest.mark.slow  # pages and figures are drawn

SCHEDULES = {
    "epoch=2 pull=0.1": 0.02,
    "epoch=2 min_count=5000": 0.001,
    "epoch=2 min_count=1000 rows=rare": 0.05,
    "epoch=2 min_count=1000": 0.002,
    "epoch=2 over_steps=200": 0.03,
    "epoch=2": 0.044,
    "epoch=0 min_count=300": -0.02,
    "epoch=0": 0.03,
}


def ticks(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def dashes_at(figure: Figure) -> list[float]:
    """Return where a figure's lowest panel has upright lines from its bottom to its top."""
    lines = [line.get_xdata() for line in figure.axes[-1].lines if list(line.get_ydata()) == [0, 1]]
    return sorted({round(float(x[0]), 3) for x in lines})


@pytest.fixture(scope="module")
def schedules(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = plant_sweep(tmp_path_factory.mktemp("schedules"), SCHEDULES, range(2), tokens=True)
    return report_on([folder])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_on([plant_found(tmp_path_factory.mktemp("found"))])


def test_each_step_that_was_found_is_marked(found: Report) -> None:
    figure = curves(found.results, found.comparisons)
    assert figure is not None
    assert dashes_at(figure) == [412, 420]


def test_effects_of_several_schedules_have_a_line_each(schedules: Report) -> None:
    figure = effect(schedules.comparisons)
    assert figure is not None
    assert ticks(figure) == [arm.name for arm in schedules.comparisons.arms[1:]]
    places = figure.axes[0].get_yticks()
    assert np.diff(places)[:3] == pytest.approx([1, 1.6, 1])  # there is more room where another untie point begins
    assert all(len(set(line.get_ydata())) == 1 for line in figure.axes[0].lines[1:])  # none leads from arm to arm


@pytest.mark.parametrize("unusual", ["", " min_count=300"])
def test_effects_of_points_alone_are_drawn_against_the_point(unusual: str, tmp_path: Path) -> None:
    plant_sweep(tmp_path, {f"epoch={epoch}{unusual}": 0.1 for epoch in (0, 3, 6)}, range(2))
    figure = effect(report_on([tmp_path]).comparisons)
    assert figure is not None
    assert figure.axes[0].get_xlabel().startswith("untie point")
    assert figure.axes[0].get_xticks().tolist() == [0, 300, 600]


def test_a_title_names_untying_only_where_that_is_all_that_arms_did(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=0": 0.03, "epoch=3": 0.01}, range(2))
    for baseline, said in (("never", " by untying, against the tied run"), ("epoch=0", ", against epoch=0")):
        figure = effect(report_on([tmp_path], baseline=baseline).comparisons)
        assert figure is not None
        assert " ".join(figure.axes[0].get_title(loc="left").split()) == f"Change in test loss{said}"


def test_seeds_lie_beside_the_bar_of_a_single_arm(tmp_path: Path) -> None:
    """Also where steps are large, or all is at step 0."""
    for number, arm in enumerate(("epoch=3", "epoch=0", "step=800")):
        figure = effect(report_on([plant_sweep(tmp_path / str(number), {arm: 0.1}, range(3))]).comparisons)
        assert figure is not None
        (axes,) = figure.axes
        left, right = axes.get_xlim()
        at = {line.get_gid().split()[1]: line.get_xdata()[0] for line in axes.lines if line.get_gid()}
        assert (at["mean"] - left) / (right - left) == pytest.approx(0.5, abs=0.1)
        assert 0 < (at["dot"] - at["mean"]) / (right - left) < 0.05


@pytest.mark.parametrize(
    "arms",
    [
        ["epoch=2", "epoch=2 init=fresh"],
        ["epoch=0", "epoch=0 init=fresh", "epoch=0 init=zero"],
        ["epoch=2 optimizer_state=zero", "epoch=4"],
    ],
)
def test_no_line_leads_between_arms_that_are_no_order(arms: list[str], tmp_path: Path) -> None:
    figure = effect(report_on([plant_sweep(tmp_path, dict.fromkeys(arms, 0.1), range(2))]).comparisons)
    assert figure is not None
    unmarked = [line for line in figure.axes[0].lines if not line.get_gid()]
    assert len(unmarked) == 1  # that of the baseline


def test_each_difference_has_a_scale_of_its_own(tmp_path: Path) -> None:
    report = report_on([plant_sweep(tmp_path, {"epoch=1": 1.0, "epoch=2": 0.01, "epoch=3": 0.1}, range(3))])
    figure = difference(report.results, report.comparisons)
    assert figure is not None
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in drawn] == ["epoch=1", "epoch=2", "epoch=3"]
    heights = [np.ptp(axes.get_ylim()) for axes in drawn]
    assert heights[0] > 5 * heights[2] > 25 * heights[1] / 5


def test_the_baseline_is_on_top_and_what_differs_can_be_seen(tmp_path: Path) -> None:
    report = report_on([plant_sweep(tmp_path, {"epoch=1": 0.01, "epoch=2": -0.01}, range(3))])
    figure = curves(report.results, report.comparisons)
    assert figure is not None
    whole, detail, _, gap = figure.axes
    means = [line for line in detail.lines if "mean" in (line.get_gid() or "")]
    assert max(means, key=lambda line: line.get_zorder()).get_label() == "never"
    assert np.ptp(detail.get_ylim()) < 0.5 * np.ptp(whole.get_ylim())
    assert gap.get_ylabel() == "validation\n− training"


def test_an_arm_that_finds_its_point_has_none_to_be_drawn_against(found: Report) -> None:
    figure = effect(found.comparisons)
    assert figure is not None
    assert [tick.replace("\n", " ") for tick in ticks(figure)] == ["step=412", PLATEAU]


@pytest.mark.filterwarnings("error")
def test_one_line_has_room_for_all_that_is_around_it(tmp_path: Path) -> None:
    report = report_on([plant_sweep(tmp_path, {PLATEAU: 0.1}, range(2))])
    with mpl.rc_context(RC_PARAMS):
        figure = effect(report.comparisons)
        assert figure is not None
        figure.draw_without_rendering()  # Matplotlib warns where a figure is too small for its labels


@pytest.mark.parametrize(
    "count, numbers, place",
    [
        (1000, [0, 1, 2, 3], 2.5),
        (5000, [0, 1, 2, 3], 2.5 + np.log10(5)),
        (5000, [0, 3], 0.5 + np.log10(5)),  # there are no targets in the buckets between
        (5, [0, 1], 0.0),
        (50, [0, 2], 0.5),
        (10**9, [0, 1], 1.5),
        (10**9, [0, 6], 1.5),
    ],
)
def test_a_count_lies_within_its_bucket(count: int, numbers: list[int], place: float) -> None:
    assert within_buckets(count, numbers) == pytest.approx(place)


def test_thresholds_are_marked_on_the_axis_of_frequencies(schedules: Report) -> None:
    comparisons = schedules.comparisons
    figure = loss_by_frequency(by_frequency(schedules.results, comparisons), comparisons)
    assert figure is not None
    assert dashes_at(figure) == pytest.approx([1.5 + np.log10(3), 2.5, 2.5 + np.log10(5)], abs=1e-3)
    assert [text.get_text() for text in figure.axes[-1].texts] == ["300", "1,000", "5,000"]


def test_rows_drawn_at_random_have_no_threshold(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=2 min_count=300 rows=random": 0.1}, [0], tokens=True)
    report = report_on([tmp_path])
    figure = loss_by_frequency(by_frequency(report.results, report.comparisons), report.comparisons)
    assert figure is not None
    assert dashes_at(figure) == []


def test_coupling_is_drawn_where_it_has_been_between(schedules: Report, found: Report, tmp_path: Path) -> None:
    with_ramp = parting(schedules.results, schedules.comparisons)
    without = parting(found.results, found.comparisons)
    assert with_ramp is not None
    assert without is not None
    assert [axes.get_ylabel() for axes in with_ramp.axes][2:] == ["coupling"]
    assert len(without.axes) == 2


def test_runs_of_before_schedules_are_read(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=2 over_steps=200": 0.1, "epoch=3": 0.1}, [0])
    (old,) = [run for run in map(Record, tmp_path.iterdir()) if run.state["arm"] == "epoch=3"]
    config = old.state["config"]
    config["untie"] = {key: config["untie"][key] for key in ("epoch", "step", "fraction", "init", "optimizer_state")}
    del config["tie"]
    old.update_state(config=config)
    rows = old.folder / "train.jsonl"
    rows.write_text(rows.read_text().replace('"coupling"', '"x"').replace('"untied_rows"', '"y"'))
    report = report_on([tmp_path])
    assert [arm.label for arm in report.comparisons.arms] == ["never", "epoch=2 over_steps=200", "epoch=3"]
    figure = parting(report.results, report.comparisons)
    assert figure is not None
    assert len(figure.axes) == 3
