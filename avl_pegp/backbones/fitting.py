"""Whether tensors of a file are those that a model wants: by name, shape, and kind of number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from avl_pegp.backbones.checked_weights import WeightsError

__all__ = ["check_fit", "first_of"]

_NAMED = 3  # a message names so many of a kind and counts the rest


def check_fit(
    complaint: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: str
) -> None:
    """Refuse tensors that are not, by name and shape, those that a model wants, or hold no weights.

    Args:
        complaint: how the message begins: what does not fit what.
        found: of a file.
        wanted: of the model.
        names: how the message ends: whose names the tensors must have.

    Raises:
        WeightsError: something is missing, unexpected or of another shape; or it has whole numbers
            where the model has fractions, or NaN, or numbers beyond the range of the model's dtype.

    Example:
        >>> import torch
        >>> try:
        ...     check_fit("a.pth does not fit b", {"w": torch.zeros(2)}, {}, "with b's names")
        ... except WeightsError as error:
        ...     print(str(error)[:50])
        a.pth does not fit b: 1 unexpected (w (2,)). Give
    """
    differences = _differences(found, wanted)
    if differences:
        raise WeightsError(
            f"{complaint}: {'; '.join(differences)}. Give the name and the options of the "
            f"architecture that it was saved from, {names}"
        )
    cast = [
        f"{name} {found[name].dtype} for {tensor.dtype}"
        for name, tensor in wanted.items()
        if found[name].is_floating_point() != tensor.is_floating_point()
    ]
    if cast:
        raise WeightsError(
            f"{complaint}: {len(cast)} of another kind of number ({first_of(cast)}). Quantised or "
            "rounded weights are not read as they stand: save them as floats, in their own scale"
        )
    odd = [
        f"{name} at {int(count)} of {tensor.numel()}"
        for name, tensor in wanted.items()
        if (count := (~found[name].to(tensor.dtype).isfinite()).sum())
    ]
    if odd:
        raise WeightsError(
            f"{complaint}: {len(odd)} with NaN, or with numbers too large for the model's type "
            f"({first_of(odd)}). Copy the file again, or take weights from before training diverged"
        )


def first_of(phrases: Sequence[str]) -> str:
    """The first few phrases, with a mark where there are more.

    Example:
        >>> first_of(["a", "b"]), first_of("abcd")
        ('a, b', 'a, b, c, …')
    """
    return ", ".join(phrases[:_NAMED]) + (", …" if len(phrases) > _NAMED else "")


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unexpected or of another shape: a phrase for each kind."""
    missing = [f"{k} {tuple(v.shape)}" for k, v in wanted.items() if k not in found]
    unexpected = [f"{k} {tuple(v.shape)}" for k, v in found.items() if k not in wanted]
    misshaped = [
        f"{k} {tuple(found[k].shape)} for {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    return [f"{len(keys)} {kind} ({first_of(keys)})" for kind, keys in kinds.items() if keys]
