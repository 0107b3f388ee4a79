"""What is typed and counts in no run is told, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tut.cli.arguments import parse
from tut.cli.configs import configs_of, register_schema, remarks
from tut.cli.idle import idle
from tut.cli.shorthands import normalise
from tut.config import NEVER, Config
from tut.marks import Decides

NO_POINT = "without an untie point, such as untie.epoch=5"


def told(typed: str) -> list[str]:
    register_schema()
    asked = parse(typed.split())
    words, asked.overrides = asked.overrides, normalise(asked.overrides)
    configs = [config for config, _ in configs_of(asked)]
    return [line.replace(" does not count ", ": ") for line in remarks(asked, words, configs)]


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ("untie.over_epochs=2", [f"untie.over_epochs=2: {NO_POINT}"]),
        ("untie.init=fresh untie.epoch=never", [f"untie.init=fresh: {NO_POINT}"]),
        ("untie=never optimizer.output_lr_multiplier=2", [f"optimizer.output_lr_multiplier=2: {NO_POINT}"]),
        ("-m seed=0,1 untie.init=copy,fresh", [f"untie.init=copy,fresh: {NO_POINT}"]),
        (
            "untie.step=100 untie.threshold=0.05 untie.patience=3",
            ["untie.threshold=0.05: beside untie.trigger=null", "untie.patience=3: beside untie.trigger=null"],
        ),
        ("optimizer.momentum=0.5", ["optimizer.momentum=0.5: beside optimizer.name=adamw"]),
        ("optimizer=sgd optimizer.betas=[0.9,0.999]", ["optimizer.betas=[0.9,0.999]: beside optimizer.name=sgd"]),
        (
            "-m optimizer.schedule=linear,cosine optimizer.wsd_decay_fraction=0.1",
            [
                "optimizer.wsd_decay_fraction=0.1: beside optimizer.schedule=linear "
                "or beside optimizer.schedule=cosine",
            ],
        ),
        ("optimizer.final_lr_fraction=0.1", ["optimizer.final_lr_fraction=0.1: beside optimizer.schedule=constant"]),
        ("experiment=speedrun trainer.epochs=3", ["trainer.epochs=3: beside trainer.max_steps=1285"]),
        (
            "experiment=first trainer.evaluate_every_epochs=1",
            ["trainer.evaluate_every_epochs=1: beside trainer.evaluate_every_steps=1000"],
        ),
        ("trainer.sharding=fsdp", ["trainer.sharding=fsdp: beside trainer.devices=1 and trainer.nodes=1"]),
        ("data.tokenizer=gpt2 data.vocab_size=999", ["data.vocab_size=999: beside data.tokenizer=gpt2"]),
        (
            "objective=clm model=gpt objective.masking=bernoulli",
            ["objective.masking=bernoulli: beside objective.name=clm"],
        ),
        # What counts in some run of a sweep, and what is as it is usually.
        ("-m untie.epoch=3,never untie.init=copy,fresh", []),
        ("-m optimizer=adamw,sgd optimizer.momentum=0.5", []),
        ("-m trainer.max_steps=null,100 trainer.epochs=3", []),
        ("+sweeps=fair optimizer.lr=1e-3", []),
        ("+sweeps=state untie.pull=1", []),
        ("hydra/sweeper=decide -m untie.epoch=2,never untie.pull=1", []),
        ("untie.init=copy untie.over_epochs=null optimizer.momentum=0.9 optimizer.schedule=constant", []),
        ("trainer.epochs=2 trainer.max_steps=null trainer.checkpoint_every_steps=5", []),
        ("untie=plateau untie.patience=3 untie.init=fresh", []),
        ("untie.epoch=2 untie.over_epochs=2 optimizer.output_lr_multiplier=2 trainer.max_steps=null", []),
        ("optimizer.name=NAdam optimizer.arguments.momentum_decay=0.1 model.config.hidden_size=64", []),
    ],
)
def test_what_counts_in_no_run_is_told(typed: str, lines: list[str]) -> None:
    assert told(typed) == lines


def effect(typed: list[str]) -> object:
    """Return all that some overrides decide of a run."""
    config = config_of(typed)
    unties = config.untie.arm != NEVER
    trainer = config.trainer
    return (
        config.deciding(Decides.STATE, Decides.DECAY, *[Decides.CHANGE] * unties),
        config.untie.arm,
        config.untie.over_steps if unties else None,
        trainer.max_steps or f"{trainer.epochs} epochs",
        trainer.evaluate_every_steps or f"{trainer.evaluate_every_epochs} epochs",
    )


def config_of(typed: list[str]) -> Config:
    return Config.from_hydra(OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.from_dotlist(typed)))


@pytest.mark.slow
@settings(max_examples=20)  # each composes a config for every word
@given(
    st.lists(
        st.sampled_from(
            [
                "optimizer.name=sgd",
                "optimizer.momentum=0.5",
                "optimizer.eps=0.1",
                "optimizer.schedule=wsd",
                "optimizer.final_lr_fraction=0.1",
                "optimizer.wsd_decay_fraction=0.4",
                "optimizer.weight_decay=0",
                "optimizer.decay_embeddings=false",
                "optimizer.output_lr_multiplier=2",
                "objective.name=clm",
                "objective.masking=bernoulli",
                "trainer.max_steps=50",
                "trainer.epochs=4",
                "trainer.evaluate_every_steps=5",
                "trainer.evaluate_every_epochs=2",
                "untie.epoch=2",
                "untie.init=fresh",
                "untie.min_count=10",
                "untie.over_steps=5",
                "untie.pull=1",
                "seed=1",
            ]
        ),
        max_size=6,
        unique=True,
    )
)
def test_what_is_told_decides_nothing_and_what_is_not_told_decides_something(typed: list[str]) -> None:
    lines = [*idle(typed, [config_of(typed)])]
    for word in typed:
        is_told = any(line.startswith(f"{word} does not count ") for line in lines)
        assert is_told == (effect(typed) == effect([other for other in typed if other != word]))
