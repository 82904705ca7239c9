import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from avl_pegp.backbones import WeightsError, WeightsSource, create_vit, tiny_vit
from avl_pegp.backbones.tiny_vit import ConvStem, create_tiny_vit

PARAMETERS = 1_450_000
MEGABYTES = 6


@pytest.mark.parametrize("name", ["tiny_vit_32.latin", "tiny_vit_32.photos"])
def test_it_is_a_vision_transformer_of_timm_with_linear_layers_where_pets_look(name: str) -> None:
    model = create_vit(name, num_classes=10)
    assert isinstance(model, VisionTransformer)
    for block in model.blocks:
        assert type(block) is Block
        assert type(block.attn) is Attention
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            assert type(layer) is nn.Linear


def test_it_sees_a_class_token_and_16_patches() -> None:
    model = create_tiny_vit(num_classes=10)
    images = torch.randn(2, 3, 32, 32)
    assert model.forward_features(images).shape == (2, 17, 128)
    assert model(images).shape == (2, 10)


def test_model_and_file_stay_small() -> None:
    model = create_tiny_vit(num_classes=70)
    assert sum(parameter.numel() for parameter in model.parameters()) <= PARAMETERS
    assert tiny_vit.WEIGHTS_FILE.stat().st_size <= MEGABYTES * 2**20


def test_no_layer_keeps_batch_statistics() -> None:
    assert not list(create_tiny_vit(num_classes=10).buffers())


def test_pretrained_weights_fill_everything_but_the_head() -> None:
    torch.manual_seed(0)
    plain = create_tiny_vit(num_classes=10).state_dict()
    torch.manual_seed(0)
    loaded = create_tiny_vit(num_classes=10, pretrained=True).state_dict()
    shipped = safetensors.torch.load_file(tiny_vit.WEIGHTS_FILE)
    assert set(shipped) == {key for key in loaded if not key.startswith("head.")}
    for key, value in loaded.items():
        assert torch.equal(value, shipped.get(key, plain[key]))


@pytest.mark.parametrize("pretrained", [True, False])
def test_it_says_which_weights_it_has(pretrained: bool) -> None:
    source = create_tiny_vit(num_classes=10, pretrained=pretrained).weights_source
    file = tiny_vit.WEIGHTS_FILE
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    shipped = WeightsSource(tiny_vit.TINY_VIT, file.name, digest)
    assert source == (shipped if pretrained else WeightsSource(tiny_vit.TINY_VIT))


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def foreign(content: bytes) -> bytes:
    tensors = safetensors.torch.load(content)
    return safetensors.torch.save({key: value + 1 for key, value in tensors.items()})


@pytest.mark.parametrize("change", [damaged, truncated, foreign])
def test_any_other_file_is_refused_with_path_digests_and_remedy(
    change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(change(tiny_vit.WEIGHTS_FILE.read_bytes()))
    monkeypatch.setattr(tiny_vit, "WEIGHTS_FILE", path)
    with pytest.raises(WeightsError, match="reinstall") as caught:
        create_tiny_vit(num_classes=10, pretrained=True)
    assert str(path) in str(caught.value)
    assert tiny_vit.WEIGHTS_SHA256 in str(caught.value)


def test_a_missing_file_is_refused_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_vit, "WEIGHTS_FILE", tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match=r"cannot read .*gone\.safetensors"):
        create_tiny_vit(num_classes=10, pretrained=True)


def test_without_pretraining_the_file_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_vit, "WEIGHTS_FILE", tmp_path / "gone.safetensors")
    create_tiny_vit(num_classes=10)


def test_rates_reach_the_layers_and_other_options_are_refused() -> None:
    assert create_tiny_vit(num_classes=2, proj_drop_rate=0.5).blocks[0].attn.proj_drop.p == 0.5
    with pytest.raises(ValueError, match=r"depth=12 is not an option .* drop_path_rate"):
        create_tiny_vit(num_classes=2, depth=12)


@pytest.mark.parametrize(
    "geometry", [{"img_size": 30}, {"patch_size": 16}, {"embed_dim": 6}, {"dynamic_img_pad": True}]
)
def test_the_stem_refuses_what_three_strides_cannot_give(geometry: dict) -> None:
    with pytest.raises(ValueError, match="it needs patch_size=8"):
        ConvStem(**geometry)
