"""The schema: every key that a run can be given, what it means, and what it may be.

    python -m tut.train --cfg job        print the config that a command line resolves to

The values live in conf/; these dataclasses, a module for each section or two, give types, meanings and limits, and say
of each key what it decides (see `tut.marks`). A config is composed by Hydra, turned into `Config` once, and is plain
data from there on. Checks that need torch, transformers or the file system stand beside the code they protect: see
`tut.cli.preflight.check`.
"""

from tut.config.data import HELD_OUT, LEAST_SEQ_LEN, NUMBERS, SOURCES, TRAINED, DataConfig, ObjectiveConfig
from tut.config.model import ModelConfig
from tut.config.optimizer import OptimizerConfig
from tut.config.outputs import TRACKERS, WANDB_MODES, ReportConfig, WandbConfig
from tut.config.run import RESUME_WORDS, Config, marked_keys
from tut.config.trainer import TrainerConfig
from tut.config.untie import NEVER, POINTS, RAMPS, TRIGGERS, TieConfig, UntieConfig

__all__ = [
    "HELD_OUT",
    "LEAST_SEQ_LEN",
    "NEVER",
    "NUMBERS",
    "POINTS",
    "RAMPS",
    "RESUME_WORDS",
    "SOURCES",
    "TRACKERS",
    "TRAINED",
    "TRIGGERS",
    "WANDB_MODES",
    "Config",
    "DataConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "ReportConfig",
    "TieConfig",
    "TrainerConfig",
    "UntieConfig",
    "WandbConfig",
    "marked_keys",
]
