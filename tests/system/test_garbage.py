"""Heavy imports: the garbage collector is out of the way, and back afterwards."""

import gc

import pytest

from tut.system.garbage import heavy_imports


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_within_and_as_it_was_afterwards(was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    try:
        with pytest.raises(ImportError), heavy_imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == was_on
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()
