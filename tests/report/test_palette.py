"""Colours that can be told apart by whoever looks, and words that can be read."""

from itertools import combinations

import numpy as np
import pytest

from tut.report.palette import ARMS, DARK, LIGHT, MARKERS, Theme

# Machado, Oliveira and Fernandes (2009), table 1, severity 1: on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
THEMES = {"light": LIGHT, "dark": DARK}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: str, sight: str) -> np.ndarray:
    seen = np.clip(SIGHTS[sight] @ linear(colour), 0, 1)
    x, y, z = (float(value) for value in TO_XYZ @ seen / [0.95047, 1, 1.08883])
    f = [value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    dark, light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
@pytest.mark.parametrize("sight", SIGHTS)
def test_ten_arms_and_the_baseline_are_told_apart(theme: Theme, sight: str) -> None:
    """A distance of 2.3 in Lab can just be seen; these are of thin lines and small dots."""
    assert len(theme.arms) == len(ARMS) == len(MARKERS) == 10
    for one, other in combinations([*theme.arms, theme.ink], 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > 18, (one, other)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_contrasts(theme: Theme) -> None:
    """Of WCAG 2.2, level AA: 4.5 for words, 3 for lines and dots."""
    for ground in (theme.paper, theme.panel):
        for words in (theme.ink, theme.muted, theme.better, theme.worse, theme.same, theme.open):
            assert contrast(words, ground) >= 4.5, (words, ground)
    for colour in theme.arms:
        assert contrast(colour, theme.paper) >= 3, colour
