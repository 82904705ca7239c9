import hashlib
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from torch import nn

from avl_pegp.backbones import WeightsError, WeightsSource, tiny_clip
from avl_pegp.backbones.tiny_clip import create_tiny_clip, packed, unpacked
from avl_pegp.benchmarks import normalise, render_scenes
from avl_pegp.benchmarks.named_characters import NAMES
from avl_pegp.benchmarks.scenes import COLOURS, draw_scenes

PARAMETERS_BESIDE_THE_TABLE = 1_100_000
MEGABYTES = 10

tokenize = open_clip.SimpleTokenizer(context_length=16)


def test_it_is_open_clips_class_with_open_clips_attention_in_both_towers() -> None:
    model = create_tiny_clip()
    assert type(model) is open_clip.CLIP
    for tower in (model.visual.transformer, model.transformer):
        for block in tower.resblocks:
            assert type(block.attn) is nn.MultiheadAttention
            assert type(block.mlp.c_fc) is type(block.mlp.c_proj) is nn.Linear


def test_it_sees_a_class_token_and_16_patches_and_reads_16_tokens() -> None:
    model = create_tiny_clip()
    assert model.visual._embeds(torch.randn(2, 3, 32, 32)).shape == (2, 17, 128)
    assert model.context_length == 16
    assert model.vocab_size == tokenize.vocab_size
    image, text, scale = model(torch.randn(2, 3, 32, 32), tokenize(["a red b", "a c", "d"]))
    assert (image.shape, text.shape, scale.shape) == ((2, 96), (3, 96), ())


def test_model_and_file_stay_small() -> None:
    sizes = {name: p.numel() for name, p in create_tiny_clip().named_parameters()}
    table = sizes.pop("token_embedding.weight")
    assert table == 49408 * 64
    assert sum(sizes.values()) <= PARAMETERS_BESIDE_THE_TABLE
    assert tiny_clip.WEIGHTS_FILE.stat().st_size <= MEGABYTES * 2**20


def test_no_layer_keeps_batch_statistics() -> None:
    assert {name for name, _ in create_tiny_clip().named_buffers()} == {"attn_mask"}


def test_pretrained_weights_fill_everything() -> None:
    loaded = create_tiny_clip(pretrained=True).state_dict()
    shipped = safetensors.torch.load_file(tiny_clip.WEIGHTS_FILE)
    ids, rows = shipped.pop("token_ids"), shipped.pop("token_rows")
    table = loaded.pop("token_embedding.weight")
    assert set(shipped) == set(loaded)
    assert all(torch.equal(value, loaded[name]) for name, value in shipped.items())
    assert torch.equal(table[ids], rows)
    assert not table[~torch.isin(torch.arange(len(table)), ids)].any()


def test_all_words_of_captions_have_tokens_and_other_words_are_all_the_same() -> None:
    table = create_tiny_clip(pretrained=True).token_embedding.weight
    captions = [scene.caption() for scene in draw_scenes(300, 0, list(NAMES))]
    for text in ("a photo of a capital a.", *NAMES.values(), *captions):
        assert table[tokenize([text])].any(dim=2).all(), text
    assert not table[tokenize.encode("a dog")[1]].any()


def test_names_that_were_never_shown_differ_in_the_shipped_weights() -> None:
    model = create_tiny_clip(pretrained=True).eval()
    prompts = [f"a photo of a {name}." for name in NAMES.values()]
    with torch.no_grad():
        text = model.encode_text(tokenize(prompts), normalize=True)
    others = (text @ text.mT).fill_diagonal_(-1)
    assert others.max() < 0.99  # two words without tokens would give 1


@torch.no_grad()
def test_the_shipped_weights_know_colours() -> None:
    model = create_tiny_clip(pretrained=True).eval()
    scenes = draw_scenes(200, seed=7, characters="ABC5Ω")
    image = model.encode_image(normalise(render_scenes(scenes, seed=7)), normalize=True)
    names = list(COLOURS)
    text = model.encode_text(tokenize([f"a {name} character" for name in names]), normalize=True)
    found = (image @ text.mT).argmax(1).tolist()
    hits = [names[i] == scene.colour for i, scene in zip(found, scenes, strict=True)]
    assert sum(hits) / len(hits) > 0.9


@pytest.mark.parametrize("pretrained", [True, False])
def test_it_says_which_weights_it_has(pretrained: bool) -> None:
    source = create_tiny_clip(pretrained).weights_source
    file = tiny_clip.WEIGHTS_FILE
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    shipped = WeightsSource(tiny_clip.TINY_CLIP, file.name, digest)
    assert source == (shipped if pretrained else WeightsSource(tiny_clip.TINY_CLIP))


def test_a_packed_table_comes_back_with_zeros_elsewhere() -> None:
    state = {"token_embedding.weight": torch.randn(9, 2), "other": torch.randn(3)}
    ids = torch.tensor([1, 4, 5])
    back = unpacked(packed(state, ids), 9)
    expected = torch.zeros(9, 2)
    expected[ids] = state["token_embedding.weight"][ids]
    assert set(back) == set(state)
    assert torch.equal(back["token_embedding.weight"], expected)
    assert torch.equal(back["other"], state["other"])


def test_a_damaged_file_is_refused_with_path_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(tiny_clip.WEIGHTS_FILE.read_bytes()[:-1])
    monkeypatch.setattr(tiny_clip, "WEIGHTS_FILE", path)
    with pytest.raises(WeightsError, match="reinstall") as caught:
        create_tiny_clip(pretrained=True)
    assert str(path) in str(caught.value)


def test_without_pretraining_the_file_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_clip, "WEIGHTS_FILE", tmp_path / "gone.safetensors")
    create_tiny_clip()
