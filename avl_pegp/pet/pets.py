"""The PETs by the names that saving, recipes and the command line know them by.

Another PET is a file of its own, with a frozen dataclass as ``PETConfig`` says, and a line here. What
stands outside this package can be added in place: ``PETS["mine"] = Mine``.
"""

from __future__ import annotations

from typing import Any

from avl_pegp.pet.adapter import Adapter, LinearAdapter
from avl_pegp.pet.context import Context
from avl_pegp.pet.lora import LoRA
from avl_pegp.pet.prefix import Prefix
from avl_pegp.pet.prompt import Prompt

PETS: dict[str, type[Any]] = {
    "adapter": Adapter,
    "lora": LoRA,
    "prefix": Prefix,
    "prompt": Prompt,
    "linear_adapter": LinearAdapter,
    "context": Context,
}
