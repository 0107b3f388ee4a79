"""What a run works on and when, all of it known before there is a model: data, objective, device, timeline."""

import copy
import json
from dataclasses import asdict, replace
from functools import lru_cache

import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tut import plugins
from tut.config import LEAST_SEQ_LEN, Config, DataConfig, ModelConfig, ObjectiveConfig
from tut.data.batches import TrainingBatches
from tut.data.corpus import Corpus, open_corpus
from tut.data.objective import Objective
from tut.data.shards import Shards
from tut.data.sources import Source, open_source
from tut.data.tokenizer import as_read_back, load_tokenizer
from tut.model import pretrained
from tut.model.configuration import kind_of
from tut.model.precision import choose_precision
from tut.splits import Split
from tut.system.device import choose_device
from tut.tracking.record import Record
from tut.training.timeline import Timeline
from tut.training.trigger import searched


class Inputs:
    """A run's config, together with what it refers to."""

    def __init__(self, config: Config, device: torch.device | None = None, precision: str | None = None) -> None:
        """Open the data, tokenising it first if this was not done before.

        Args:
            config: the run.
            device: what it will run on; None for what its config chooses on this machine.
            precision: likewise.

        Raises:
            TutError: the data is not there or too little, or the untie point is not before the end of training, or
                cannot be found before it.
        """
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self.config = config
        self.device = choose_device(config.trainer) if device is None else device
        self.precision = choose_precision(config, self.device) if precision is None else precision
        kind = ModelConfig(config.model.architecture, pretrained=config.model.pretrained)
        opened = _opened(_key(config.data), _key(config.objective), _key(kind))
        self.tokenizer, self.corpus, self.objective = opened
        trainer = config.trainer
        parts = trainer.gradient_accumulation * trainer.processes
        rows = self.corpus.rows[Split.TRAIN]
        self.batches = TrainingBatches(rows, self.objective, trainer.batch_size, parts, config.seed)
        self.timeline = Timeline.of(config, self.batches.steps_per_epoch)

    def as_recorded(self, record: Record) -> "Inputs":
        """Return the run with the untie point that rows have found; itself if they have not, or it is known.

        Args:
            record: the folder that they are in: the run's, or a checkpoint.
        """
        rule, end = self.timeline.rule, self.timeline.total_steps
        step = None if rule is None else searched(rule, record.rows(rule.split), end).step
        if step is None:
            return self
        found = copy.copy(self)
        found.timeline = replace(self.timeline, untie_step=step, rule=None)
        return found


def forget_inputs() -> None:
    """Have texts and tokenizers opened anew: files, the current folder or a plugin may have changed since they were."""
    _opened.cache_clear()
    _read.cache_clear()


def _key(section: DataConfig | ObjectiveConfig | ModelConfig) -> str:
    return json.dumps(asdict(section), sort_keys=True)


@lru_cache(maxsize=8)  # the runs of a sweep mostly read the same text
def _opened(data_key: str, objective_key: str, kind_key: str) -> tuple[PreTrainedTokenizerBase, Corpus, Objective]:
    data, objective = DataConfig(**json.loads(data_key)), ObjectiveConfig(**json.loads(objective_key))
    text = data
    if data.source not in plugins.SOURCES:  # whose classes may read any key
        # less what only says how it is cut into rows; a text that is long enough for any is so for the shortest
        text = replace(data, seq_len=LEAST_SEQ_LEN, max_rows=None)
    source, tokenizer = _read(_key(text), objective_key, kind_key)
    return tokenizer, open_corpus(data, source, tokenizer), Objective(objective, tokenizer)


@lru_cache(maxsize=8)
def _read(data_key: str, objective_key: str, kind_key: str) -> tuple[Source | Shards, PreTrainedTokenizerBase]:
    data, objective = DataConfig(**json.loads(data_key)), ObjectiveConfig(**json.loads(objective_key))
    model = ModelConfig(**json.loads(kind_key))
    source = open_source(data)
    folder = None if model.pretrained is None else pretrained.folder_of(model.pretrained)
    tokenizer = as_read_back(load_tokenizer(data, objective, source, folder), data, kind_of(model))
    if model.pretrained is not None:
        pretrained.check_fits(model.pretrained, tokenizer)
    return source, tokenizer
