"""The report as files: a page that needs nothing else, figures, tables, plain JSON, and what is printed."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import command
from planted import plant, plant_sweep, results

from tut.errors import TutError
from tut.report import tables
from tut.report.__main__ import main
from tut.report.export import formatted, write_report
from tut.report.summary import report_on

pytestmark = pytest.mark.slow  # pages and figures are drawn

DIAGNOSIS = ("diagnosis-alignment", "diagnosis-norms", "diagnosis-spectrum")
FIGURES = ("curves", "difference", "effect", "gradients", "parting", "frequency", *DIAGNOSIS)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = plant_sweep(
        tmp_path_factory.mktemp("planted") / "sweep", {"epoch=0": 0.02, "epoch=3": -0.02}, range(3), tokens=True
    )
    plant(folder / "failed", "epoch=3", 3, 5.0, status="failed")
    plant_diagnosis(folder / "report")
    write_report(report_on([folder]), folder / "report")
    return folder


def plant_diagnosis(folder: Path) -> None:
    """Write what `tut.diagnose` leaves for the report's page; of an arm, too, that the sweep no longer has."""
    folder.mkdir()
    names = [f",{arm},{seed}" for arm in ("never", "epoch=3", "epoch=9") for seed in range(3)]
    matrices = [f"{name},{matrix}" for name in names for matrix in "EU"]
    alignment = [f"{name},{step},never,0.6,0.8,0.4,0.1" for name in names[3:] for step in (600, 900)]
    norms = [f"{name},{number},10 to 99,7,1.5" for name in matrices for number in (1, 2)]
    spectrum = [f"{name},{number},{9 - number}" for name in matrices for number in (1, 2)]
    columns = (
        "step,against,tied_input,tied_output,input_output,by_chance",
        "matrix,number,bucket,tokens,mean_norm",
        "matrix,number,value",
    )
    for name, own, lines in zip(DIAGNOSIS, columns, (alignment, norms, spectrum), strict=True):
        (folder / f"{name}.csv").write_text("\n".join([f"setting,arm,seed,{own}", *lines]))


class Page(HTMLParser):
    """Reads a page's ids, links and findings, and whatever it would load."""

    void = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.open: list[tuple[str, str | None]] = []
        self.findings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        links = [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        (self.links if tag == "a" else self.loads).extend(link for link in links if not link.startswith("#"))
        if tag == "p" and self.open[-1] == ("div", "words"):
            self.findings.append("")
        if tag not in self.void:
            self.open.append((tag, dict(attrs).get("class")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open[-2:] == [("div", "words"), ("p", None)]:
            self.findings[-1] += data


def test_the_page_is_whole_and_needs_nothing_else(sweep: Path) -> None:
    text = (sweep / "report/index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert text.count("<script") == 1
    assert not re.search(r"url\((?!#)|fetch\(|import ", text)
    assert len(page.ids) == len(set(page.ids))
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert reference in page.ids
    # A verdict of "worse" comes after one of "better".
    assert page.findings == [finding.words for finding in reversed(report_on([sweep]).sentences)]
    assert text.count("<figure") == len(FIGURES)
    assert text.count('<svg role="img" aria-label="') == len(FIGURES)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r": #222222|: #294c9b", re.sub(r"(?s)<style>.*?</style>", "", text, count=1))  # the theme's
    assert "2 finished, 1 failed" not in text
    assert "10 runs (9 finished, 1 failed), 3 arms, 3 seeds each; compared on test loss." in text
    assert "python -m tut.train -m ..." in text
    assert "config: untie.epoch" in text
    for column in ("never", "2.13.0", "abc"):
        assert column in text


def test_what_the_page_links_to_is_there(sweep: Path) -> None:
    links = Page((sweep / "report/index.html").read_text()).links
    for link in links:
        assert (sweep / "report" / unquote(link)).exists(), link
    folders = {str(run) for run in sweep.iterdir() if (run / "state.json").exists()}
    assert folders <= {os.path.normpath(sweep / "report" / unquote(link)) for link in links}
    assert {path.name for path in (sweep / "report").glob("*.csv")} <= set(links)


def test_figures_are_png_and_svg(sweep: Path) -> None:
    for name in FIGURES:
        assert (sweep / f"report/{name}.png").read_bytes().startswith(b"\x89PNG")
        root = xml.etree.ElementTree.parse(sweep / f"report/{name}.svg").getroot()
        assert root.tag.endswith("svg")


def test_results_json_is_plain_and_has_all_numbers(sweep: Path) -> None:
    found = results(sweep)
    assert [one["verdict"] for one in found["sentences"]] == ["worse", "better"]
    never, start, three = found["arms"]
    assert never["difference"] is None
    assert start["difference"] == pytest.approx(sum(start["differences"].values()) / 3)
    assert three["seeds"] == [0, 1, 2]
    assert three["unfinished"] == 1
    assert len(found["runs"]) == 10
    assert found["endpoint"] == {"metric": "loss", "split": "test", "margin": 0.002, "more_is_better": None}


def test_tables_are_csv_and_latex(sweep: Path) -> None:
    rows = list(csv.DictReader((sweep / "report/arms.csv").open()))
    assert [row["arm"] for row in rows] == ["never", "epoch=0", "epoch=3"]
    assert float(rows[2]["ci_low"]) < float(rows[2]["difference"]) < float(rows[2]["ci_high"])
    pairs = list(csv.DictReader((sweep / "report/pairs.csv").open()))
    assert [(row["arm"], row["seed"]) for row in pairs] == [
        (f"epoch={n}", str(seed)) for n in (0, 3) for seed in range(3)
    ]
    for row in pairs:
        assert float(row["documents_ci_low"]) < float(row["difference"]) < float(row["documents_ci_high"])
    frequency = list(csv.DictReader((sweep / "report/frequency.csv").open()))
    of_run = [row for row in frequency if (row["arm"], row["seed"]) == ("never", "0")]
    weighted = sum(int(row["predictions"]) * float(row["loss"]) for row in of_run)
    assert weighted / 2000 == pytest.approx(report_on([sweep]).comparisons.arms[0].values[0], abs=1e-5)
    latex = (sweep / "report/arms.tex").read_text()
    assert latex.count(r"\\") == 4
    assert r"\toprule" in latex
    assert r"\label{tab:tut-test-loss}" in latex
    assert "−" not in latex
    assert "$-0.0" in latex


def test_the_command_line(sweep: Path, tmp_path: Path) -> None:
    done = command("tut.report", str(sweep), "--output", str(tmp_path / "there"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer, head, *_ = lines = done.stdout.splitlines()
    assert answer.startswith("On test loss: 1 of 2 arms is better than tied: untying at epoch 3 (−0.0")
    assert head.split()[:2] == ["untie", "seeds"]
    assert "3 (1 failed)" in done.stdout
    assert lines[-1] == f"report: {tmp_path / 'there/index.html'}"
    assert {finding.words for finding in report_on([sweep]).sentences} <= set(lines)


def test_formats(sweep: Path, tmp_path: Path) -> None:
    report = report_on([sweep])
    assert len(list(csv.reader(io.StringIO(formatted(report, "csv"))))) == 4
    assert len(json.loads(formatted(report, "json"))["arms"]) == 3
    assert formatted(report, "latex").count(r"\\") == 4
    head, rule, *rows = formatted(report, "markdown").partition("\n\n")[0].splitlines()
    assert head.startswith("| untie | seeds | test loss |")
    assert set(rule) <= set("|- ")
    assert len(rows) == 3
    done = command("tut.report", str(sweep), "--format", "markdown", "--output", str(tmp_path), cwd=tmp_path)
    assert done.stdout == formatted(report, "markdown")


def test_what_is_held_against_arms_stands_beneath_a_table_too(tmp_path: Path) -> None:
    """In Markdown as a list; in LaTeX escaped beneath the table, and for whoever writes the paper as comments."""
    plant_sweep(tmp_path / "a_b", {"epoch=3 min_count=9": -0.02}, range(6))
    for seed in (7, 8):
        plant(tmp_path / f"b{seed}", "never", seed, 5.0)
    report = report_on([tmp_path])
    ((finding,), (note,)) = report.sentences, report.notes
    assert finding.remarks == ("it has 6 seeds and tied 8 seeds: the 6 that both have are compared",)
    label = "epoch=3 min_count=9"
    for columns in ([], ["untie", "verdict"]):
        *_, remark, last = formatted(report, "markdown", columns).splitlines()
        assert (remark, last) == (f"- {label}: {finding.remarks[0]}", f"- note: {note}")
        under = formatted(report, "latex", columns).partition("\\end{tabular}\n")[2].splitlines()
        assert under == [
            f"% {note}",
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize",
            rf"epoch=3 min\_count=9: {finding.remarks[0]}",
            r"\end{minipage}",
            r"\end{table}" if columns else r"\end{table*}",
        ]
    write_report(report, tmp_path / "report")
    assert (tmp_path / "report/arms.tex").read_text() == formatted(report, "latex")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--metric", "los"], "tut: --metric=los: choose from loss, perplexity, acc; did you mean 'loss'?"),
        (["--margin", "-1"], "tut: --margin=-1.0: must be a finite number above 0"),
        (["--baseline", "epoch=4"], "tut: --baseline epoch=4: no such arm; there are never, epoch=0, epoch=3"),
        (["--columns", "verdikt"], "tut: --columns verdikt: no such column; there are untie, seeds, test loss,"),
        (
            ["--columns", "arm,untie", "--format", "csv"],
            "tut: --columns untie: no such column; there are setting, arm,",
        ),
        (["--columns", "untie", "--format", "json"], "tut: --columns: of --format text, csv, markdown or latex"),
        (["nowhere"], "tut: nowhere: no such folder"),
    ],
)
def test_mistakes(words: list[str], said: str, sweep: Path, tmp_path: Path) -> None:
    done = command("tut.report", str(sweep), "--output", str(tmp_path / "x"), *words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_columns_by_choice(sweep: Path) -> None:
    report = report_on([sweep])
    wanted = ["verdict", "difference", "untied at step"]
    head, _, *rows = formatted(report, "markdown", wanted).splitlines()
    assert head == "| verdict | difference | untied at step |"
    assert rows[0] == "|  |  |  |"
    assert r"verdict & difference & untied at step \\" in formatted(report, "latex", wanted)
    assert formatted(report, "csv", ["arm", "verdict"]) == "arm,verdict\nnever,\nepoch=0,worse\nepoch=3,better\n"


def test_another_question_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    sweep = plant_sweep(tmp_path / "sweep", {"epoch=0": 0.02, "epoch=3": -0.02}, range(2))
    more = plant_sweep(tmp_path / "more", {"epoch=3": -0.02}, range(2, 4))
    monkeypatch.setattr("tut.report.export.write_report", lambda report, folder: folder / "index.html")
    for words, name in (
        ([], "report"),
        (["--metric", "loss", "--split", "test", "--baseline", "never"], "report"),
        (["--metric", "acc"], "report-acc"),
        (["--split", "validation", "--margin", "0.01"], "report-valid-margin-0.01"),
        (["--baseline", "untie.epoch=0"], "report-to-untie.epoch=0"),
        ([str(more)], "report-with-more"),
    ):
        monkeypatch.setattr(sys, "argv", ["tut.report", str(sweep), *words])
        main()
        assert capsys.readouterr().out.splitlines()[-1] == f"report: {sweep / name / 'index.html'}"


def test_a_report_that_is_killed_leaves_the_earlier_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tut.report.svg.save", lambda figures, folder: {})  # they take long, and are not looked at
    report = report_on([plant_sweep(tmp_path / "sweep", {"epoch=3": -0.02}, range(2))])
    page = write_report(report, tmp_path / "report")
    files = [page, page.with_name("results.json")]
    earlier = [path.read_text() for path in files]
    write_text = Path.write_text
    for name in ("index.html", "results.json"):

        def write_half(path: Path, text: str, encoding: str, name: str = name) -> None:
            write_text(path, text[: len(text) // 2] if name in path.name else text, encoding)
            if name in path.name:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "write_text", write_half)
            write_report(report, tmp_path / "report")
        assert [path.read_text() for path in files] == earlier


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    """In every process, though in each a set of names has another order."""
    for place, lr in enumerate((0.1, 0.2, 0.3)):
        plant_sweep(tmp_path / str(place), {"epoch=3": -0.02}, [0], changes={"optimizer.lr": lr})
    pages = []
    for hash_seed in ("1", "2"):
        arguments = [sys.executable, "-m", "tut.report", str(tmp_path), "--output", str(tmp_path / "report")]
        subprocess.run(arguments, env=os.environ | {"PYTHONHASHSEED": hash_seed}, check=True, capture_output=True)
        pages.append((tmp_path / "report/index.html").read_text())
    assert pages[0] == pages[1]


def test_columns_that_are_not_asked_for_well(sweep: Path) -> None:
    report = report_on([sweep])
    for columns, said in (
        (["", ""], "--columns ,: a name is missing; there are untie, seeds, "),
        (["untie", ""], "--columns untie,: a name is missing; there are untie, seeds, "),
        (["untie", "verdict", "untie"], "--columns untie: is asked for 2 times; there are untie, seeds, "),
    ):
        with pytest.raises(TutError) as error:
            formatted(report, "markdown", columns)
        assert str(error.value).startswith(said)
    names = [*tables.whole_text(report.comparisons)]
    assert not any("," in name for name in names)  # or they could not be asked for


def test_tables_for_a_paper_fit_it(tmp_path: Path) -> None:
    report = report_on([plant_sweep(tmp_path / "a", {"epoch=3 min_count=1000": 0.0}, range(4), noise=1e-7, rows=1)])
    latex = formatted(report, "latex")
    assert latex.startswith(r"\begin{table*}[t]")
    assert r"epoch=3 min\_count=1000 & " in latex
    assert re.search(r"& \$[+-]\d\.\d \\times 10\^{-\d}\$ &", latex)
    assert formatted(report, "latex", ["untie", "difference"]).startswith(r"\begin{table}[t]")
    write_report(report, tmp_path / "report")
    more = (tmp_path / "report/more.tex").read_text()
    labels = re.findall(r"\\label{(.*)}", more)
    assert labels == [f"tab:tut-test-loss-more{end}" for end in ("", "-2", "-3")]
    assert len(re.findall(r"\\toprule\nuntie & ", more)) == 3
