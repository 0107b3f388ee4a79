"""TUT (Tying Un-Tying): train a language model with tied embeddings, untie them mid-training, compare.

The two calls of the library, for any Hugging Face model and any training loop:

    pair = tut.tie(model)              # one matrix, two Parameters
    tut.untie(model, optimizer)        # two matrices, from here on

They are loaded on first use: `import tut` alone does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tut.tying import TiedPair, tie, untie

__version__ = "0.1.0"
__all__ = ["TiedPair", "__version__", "tie", "untie"]


def __getattr__(name: str) -> Any:
    if name in ("TiedPair", "tie", "untie"):
        import tut.tying

        return getattr(tut.tying, name)
    raise AttributeError(f"module 'tut' has no attribute {name!r}")
