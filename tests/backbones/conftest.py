"""Weights that tests save, to be read again."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from avl_pegp.backbones import create_vit


@pytest.fixture
def state_of_depth() -> Callable[[int], dict[str, Tensor]]:
    """Of a model that differs from any new one in every tensor."""

    def state(depth: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = create_vit("test_vit", num_classes=7, depth=depth, img_size=48)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        return model.state_dict()

    return state


@pytest.fixture
def state(state_of_depth) -> dict[str, Tensor]:
    return state_of_depth(1)
