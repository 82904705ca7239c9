"""Weights of the hub, from a cache that the tests fill: nothing is downloaded."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from avl_pegp.backbones import WeightsError, WeightsSource, create_vit

TAG = "test_vit.r160_in1k"
OPTIONS = {"depth": 1, "img_size": 32}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A cache of the hub with one model of 1000 classes."""
    torch.manual_seed(0)
    repository = tmp_path / f"models--timm--{TAG}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    state = timm.create_model("test_vit", **OPTIONS).state_dict()
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("name", ["test_vit", TAG])
def test_weights_of_the_hub_are_loaded_and_put_on_record(hub: Path, name: str) -> None:
    file = next(hub.rglob("model.safetensors"))
    model = create_vit(name, num_classes=3, pretrained=True, cache_dir=hub, **OPTIONS)
    for key, value in safetensors.torch.load_file(file).items():
        if not key.startswith("head."):
            assert torch.equal(model.state_dict()[key], value), key
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    dropped = tuple(sorted(model.weights_source.dropped))
    assert dropped == ("head.bias", "head.weight")
    assert asdict(model.weights_source) | {"dropped": dropped} == asdict(
        WeightsSource(TAG, "model.safetensors", digest, dropped)
    )


def test_the_head_is_new_even_with_as_many_classes(hub: Path) -> None:
    model = create_vit("test_vit", num_classes=1000, pretrained=True, cache_dir=hub, **OPTIONS)
    old = safetensors.torch.load_file(next(hub.rglob("model.safetensors")))["head.weight"]
    assert model.head.weight.shape == old.shape
    assert not torch.equal(model.head.weight, old)
    assert model.pretrained_cfg["num_classes"] == 1000


def test_without_a_download_it_says_what_to_get_and_how_to_pass_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not in the cache and can't be downloaded") as caught:
        create_vit("vit_tiny_patch16_224.augreg_in21k", 3, True, cache_dir=tmp_path, depth=1)
    address = "https://huggingface.co/timm/vit_tiny_patch16_224.augreg_in21k/resolve/main/model.safetensors"
    assert f"download {address} elsewhere and pass pretrained=FILE" in str(caught.value)


def test_a_name_without_a_tag_is_resolved_on_record() -> None:
    model = create_vit("vit_tiny_patch16_224", num_classes=3, depth=1)
    assert model.weights_source == WeightsSource("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert model.pretrained_cfg["tag"] == "augreg_in21k_ft_in1k"


def test_a_model_without_weights_names_those_that_have_some() -> None:
    with pytest.raises(
        ValueError, match=r"stands for no weights; choose from other names, or pass"
    ):
        create_vit("vit_giant_patch14_224.untrained", num_classes=3, pretrained=True)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"])
def test_options_that_name_weights_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option}='x': weights are named by pretrained alone"):
        create_vit("test_vit", num_classes=3, **{option: "x"})


def test_it_can_be_built_without_memory_for_its_weights() -> None:
    with torch.device("meta"):
        model = create_vit("vit_base_patch16_224.orig_in21k", num_classes=3)
    assert isinstance(model, VisionTransformer)
    assert model.weights_source.tag == "vit_base_patch16_224.orig_in21k"
