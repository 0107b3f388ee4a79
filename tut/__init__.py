"""TUT (Tying Un-Tying): train a language model with tied embeddings, untie them mid-training, compare.

The two calls of the method, for any Hugging Face model and any training loop:

    pair = tut.tie(model)              # one matrix, two Parameters
    tut.untie(model, optimizer)        # two matrices, from here on

And those of the commands, as in a notebook:

    run = tut.run(["untie.epoch=5"])                       # python -m tut.train untie.epoch=5
    sweep = tut.sweep(["untie.epoch=0,3,6,never"])         # python -m tut.train -m untie.epoch=0,3,6,never

They are loaded on first use: `import tut` alone does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tut.calls import Run, run
    from tut.cli.configs import register_configs
    from tut.tying import TiedPair, tie, untie

__version__ = "0.1.0"
__all__ = ["Run", "TiedPair", "__version__", "register_configs", "run", "sweep", "tie", "untie"]

_WHERE = {
    **dict.fromkeys(("TiedPair", "tie", "untie"), "tut.tying"),
    **dict.fromkeys(("Run", "run"), "tut.calls"),
    "register_configs": "tut.cli.configs",
}


def __getattr__(name: str) -> Any:
    if name in ("report", "sweep"):  # packages within; the latter is also a call, see there
        return import_module(f"tut.{name}")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'tut' has no attribute {name!r}")
