"""One process's copy of a run: its inputs, its model and state, and how that is trained and scored."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tut.config import Config
from tut.data.batches import PreparedAhead, evaluation_batches
from tut.distributed import collectives
from tut.distributed.sharding import divide_state, shard
from tut.embeddings import join_bias_aliases
from tut.errors import TutError
from tut.model.build import build_model
from tut.model.numerics import autocast, choose_kernels, make_deterministic
from tut.model.predict import PredictsAt
from tut.model.pretrained import tie_as_it_comes
from tut.sharded import reshard
from tut.splits import Split
from tut.system.device import keep_freed_memory
from tut.tracking.record import Row
from tut.training.inputs import Inputs
from tut.training.optimizer import build_optimizers
from tut.training.scoring import Evaluation, evaluate
from tut.training.state import State, Window
from tut.training.trainer import Trainer
from tut.training.untied_rows import rows_to_untie
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
        self.inputs = inputs = Inputs(config)
        network = build_model(config, inputs.tokenizer)
        choose_kernels(network, inputs.device, inputs.precision)
        if not config.trainer.shards:  # else it need not fit there, whole
            network.to(inputs.device)  # type: ignore[arg-type]
        n_rows = len(network.get_input_embeddings().weight)  # type: ignore[arg-type]
        self.untied_rows = rows_to_untie(config.untie, inputs.corpus.train_counts, n_rows, config.seed)
        if config.model.pretrained is None:
            pair = tie(network, explicit_join=True)
        else:
            unties_now = inputs.timeline.untie_step == 0 and bool(self.untied_rows.any())
            pair = tie_as_it_comes(network, keeps_its_own=unties_now and config.untie.init == "copy")
        self.model = PredictsAt(network)
        # What optimizers have, and in which order, is so the same however a model comes.
        join_bias_aliases(network)
        optimizers = build_optimizers(config.optimizer, network, pair)
        pair.tell_config()
        self.state = State(network, pair, optimizers, Window.on(inputs.device))

    def trainer(
        self,
        evaluate: Callable[[], Row],
        write: Callable[[Split, Row], None],
        save: Callable[[dict[str, Any]], None],
        fires: Callable[[], bool] | None = None,
    ) -> Trainer:
        """Return what trains the model, once all processes of the run have joined. See `Trainer` for the arguments."""
        inputs, batches = self.inputs, self.inputs.batches
        collectives.wait_for_all()  # each has read data, a model and maybe a checkpoint, or begun a record
        if self.config.trainer.shards:
            self._shard()
        model = self.model if self.config.trainer.shards else collectives.parallel(self.model, self._some_loss)
        if self.config.trainer.compile:
            self.state.network.compile()
        ahead = PreparedAhead(batches) if inputs.device.type == "cuda" else batches
        return Trainer(
            self.config,
            self.state,
            model,
            ahead,
            inputs.timeline,
            self.untied_rows,
            inputs.precision,
            evaluate,
            write,
            save,
            fires,
        )

    def _some_loss(self, model: nn.Module) -> Tensor:
        """Return the loss on the run's first rows, by its model or what that has become."""
        inputs = self.inputs
        with autocast(inputs.device, inputs.precision):
            loss: Tensor
            loss, _ = model.train()(inputs.batches[0][0].to(inputs.device))
        return loss

    def _shard(self) -> None:
        """Go on with a part of the model and of the optimizers' state, both whole until now.

        Raises:
            TutError: the model cannot be divided.
        """
        state, inputs = self.state, self.inputs
        join_bias_aliases(state.network)
        shard(self.model, inputs.device, inputs.precision, "loss_and_rank")
        divided = build_optimizers(self.config.optimizer, state.network, state.pair)
        for before, after in zip(state.optimizers, divided, strict=True):
            divide_state(before, after)
        state.optimizers = divided
        try:
            evaluate(self.model, inputs.batches[0][:1], inputs.device, inputs.precision)
        except RuntimeError as error:
            if "DTensor" not in str(error):
                raise
            name = f"model.architecture={self.config.model.architecture}"
            why = f"{name} uses a layer's parameters outside of the layer"
            raise TutError(f"trainer.sharding=fsdp: {why}; choose ddp") from error
        reshard(self.model)

    def score(self, split: Split) -> Evaluation:
        """Score the model on a split."""
        inputs, rows = self.inputs, self.config.trainer.evaluation_batch_size
        batches = evaluation_batches(inputs.corpus.rows[split], inputs.objective, rows)
        scored = evaluate(self.model, batches, inputs.device, inputs.precision)
        reshard(self.model)
        return scored
