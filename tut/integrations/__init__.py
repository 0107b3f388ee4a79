"""Untying in other people's training loops.

    from tut.integrations import UntieCallback               # for the Hugging Face Trainer
    from tut.integrations.lightning import UntieCallback     # for Lightning's

Each is loaded when it is asked for: Lightning need not be there.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tut.integrations.huggingface import UntieCallback

__all__ = ["UntieCallback"]


def __getattr__(name: str) -> Any:
    if name == "UntieCallback":
        import tut.integrations.huggingface

        return tut.integrations.huggingface.UntieCallback
    raise AttributeError(f"module 'tut.integrations' has no attribute {name!r}")
