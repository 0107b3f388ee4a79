"""The same architecture, small: sizes by which a network of any kind can be tried in a moment."""

import re
from typing import Any

from transformers import PreTrainedConfig

_LAYERS = r"(^|_)layers$|^n_layer$|num_blocks|layers_per_stack|self_attends_per_block"
_SIZES = (
    # Of sizes whose names match, the first that does says how large they may be; others stay as they are.
    (r"^(unpadded_)?vocab_size$", None),
    (r"vocab", 512),
    (r"experts?_per_tok|moe_topk|moe_k$|topk_group|attn_k$", 2),
    (r"^qk_head_dim$", None),
    (r"position|token|_id$|index$|lang|label|_n_top$|seed|n_ctx|context_length|max_|chunk|window", None),
    (r"kv_shared|nextn|dense_layers|dense_replace", 0),
    (_LAYERS, 2),
    (r"n_group$|expert_group|shared_experts|n_groups|ngroups|o_groups|key_heads", 2),
    (r"experts$|expert_num", 4),
    (r"mamba.*heads$", 8),
    (r"d_head|head_?dim|head_size|dim_head|kv_channels|rotary_dim|d_rel", 16),
    (r"(^|_)n?_?heads?$|query_groups", 4),
    (r"state_size|d_state|rank$", 16),
    (r"d_ssm", 128),
    (
        r"hidden_size|d_model|n_embd|emb_size|embedding_(size|dim)|emb(ed)?_dim|^dim|width$|proj_dim|latents$|per_layer",
        64,
    ),
    (r"inter(mediate)?_size|intermediate|ffn|dim_ff|dff|d_inner|hidden_dim|feed_forward_size|mid_dim", 64),
)
_MOST_LAYERS = 8


def small_sizes(config: PreTrainedConfig) -> dict[str, Any]:
    """Return values for an architecture's config that make it small, by the names that its sizes have.

    There are as many layers as it takes for one of each kind, and keys have fewer heads than queries where they had.
    """
    values: dict[str, Any] = {}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(part, PreTrainedConfig):
            values[name] = {"model_type": part.model_type, **small_sizes(part)}
    sizes = {name: size for name, size in config.to_dict().items() if type(size) is int}
    for name, size in sizes.items():
        largest = next((largest for names, largest in _SIZES if re.search(names, name)), None)
        if largest is not None and size > largest:
            values[name] = largest
    heads = sizes.get("num_attention_heads")
    keys = sizes.get("num_key_value_heads")
    if heads and keys and keys < heads and keys > 2:
        values["num_key_value_heads"] = 2
    layers = _kinds_of_layers(config)
    if "num_hidden_layers" in values and layers:
        values["num_hidden_layers"] = min(_MOST_LAYERS, max(layers.index(kind) + 1 for kind in set(layers)))
    return values


def few_layers(config: PreTrainedConfig) -> dict[str, Any]:
    """Return those values of `small_sizes` that leave a network its widths."""
    return {name: size for name, size in small_sizes(config).items() if re.search(_LAYERS, name)}


def _kinds_of_layers(config: PreTrainedConfig) -> list[str]:
    """Return the kind of each layer; an empty list if they are all of one."""
    for name in ("layer_types", "layers_block_type", "mlp_layer_types"):
        kinds = getattr(config, name, None)
        if isinstance(kinds, list) and len(set(kinds)) > 1:
            return kinds
    return []
