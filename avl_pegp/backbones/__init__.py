"""Networks to start from, pretrained or not."""

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.transforms import TRANSFORMS, transforms_of
from avl_pegp.backbones.vit import create_vit
from avl_pegp.backbones.weights_source import WeightsSource

__all__ = ["TRANSFORMS", "WeightsError", "WeightsSource", "create_vit", "transforms_of"]
