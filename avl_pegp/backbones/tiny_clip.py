"""A CLIP of two small towers for 32x32 images, with weights in the package.

It is open_clip's ``CLIP`` with open_clip's tokenizer, so whatever attaches to a large CLIP attaches
to this one; only the patch embedding is ours, as in the tiny ViT: three strided convolutions learn
far faster at this size than one linear map of 8x8 patches.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from torch import Tensor, nn

from avl_pegp.backbones.weights import WeightsSource, read_weights

#: The name under which ``create_clip`` knows this model.
TINY_CLIP = "tiny_clip_32.glyphs"

WEIGHTS_FILE = Path(__file__).parent / "weights" / "tiny_clip_32_glyphs.safetensors"
WEIGHTS_SHA256 = "a1335d0d1e4395ff78be2eb2cc1e82bde0974e2c80835a9b0e2b6594b58abae6"

#: The token table in a state dict; the tokens in use, and their rows of it, in a packed one.
TABLE = "token_embedding.weight"
IDS, ROWS = "token_ids", "token_rows"

_IMAGE = CLIPVisionCfg(layers=4, width=128, head_width=32, patch_size=8, image_size=32)
_TEXT = CLIPTextCfg(context_length=16, width=64, heads=2, layers=3)
_PIXELS = {
    "size": (32, 32),
    "mode": "RGB",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def create_tiny_clip(pretrained: bool = False) -> CLIP:
    """Build the tiny CLIP: image 4 blocks x 128 channels, text 3 blocks x 64, features of width 96.

    Images are floats (B, 3, 32, 32) normalised with mean 0.5 and standard deviation 0.5; texts are
    tokens (T, 16) of open_clip's ``SimpleTokenizer(context_length=16)``.
    ``model.weights_source`` says which weights it has.

    The shipped weights know the words of ``avl_pegp.benchmarks.captioned``; of the names of characters
    that pretraining did not show they have the random tokens of the beginning. Any other word has a
    token of zeros: it takes a place in the sentence and means nothing there, and two such words are
    the same to the model. Without pretraining all words have random tokens.

    Args:
        pretrained: load the shipped weights (rendered glyphs with captions).

    Raises:
        WeightsError: the shipped file is missing, damaged or a different one.

    Example:
        >>> import torch
        >>> from open_clip import SimpleTokenizer
        >>> model = create_tiny_clip()
        >>> model.encode_image(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 96])
        >>> model.encode_text(SimpleTokenizer(context_length=16)(["a red capital a"])).shape
        torch.Size([1, 96])
    """
    # Read first: a bad file must not cost the caller random numbers or leave a model behind.
    weights = read_weights(WEIGHTS_FILE, WEIGHTS_SHA256) if pretrained else {}
    model = CLIP(embed_dim=96, vision_cfg=_IMAGE, text_cfg=_TEXT)
    model.visual.conv1 = _stem(_IMAGE.width)
    set_model_preprocess_cfg(model, _PIXELS)
    if pretrained:
        model.load_state_dict(unpacked(weights, _TEXT.vocab_size))
    shipped = (WEIGHTS_FILE.name, WEIGHTS_SHA256) if pretrained else ()
    model.weights_source = WeightsSource(TINY_CLIP, *shipped)
    return model


def packed(state: dict[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    """A state dict whose token table is cut to the rows in use, as the shipped file has it.

    Args:
        state: of the tiny CLIP.
        ids: int64 (n,), the tokens in use, each once.

    Example:
        >>> import torch
        >>> table = {"token_embedding.weight": torch.eye(4)}
        >>> packed(table, torch.tensor([0, 2]))["token_rows"]
        tensor([[1., 0., 0., 0.],
                [0., 0., 1., 0.]])
    """
    rest = {name: tensor for name, tensor in state.items() if name != TABLE}
    return {**rest, IDS: ids, ROWS: state[TABLE][ids]}


def unpacked(tensors: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """The state dict that was packed; rows of the token table that are not in use are zero.

    Args:
        tensors: what ``packed`` gave; a state dict with its whole table is given back as it is.
        vocabulary: rows of the whole table.

    Example:
        >>> import torch
        >>> rows = packed({"token_embedding.weight": torch.eye(2)}, torch.tensor([1]))
        >>> unpacked(rows, 2)["token_embedding.weight"]
        tensor([[0., 0.],
                [0., 1.]])
    """
    if ROWS not in tensors or IDS not in tensors:
        return tensors
    rest = {name: tensor for name, tensor in tensors.items() if name not in (IDS, ROWS)}
    table = tensors[ROWS].new_zeros(vocabulary, tensors[ROWS].shape[1])
    return {**rest, TABLE: table.index_copy(0, tensors[IDS].long(), tensors[ROWS])}


def _stem(width: int) -> nn.Sequential:
    """Images (B, 3, 32, 32) to a map of patches (B, width, 4, 4), in place of open_clip's ``conv1``."""
    widths = (3, width // 4, width // 2, width)
    convs = [nn.Conv2d(wide, wider, 3, stride=2, padding=1) for wide, wider in pairwise(widths)]
    return nn.Sequential(convs[0], nn.GELU(), convs[1], nn.GELU(), convs[2])
