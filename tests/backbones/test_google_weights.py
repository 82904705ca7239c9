"""Google's files: the oracle writes one from a model, array by array."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avl_pegp.backbones import WeightsError, create_vit
from avl_pegp.backbones.google_weights import read_google

PATH = Path("ViT.npz")
HEADS = 2


def google_arrays(state: dict[str, Tensor], heads: int = HEADS) -> dict[str, np.ndarray]:
    """A state dict of timm in Google's names and axes."""
    numbers = {name: tensor.numpy() for name, tensor in state.items()}
    width = numbers["norm.weight"].shape[0]
    arrays = {
        "cls": numbers["cls_token"],
        "embedding/kernel": numbers["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": numbers["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": numbers["pos_embed"],
        "Transformer/encoder_norm/scale": numbers["norm.weight"],
        "Transformer/encoder_norm/bias": numbers["norm.bias"],
        "head/kernel": np.ones((width, 5), np.float32),
        "head/bias": np.ones(5, np.float32),
        "pre_logits/kernel": np.ones((width, width), np.float32),
        "pre_logits/bias": np.ones(width, np.float32),
    }
    for i in range(sum(name.endswith("norm1.weight") for name in numbers)):
        ours, theirs = f"blocks.{i}.", f"Transformer/encoderblock_{i}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for norm, layer in {"norm1": 0, "norm2": 2}.items():
            arrays[f"{theirs}LayerNorm_{layer}/scale"] = numbers[f"{ours}{norm}.weight"]
            arrays[f"{theirs}LayerNorm_{layer}/bias"] = numbers[f"{ours}{norm}.bias"]
        for layer in (0, 1):
            dense = f"{theirs}MlpBlock_3/Dense_{layer}"
            arrays[f"{dense}/kernel"] = numbers[f"{ours}mlp.fc{layer + 1}.weight"].T
            arrays[f"{dense}/bias"] = numbers[f"{ours}mlp.fc{layer + 1}.bias"]
        for j, part in enumerate(("query", "key", "value")):
            rows = slice(j * width, (j + 1) * width)
            kernel = numbers[f"{ours}attn.qkv.weight"][rows].T
            arrays[f"{attention}{part}/kernel"] = kernel.reshape(width, heads, -1)
            arrays[f"{attention}{part}/bias"] = numbers[f"{ours}attn.qkv.bias"][rows].reshape(
                heads, -1
            )
        arrays[f"{attention}out/kernel"] = numbers[f"{ours}attn.proj.weight"].T.reshape(
            heads, -1, width
        )
        arrays[f"{attention}out/bias"] = numbers[f"{ours}attn.proj.bias"]
    return arrays


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def state(state_of_depth) -> dict[str, Tensor]:
    return {k: v for k, v in state_of_depth(2).items() if not k.startswith("head.")}


def test_every_tensor_comes_back_under_timms_name_and_the_head_under_its_own(state) -> None:
    tensors = read_google(packed(google_arrays(state)), PATH)
    assert set(tensors) - set(state) == {
        "head/kernel", "head/bias", "pre_logits/kernel", "pre_logits/bias"
    }  # fmt: skip
    for name, value in state.items():
        assert torch.equal(tensors[name], value), name


def test_a_model_loads_it_and_resamples_the_position_embeddings(state, tmp_path: Path) -> None:
    path = tmp_path / "ViT.npz"
    path.write_bytes(packed(google_arrays(state)))
    options = {"num_classes": 4, "pretrained": path, "depth": 2}
    same = create_vit("test_vit", img_size=48, **options)
    assert torch.equal(same.pos_embed, state["pos_embed"])
    assert set(same.weights_source.dropped) >= {"head/kernel", "pre_logits/kernel"}
    larger = create_vit("test_vit", img_size=96, **options)
    assert larger.pos_embed.shape == (1, 37, 64)
    assert torch.equal(larger.blocks[1].mlp.fc2.weight, state["blocks.1.mlp.fc2.weight"])


def test_reading_draws_no_random_numbers(state) -> None:
    content = packed(google_arrays(state))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    read_google(content, PATH)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "name",
    [
        "embedding/kernel",
        "Transformer/posembed_input/pos_embedding",
        "Transformer/encoderblock_1/MlpBlock_3/Dense_1/bias",
    ],
)
def test_an_array_that_is_missing_is_named(state, name: str) -> None:
    arrays = google_arrays(state)
    del arrays[name]
    with pytest.raises(WeightsError, match=rf"ViT\.npz lacks the array '{name}'"):
        read_google(packed(arrays), PATH)


@pytest.mark.parametrize("name", ["conv_root/kernel", "Transformer/encoderblock_0/more/kernel"])
def test_arrays_that_a_plain_transformer_does_not_have_are_refused(state, name: str) -> None:
    arrays = google_arrays(state) | {name: np.ones(7, np.float32)}
    with pytest.raises(WeightsError, match="of another architecture"):
        read_google(packed(arrays), PATH)


def test_fewer_blocks_than_the_model_has_are_counted_as_missing(state, tmp_path: Path) -> None:
    path = tmp_path / "ViT.npz"
    path.write_bytes(packed(google_arrays(state)))
    with pytest.raises(WeightsError, match=r"12 missing \(blocks\.2\.norm1\.weight \(64,\), "):
        create_vit("test_vit", num_classes=4, pretrained=path, depth=3, img_size=48)


NORM = "Transformer/encoder_norm/scale"


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NORM, np.ones(64, np.int8), "with numbers of type int8: save it as float32"),
        (NORM, np.ones(64, np.complex64), "with numbers of type complex64"),
        (NORM, np.full(64, "a"), "with numbers of type <U1"),
        (NORM, np.ones(64, ">f4"), "with numbers of type >f4"),
        (NORM, np.array([{}], dtype=object), r"objects of Python .*allow_pickle=False"),
        ("head/bias", np.array([{}], dtype=object), "objects of Python in the array 'head/bias'"),
        (NORM, np.full(64, np.nan, np.float32), r"encoder_norm/scale at 64 of 64\)"),
        (NORM, np.full(64, 1e300), "too large for the model's type"),
        (NORM, np.ones(1, np.float32), r"encoder_norm/scale \(1,\) for \(64,\)"),
        ("embedding/kernel", np.ones((16, 16), np.float32), "has 4 axes there"),
        ("embedding/kernel", np.ones((16, 8, 3, 64), np.float32), r"\(16, 8, 3, 64\) for \(16, 16"),
        ("cls", np.ones((1, 2, 64), np.float32), r"cls \(1, 2, 64\) for \(1, 1, 64\)"),
    ],
)
def test_an_array_that_holds_no_weights_is_named(state, name: str, array, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_google(packed(google_arrays(state) | {name: array}), PATH)


def test_numbers_that_one_array_lacks_and_another_has_are_not_offset(state) -> None:
    arrays = google_arrays(state) | {NORM: np.ones(1, np.float32), "more": np.ones(63, np.float32)}
    with pytest.raises(WeightsError, match="1 unexpected .*1 of another shape"):
        read_google(packed(arrays), PATH)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_fractions_of_another_width_are_read(state, dtype) -> None:
    arrays = google_arrays(state) | {NORM: np.full(64, 0.5, dtype)}
    assert read_google(packed(arrays), PATH)["norm.weight"].unique().tolist() == [0.5]
