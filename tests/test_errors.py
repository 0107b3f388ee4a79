"""What a person is told of a mistake."""

import pytest
from conftest import make_config

from tut.errors import TutError, as_typed


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1e-5, "1e-05"),
        ("never", "never"),
        ("", "''"),
        ([], "[]"),
        (["a", "b c", None, False], "[a,b c,null,false]"),
        (["a,b", "it's", '"'], '["a,b","it\'s","\\""]'),
        ({"a": 1, "b": {"c": [0.9, 0.95]}, "d": True}, "{a: 1, b: {c: [0.9,0.95]}, d: true}"),
    ],
)
def test_values_are_shown_as_they_are_typed(value: object, typed: str) -> None:
    assert as_typed(value) == typed
    if not isinstance(value, str | float | None):
        assert make_config(f"++model.config.x={typed}").model.config["x"] == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.betas=[0.9,2]"], "optimizer.betas=[0.9,2.0]: must be two numbers"),
        (
            ["optimizer=sgd", "optimizer.name=NAdam", "optimizer.betas=[0.9,0.8]"],
            "'optimizer.arguments={betas: [0.9,0.8]}",
        ),
        (["tracker=[wandb,wandb]"], "tracker=[wandb,wandb]: must be each tracker once"),
        (["data=huggingface", "data.path=null"], "data.path=null: must be a data set's name"),
        (["data=huggingface", "data.path=a", "data.train_split=''"], "data.train_split='': must be the name of"),
        (["data.validation_files=[a,b]"], "data.validation_files=[a,b]: means something to data=text"),
        (["untie.trigger=plateau", "untie.patience=3"], "untie.threshold=null: must be given"),
    ],
)
def test_in_messages_too(words: list[str], said: str) -> None:
    with pytest.raises(TutError) as refused:
        make_config(*words)
    assert said in str(refused.value)
