"""Networks to start from, pretrained or not."""

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.vit import create_vit

__all__ = ["WeightsError", "create_vit"]
