import pytest
import torch

from avl_pegp.benchmarks.captioned import (
    caption_of,
    classes_by,
    name_of,
    render_classes,
    render_parts,
    render_scenes,
)
from avl_pegp.benchmarks.named_characters import PRETRAINING_CHARACTERS
from avl_pegp.benchmarks.scenes import COLOURS, draw_scenes


def test_classes_are_all_combinations() -> None:
    assert classes_by(colour=["red", "blue"], position=["left", "top"]) == [
        {"colour": "red", "position": "left"},
        {"colour": "red", "position": "top"},
        {"colour": "blue", "position": "left"},
        {"colour": "blue", "position": "top"},
    ]


@pytest.mark.parametrize(
    ("scene_class", "caption", "name"),
    [
        ({"character": "A"}, "a capital a", "capital a"),
        ({"colour": "orange"}, "an orange character", "orange character"),
        ({"position": "top"}, "a character at the top", "character at the top"),
        ({"typeface": "mono", "character": "Ω"}, "a mono capital omega", "mono capital omega"),
    ],
)
def test_a_class_is_called_what_its_scenes_share(scene_class, caption: str, name: str) -> None:
    assert caption_of(scene_class) == caption
    assert name_of(scene_class) == name


def test_scenes_of_a_class_share_its_values_and_differ_in_the_others() -> None:
    """The first image is that of the first random scene, repainted in the class's colour."""
    data = render_classes(classes_by(colour=COLOURS), 20, seed=5, domain="plain")
    assert data.targets == [label for label in range(8) for _ in range(20)]
    scenes = draw_scenes(160, 5, PRETRAINING_CHARACTERS)
    images = render_scenes(scenes, 5)
    right = torch.tensor(
        [scene.colour == list(COLOURS)[i] for scene, i in zip(scenes, data.targets, strict=True)]
    )
    same = (data.images == images).flatten(1).all(1)
    assert right.sum() > 5
    assert torch.equal(same, right)


def test_training_and_test_images_are_others_and_do_not_depend_on_each_other() -> None:
    classes = classes_by(character="AB")
    train, test = render_parts(classes, 3, 3, seed=1, domain="plain")
    more, same = render_parts(classes, 5, 3, seed=1, domain="plain")
    assert torch.equal(test.images, same.images)
    assert len(more) == 10
    assert (train.images != test.images).flatten(1).any(1).all()
