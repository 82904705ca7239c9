"""Input tokens that flow through blocks: where they can, and where they must not be seen."""

from __future__ import annotations

import copy
import inspect
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.pet.towers import Tower

_PLAIN = {"x", "attn_mask", "is_causal"}  # what a block may be given that knows of no positions
_KNOWN = "timm.models.vision_transformer.forward_intermediates"
_OPEN_CLIP = {"q_x", "k_x", "v_x", "attn_mask"}


@torch.no_grad()
def require_any_tokens(tower: Tower, i: int, extra: int) -> None:
    """Raise TypeError unless block i takes any number of tokens ``(B, N, C)`` and gives as many.

    Blocks with rotary or relative positions do not, nor do those of images or windows. A copy of the
    block without weights is tried.
    """
    block, width = tower.blocks[i], tower.like().numel()
    arguments = set(inspect.signature(block.forward).parameters)
    fits = arguments <= _PLAIN or arguments <= _OPEN_CLIP
    if not (fits and all(_keeps_shape(block, n, width) for n in (2, 3 + extra))):
        raise TypeError(
            f"Prompt.deep=False, but {tower.plan.blocks}.{i} ({type(block).__name__}) knows its tokens "
            "by their positions, or takes no sequence of them, so that no token can join: use "
            "Prompt(deep=True) or Prefix, or LoRA or Adapter"
        )


def _keeps_shape(block: nn.Module, tokens: int, width: int) -> bool:
    try:
        trial = copy.deepcopy(block).eval().to("meta")
        x = next(trial.parameters()).new_zeros(1, tokens, width)
        y = trial(x)
    except Exception:  # whatever a block stumbles over
        return False
    return isinstance(y, Tensor) and y.shape == x.shape


def show_own_tokens(tower: Tower) -> None:
    """Have what holds the blocks show its own tokens alone, or refuse to show any.

    ``forward_intermediates`` leaves input tokens out, where its form is known. Blocks can't be cut off
    by ``prune_intermediate_layers``, as tokens would not leave.
    """
    owner: Any = tower.model.get_submodule(tower.plan.blocks.rpartition(".")[0])
    for method in ("forward_intermediates", "prune_intermediate_layers"):
        function = getattr(type(owner), method, None)
        if function is None:
            continue
        is_known = f"{function.__module__}.{method}" == _KNOWN
        refused = partial(_refuse, f"{type(owner).__name__}.{method}()")
        tower.replace(owner, method, partial(_own_tokens, owner) if is_known else refused)


def _own_tokens(model: Any, x: Tensor, *args: Any, **options: Any) -> Any:
    """A timm ``VisionTransformer``'s ``forward_intermediates``, giving a model's own tokens alone.

    Input tokens stand behind them in every block between the first and the last that has them.
    """
    whole = type(model).forward_intermediates
    given = inspect.signature(whole).bind(model, x, *args, **options)
    given.apply_defaults()
    chosen = given.arguments
    as_maps = chosen["output_fmt"] == "NCHW"
    chosen["output_fmt"] = "NLC" if as_maps else chosen["output_fmt"]
    found = whole(*given.args, **given.kwargs)

    rows, columns = model.patch_embed.dynamic_feat_size(x.shape[-2:])

    def own(tokens: Any) -> Any:
        if isinstance(tokens, tuple):  # with the class token and its like
            return own(tokens[0]), *tokens[1:]
        tokens = tokens[:, : rows * columns]
        if not as_maps:
            return tokens
        return tokens.unflatten(1, (rows, columns)).permute(0, 3, 1, 2).contiguous()

    if chosen["intermediates_only"]:
        return [own(tokens) for tokens in found]
    last, intermediates = found
    last = last[:, : model.num_prefix_tokens + rows * columns]
    return last, [own(tokens) for tokens in intermediates]


def _refuse(method: str, *_: Any, **__: Any) -> Any:
    """Stands for a method that can't be used now."""
    raise TypeError(
        f"{method} would show the tokens of Prompt(deep=False) as the model's own: detach() first, or "
        "use Prompt(deep=True)"
    )
