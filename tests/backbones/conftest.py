"""Weights that tests save, to be read again."""

import pytest
import torch
from torch import Tensor

from avl_pegp.backbones import create_vit


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Of a model that differs from any new one in every tensor."""
    torch.manual_seed(0)
    model = create_vit("test_vit", num_classes=7, depth=1, img_size=48)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.state_dict()
