import pytest
from hypothesis import given
from hypothesis import strategies as st

from tut.config import UntieConfig
from tut.errors import TutError
from tut.schedule import untie_step


@given(per_epoch=st.integers(1, 50), epochs=st.integers(1, 20), data=st.data())
def test_untie_step(per_epoch: int, epochs: int, data: st.DataObject) -> None:
    total = per_epoch * epochs
    epoch = data.draw(st.integers(0, epochs - 1))
    assert untie_step(UntieConfig(epoch=epoch), per_epoch, total) == epoch * per_epoch
    step = data.draw(st.integers(0, total - 1))
    assert untie_step(UntieConfig(step=step), per_epoch, total) == step
    assert untie_step(UntieConfig(epoch="never"), per_epoch, total) is None
    assert untie_step(UntieConfig(), per_epoch, total) is None
    with pytest.raises(TutError, match=f"untie.step={total}: that is step {total}, past the end"):
        untie_step(UntieConfig(step=total), per_epoch, total)
    with pytest.raises(TutError, match=f"untie.epoch={epochs}: that is step {total}"):
        untie_step(UntieConfig(epoch=epochs), per_epoch, total)


def test_untie_fraction() -> None:
    assert untie_step(UntieConfig(fraction=2 / 3), 10, 90) == 60
    assert untie_step(UntieConfig(fraction=0.0), 10, 90) == 0
    with pytest.raises(TutError, match="past the end"):
        untie_step(UntieConfig(fraction=0.99), 1, 3)
