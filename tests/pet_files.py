"""Saved PETs, changed by someone else than ``save_pet``."""

from __future__ import annotations

import json

from safetensors import safe_open
from safetensors.torch import save_file

FILE = "pet.safetensors"


def contents(folder):
    """The tensors of a saved PET, and what its metadata says."""
    with safe_open(folder / FILE, "pt") as file:
        names = file.keys()
        metadata = json.loads(file.metadata()["avl_pegp"])
        return {name: file.get_tensor(name).clone() for name in names}, metadata


def write(folder, tensors, metadata):
    """A file with these tensors under that metadata."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / FILE, {"avl_pegp": json.dumps(metadata)})


def as_earlier_versions_wrote(folder):
    """Two files, the configuration beside the tensors, and nothing about the model."""
    tensors, metadata = contents(folder)
    save_file(tensors, folder / FILE)
    (folder / "pet.json").write_text(json.dumps({"pets": metadata["pets"]}))
