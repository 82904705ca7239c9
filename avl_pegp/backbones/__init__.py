"""Networks to start from, pretrained or not."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from avl_pegp.backbones.clip import prompt_names
from avl_pegp.backbones.registry import register_clip, register_vit
from avl_pegp.backbones.state_dicts import WeightsError
from avl_pegp.backbones.transforms import TRANSFORMS, transforms_of
from avl_pegp.backbones.vit import create_vit
from avl_pegp.backbones.weights import WeightsSource

if TYPE_CHECKING:
    from avl_pegp.backbones.clip.loading import create_clip

__all__ = [
    "TRANSFORMS",
    "WeightsError",
    "WeightsSource",
    "create_clip",
    "create_vit",
    "prompt_names",
    "register_clip",
    "register_vit",
    "transforms_of",
]
if not TYPE_CHECKING and find_spec("open_clip") is None:
    __all__.remove("create_clip")


def __getattr__(name: str) -> Any:
    if name == "create_clip":  # open_clip is an extra: loaded when it is first asked for
        from avl_pegp.backbones.clip.loading import create_clip

        return create_clip
    raise AttributeError(f"module 'avl_pegp.backbones' has no attribute {name!r}")
