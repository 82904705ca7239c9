"""Continual learning that keeps old answers: gradient projection for parameter-efficient tuning.

Everything named here is loaded when it is first used: ``import avl_pegp`` needs torch alone, and not
even Avalanche or timm are imported before they are asked for. ``from avl_pegp import *`` gives what
the installed extras allow.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avl_pegp.backbones import create_clip as create_clip
    from avl_pegp.backbones import create_vit as create_vit
    from avl_pegp.pet import Adapter as Adapter
    from avl_pegp.pet import Context as Context
    from avl_pegp.pet import LinearAdapter as LinearAdapter
    from avl_pegp.pet import LoRA as LoRA
    from avl_pegp.pet import Prefix as Prefix
    from avl_pegp.pet import Prompt as Prompt
    from avl_pegp.pet import attach as attach
    from avl_pegp.pet import load_pet as load_pet
    from avl_pegp.pet import pet_parameters as pet_parameters
    from avl_pegp.pet import save_pet as save_pet
    from avl_pegp.plugins import PEGPPlugin as PEGPPlugin
    from avl_pegp.projection import PEGP as PEGP

_HOMES = {
    "Adapter": "pet",
    "Context": "pet",
    "LinearAdapter": "pet",
    "LoRA": "pet",
    "PEGP": "projection",
    "PEGPPlugin": "plugins",
    "Prefix": "pet",
    "Prompt": "pet",
    "attach": "pet",
    "create_clip": "backbones",
    "create_vit": "backbones",
    "load_pet": "pet",
    "pet_parameters": "pet",
    "save_pet": "pet",
}
__all__ = sorted(_HOMES)
if find_spec("open_clip") is None:  # an extra: asked for by name, create_clip says how to get it
    __all__.remove("create_clip")
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"avl_pegp.{_HOMES[name]}"), name)
    raise AttributeError(
        f"module 'avl_pegp' has no attribute {name!r}; it has {', '.join(__all__)}"
    )


def __dir__() -> list[str]:
    return __all__
