"""All that answers depend on is in the file, and only the model that it was tuned on takes it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from avalanche.models import IncrementalClassifier
from models import answers, images, small_vit
from pet_files import FILE, as_earlier_versions_wrote, contents, write
from torch import nn

from avl_pegp.pet import LoRA, attach, attachment_of, load_pet, save_pet, trainable_tensors

X = images(3, seed=0)


def incremental(model):
    model.head = IncrementalClassifier(64, 6).double()


def normed(model):
    model.head = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 6)).double()


def another_count(model):
    model.reset_classifier(9)
    model.double()


def tuned(change=lambda model: None, learned=1, **options):
    """A model whose trainable tensors, and a head's statistics, have some learned value."""
    model = small_vit(**options)
    attach(model, LoRA(2))
    change(model)
    generator = torch.Generator().manual_seed(learned)
    for p in trainable_tensors(model).values():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.data.add_(0.1 * noise.to(p.dtype))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(0.3)
        if name.endswith("active_units"):
            buffer.copy_(torch.tensor([0, 0, 0, 1, 1, 0]))
    return model


def everything(model):
    """All that a failed loading must leave as it was."""
    tensors = {name: t.detach().clone() for name, t in model.named_parameters()}
    tensors |= {name: t.clone() for name, t in model.named_buffers()}
    needed = {name: p.requires_grad for name, p in model.named_parameters()}
    kinds = {name: (type(m), m.training) for name, m in model.named_modules()}
    return tensors, needed, kinds


def assert_same(model, before):
    tensors, *rest = everything(model)
    assert tensors.keys() == before[0].keys() and rest == list(before[1:])
    assert all(torch.equal(tensors[name], t) for name, t in before[0].items())


HEADS = {
    "active units": incremental,
    "batch norm": normed,
    "another class count": another_count,
    "no head": lambda model: model.reset_classifier(0),
}


@pytest.mark.parametrize("head", HEADS)
def test_another_head_than_at_attach_is_saved_with_its_buffers(head, tmp_path):
    model, other = tuned(HEADS[head]), small_vit()
    HEADS[head](other)
    save_pet(model, tmp_path)
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X, 9), answers(model, X, 9))
    assert torch.equal(answers(other, X).argmax(1), answers(model, X).argmax(1))


@pytest.mark.parametrize("layer", ["norm", "blocks.1.norm2", "blocks.0.mlp.fc1"])
def test_what_was_made_trainable_after_attach_comes_along(layer, tmp_path):
    model, other = tuned(lambda m: m.get_submodule(layer).requires_grad_(True)), small_vit()
    save_pet(model, tmp_path)
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X), answers(model, X))
    assert trainable_tensors(other).keys() == trainable_tensors(model).keys()


def test_what_changed_and_is_not_saved_makes_another_model(tmp_path):
    model = tuned(lambda m: m.norm.requires_grad_(True))
    model.norm.requires_grad_(False)
    save_pet(model, tmp_path)
    with pytest.raises(ValueError, match="saved beside other frozen weights"):
        load_pet(small_vit(), tmp_path)


@pytest.mark.parametrize("classes", [2, 9])
def test_a_growing_head_of_another_size_is_refused(classes, tmp_path):
    save_pet(tuned(incremental), tmp_path)
    other = small_vit()
    other.head = IncrementalClassifier(64, classes).double()
    before = everything(other)
    with pytest.raises(ValueError, match=r"head.classifier.weight: \(6, 64\) in the file"):
        load_pet(other, tmp_path)
    assert_same(other, before)


OTHERS = {
    "weights": ({"seed": 1}, r"other frozen weights: test_vit.* \(digest \w+\), and the model has"),
    "activation": ({"act_layer": "relu"}, "blocks.0.mlp.act was GELU and is ReLU"),
    "heads": ({"num_heads": 4}, "blocks.0.attn:num_heads was 2 and is 4"),
    "pooling": ({"global_pool": "avg", "fc_norm": False}, "global_pool was 'token' and is 'avg'"),
    "half": ({"dtype": torch.bfloat16}, "float32 or float64 in the file, torch.bfloat16 in"),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("bare", [True, False])
def test_another_model_is_refused_and_stays_as_it_was(case, bare, tmp_path):
    options, message = OTHERS[case]
    save_pet(tuned(), tmp_path)
    other = small_vit(**options) if bare else tuned(**options)
    before = everything(other)
    with pytest.raises(ValueError, match=message):
        load_pet(other, tmp_path)
    assert_same(other, before)
    assert (attachment_of(other) is None) == bare


def test_another_function_in_a_module_of_the_same_class_is_refused(tmp_path):
    save_pet(tuned(), tmp_path)
    other = small_vit()
    other.blocks[1].attn.scale *= 2
    with pytest.raises(ValueError, match="blocks.1.attn:scale was"):
        load_pet(other, tmp_path)


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_full_and_double_precision_hold_the_same_model(dtypes, tmp_path):
    model, other = tuned(dtype=dtypes[0]), small_vit(dtypes[1])
    save_pet(model, tmp_path)
    load_pet(other, tmp_path)
    y, then = answers(other, X.to(dtypes[1])), answers(model, X.to(dtypes[0]))
    torch.testing.assert_close(y.double(), then.double(), rtol=1e-4, atol=1e-5)


def test_a_mode_a_dropout_rate_and_a_wrapper_make_no_other_model(tmp_path):
    model, other = tuned(), small_vit(proj_drop_rate=0.3, drop_rate=0.2).train()
    save_pet(nn.DataParallel(model), tmp_path)
    load_pet(nn.DataParallel(other), tmp_path)
    assert torch.equal(answers(other, X), answers(model, X))


NAME = "blocks.0.attn.qkv.A.weight"
DAMAGE = {
    "nan": (lambda t, m: t[NAME].view(-1)[:1].fill_(torch.nan), f"NaN or infinite .*{NAME}"),
    "infinite": (lambda t, m: t["head.bias"].fill_(torch.inf), "NaN or infinite .*head.bias"),
    "whole numbers": (lambda t, m: t.update({NAME: t[NAME].long()}), f"{NAME}: torch.int64 in the"),
    "truth values": (lambda t, m: t.update({NAME: t[NAME] > 0}), f"{NAME}: torch.bool in the file"),
    "half": (lambda t, m: t.update({NAME: t[NAME].half()}), f"{NAME}: torch.float16 in the file"),
    "single": (lambda t, m: t.update({NAME: t[NAME].float()}), "not those that save_pet wrote"),
    "three times": (lambda t, m: t[NAME].mul_(3), "not those that save_pet wrote"),
    "zeros": (lambda t, m: t[NAME].zero_(), "not those that save_pet wrote"),
    "turned": (lambda t, m: t.update({NAME: t[NAME].mT}), rf"{NAME}: \(64, 2\) in the file"),
    "a huge rank": (lambda t, m: m["pets"][0].update(rank=10**9), "rank=1000000000, but no tensor"),
    "a rank that is none": (lambda t, m: m["pets"][0].update(rank=True), "LoRA.rank=True"),
    "another scale": (
        lambda t, m: m["pets"][0].update(alpha=40),
        "scale was 1.0 and is 20.0|alpha=40",
    ),
    "a field": (lambda t, m: m["pets"][0].update(dora=1), "LoRA has no dora"),
    "a kind": (lambda t, m: m["pets"][0].update(kind="DoRA"), "kind 'DoRA' is unknown"),
    "no kind": (lambda t, m: m["pets"][0].pop("kind"), "kind None is unknown"),
    "no PET": (lambda t, m: m.update(pets=[]), "'pets' must be a list"),
    "a name": (lambda t, m: m.update(pets="LoRA"), "'pets' must be a list"),
    "no model": (lambda t, m: m.update(frozen=None), "'frozen' must have"),
    "an entry less": (lambda t, m: m.pop("checksum"), "it must have checksum, frozen, pets"),
    "no checksum": (lambda t, m: m.update(checksum=None), "not those that save_pet wrote"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("bare", [True, False])
def test_a_damaged_file_is_refused_by_name_and_changes_nothing(case, bare, tmp_path):
    change, message = DAMAGE[case]
    save_pet(tuned(), tmp_path)
    tensors, metadata = contents(tmp_path)
    change(tensors, metadata)
    write(tmp_path, tensors, metadata)
    other = small_vit() if bare else tuned(learned=2)
    before = everything(other)
    with pytest.raises(ValueError, match=message):
        load_pet(other, tmp_path)
    assert_same(other, before)


@pytest.mark.parametrize("content", ["[" * 10**5, "9" * 10**4, '{"pets": NaN}', "\x00"])
def test_text_that_is_no_configuration_is_refused(content, tmp_path):
    save_pet(tuned(), tmp_path)
    as_earlier_versions_wrote(tmp_path)
    (tmp_path / "pet.json").write_text(content)
    with pytest.raises(ValueError, match="not a PET configuration"):
        load_pet(small_vit(), tmp_path)


def test_nothing_that_has_diverged_is_saved(tmp_path):
    model = tuned()
    model.blocks[1].attn.qkv.B.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinite values in blocks.1.attn.qkv.B.weight"):
        save_pet(model, tmp_path / "pet")
    assert not (tmp_path / "pet").exists()


def test_a_pet_that_was_built_over_is_not_saved(tmp_path):
    model = tuned()
    model.blocks[0].attn.qkv = model.blocks[0].attn.qkv.base
    with pytest.raises(ValueError, match=f"{NAME}, .* no longer in the model"):
        save_pet(model, tmp_path)
    assert not any(tmp_path.iterdir())


def half_written(path, content):
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError("disk full")


@pytest.mark.parametrize(
    ("where", "name", "failing"),
    [
        (Path, "write_bytes", half_written),
        (os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)),
    ],
)
def test_a_save_that_is_broken_off_leaves_the_one_before(
    where, name, failing, tmp_path, monkeypatch
):
    first = tuned(learned=1)
    save_pet(first, tmp_path)
    with monkeypatch.context() as patch, pytest.raises((OSError, KeyboardInterrupt)):
        patch.setattr(where, name, failing)
        save_pet(tuned(another_count, learned=2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    other = small_vit()
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X), answers(first, X))


def test_two_files_of_earlier_versions_are_still_read_and_then_replaced(tmp_path):
    model, other = tuned(), small_vit()
    save_pet(model, tmp_path)
    as_earlier_versions_wrote(tmp_path)
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X), answers(model, X))
    save_pet(tuned(learned=2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_what_stands_in_the_file_counts_before_what_lies_beside_it(tmp_path):
    model, other = tuned(), small_vit()
    save_pet(model, tmp_path)
    (tmp_path / "pet.json").write_text(json.dumps({"pets": [{"kind": "LoRA", "rank": 5}]}))
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X), answers(model, X))
