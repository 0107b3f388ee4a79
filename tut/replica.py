"""One process's copy of a run: its setting, its model and state, and how that is trained and scored."""

from collections.abc import Callable

from tut import distributed
from tut.batches import PreparedAhead, evaluation_batches
from tut.config import Config
from tut.documents import Split
from tut.evaluate import Evaluation, evaluate
from tut.hardware import keep_freed_memory, make_deterministic
from tut.model import PredictsAt, build_model, place
from tut.optimizer import build_optimizers
from tut.record import Row
from tut.setting import Setting
from tut.state import State, Window
from tut.trainer import Trainer
from tut.tying import tie


class Replica:
    """The run as this process holds it. All processes of a run hold the same."""

    def __init__(self, config: Config) -> None:
        """Open the data and build the model, with its initial weights.

        Raises:
            TutError: the data is not there or too little, or model and data do not go together.
        """
        keep_freed_memory()
        make_deterministic(config.trainer.deterministic)
        self.config = config
        self.setting = setting = Setting(config)
        network = place(build_model(config, setting.tokenizer), setting.device, setting.precision)
        pair = tie(network)
        self.model = PredictsAt(network)
        optimizers = build_optimizers(config.optimizer, network, pair)
        self.state = State(network, pair, optimizers, Window.on(setting.device))

    def trainer(
        self, evaluate: Callable[[], Row], write: Callable[[str, Row], None], save: Callable[[], None]
    ) -> Trainer:
        """Return what trains the model, once all processes of the run have joined. See `Trainer` for the arguments."""
        pair, setting, batches = self.state.pair, self.setting, self.setting.batches
        if self.config.trainer.compile:
            self.state.network.compile()
        # The embeddings' gradients are joined, and averaged, by themselves: nothing changes here at the untie point.
        model = distributed.parallel(self.model, without=(pair.input, pair.output))
        ahead = PreparedAhead(batches) if setting.device.type == "cuda" else batches
        return Trainer(
            self.config, self.state, model, ahead, setting.timeline, setting.precision, evaluate, write, save
        )

    def score(self, split: Split) -> Evaluation:
        """Score the model on a split."""
        setting, rows = self.setting, self.config.trainer.evaluation_batch_size
        batches = evaluation_batches(setting.corpus.split(split), setting.objective, rows)
        return evaluate(self.model, batches, setting.device, setting.precision)
