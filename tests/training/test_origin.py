"""TUT is the learner that the first TUT experiments had: https://github.com/f14-bertolotti/tut at c4212e5.

Their network and step are written anew here, as plainly as can be. With the same weights, batches and dropout, both
have the same losses to float rounding. docs/origin.md has what differs beside.
"""

import copy
from pathlib import Path

import pytest
import torch
from conftest import SMALL, make_config, rows
from torch import Tensor, nn

from tut.model.build import build_model
from tut.randomness import derived_seed
from tut.training.inputs import Inputs
from tut.training.run import run

STEPS = 20
SETTING = (
    *(word for word in SMALL if not word.startswith("model")),
    "experiment=first",
    "data.packing=lines",
    "data.tokenizer=trained",
    "optimizer.lr=1e-3",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_steps=1",
    "trainer.evaluate_every_steps=20",
    "tracker=none",
)
SIZES = "hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 2, intermediate_size: 64"
NETWORKS = {
    "bert": f"model.config={{{SIZES}, hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.1}}",
    "transformer": f"model.config={{{SIZES}}}",
}
ARMS = {
    "tied": ("untie.step=never",),
    "untied": ("untie.step=0", "untie.init=fresh", "untie.optimizer_state=zero"),
    "untied in the midst": ("untie.step=9", "untie.optimizer_state=zero"),
}


class Network(nn.Module):
    """LayerNorm of what is read, an encoder, and hidden · Uᵀ, where U is E itself as long as `tied`."""

    def __init__(self, name: str, like: nn.Module) -> None:
        """Start from the weights that a model of TUT's has."""
        super().__init__()
        own = like.model if name == "transformer" else like
        table = own.embed_tokens if name == "transformer" else like.bert.embeddings.word_embeddings
        self.tied = True
        self.reads = copy.deepcopy(table)
        self.scores = nn.Parameter(torch.zeros_like(table.weight))
        self.norm = copy.deepcopy(own.embedding_norm)
        if name == "transformer":
            self.positions = nn.Parameter(own.embed_positions.weight.detach().clone())
            width, depth = table.weight.shape[1], len(own.encoder.layers)
            layer = nn.TransformerEncoderLayer(width, 2, 64, 0.0, "gelu", self.norm.eps, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, depth)
            self.encoder.load_state_dict(own.encoder.state_dict())
        else:
            self.positions = None
            self.encoder = copy.deepcopy(like.bert)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        is_token = attention_mask.bool()
        if self.positions is None:
            read = self.norm(self.reads(ids))
            hidden = self.encoder(inputs_embeds=read, attention_mask=is_token).last_hidden_state
        else:
            read = self.norm(self.reads(ids) + self.positions[: ids.shape[1]])
            hidden = self.encoder(read, src_key_padding_mask=~is_token)
        return hidden @ (self.reads.weight if self.tied else self.scores).T


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_are_the_same(name: str, arm: str, tmp_path: Path) -> None:
    config = make_config(*SETTING, f"model={name}", NETWORKS[name], *ARMS[arm])
    run(config, tmp_path)
    theirs, lr, decay = [], config.optimizer.lr, config.optimizer.weight_decay
    inputs = Inputs(config)
    network = Network(name, build_model(config, inputs.tokenizer))
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=decay)
    for step in range(STEPS):
        if step == inputs.timeline.untie_step:
            network.tied = False
            with torch.no_grad():
                if config.untie.init == "fresh":
                    random = torch.Generator().manual_seed(derived_seed(config.seed, "untie"))
                    network.scores.normal_(0.0, 0.02, generator=random)
                else:
                    network.scores.copy_(network.reads.weight)
        (batch,) = inputs.batches[step]
        torch.manual_seed(derived_seed(config.seed, "dropout", step, 0))
        logits = network(batch.input_ids, batch.attention_mask).flatten(0, 1)[batch.positions]
        loss = nn.functional.cross_entropy(logits, batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        theirs.append(loss.item())
    ours = [row["loss"] for row in rows(tmp_path, "train")]
    assert theirs[-1] < theirs[0] - 0.05
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_other_network_begins_as_torch_makes_it() -> None:
    config = make_config(*SETTING, "model=transformer", NETWORKS["transformer"])
    network = build_model(config, Inputs(config).tokenizer)
    first, second = network.model.encoder.layers
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    bound = 32**-0.5  # of torch's linear layers
    assert 0.9 * bound < first.linear1.weight.abs().max() <= bound
    assert not network.model.embed_tokens.weight[network.config.pad_token_id].any()
    assert network.model.embed_positions.weight.std().item() == pytest.approx(0.02, rel=0.1)
