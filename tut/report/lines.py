"""The answer of a page, a line for each arm: verdict, change, and a bar of where the change may lie."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from markupsafe import Markup

from tut.report import tables
from tut.report.answer import by_importance
from tut.report.arms import Arm
from tut.report.comparison import Comparison, Comparisons
from tut.report.endpoint import Endpoint
from tut.report.summary import Finding

_ROOM = 0.35
"""How far the scale of bars goes beyond the largest change, in parts of it; what reaches farther is cut off."""

_NO_BAR = Markup('<svg class="bar"></svg>')


@dataclass(frozen=True)
class Line:
    """An arm as a page shows it; all of it is text."""

    arm: str
    chosen: str = ""
    """The values that it is at its best with, if some were selected."""
    verdict: str = ""
    change: str = ""
    bar: Markup = _NO_BAR
    interval: str = ""
    p: str = ""
    score: str = ""
    seeds: str = ""
    words: str = ""
    remarks: tuple[str, ...] = ()
    more: dict[str, str] = field(default_factory=dict)
    """What else is known of the arm, by the names of columns."""

    @property
    def kind(self) -> str:
        """Its verdict as a class of the style sheet."""
        return self.verdict.replace(" ", "-")


@dataclass(frozen=True)
class Scale:
    """What the bars of all arms have in common."""

    low: float
    high: float
    margin: float | None

    def part(self, value: float) -> float:
        """Return where a value lies from left to right, in per cent; beyond the ends, at the end."""
        return 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


def scale_of(comparisons: Comparisons) -> Scale:
    """Return a scale on which every mean can be seen, and the usual interval as a whole; 0 is always on it."""
    tests = [one.paired for one in comparisons.comparisons]
    means = [0.0, *(test.mean for test in tests if test.mean is not None)]
    intervals = [test.t_interval for test in tests if test.t_interval is not None]
    ends = [*means, *(end for interval in intervals for end in interval)]
    room = _ROOM * (max(means) - min(means))
    if intervals:
        room = max(room, 0.6 * median(high - low for low, high in intervals))
    low = max(min(ends), min(means) - room)
    high = min(max(ends), max(means) + room)
    if low == high:
        low, high = -1.0, 1.0
    return Scale(low, high, comparisons.endpoint.margin)


def axis(scale: Scale, endpoint: Endpoint) -> Markup:
    """Return what stands above the bars: the zero, and which side is better."""
    zero = scale.part(0.0)
    better, worse = ("better →", "← worse") if endpoint.sign > 0 else ("worse →", "← better")
    sides = ((zero - 5, "end", worse), (zero + 5, "start", better))
    words = [
        f'<text x="{place:.1f}%" y="13" text-anchor="{anchor}">{side}</text>'
        for place, anchor, side in sides
        if 28 < place < 72
    ]
    if len(words) < len(sides):  # the zero is near an end: there is room on one side only
        place, anchor, side = sides[0] if zero > 50 else sides[1]
        words = [f'<text x="{place:.1f}%" y="13" text-anchor="{anchor}">{side}</text>']
    return Markup(f'<svg class="bar">{"".join(words)}<text x="{zero:.1f}%" y="13" text-anchor="middle">0</text></svg>')


def bar(comparison: Comparison, scale: Scale, words: str) -> Markup:
    """Return an arm's change and its interval, drawn over zero and the margin. `words` say the same."""
    mean = comparison.paired.mean
    if mean is None:
        return _NO_BAR
    zero = scale.part(0.0)
    drawn = []
    if scale.margin is not None:
        left, right = scale.part(-scale.margin), scale.part(scale.margin)
        drawn.append(f'<rect class="margin" x="{left:.2f}%" width="{right - left:.2f}%" y="0" height="100%"/>')
    drawn.append(f'<line class="zero" x1="{zero:.2f}%" x2="{zero:.2f}%" y1="0" y2="100%"/>')
    if comparison.paired.t_interval is not None:
        left, right = map(scale.part, comparison.paired.t_interval)
        drawn.append(f'<line class="interval" x1="{left:.2f}%" x2="{right:.2f}%" y1="50%" y2="50%"/>')
        low, high = comparison.paired.t_interval
        cut_off = (("0%", "end", "◂", low < scale.low), ("100%", "start", "▸", high > scale.high))
        for place, anchor, sign, is_cut_off in cut_off:
            if is_cut_off:
                drawn.append(f'<text x="{place}" y="70%" text-anchor="{anchor}">{sign}</text>')
    drawn.append(f'<circle class="mean" cx="{scale.part(mean):.2f}%" cy="50%" r="4.5"/>')
    return Markup('<svg class="bar" role="img" aria-label="{}">{}</svg>').format(words, Markup("".join(drawn)))


def lines(comparisons: Comparisons, findings: Sequence[Finding]) -> list[Line]:
    """Return what is said of the arms that are compared, by how much it says."""
    finding_of = {finding.arm: finding for finding in findings}
    row_of = _rows(comparisons)
    scale = scale_of(comparisons)
    found = []
    for comparison in by_importance(comparisons.comparisons):
        row = row_of[comparison.arm]
        finding = finding_of[comparison.arm]
        change = row.pop(tables.DIFFERENCE, "")
        interval = row.pop(tables.INTERVAL, "")
        row.pop("verdict", None)
        line = Line(
            arm=comparison.arm.label,
            chosen=row.pop(tables.AT_ITS_BEST, ""),
            verdict=finding.verdict,
            change=change,
            bar=bar(comparison, scale, f"{change}, {tables.INTERVAL} {interval}"),
            interval=interval,
            p=row.pop(tables.P, ""),
            score=row.pop(tables.score_column(comparisons.endpoint), ""),
            seeds=row.pop("seeds", ""),
            words=finding.words,
            remarks=finding.remarks,
            more=row,
        )
        found.append(line)
    return found


def references(comparisons: Comparisons) -> list[Line]:
    """Return the arms that are compared to nothing: the baselines, and those that have none."""
    row_of = _rows(comparisons)
    baselines = {one.baseline for one in comparisons.comparisons}
    found = []
    for arm in comparisons.arms:
        if comparisons.of(arm) is None:
            row = row_of[arm]
            score = row.get(tables.score_column(comparisons.endpoint), "")
            name = "baseline" if arm in baselines else "not compared"
            found.append(Line(arm=arm.label, chosen=arm.chosen, verdict=name, score=score, seeds=row.get("seeds", "")))
    return found


def _rows(comparisons: Comparisons) -> dict[Arm, dict[str, str]]:
    """Return what the tables say of each arm, without what is empty."""
    rows = tables.whole_text(comparisons).drop(columns="untie").to_dict("records")
    return {
        arm: {str(name): value for name, value in row.items() if value}
        for arm, row in zip(comparisons.arms, rows, strict=True)
    }
