"""The file that ``save_pet`` writes: tensors, and in its metadata the PETs and the frozen model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.fingerprint import changed_settings, digest_of, frozen_tensors, settings_of
from avl_pegp.pet.config import SIZES, PETConfig
from avl_pegp.pet.pets import PETS
from avl_pegp.pet.restart import layers_with_earlier
from avl_pegp.pet.trainable import classifier_of
from avl_pegp.wrappers import unwrapped

_TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "str": (str,)}
_KEYS = {"pets", "frozen", "checksum"}
_FIELD = "avl_pegp"  # of the metadata


@dataclass(frozen=True)
class FrozenModel:
    """A model without what was tuned.

    Attributes:
        source: what the model says of where its weights are from; ``"unknown"`` where it says nothing.
        digest: of its frozen tensors as float32: a wider dtype holds the same numbers.
        settings: how its modules are set up, but for the classifier.
    """

    source: str
    digest: str
    settings: dict[str, str]

    @classmethod
    def of(cls, model: nn.Module, tuned: Collection[str]) -> FrozenModel:
        """Of a model with its PETs; ``tuned`` names what is not frozen."""
        head = set(classifier_of(unwrapped(model)).modules())
        apart = [path for path, module in model.named_modules() if module in head]
        of_pets = {
            name
            for path, layer in layers_with_earlier(model).items()
            for name, _ in layer.named_buffers(prefix=path, recurse=False)
        }
        digest = digest_of(frozen_tensors(model, of_pets.union(tuned)), torch.float32)
        return cls(_source_of(model), digest, settings_of(model, apart))

    def require(self, model: nn.Module, tuned: Collection[str], folder: Path) -> None:
        """Raise ValueError where a model is another one.

        Args:
            model: with the same PETs.
            tuned: names of what the file brings.
            folder: for the message.
        """
        now = FrozenModel.of(model, tuned)
        changed = changed_settings(self.settings, now.settings)
        if changed:
            raise ValueError(
                f"{folder} was saved beside a model that was set up otherwise: "
                f"{'; '.join(changed[:4])}. Build the model as it was"
            )
        if now.digest != self.digest:
            raise ValueError(
                f"{folder} was saved beside other frozen weights: {self.source} (digest "
                f"{self.digest[:12]}), and the model has {now.source} (digest {now.digest[:12]}). Load "
                "the weights that were tuned on first, in float32 or float64 where those were; cast the "
                "model to half precision after loading"
            )


def _source_of(model: Any) -> str:
    """The name of the weights, as this package or timm notes it on the model."""
    source = getattr(model, "weights_source", None)
    if source is not None:
        return str(source)
    config = getattr(model, "pretrained_cfg", None) or {}
    parts = [config.get("architecture"), config.get("tag")]
    return ".".join(part for part in parts if part) or "unknown"


@dataclass(frozen=True)
class PETFile:
    """What a file holds.

    Attributes:
        pets: configurations.
        tensors: by name.
        frozen: the model beside them; ``None`` in files of earlier versions.
        checksum: of the tensors, as the file says; ``None`` in files of earlier versions.
    """

    pets: tuple[PETConfig, ...]
    tensors: dict[str, Tensor]
    frozen: FrozenModel | None
    checksum: Any = None

    def require_unchanged(self) -> None:
        """Raise ValueError where the tensors are not those that the file was written with."""
        if self.frozen is not None and _checksum(self.tensors) != self.checksum:
            raise ValueError(
                "the tensors are not those that save_pet wrote: the file was changed or is damaged; "
                "save anew"
            )


def _checksum(tensors: dict[str, Tensor]) -> str:
    return digest_of({name: tensors[name] for name in sorted(tensors)})


def written(file: PETFile) -> bytes:
    """The bytes of a file with a frozen model."""
    from safetensors.torch import save

    assert file.frozen is not None
    pets: list[Any] = list(file.pets)
    content = {
        "pets": [{"kind": type(pet).__name__, **dataclasses.asdict(pet)} for pet in pets],
        "frozen": dataclasses.asdict(file.frozen),
        "checksum": _checksum(file.tensors),
    }
    return save(file.tensors, {_FIELD: json.dumps(content)})


def read_pet_file(path: Path, old_config: Path) -> PETFile:
    """The file at a path; where it has no configuration in it, with the JSON file that has.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: not written by ``save_pet``, or a configuration that its tensors do not bear out.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: save_pet writes it")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_FIELD)
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    if text is None and not old_config.is_file():
        raise FileNotFoundError(
            f"{path} has no configuration in it, and {old_config} is missing, where earlier versions "
            "wrote it: give a folder of save_pet"
        )
    source = old_config if text is None else path
    try:
        content = json.loads(old_config.read_text() if text is None else text)
        keys = {"pets"} if text is None else _KEYS
        if not isinstance(content, dict) or content.keys() != keys:
            raise ValueError(f"it must have {', '.join(sorted(keys))}")
        if not isinstance(content["pets"], list) or not content["pets"]:
            raise ValueError("'pets' must be a list with at least one")
        pets = tuple(_pet_of(entry) for entry in content["pets"])
        _require_sizes(pets, tensors)
        frozen = None if text is None else _frozen_of(content["frozen"])
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{source} is not a PET configuration written by save_pet: {error}"
        ) from error
    return PETFile(pets, tensors, frozen, content.get("checksum"))


def _pet_of(entry: Any) -> PETConfig:
    """A configuration, each of whose fields has the type that it is declared with."""
    kinds = {kind.__name__: kind for _, kind in sorted(PETS.items())}
    if not isinstance(entry, dict) or entry.get("kind") not in kinds:
        kind = entry.get("kind") if isinstance(entry, dict) else entry
        raise ValueError(f"the kind {kind!r} is unknown: must be one of {', '.join(kinds)}")
    kind = kinds[entry["kind"]]
    fields: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(kind)}
    unknown = sorted(entry.keys() - fields.keys() - {"kind"})
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    values = {name: value for name, value in entry.items() if name != "kind"}
    for name, value in values.items():
        allowed = _TYPES.get(fields[name], (object,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and allowed != (bool,)):
            raise ValueError(f"{kind.__name__}.{name}={value!r}: must be {fields[name]}")
    pet: PETConfig = kind(**values)
    return pet


def _frozen_of(entry: Any) -> FrozenModel:
    """A frozen model, of the fields that ``dataclasses.asdict`` gave."""
    keys = {"source", "digest", "settings"}
    if not isinstance(entry, dict) or entry.keys() != keys:
        raise ValueError(f"'frozen' must have {', '.join(sorted(keys))}")
    if not isinstance(entry["settings"], dict):
        raise ValueError("'frozen' must have settings by name")
    texts = (entry["source"], entry["digest"], *entry["settings"].values())
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"'frozen' must hold texts alone, not {json.dumps(entry)[:80]}")
    return FrozenModel(**entry)


def _require_sizes(pets: tuple[PETConfig, ...], tensors: dict[str, Tensor]) -> None:
    """Before anything is built: every rank, bottleneck and length is a side of some tensor."""
    sides = {size for tensor in tensors.values() for size in tensor.shape}
    for pet in pets:
        for name in SIZES:
            size = getattr(pet, name, None)
            if size is not None and size not in sides:
                raise ValueError(
                    f"{type(pet).__name__}.{name}={size}, but no tensor of the file has such a side"
                )
