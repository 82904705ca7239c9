"""Input tokens: seen by the blocks that they flow through, and by nobody else."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from families import BIASED, ROTARY, family
from models import images, relative_change, small_vit
from traces import assert_untouched, trace

from avl_pegp.pet import Prompt, attach, attachment_of

OPTIONS = {
    "maps": {},
    "normalised": {"norm": True},
    "tokens": {"output_fmt": "NLC"},
    "with class tokens": {"return_prefix_tokens": True},
    "class tokens and tokens": {"return_prefix_tokens": True, "output_fmt": "NLC", "norm": True},
    "some": {"indices": [0, 1]},
    "last": {"indices": 1},
    "early": {"indices": [0], "stop_early": True},
    "only": {"intermediates_only": True},
    "only, early": {"indices": [1], "stop_early": True, "intermediates_only": True},
}
PLACES = {"all": None, "first two": [0, 1], "not the first": [1, 2], "one": [1]}
MODELS = {
    "vit": {},
    "registers": {"reg_tokens": 2},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "dynamic": {"dynamic_img_size": True},
    "oblong": {"img_size": (32, 48)},
}


def picture(name):
    height, width = MODELS[name].get("img_size", (32, 32))
    return torch.cat([images(2, seed=0)] * 2, dim=-1)[..., :height, :width]


def shapes(found):
    if isinstance(found, torch.Tensor):
        return tuple(found.shape)
    return [shapes(part) for part in found]


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_intermediates_are_of_the_models_own_tokens(name, options, places):
    model, x = small_vit(**MODELS[name]).eval(), picture(name)
    given = OPTIONS[options]
    if name == "no class token":
        given = {key: value for key, value in given.items() if key != "return_prefix_tokens"}
    wanted = shapes(model.forward_intermediates(x, **given))
    with attach(model, Prompt(5, deep=False, blocks=PLACES[places])):
        assert shapes(model.forward_intermediates(x, **given)) == wanted
    assert shapes(model.forward_intermediates(x, **given)) == wanted


@pytest.mark.parametrize("places", PLACES)
def test_intermediates_are_what_the_blocks_gave(places):
    """The oracle reads the blocks, and cuts off what is behind a model's own five tokens."""
    model, x = small_vit().eval(), images(2, seed=0)
    attach(model, Prompt(5, deep=False, blocks=PLACES[places]))
    rows = []
    hooks = [
        block.register_forward_hook(lambda module, args, y: rows.append(y[:, :5]))
        for block in model.blocks
    ]
    features = model.forward_features(x)
    for hook in hooks:
        hook.remove()
    last, found = model.forward_intermediates(x, output_fmt="NLC", return_prefix_tokens=True)
    assert torch.equal(last, features)
    for (tokens, first), row in zip(found, rows, strict=True):
        assert torch.equal(torch.cat([first, tokens], dim=1), row)
    maps = model.forward_intermediates(x, intermediates_only=True)
    for image, row in zip(maps, rows, strict=True):
        assert torch.equal(image.flatten(2).mT, row[:, 1:])
    assert torch.equal(
        model.get_intermediate_layers(x, n=1)[0], model.norm(rows[-1])[:, 1:]
    ) or torch.equal(model.get_intermediate_layers(x, n=1)[0], rows[-1][:, 1:])


def test_a_model_of_features_only_gives_maps_of_its_own_tokens():
    getter = timm.create_model(
        "test_vit", features_only=True, out_indices=(0, 1), img_size=32, depth=3
    ).eval()
    x = images(2, seed=0, dtype=torch.float32)
    wanted = [tuple(y.shape) for y in getter(x)]
    attach(getter.model, Prompt(5, deep=False))
    assert [tuple(y.shape) for y in getter(x)] == wanted


def test_copies_and_pickles_show_their_own_tokens_and_weights():
    model, x = small_vit().eval(), images(2, seed=0)
    attach(model, Prompt(5, deep=False))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.nn.init.zeros_(other.blocks[0].prompt.weight)
        mine, its = model.forward_intermediates(x), other.forward_intermediates(x)
        assert shapes(mine) == shapes(its)
        assert torch.equal(its[0], other.forward_features(x))
        assert not torch.equal(mine[0], its[0])
        attachment_of(other).detach()
        assert "forward_intermediates" not in vars(other)


def test_checkpointed_blocks_give_the_same_gradients():
    x, found = images(2, seed=0), []
    for checkpointed in (False, True):
        model = small_vit()
        attach(model, Prompt(5, deep=False, blocks=[1, 2]))
        torch.nn.init.ones_(model.blocks[1].prompt.weight)
        model.set_grad_checkpointing(checkpointed)
        model.train()(x).sum().backward()
        found.append(model.blocks[1].prompt.weight.grad)
    assert relative_change(*found) < 1e-12


def test_dropped_patches_are_back_while_prompts_are_on():
    """The frozen part is in eval mode, where no patch is dropped."""
    model, x = small_vit(patch_drop_rate=0.5), images(2, seed=0)
    handle = attach(model, Prompt(5, deep=False))
    model.train()
    assert model.forward_features(x).shape == (2, 5, 64)
    assert shapes(model.forward_intermediates(x)[1]) == [(2, 64, 2, 2)] * 3
    handle.detach()
    model.train()
    assert model.forward_features(x).shape == (2, 3, 64)


def test_without_its_prompts_a_model_shows_what_it_did():
    model, x = small_vit().eval(), images(2, seed=0)
    before = model.forward_intermediates(x)[1]
    handle = attach(model, Prompt(5, deep=False))
    with handle.disabled():
        assert "forward_intermediates" not in vars(model)
        inside = model.forward_intermediates(x)[1]
    assert all(torch.equal(new, old) for new, old in zip(inside, before, strict=True))
    assert "forward_intermediates" in vars(model)


class TestBadInput:
    @pytest.mark.parametrize("name", [*ROTARY, *BIASED])
    def test_families_that_know_positions_are_refused_by_name(self, name):
        model = family(name)
        before = trace(model)
        with pytest.raises(TypeError, match=r"Prompt.deep=False.*use Prompt\(deep=True\)"):
            attach(model, Prompt(3, deep=False))
        assert_untouched(model, before)

    @pytest.mark.parametrize(
        ("tag", "options"),
        [
            ("samvit_base_patch16_224", {"depth": 2, "global_attn_indexes": (1,), "img_size": 32}),
            ("xcit_nano_12_p16_224", {"depth": 2, "img_size": 32}),
            ("convit_tiny", {"depth": 2, "local_up_to_layer": 1}),
            ("mixer_s32_224", {}),
            ("gmixer_24_224", {}),
            ("resmlp_12_224", {}),
        ],
    )
    def test_models_of_other_sequences_are_refused_by_name(self, tag, options):
        model = timm.create_model(tag, num_classes=2, **options)
        before = trace(model)
        with pytest.raises(TypeError, match=r"Prompt.deep=False|without norm1|no norm with"):
            attach(model, Prompt(3, deep=False))
        assert_untouched(model, before)

    @pytest.mark.parametrize("tag", ["cait_xxs24_224", "naflexvit_base_patch16_gap"])
    def test_intermediates_of_another_form_are_refused_while_prompts_are_on(self, tag):
        options = {"depth": 2, "embed_dim": 64, "num_heads": 2, "num_classes": 3}
        model = timm.create_model(tag, **options).eval()
        x = images(1, seed=0, dtype=torch.float32, size=224)
        before = model(x)
        with attach(model, Prompt(3, deep=False)):
            assert model(x).shape == before.shape
            with pytest.raises(TypeError, match=r"forward_intermediates\(\) would show the tokens"):
                model.forward_intermediates(x)
        assert torch.equal(model(x), before)

    def test_blocks_can_not_be_cut_off_while_tokens_flow_through_them(self):
        model, x = small_vit().eval(), images(1, seed=0)
        before = model(x)
        handle = attach(model, Prompt(3, deep=False))
        with pytest.raises(TypeError, match=r"prune_intermediate_layers\(\) would show the tokens"):
            model.prune_intermediate_layers([0])
        assert torch.equal(handle.detach()(x), before)
        model.prune_intermediate_layers([0], prune_head=False)
        assert len(model.blocks) == 1

    def test_blocks_that_are_not_used_may_know_positions(self):
        model = small_vit()
        model.blocks[2].attn = family("relative").blocks[0].attn
        attach(model, Prompt(3, deep=False, blocks=[0, 1])).detach()
        with pytest.raises(TypeError, match=r"blocks.2 \(Block\) knows its tokens by their pos"):
            attach(model, Prompt(3, deep=False))
