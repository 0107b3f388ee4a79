"""Sweeps: every stage that runs share is trained once, here or on SLURM.

tut.sweep(["untie.epoch=0,3,never"])       see `tut.calls.sweep`
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tut.report.results import Results


class _Package(ModuleType):
    """This package, which can be called: its name is also, for those who use it, that of what is done there.

    A function of that name in `tut` would be lost as soon as any module of it is imported.
    """

    def __call__(self, overrides: str | Sequence[str], folder: Path | str | None = None) -> "Results | None":
        from tut.calls import sweep

        return sweep(overrides, folder)


sys.modules[__name__].__class__ = _Package
