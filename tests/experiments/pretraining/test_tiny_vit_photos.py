"""Pretraining on photographs: what it sees, that it goes on where it stopped, and what it leaves."""

import shutil
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import tiny_vit_photos as program
import torch
from resumable_training import Checkpoint, Settings, train_resumable
from tiny_photographs import decoded, random_views, rate, small
from torch import nn

from avl_pegp.backbones.photo_vit import create_photo_vit
from avl_pegp.benchmarks import read_tiny_imagenet

SETTINGS = Settings(epochs=2, batch_size=8, parts=2, learning_rate=1e-3, seed=3, images=24)
PIXELS = torch.randint(256, (24, 40, 40, 3), generator=torch.Generator().manual_seed(0)).byte()
LABELS = torch.arange(24) % 4


def trained(path, last=None, settings=SETTINGS) -> dict[str, torch.Tensor]:
    """The weights after so many steps, gone on from what is there."""
    torch.manual_seed(0)
    model = program.fit_for_training(program.with_batch_norm(create_photo_vit(4)))
    batch = program.batches(PIXELS, LABELS, settings)
    train_resumable(model, batch, settings, Checkpoint(path, settings), every=1, last=last)
    return model.state_dict()


@pytest.mark.long
def test_stopped_and_started_again_it_comes_to_the_same_weights(tmp_path) -> None:
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "parts", last=2)
    in_parts = trained(tmp_path / "parts")
    assert all(torch.equal(whole[name], in_parts[name]) for name in whole)
    begun = trained(tmp_path / "begun", last=2)
    assert not torch.equal(whole["blocks.0.mlp.fc1.weight"], begun["blocks.0.mlp.fc1.weight"])


def test_another_run_is_not_gone_on_with_but_for_its_epochs(tmp_path, capsys) -> None:
    trained(tmp_path / "run", last=1)
    with pytest.raises(ValueError, match=r"'seed': 3.* this one has .*'seed': 4.*: give the same"):
        trained(tmp_path / "run", settings=replace(SETTINGS, seed=4))
    trained(tmp_path / "run", last=2, settings=replace(SETTINGS, epochs=3))
    assert "from step 1 on 3 epochs, not 2" in capsys.readouterr().out


def test_a_step_and_its_part_say_what_is_drawn() -> None:
    batch = program.batches(PIXELS, LABELS, SETTINGS)
    images, labels = batch(4, 1)
    again, same = batch(4, 1)
    assert images.shape == (4, 3, 32, 32)
    assert torch.equal(images, again)
    assert torch.equal(labels, same)
    assert not torch.equal(images, batch(4, 0)[0])
    epoch = torch.cat([batch(step, part)[1] for step in range(3) for part in range(2)])
    assert torch.equal(epoch.sort().values, LABELS.sort().values)


def test_views_are_parts_of_their_photograph() -> None:
    flat = (torch.arange(24) * 10).byte()[:, None, None, None].expand(24, 40, 40, 3)
    views = random_views(flat, 32, torch.Generator().manual_seed(0))
    assert views.shape == (24, 3, 32, 32)
    torch.testing.assert_close(views, small(flat, 32))
    views = random_views(PIXELS, 32, torch.Generator().manual_seed(0))
    assert -1 <= views.min() < views.max() <= 1
    grey = (views == views[:, :1]).flatten(1).all(1)
    assert 0 < grey.sum() < 12


def test_the_rate_rises_and_then_falls_to_zero() -> None:
    rates = [rate(step, 100, 10) for step in range(101)]
    assert rates[9] == rates[10] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == 0 < rates[99] < 1e-3


def test_batch_norm_goes_into_the_convolutions() -> None:
    torch.manual_seed(0)
    model = program.with_batch_norm(create_photo_vit(4))
    images = torch.randn(3, 8, 3, 32, 32)
    program.settle(model, images)
    with torch.no_grad():
        before = model(images[0])
        model = program.without_batch_norm(model)
        torch.testing.assert_close(model(images[0]), before)
    assert not [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert model.state_dict().keys() == create_photo_vit(4).state_dict().keys()


def test_statistics_are_the_means_over_the_batches() -> None:
    model = program.with_batch_norm(create_photo_vit(4))
    images = torch.randn(2, 8, 3, 32, 32)
    program.settle(model, images)
    conv, norm = model.patch_embed.convs[0]
    torch.testing.assert_close(norm.running_mean, conv(images.flatten(0, 1)).mean((0, 2, 3)))


def test_photographs_are_decoded_once_and_a_wrong_cache_is_refused(miniature, tmp_path) -> None:
    files = read_tiny_imagenet(miniature("tiny_imagenet")).test
    first = decoded(files, tmp_path / "test.npy")
    assert first.shape == (200, 32, 32, 3)
    assert torch.equal(decoded(files, tmp_path / "test.npy"), first)
    train = read_tiny_imagenet(miniature("tiny_imagenet")).train
    with pytest.raises(ValueError, match=r"holds uint8 \(200, .*must be uint8 \(400, .*delete it"):
        decoded(train, tmp_path / "test.npy")


@pytest.mark.long
def test_the_program_writes_weights_that_the_model_takes(
    miniature, tmp_path, monkeypatch, capsys
) -> None:
    data = tmp_path / "data"
    shutil.copytree(miniature("tiny_imagenet"), data)
    out = tmp_path / "weights.safetensors"
    monkeypatch.setattr(program, "STEPS_TO_SETTLE", 2)
    flags = f"--data-root {data} --out {out} --epochs 1 --batch-size 100"
    monkeypatch.setattr(sys, "argv", ["tiny_vit_photos.py", *flags.split()])
    threads = torch.get_num_threads()
    program.main()
    torch.set_num_threads(threads)
    assert "validation accuracy as shipped" in capsys.readouterr().out
    weights = safetensors.torch.load_file(out)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    model = create_photo_vit(7)
    absent, unexpected = model.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert {*absent} == {"head.weight", "head.bias"}
