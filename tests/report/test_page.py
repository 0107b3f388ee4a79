"""What the page says first, what its figures can be asked, and how its numbers are set."""

import re
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from planted import plant, plant_sweep

import tut
from tut.report import lines, tables
from tut.report.answer import answer, by_importance
from tut.report.comparison import Comparisons
from tut.report.drawing import styles_of
from tut.report.export import write_report
from tut.report.formats import narrowed
from tut.report.frequency import by_frequency, changes_by_frequency
from tut.report.frequency_figure import loss_by_frequency
from tut.report.methods import CITATION, methods
from tut.report.numbers import as_text, form_of
from tut.report.over_training import rows_of
from tut.report.page import page
from tut.report.summary import Report, report_on
from tut.splits import Split
from tut.tracking.token_scores import load_token_scores

pytestmark = pytest.mark.slow  # pages and figures are drawn

EFFECTS = {"epoch=0": 0.02, "epoch=1": 0.05, "epoch=2": 0.0, "epoch=3": -0.02, "epoch=4": -0.04}
ROOT = Path(tut.__file__).parent.parent


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_on([plant_sweep(tmp_path_factory.mktemp("page") / "sweep", EFFECTS, range(4), tokens=True)])


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return write_report(report, report.results.asked[0] / "report").read_text()


def test_the_answer_comes_first(report: Report, html: str) -> None:
    comparisons = report.comparisons
    said = answer(comparisons)
    assert said.startswith("On test loss: 2 of 5 arms are better than tied: untying at epoch 4 (−0.0")
    assert "; 2 are worse than tied: untying at epoch 1 (+0.0" in said
    assert said.endswith(").")
    names = [one.arm.name for one in by_importance(comparisons.comparisons)]
    assert names == ["epoch=4", "epoch=3", "epoch=1", "epoch=0", "epoch=2"]
    body = html[html.index("<body>") :]
    assert body.index(said) < body.index('class="finding better"') < body.index("<table")
    places = [body.index(f'<span class="arm">{name}</span>') for name in (*names, "never")]
    assert places == sorted(places)


def test_one_arm_is_the_one(tmp_path: Path) -> None:
    said = answer(report_on([plant_sweep(tmp_path, {"epoch=3": -0.02}, range(3))], baseline="epoch=3").comparisons)
    assert re.fullmatch(r"On test loss: the one arm is worse than epoch=3: staying tied \(\+0.0\d+\).", said)


def test_arms_of_one_verdict_are_all(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {f"epoch={epoch}": 0.0 for epoch in range(4)}, range(2), noise=0.1)
    said = answer(report_on([tmp_path]).comparisons)
    assert re.fullmatch(r"On test loss: all 4 arms are not yet told apart from tied \(.0\.\d+ to .0\.\d+\).", said)


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    report = report_on([plant_sweep(tmp_path, {}, range(2))])
    assert answer(report.comparisons) == (
        "Nothing can be compared yet: never has 2 finished runs. What is missing is a second arm."
    )
    assert '<div class="finding baseline">' not in answer(report.comparisons)
    write_report(report, tmp_path / "report")


def test_remarks_stand_under_their_arm(report: Report, tmp_path: Path) -> None:
    first, *rest = report.sentences
    remarked = replace(report, sentences=(replace(first, remarks=("seed 3 <stands> apart",)), *rest))
    frequency = by_frequency(report.results, report.comparisons)
    text = page(remarked, {}, frequency, [], tmp_path)
    after = text[text.index(escape(first.words)) :]
    assert after.index("<li>seed 3 &lt;stands&gt; apart</li>") < after.index('<div class="finding')


def test_bars_show_where_a_change_lies(report: Report) -> None:
    scale = lines.scale_of(report.comparisons)
    for one in report.comparisons.comparisons:
        bar = str(lines.bar(one, scale, "words"))
        (mean,) = re.findall(r'cx="([\d.]+)%"', bar)
        (zero,) = re.findall(r'class="zero" x1="([\d.]+)%"', bar)
        assert (float(mean) > float(zero)) == (one.paired.mean > 0)
        assert 0 <= float(mean) <= 100
    flipped = lines.axis(scale, replace(report.comparisons.endpoint, metric="acc"))
    assert "← worse" in flipped
    assert "better →" in flipped


def test_figures_can_be_asked_for_their_values(report: Report, html: str) -> None:
    """As the page's script does: from where a point is drawn, and what the axes around it measure."""
    svg = html[html.index("curves-figure_1") :]
    panel = svg[svg.index('id="curves-axes_2"') : svg.index('id="curves-axes_3"')]
    clip = re.search(r"clip-path=\"url\(#(.*?)\)", panel)[1]
    frame = re.search(rf'<clipPath id="{clip}">\s*<rect ([^>]*)/>', html)[1]
    left, top, width, height = (
        float(re.search(rf'\b{name}="([^"]*)"', frame)[1]) for name in ("x", "y", "width", "height")
    )
    x0, x1, y0, y1 = (
        float(value) for name in "xy" for value in re.search(rf'data-{name}="linear (\S+) (\S+)"', panel).groups()
    )
    arm = report.comparisons.arms[3]
    number = styles_of(report.comparisons)[arm.label].number
    for kind, seed in (("mean", None), ("seed seed-2", 2)):
        drawn = re.search(rf'class="arm-{number} {kind}">\s*<path d="([^"]*)"', panel)[1]
        points = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", drawn), dtype=float)
        steps = x0 + (points[:, 0] - left) / width * (x1 - x0)
        values = y1 + (points[:, 1] - top) / height * (y0 - y1)
        rows = rows_of(report.results, arm, Split.VALID)
        own = rows if seed is None else rows[rows["seed"] == seed]
        expected = own.groupby("step")["loss"].mean()
        inside = (values > y0) & (values < y1)
        assert inside.sum() >= 3
        assert values[inside] == pytest.approx(np.interp(steps[inside], expected.index, expected), abs=2e-3)
    for arm in report.comparisons.arms:
        assert f'data-arm="{styles_of(report.comparisons)[arm.label].number}" aria-pressed="true"' in html
    assert html.count("data-seed=") == 4


def test_files_have_no_lines_of_single_seeds(report: Report, html: str) -> None:
    folder = report.results.asked[0] / "report"
    assert 'seed seed-2">' in html
    assert 'seed seed-2">' not in (folder / "curves.svg").read_text()
    assert 'dot seed-2">' in (folder / "effect.svg").read_text()


def test_forty_runs_of_eighteen_arms_make_a_small_page(tmp_path: Path) -> None:
    """Each arm looks like itself alone, also where there are more than colours."""
    plant_sweep(tmp_path, {f"epoch={epoch}": 0.01 * epoch for epoch in range(19)}, range(2), rows=30)
    report = report_on([tmp_path])
    assert len(report.results.runs) == 40
    found = list(styles_of(report.comparisons).values())
    assert len({(style.colour, style.filled) for style in found}) == 20
    assert write_report(report, tmp_path / "report").stat().st_size < 3_000_000


@pytest.fixture
def two_texts(tmp_path: Path) -> Path:
    """Two settings whose texts differ in size: in the smaller one no token occurs a hundred times."""
    for size in (100, 1_000):
        folder = plant_sweep(
            tmp_path / str(size), {"epoch=3": 0.02}, range(2), tokens=True, rows=1, changes={"data.max_rows": size}
        )
        for path in folder.glob("*/test_tokens.npz") if size == 100 else ():
            scores = load_token_scores(path)
            replace(scores, train_count=np.minimum(scores.train_count, 99)).save(path)
    return tmp_path


def test_settings_that_do_not_share_their_buckets_of_frequency(two_texts: Path) -> None:
    report = report_on([two_texts])
    frequency = by_frequency(report.results, report.comparisons)
    shown = tables.contributions_text(frequency, report.comparisons)
    assert [bool(cell) for cell in shown["1,000 to 9,999"]] == [False, True]
    assert all(shown["10 to 99"])
    figure = loss_by_frequency(frequency, report.comparisons)
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    counts = frequency[frequency["bucket"] == "10 to 99"]["predictions"]
    assert labels[1] == f"10–\n99\n({counts.min():,}–\n{counts.max():,})"
    assert re.fullmatch(r"1,000–\n9,999\n\(\d+\)", labels[3])
    assert write_report(report, two_texts / "report").exists()


def test_what_buckets_add_sums_up_to_the_difference(report: Report) -> None:
    frequency = by_frequency(report.results, report.comparisons)
    changes = changes_by_frequency(frequency, report.comparisons)
    sums = changes.groupby(["arm", "seed"])["contribution"].sum()
    for one in report.comparisons.comparisons:
        for seed, difference in one.differences.items():
            assert sums[one.arm.name, seed] == pytest.approx(difference, abs=1e-5)
    shown = tables.contributions_text(frequency, report.comparisons)
    assert shown["untie"].tolist() == [one.arm.label for one in report.comparisons.comparisons]
    assert shown.columns[-1] == "whole"


@pytest.mark.parametrize(
    "values, margin, said",
    [
        ([0.1, 12.0], None, ["+0.1000", "+12.0000"]),
        ([0.1, 0.00004, -3e-12], 0.002, ["+0.1000", "+0.0000", "−0.0000"]),
        ([0.1, 0.00004], 0.0001, ["+0.10000", "+0.00004"]),
        ([0.0003, 0.00004, 0.0], None, ["+0.00030", "+0.00004", "0.00000"]),
        ([-5.5e-6, 6e-7], 0.002, ["−5.5e−06", "+6.0e−07"]),
        ([0.0, -0.0, None, 2e9], None, ["0.0000", "0.0000", "", "+2e+09"]),
    ],
)
def test_what_is_read_together_has_one_precision(
    values: list[float | None], margin: float | None, said: list[str]
) -> None:
    form = form_of(values, "loss", margin)
    assert [as_text(value, form, signed=True) for value in values] == said


def test_all_numbers_of_a_column_have_as_many_decimals(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=0": 0.5, "epoch=3": 0.00002}, range(3), noise=1e-6)
    table = tables.text(report_on([tmp_path]).comparisons)
    for name in ("test loss", "difference", "95% CI of the arm"):
        decimals = {len(one) for value in table[name] for one in re.findall(r"\.(\d+)", value)}
        assert len(decimals) == 1, name


@pytest.mark.parametrize("metric", ["loss", "acc", "perplexity"])
def test_a_narrow_terminal_shows_what_is_compared(metric: str, tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=2 min_count=1000 over_epochs=3": 0.02}, range(2))
    comparisons: Comparisons = report_on([tmp_path], metric).comparisons
    for width in (80, 60):
        shown: pd.DataFrame = narrowed(tables.text(comparisons), width, comparisons.endpoint)
        assert {"untie", tables.score_column(comparisons.endpoint), "difference", "verdict"} <= set(shown)


def test_methods_name_what_was_done_and_no_more(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "one", {"epoch=3": -0.02}, [0])
    of_one = methods(report_on([tmp_path / "one"]).comparisons)
    assert "nothing was tested" in of_one
    for word in ("Holm", "t-test", "Dunnett", "sign-flip", "BCa", "documents", "Claims"):
        assert word not in of_one
    planned = {"report.seeds": 6, "report.look_every": 3}
    plant_sweep(tmp_path / "three", {"epoch=3": -0.02}, range(3), tokens=True, changes=planned)
    for seed in range(2):  # two arms more, of one seed and of two: one of them has no p
        for number in range(2 - seed):
            plant(tmp_path / f"three/{number}-{seed}", f"epoch={number}", seed, 5.0, changes=planned)
    of_three = methods(report_on([tmp_path / "three"]).comparisons)
    assert "by Holm's method over 2 comparisons" in of_three
    assert "Claims take p < 0.05 at a planned look; none are made at a look that comes too early." in of_three
    assert of_three.count("documents") == 1
    assert "Reported beside these: sign-flip permutation tests, BCa bootstrap intervals over seeds, " in of_three
    plant_sweep(tmp_path / "two", {"epoch=3": -0.02}, range(2))
    of_two = methods(report_on([tmp_path / "two"], metric="acc").comparisons)
    assert "BCa" not in of_two
    assert "Equivalence" not in of_two


def test_only_runs_that_part_are_said_to_have_been_one(tmp_path: Path) -> None:
    for seed in range(2):
        for rate, better in ((0.1, "never"), (0.2, "epoch=3")):
            for arm in ("never", "epoch=3"):
                loss = 5.0 + (0.0 if arm == better else 0.1)
                plant(tmp_path / f"{arm} {rate} {seed}", arm, seed, loss, changes={"optimizer.lr": rate})
    figures = dict.fromkeys(("curves", "difference"), "<svg ></svg>")
    for asked, is_so in (
        ({}, True),
        ({"select": ["optimizer.lr"]}, False),
        ({"baseline": "optimizer.lr=0.1 never"}, False),
    ):
        report = report_on([tmp_path], **asked)
        html = page(report, figures, by_frequency(report.results, report.comparisons), [], tmp_path)
        assert ("an arm is the tied run" in html) == is_so
        assert ("Much of what seeds differ in cancels" in html) == is_so
        assert ("are one run up to where they untie" in html) == is_so


def test_methods_and_citation(report: Report) -> None:
    said = methods(report.comparisons)
    assert said.startswith("Arms of 4 seeds were compared to the model that stays tied on test loss")
    assert "over 5 comparisons" in said
    assert "The number of seeds was not fixed in advance." in said
    assert "Claims take p < 0.04 at a first look that was not planned." in said
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"title = {{{cited['title']}}}" in CITATION
    assert f"author = {{{{{cited['authors'][0]['name']}}}}}" in CITATION
    assert f"year = {{{cited['date-released'][:4]}}}" in CITATION
    assert f"license = {{{cited['license']}}}" in CITATION
    assert f"version = {{{cited['version']}}}" in CITATION
