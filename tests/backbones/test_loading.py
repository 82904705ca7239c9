"""Weights that fit a model, and weights that do not."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from avl_pegp.backbones import WeightsError, WeightsSource, create_vit
from avl_pegp.backbones.tiny_vit import TINY_VIT, WEIGHTS_FILE, WEIGHTS_SHA256

OPTIONS = {"num_classes": 4, "depth": 1, "img_size": 48}
HEAD = ("head.weight", "head.bias")


def test_a_head_of_as_many_classes_is_dropped_too(state, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    torch.manual_seed(5)
    loaded = create_vit("test_vit", pretrained=path, **{**OPTIONS, "num_classes": 7})
    torch.manual_seed(5)
    new = create_vit("test_vit", **{**OPTIONS, "num_classes": 7})
    assert torch.equal(loaded.head.weight, new.head.weight)
    assert loaded.weights_source.dropped == HEAD


def test_a_file_without_a_head_drops_nothing(state, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({name: value for name, value in state.items() if name not in HEAD}, path)
    assert create_vit("test_vit", pretrained=path, **OPTIONS).weights_source.dropped == ()


def test_position_embeddings_of_another_size_are_resampled(state, tmp_path: Path) -> None:
    grid = torch.linspace(0, 1, 3).view(1, 1, 3, 1).expand(1, 3, 3, 64)
    state["pos_embed"] = torch.cat((torch.full((1, 1, 64), 9.0), grid.reshape(1, 9, 64)), 1)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    found = create_vit("test_vit", pretrained=path, **{**OPTIONS, "img_size": 96}).pos_embed
    assert found.shape == (1, 37, 64)
    assert (found[:, 0] == 9).all()  # the class token's own is kept
    rows = found[0, 1:, 0].view(6, 6)
    assert (rows.diff(dim=1) > 0).all()  # still rising from left to right
    torch.testing.assert_close(rows, rows[:1].expand(6, 6))


def test_the_tiny_vit_takes_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(WEIGHTS_FILE.read_bytes())
    model = create_vit(TINY_VIT, num_classes=3, pretrained=path)
    shipped = safetensors.torch.load_file(WEIGHTS_FILE)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in shipped.items())
    assert model.weights_source == WeightsSource(TINY_VIT, "mine.safetensors", WEIGHTS_SHA256)


def without_a_block(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("blocks.0.")}


def with_more(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {f"blocks.1.{i}": torch.zeros(2, 3) for i in range(5)}


def narrower(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"norm.weight": torch.zeros(32)}


def smaller_patches(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"patch_embed.proj.weight": torch.zeros(64, 3, 8, 8)}


def odd_grid(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"pos_embed": torch.zeros(1, 6, 64)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_block, r"12 missing \(blocks\.0\.norm1\.weight \(64,\), .*, …\)\. Give"),
        (with_more, r"fit test_vit\.r160_in1k: 5 unexpected \(blocks\.1\.0 \(2, 3\), .*, …\)\."),
        (narrower, r"1 of another shape \(norm\.weight \(32,\) for \(64,\)\)\."),
        (smaller_patches, r"1 of another shape \(patch_embed\.proj\.weight \(64, 3, 8, 8\) for"),
        (odd_grid, r"1 of another shape \(pos_embed \(1, 6, 64\) for \(1, 10, 64\)\)\."),
    ],
)
def test_weights_of_another_architecture_are_refused_with_their_keys_and_shapes(
    state, tmp_path: Path, change, message: str
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(change(state), path)
    with pytest.raises(WeightsError, match=message) as caught:
        create_vit("test_vit", pretrained=path, **OPTIONS)
    assert str(caught.value).startswith(f"{path} does not fit")
