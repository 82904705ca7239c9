import json
from dataclasses import FrozenInstanceError, asdict

import pytest

from avl_pegp.backbones import WeightsSource


def test_it_is_what_json_can_hold_and_cannot_be_changed() -> None:
    source = WeightsSource("a.b", "weights.pth", "00ff", ("head.weight",))
    held = {"tag": "a.b", "file": "weights.pth", "sha256": "00ff", "dropped": ["head.weight"]}
    assert json.loads(json.dumps(asdict(source))) == held
    with pytest.raises(FrozenInstanceError):
        source.tag = "c"  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields", [{"file": "a.pth"}, {"sha256": "00ff"}, {"dropped": ("head.weight",)}]
)
def test_a_file_and_its_digest_come_together(fields: dict) -> None:
    with pytest.raises(ValueError, match="give a file with its digest"):
        WeightsSource("a.b", **fields)
