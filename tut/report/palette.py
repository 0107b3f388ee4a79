"""The colours of a report, on a light page and on a dark one; and what else tells arms apart where colours do not.

The ten colours of arms were searched for: on either page they differ from each other, from ink and from the page, for
people with normal sight and for those who see no green (deuteranopia) or no red. A test holds them to that.
"""

from dataclasses import dataclass

INK = "#222222"
MUTED = "#646b74"
ARMS = (
    "#294c9b",
    "#b38f05",
    "#48a175",
    "#992e00",
    "#9b85b0",
    "#4d93e1",
    "#4e2107",
    "#194ace",
    "#91994b",
    "#0e6160",
)
"""What figures are drawn with. A page replaces each by its theme's."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")


@dataclass(frozen=True)
class Theme:
    """The colours of a page. All words are set in one of the first six, on `paper` or `panel`."""

    ink: str
    muted: str
    better: str
    worse: str
    same: str
    open: str
    paper: str
    panel: str
    line: str
    arms: tuple[str, ...]


LIGHT = Theme(
    ink=INK,
    muted=MUTED,
    better="#00694a",
    worse="#a83a06",
    same="#1f5fa8",
    open="#5d646d",
    paper="#fdfdfb",
    panel="#f3f3ee",
    line="#dcdcd4",
    arms=ARMS,
)
DARK = Theme(
    ink="#e6e6e1",
    muted="#a0a7b0",
    better="#3fc796",
    worse="#ff8a4f",
    same="#78b1f2",
    open="#a0a7b0",
    paper="#16181b",
    panel="#1f2226",
    line="#363a40",
    arms=(
        "#0068ad",
        "#eeb505",
        "#1adb7f",
        "#bc5f1c",
        "#e5c2ff",
        "#3096ae",
        "#845b3e",
        "#c58bff",
        "#ffff87",
        "#32b294",
    ),
)


def css(theme: Theme) -> str:
    """Return a theme as the variables of a style sheet: `--ink: #222222; ... --colour-0: #294c9b; ...`."""
    named = {name: value for name, value in vars(theme).items() if name != "arms"}
    named |= {f"colour-{index}": colour for index, colour in enumerate(theme.arms)}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def of_theme(svg: str) -> str:
    """Return an SVG whose colours are those of the page's theme, whichever that is."""
    variables = {"#ffffff": "paper", INK: "ink", MUTED: "muted"}
    variables |= {colour: f"colour-{index}" for index, colour in enumerate(ARMS)}
    for colour, name in variables.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
