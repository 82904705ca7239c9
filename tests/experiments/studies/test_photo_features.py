"""The study of the frozen features of photographs: what it measures, and the page that it writes."""

from __future__ import annotations

import pytest
import torch
from studies import photo_features as study
from studies.shared_classes import SHARED

from avl_pegp.backbones import create_vit
from avl_pegp.benchmarks import READERS


def test_accuracy_is_of_the_named_classes_alone() -> None:
    torch.manual_seed(0)
    labels = torch.arange(4).repeat(50)
    means = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 0.1], [9.0, 0.1]])  # 0 like 2, 1 like 3
    data = study.Encoded(means[labels] + torch.randn(200, 2), labels)
    assert study.accuracy(data, data, [0, 1]) == study.accuracy(data, data, [1, 2]) == 100
    assert 30 < study.accuracy(data, data, [0, 1, 2, 3]) < 70


def test_features_are_what_the_classifier_receives(miniature) -> None:
    images = READERS["fashion_mnist"](miniature("fashion_mnist")).test
    model = create_vit("tiny_vit_32.photos", 3)
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features, labels = study.encoded(model, images, "made up")
    batch = [study.transforms_of(model)[1](images[i][0]) for i in range(len(images))]
    model(torch.stack(batch))
    assert labels.tolist() == images.targets
    torch.testing.assert_close(features, seen[-1])


def test_data_of_other_classes_is_refused(miniature) -> None:
    data = {name: READERS[name](miniature(name)) for name in ("cifar100", "tiny_imagenet")}
    with pytest.raises(ValueError, match="CIFAR-100 has no classes aquarium_fish, bear, "):
        study.check(data)


def test_the_page_lists_the_shared_classes() -> None:
    page = study.page("| made up |", None)
    assert "| cattle | ox, bison |" in page
    assert f"the {100 - len(SHARED)} classes" in page
    assert "{" not in page.replace("SHARED", "")
    assert "features of all training images;" in page
    few = study.page("", 5)
    assert "--train-per-class 5`" in few
    assert "features of 5 training images of each class;" in few
    assert [*SHARED] == sorted(SHARED)
