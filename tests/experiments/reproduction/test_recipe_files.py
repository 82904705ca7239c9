"""Files of recipes: what is wrong with one is said all at once."""

from __future__ import annotations

import pytest
from reproduction.recipe_files import FOLDER, PROTOCOL, load

WRONG = """
hed = "lda"
lr = -1.0
benchmark = "split_mnist"
[training]
epoch = 5
epochs = 0
[pegp]
energy = 1.5
prject = "step"
[pet]
kind = "lora"
rank = 4
length = 7
"""


def test_everything_wrong_with_a_recipe_is_said_at_once(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / PROTOCOL).write_text((FOLDER / "cifar100" / PROTOCOL).read_text())
    (tmp_path / "t" / "row.toml").write_text(WRONG)
    with pytest.raises(ValueError) as raised:
        load("t", "row", tmp_path)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "t" / "row.toml"))
    for part in (
        "hed: no such key; did you mean head?",
        "lr: Input should be greater than 0",
        "'split_mnist' is none of ",
        "training.epoch: no such key; did you mean epochs?",
        "pegp.energy: Input should be less than or equal to 1",
        "pegp.prject: no such key; did you mean project?",
        "lora has no length; it has rank, alpha, targets, blocks",
    ):
        assert part in message


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / PROTOCOL).write_text("")
    (tmp_path / "row.toml").write_text("lr = ")
    with pytest.raises(ValueError, match=r"row\.toml or the protocol\.toml beside it is not TOML"):
        load("", "row", tmp_path)
