"""A plain loop that trains a GPT, as many write it: what nanoGPT does, in a few lines of its own.

GPT-2's network with one matrix for both embeddings, fused attention, all logits at once, bf16 by autocast, all of it
through torch.compile; AdamW fused, gradients clipped; rows drawn at random from an array of tokens, in pinned memory.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention
from torch.nn.utils import clip_grad_norm_

from tut.model.numerics import make_deterministic


class Layer(nn.Module):
    """Attention, then a network of two layers, each with a norm before and added to what it reads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_heads, self.from_heads = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return states of the shape of those it reads, (rows, seq_len, width)."""
        query, key, value = self.to_heads(self.before_attention(x)).unflatten(2, (3, self.heads, -1)).unbind(2)
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        attended = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.from_heads(attended.transpose(1, 2).flatten(2))
        mlp: Tensor = self.down(gelu(self.up(self.before_mlp(x))))
        return x + mlp


class PlainGPT(nn.Module):
    """GPT-2's network and its loss."""

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, seq_len: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(seq_len, width)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats of targets, (rows, seq_len), after ids of the same shape."""
        places = torch.arange(ids.shape[1], device=ids.device)
        logits = self.head(self.norm(self.layers(self.tokens(ids) + self.positions(places))))
        return cross_entropy(logits.flatten(0, 1), targets.flatten())


class PlainLoop:
    """Its training, some steps at a time."""

    def __init__(
        self, model: PlainGPT, tokens: npt.NDArray[np.uint16], rows: int, device: torch.device, backend: str
    ) -> None:
        """Take a model; tokens, (tokens,); rows of a step; and what torch.compile is to compile by."""
        self._rows, self._device = rows, device
        self._seq_len = model.positions.num_embeddings
        self._tokens = tokens
        self._random = np.random.default_rng(0)
        self._model = model.to(device)
        self._compiled = torch.compile(self._model, backend=backend)
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def advance(self, steps: int) -> None:
        """Train so many steps more."""
        make_deterministic(False)
        batch = self._batch()
        for _ in range(steps):
            with torch.autocast(self._device.type, torch.bfloat16):
                loss = self._compiled(*batch)
            batch = self._batch()  # while the device is at it
            loss.backward()
            clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    def _batch(self) -> tuple[Tensor, Tensor]:
        starts = self._random.integers(len(self._tokens) - self._seq_len, size=self._rows)
        rows = np.stack([self._tokens[start : start + self._seq_len + 1] for start in starts]).astype(np.int64)
        ids = torch.from_numpy(rows)
        if self._device.type == "cuda":
            ids = ids.pin_memory().to(self._device, non_blocking=True)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
