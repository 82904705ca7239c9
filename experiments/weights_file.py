"""Weights on their way into the package: one safetensors file, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_weights(weights: Mapping[str, Tensor], out: Path) -> str:
    """Write weights as safetensors.

    Returns:
        The sha256 of the file.
    """
    content = save({name: weight.contiguous() for name, weight in weights.items()})
    temporary = out.with_name(out.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, out)
    return hashlib.sha256(content).hexdigest()
