"""Checkpoints that hold something else than ordinary tensors under names of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avl_pegp.backbones import WeightsError, create_vit
from avl_pegp.backbones.state_dicts import named_tensors
from avl_pegp.backbones.weights import read_local_weights

OPTIONS = {"num_classes": 4, "depth": 1, "img_size": 48}
NAME = "norm.weight"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return create_vit("test_vit", **OPTIONS).state_dict()


def loaded(content: Any, folder: Path) -> dict[str, Tensor]:
    """What a model holds that was built from this checkpoint."""
    path = folder / "weights.pt"
    torch.save(content, path)
    return create_vit("test_vit", pretrained=path, **OPTIONS).state_dict()


def ring(state: dict[str, Tensor], *wrappers: str) -> dict[str, Any]:
    """A checkpoint that comes back to itself after so many wrappers."""
    first: dict[str, Any] = dict(state)
    last = first
    for wrapper in wrappers[:-1]:
        last[wrapper] = last = {}
    last[wrappers[-1]] = first
    return first


@pytest.mark.parametrize(
    "wrappers", [["state_dict"], ["model"], ["state_dict", "model"], ["model"] * 3]
)
def test_a_checkpoint_that_holds_itself_is_refused(state, tmp_path: Path, wrappers) -> None:
    with pytest.raises(
        WeightsError, match=r"holds itself under .*save model\.state_dict\(\) alone"
    ):
        loaded(ring(state, *wrappers), tmp_path)


def test_a_checkpoint_in_many_wrappers_is_read(state) -> None:
    wrapped: Any = state
    for _ in range(10_000):
        wrapped = {"state_dict": wrapped}
    assert named_tensors(wrapped, Path("a.pt")).keys() == state.keys()
    while isinstance(wrapped, dict) and "state_dict" in wrapped:  # or taking it down recurses
        wrapped = wrapped.pop("state_dict")


FORMS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (lambda t: t.to_sparse(), r"sparse_coo: to_dense\(\) it"),
    "sparse rows": (lambda t: t.view(8, 8).to_sparse_csr(), r"sparse_csr: to_dense\(\) it"),
    "meta": (lambda t: t.to("meta"), "meta: it has a shape and no numbers"),
    "quantised": (
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        r"quantised: dequantize\(\) it",
    ),
    "nested": (lambda t: torch.nested.nested_tensor([t, t]), r"nested: unbind\(\) it"),
    "complex": (lambda t: t.to(torch.complex64), r"torch\.complex64: convert it"),
    "8 bits": (lambda t: t.to(torch.float8_e4m3fn), r"torch\.float8_e4m3fn: convert it"),
}


@pytest.mark.filterwarnings("ignore:.*(CSR|quantize|nested|TypedStorage):UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_in_another_form_is_named_with_what_to_do(state, tmp_path, form: str) -> None:
    change, what = FORMS[form]
    with pytest.raises(WeightsError, match=rf"1 of 20 tensors .*: norm\.weight \({what}"):
        loaded({**state, NAME: change(state[NAME])}, tmp_path)


def test_a_tensor_of_a_kind_of_its_own_is_refused(state) -> None:
    class Masked(Tensor):
        pass

    odd = {NAME: state[NAME].as_subclass(Masked)}
    with pytest.raises(WeightsError, match=r"norm\.weight \(Masked: save what it stands for"):
        named_tensors(odd, Path("a.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.int(), r"norm\.weight torch\.int32 for torch\.float32\)\. Quantised"),
        (lambda t: t.bool(), r"norm\.weight torch\.bool for torch\.float32"),
        (lambda t: t * float("nan"), r"1 with NaN, .*\(norm\.weight at 64 of 64\)"),
        (lambda t: t.clone().index_fill_(0, torch.tensor(5), -torch.inf), "weight at 1 of 64"),
        (lambda t: t.double() * 1e300, r"too large for the model's type \(norm\.weight at 64"),
        (lambda t: t[:0], r"norm\.weight \(0,\) for \(64,\)"),
        (lambda t: t[0], r"norm\.weight \(\) for \(64,\)"),
        (lambda t: t[:1].expand(10**9, 64, 64), r"norm\.weight \(1000000000, 64, 64\) for"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(state, tmp_path, change, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        loaded({**state, NAME: change(state[NAME])}, tmp_path)


def test_one_position_that_stands_for_many_is_not_resampled(state, tmp_path: Path) -> None:
    many = state["pos_embed"][:, :1].expand(1, 10**12 + 1, 64)
    with pytest.raises(WeightsError, match=r"pos_embed \(1, 1000000000001, 64\) for \(1, 10, 64\)"):
        loaded({**state, "pos_embed": many}, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:1].expand(64),
        lambda t: t.clone().requires_grad_(),
        nn.Parameter,
        torch._neg_view,
        lambda t: t.double(),
        lambda t: t.bfloat16(),
        lambda t: t.repeat_interleave(3)[::3],
    ],
)
def test_other_tensors_are_read_as_they_stand(state, tmp_path: Path, change) -> None:
    given = change(torch.linspace(1, 2, 64))
    found = loaded({**state, NAME: given}, tmp_path)[NAME]
    assert torch.equal(found, given.detach().float().resolve_neg())


@pytest.mark.parametrize("name", [3, b"norm", None, ("norm", 1), ""])
def test_a_name_that_is_no_text_is_shown(state, tmp_path: Path, name) -> None:
    with pytest.raises(WeightsError, match="holds tensors under .*their names must be text") as c:
        loaded({**state, name: torch.zeros(1)}, tmp_path)
    assert repr(name) in str(c.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_names_that_are_one_without_their_prefixes_are_refused(state, tmp_path, prefix) -> None:
    with pytest.raises(WeightsError, match=r"holds norm\.weight a second time"):
        loaded({**state, f"{prefix}{NAME}": state[NAME] + 1}, tmp_path)


def test_two_sets_of_weights_are_refused(state, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="weights under 'state_dict' and 'model'"):
        loaded({"model": state, "state_dict": dict(state)}, tmp_path)


@pytest.mark.parametrize("other", ["vit", {"name": "vit"}, {}])
def test_what_stands_beside_the_weights_is_not_taken_for_them(state, tmp_path, other) -> None:
    found = loaded({"model": other, "state_dict": state}, tmp_path)
    assert torch.equal(found[NAME], state[NAME])


def test_a_tensor_may_be_called_as_a_wrapper_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"model": torch.ones(2), "w": torch.zeros(1)}, path)
    assert read_local_weights(path).tensors.keys() == {"model", "w"}
