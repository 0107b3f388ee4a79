"""Registers under a name that another one has taken."""

import my_plugin  # noqa: F401

from tut import plugins


@plugins.schedule("my_steps")
def others(step: int, total_steps: int, config) -> float:
    return 1.0
