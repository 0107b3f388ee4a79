"""Heavy imports: the garbage collector is out of the way, and back afterwards, and models are freed all the same."""

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest
from torch import nn

from tut.system.garbage import heavy_imports


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Have nothing frozen before a test, and the collector on after it."""
    gc.unfreeze()
    yield
    gc.enable()
    gc.freeze()


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_within_and_as_it_was_afterwards(was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    with pytest.raises(ImportError), heavy_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == was_on


def test_before_torch_is_there_all_that_is_imported_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with heavy_imports():
        pass
    assert gc.get_freeze_count() > 0


def test_what_hangs_together_in_a_circle_is_freed_where_torch_was_there_before() -> None:
    """As a model does. In a notebook each `tut.run` would keep one for ever."""
    circle = nn.Module()
    circle.itself = [circle]
    there = weakref.ref(circle)
    with heavy_imports():
        pass
    del circle
    gc.collect()
    assert there() is None
