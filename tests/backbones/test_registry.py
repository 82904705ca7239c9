"""Another family of backbones is one entry in a registry."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from clips import small_clip

from avl_pegp.backbones import WeightsSource, create_clip, create_vit
from avl_pegp.backbones.registry import CLIPS, VITS, Registry
from avl_pegp.pet import LoRA, attach


@pytest.fixture
def known(monkeypatch):
    """The registries, as they were again afterwards."""
    for registry in (VITS, CLIPS):
        monkeypatch.setattr(registry, "_builders", dict(registry._builders))


def create_mine(name, num_classes, pretrained=False, **options):
    """A family of its own, ``mine_<depth>``."""
    depth = int(name.removeprefix("mine_"))
    options = {"depth": depth, "img_size": 32, **options}
    model = timm.create_model("test_vit", num_classes=num_classes, **options)
    model.weights_source = WeightsSource(name)
    return model


def test_a_registered_family_is_built_tuned_and_loaded_like_any_other(known, tmp_path: Path):
    VITS.register("mine_*")(create_mine)
    model = create_vit("mine_2", num_classes=3)
    assert len(model.blocks) == 2
    attach(model, LoRA(2))
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)

    file = tmp_path / "mine.safetensors"
    other = create_vit("mine_1", num_classes=5)
    safetensors.torch.save_file(other.state_dict(), file)
    loaded = create_vit("mine_1", num_classes=3, pretrained=file)
    assert loaded.weights_source.file == "mine.safetensors"
    torch.testing.assert_close(loaded.blocks.state_dict(), other.blocks.state_dict())


def test_a_registered_clip_is_built_like_any_other(known):
    def create(name, pretrained, tokenizer, **options):
        model = small_clip(torch.float32)
        model.clip.weights_source = WeightsSource(name)
        return model.clip, model.tokenizer

    CLIPS.register("my_clip")(create)
    model = create_clip("my_clip", ["small a", "digit three"])
    assert model.weights_source == WeightsSource("my_clip")
    assert model.class_names == ("small a", "digit three")


def test_a_name_comes_before_a_pattern_and_a_longer_pattern_before_a_shorter():
    registry = Registry()
    builders = {pattern: (lambda pattern=pattern: pattern) for pattern in ("*", "a_*", "a_b*", "a")}
    for pattern, build in builders.items():
        registry.register(pattern)(build)
    names = {"a": "a", "a_bc": "a_b*", "a_c": "a_*", "b": "*"}
    assert {name: registry.builder(name)() for name in names} == names
    assert registry.names() == ["a"]


class TestBadInput:
    def test_a_name_that_is_taken_is_refused(self, known):
        VITS.register("mine_*")(create_mine)
        with pytest.raises(ValueError, match=r"'mine_\*' is built by create_mine already: take"):
            VITS.register("mine_*")(create_mine)

    def test_an_unknown_name_lists_those_that_are_known(self):
        registry = Registry()
        with pytest.raises(ValueError, match="name='b' is not a known model; known are none"):
            registry.builder("b")
        registry.register("a")(create_mine)
        with pytest.raises(ValueError, match="name='b' is not a known model; known are a"):
            registry.builder("b")

    def test_near_names_count_those_of_the_registry(self, known):
        VITS.register("vit_of_my_own")(create_mine)
        with pytest.raises(ValueError, match="nearest are vit_of_my_own, "):
            create_vit("vit_of_my_ow", num_classes=2)
