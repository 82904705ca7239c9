"""CLIP models by name: what they are made of, and what is refused."""

import importlib
import subprocess
import sys

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

import avl_pegp
from avl_pegp.backbones import WeightsSource, create_clip
from avl_pegp.backbones.tiny_clip import TINY_CLIP

NAMES = ["a dog", "a cat", "a fish"]
ONE_BLOCK = {"layers": 1}


def letters(texts: list[str]) -> Tensor:
    """A tokenizer of 64 tokens, for towers whose own is on a hub."""
    return torch.tensor([[ord(letter) % 9 for letter in text.ljust(64)] for text in texts])


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-32-quickgelu", "ViT-L-14"])
def test_open_clips_vision_transformers_answer(name: str) -> None:
    model = create_clip(name, NAMES, vision_cfg=ONE_BLOCK, text_cfg=ONE_BLOCK).eval()
    assert type(model.clip) is open_clip.CLIP
    with torch.no_grad():
        assert model(torch.randn(2, 3, 224, 224).clamp(-1, 1)).shape == (2, 3)
    assert model.weights_source == WeightsSource(name)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_siglip_answers_with_a_tower_of_timm_and_a_tokenizer_of_ours() -> None:
    tower = {"timm_model_name": "test_vit", "image_size": 160}
    model = create_clip(
        "ViT-B-16-SigLIP",
        NAMES,
        tokenizer=letters,
        embed_dim=64,
        vision_cfg=tower,
        text_cfg={"layers": 1, "width": 64, "heads": 2, "vocab_size": 9},
    ).eval()
    assert isinstance(model.clip.visual, TimmModel)
    assert type(model.clip.visual.trunk) is VisionTransformer
    assert model.clip.logit_bias is not None
    with torch.no_grad():
        assert model(torch.randn(2, 3, 160, 160).clamp(-1, 1)).shape == (2, 3)


@pytest.mark.parametrize(
    "name", ["ViT-B-16", "ViT-B-32-quickgelu", "ViT-L-14", "ViT-B-16-SigLIP", TINY_CLIP]
)
def test_models_have_open_clips_tensors_in_full_size(name: str) -> None:
    with torch.device("meta"):
        clip = create_clip(name, NAMES, tokenizer=letters if "SigLIP" in name else None).clip
    assert all(tensor.is_meta for tensor in clip.state_dict().values())
    if name != TINY_CLIP:
        with torch.device("meta"):
            other = open_clip.create_model(name, device="meta")
        shapes = {key: value.shape for key, value in other.state_dict().items()}
        assert {key: value.shape for key, value in clip.state_dict().items()} == shapes
        assert clip.visual.preprocess_cfg["size"] == other.visual.preprocess_cfg["size"]


def test_a_tower_of_timm_takes_another_image_size() -> None:
    size = {"image_size": 96}
    with torch.device("meta"):
        model = create_clip("ViT-B-16-SigLIP", NAMES, tokenizer=letters, vision_cfg=size)
        assert model.clip.encode_image(torch.zeros(1, 3, 96, 96)).shape == (1, 768)


def test_the_tokenizer_is_that_of_open_clip() -> None:
    for name, length in (("ViT-B-32", 77), (TINY_CLIP, 16)):
        own = create_clip(name, NAMES, **({} if name == TINY_CLIP else {"vision_cfg": ONE_BLOCK}))
        expected = open_clip.SimpleTokenizer(context_length=length)(["a red b."])
        assert torch.equal(own.tokenizer(["a red b."]), expected)


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-H-14-CLIPA", "ViT-L-14-worldwide"])
def test_a_tokenizer_that_is_only_on_a_hub_is_refused_with_how_to_pass_one(name: str) -> None:
    hub = open_clip.get_model_config(name)["text_cfg"]["hf_tokenizer_name"]
    with pytest.raises(
        ValueError, match=rf"\({hub}\): pass tokenizer=FUNCTION, .*int64 \(T, \d+\)"
    ):
        create_clip(name, NAMES)


def test_two_words_that_the_tiny_models_table_lacks_are_refused_as_one() -> None:
    with pytest.raises(
        ValueError, match=r"class_names has \[\['dog', 'cat'\]\], which .* table has"
    ):
        create_clip(TINY_CLIP, ["dog", "capital a", "cat"], pretrained=True)
    create_clip(TINY_CLIP, ["dog", "capital a"], pretrained=True)
    create_clip(TINY_CLIP, ["dog", "cat"])  # random weights have every word


def test_prompts_are_made_with_the_template() -> None:
    read = []

    def listen(texts: list[str]) -> Tensor:
        read.extend(texts)
        return torch.arange(len(texts))[:, None].expand(-1, 16)

    create_clip(TINY_CLIP, ["x", "y"], template="a drawing of {}", tokenizer=listen)
    assert set(read) == {"a drawing of x", "a drawing of y"}


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-32", True, "pretrained=True does not say which weights of ViT-B-32: .*openai"),
        ("ViT-S-16", True, "open_clip has none for it, or pass a file"),
        (
            "ViT-B-32",
            "laion",
            "pretrained='laion' is neither a tag of ViT-B-32 nor a file: .*openai",
        ),
        (
            "ViT-B-32",
            "openai",
            r"quick_gelu=False and .* quick_gelu=True: pass name='ViT-B-32-quick",
        ),
        (
            TINY_CLIP,
            "openai",
            "neither a tag of tiny_clip_32.glyphs nor a file: it has none, True is",
        ),
        ("ViT-B-33", False, "name='ViT-B-33' is not a known model; .*ViT-B-32"),
    ],
)
def test_weights_that_are_none_are_refused_with_those_there_are(name, pretrained, message) -> None:
    with pytest.raises(ValueError, match=message):
        create_clip(name, NAMES, pretrained)


@pytest.mark.parametrize("name", ["ViT-B-32", TINY_CLIP])
@pytest.mark.parametrize("pretrained", [None, 3, 0.5])
def test_pretrained_of_another_type_is_refused(name: str, pretrained) -> None:
    with pytest.raises(TypeError, match=f"pretrained={pretrained}: must be True, False, a tag"):
        create_clip(name, NAMES, pretrained)


def test_options_of_the_tiny_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"embed_dim=3 is not an option of tiny_clip_32\.glyphs"):
        create_clip(TINY_CLIP, NAMES, embed_dim=3)


def test_building_leaves_the_root_logger_alone(caplog: pytest.LogCaptureFixture) -> None:
    create_clip("ViT-B-32", NAMES, vision_cfg=ONE_BLOCK, text_cfg=ONE_BLOCK)
    assert not caplog.records


@pytest.mark.long
def test_it_is_exported_and_open_clip_is_loaded_only_when_asked_for() -> None:
    assert avl_pegp.create_clip is create_clip
    code = (
        "import sys, avl_pegp.backbones as b; assert 'open_clip' not in sys.modules; "
        "b.create_clip; assert 'open_clip' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_without_open_clip_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "avl_pegp.backbones.clip.loading")
    with pytest.raises(
        ImportError, match=r"^CLIP needs open_clip: pip install 'open_clip_torch>=3\.1'$"
    ):
        importlib.import_module("avl_pegp.backbones.clip.loading")
