"""What holds for every benchmark that is known by name."""

import inspect
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from image_data import facts

from avl_pegp.benchmarks import BENCHMARKS, DATASETS, DataError, ImageFiles, create_benchmark
from avl_pegp.plugins.experience import classes_of

FEW = {"train_per_class": 3, "test_per_class": 1, "characters": "AB"}


def build(name: str, **options):
    known = inspect.signature(BENCHMARKS[name]).parameters
    few = {field: value for field, value in FEW.items() if field in known}
    return create_benchmark(name, **few, **options)


def contents(benchmark) -> list:
    return [
        [(item[0].numpy().tobytes(), item[1]) for item in experience.dataset]
        for stream in (benchmark.train_stream, benchmark.test_stream)
        for experience in stream
    ]


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.long
def test_an_order_seed_draws_an_order_and_nothing_else_is_random(name: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (build(name, order_seed=seed) for seed in (3, 3, 4))
    assert contents(first) == contents(again) != contents(other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_streams_go_together_and_classes_have_names(name: str) -> None:
    benchmark = build(name, order_seed=1)
    n_classes = len(benchmark.class_names)
    assert sorted(benchmark.class_order) == list(range(n_classes))
    assert len(benchmark.train_stream) == len(benchmark.test_stream)
    tested = set()
    for train, test in zip(benchmark.train_stream, benchmark.test_stream, strict=True):
        assert classes_of(train) == set(train.dataset.targets)
        assert classes_of(test) == set(test.dataset.targets)
        tested |= classes_of(test)
    assert tested == set(range(n_classes))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_item_is_a_normalised_image_and_a_label(name: str) -> None:
    for experience in build(name).test_stream:
        image, label = experience.dataset[0][:2]
        assert image.shape == (3, 32, 32)
        assert image.dtype == torch.float32
        assert -1 <= image.min() < image.max() <= 1
        assert isinstance(label, int)


@pytest.mark.parametrize("name", ["named_glyphs", "shifted_glyphs"])
def test_task_labels_are_the_experiences_when_asked_for(name: str) -> None:
    for asked, expected in ((True, [[i] for i in range(10)]), (False, [[0]] * 10)):
        stream = build(name, task_labels=asked).test_stream
        assert [experience.task_labels for experience in stream] == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("named_glyphs", {"n_experiences": 4}, "n_experiences=4"),
        ("shifted_glyphs", {"n_experiences": 9}, "n_experiences=9"),
        *(
            (name, options, message)
            for name in ("named_glyphs", "shifted_glyphs")
            for options, message in (
                ({"class_order": [0]}, "class_order"),
                ({"train_per_class": 0}, "train_per_class=0"),
                ({"class_order": [0], "order_seed": 1}, "one of the two"),
            )
        ),
    ],
)
def test_wrong_arguments_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_benchmark(name, **options)


# The miniature that each data set is read from, and the options that it needs besides.
MINIATURES = {
    "core50_classes": ("core50", {}),
    "core50_instances": ("core50", {}),
    "domainnet": ("domainnet", {}),
    "image_folder": ("image_folder", {"n_experiences": 2}),
    "split_cifar100": ("cifar100", {}),
    "split_cub200": ("cub200", {}),
    "split_domainnet": ("domainnet", {}),
    "split_fashion_mnist": ("fashion_mnist", {}),
    "split_imagenet100": ("imagenet100", {}),
    "split_imagenet_r": ("imagenet_r", {}),
    "split_tiny_imagenet": ("tiny_imagenet", {}),
}


@pytest.fixture
def data_set(miniature):
    def build_miniature(name: str, **options):
        folder, needed = MINIATURES[name]
        return create_benchmark(name, data_root=miniature(folder), **needed, **options)

    return build_miniature


def labels_of(benchmark) -> list:
    streams = (benchmark.train_stream, benchmark.test_stream)
    return [list(experience.dataset.targets) for stream in streams for experience in stream]


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_on_disk_is_an_ordinary_benchmark(data_set, name: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (data_set(name, order_seed=seed) for seed in (3, 3, 4))
    orders = [(bm.class_order, getattr(bm, "domains", None)) for bm in (first, again, other)]
    assert orders[0] == orders[1] != orders[2]
    assert labels_of(first) == labels_of(again)
    assert torch.equal(state, torch.get_rng_state())
    n_classes = len(first.class_names)
    assert sorted(first.class_order) == list(range(n_classes))
    assert len(set(first.class_names)) == n_classes
    for train, test in zip(first.train_stream, first.test_stream, strict=True):
        assert classes_of(train) == classes_of(test) == set(test.dataset.targets)


@pytest.mark.parametrize(("name", "size"), [("split_cub200", 40), ("split_tiny_imagenet", 20)])
def test_200_classes_are_split_evenly_and_none_lacks_an_image(data_set, name: str, size) -> None:
    benchmark = data_set(name)
    for stream, count in ((benchmark.train_stream, 2), (benchmark.test_stream, 1)):
        found = [Counter(experience.dataset.targets) for experience in stream]
        assert found == [dict.fromkeys(range(i, i + size), count) for i in range(0, 200, size)]
    assert benchmark.data == facts(400, 200)


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_gives_images_as_its_transforms_say(data_set, name: str) -> None:
    usual = data_set(name)
    for stream in (usual.train_stream, usual.test_stream):
        image, label = stream[0].dataset[0][:2]
        assert (image.shape, image.dtype) == ((3, 224, 224), torch.float32)
        assert -1 <= image.min() < image.max() <= 1
        assert isinstance(label, int)
    own = data_set(
        name,
        train_transform=lambda image: torch.full((1,), len(image.getbands())),
        eval_transform=lambda image: torch.zeros(1),
    )
    assert own.train_stream[0].dataset[0][0] == 3
    assert own.test_stream[0].dataset[0][0] == 0


@pytest.mark.parametrize("name", DATASETS)
def test_facts_for_the_record_count_the_images(data_set, name: str) -> None:
    benchmark = data_set(name)
    assert benchmark.data == json.loads(json.dumps(benchmark.data))
    for part in ("train", "test"):
        stream = getattr(benchmark, f"{part}_stream")
        assert benchmark.data[f"{part}_images"] == sum(len(exp.dataset) for exp in stream)


IN_ARRAYS = {"split_cifar100", "split_fashion_mnist"}  # and not a file for each image


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - IN_ARRAYS))
def test_every_image_on_disk_is_in_one_experience(data_set, miniature, name: str) -> None:
    data = data_set(name).data
    on_disk = [
        p
        for p in miniature(MINIATURES[name][0]).rglob("*")
        if p.suffix in (".jpg", ".png", ".JPEG")
    ]
    assert data["train_images"] + data["test_images"] == data["images"] == len(on_disk)


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - IN_ARRAYS - {"image_folder"}))
def test_published_data_is_read_as_the_field_reads_it(
    data_set, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = []
    make = ImageFiles.__init__

    def noted(self, *args, **options) -> None:
        make(self, *args, **options)
        made.append(self.upright)

    monkeypatch.setattr(ImageFiles, "__init__", noted)
    data_set(name)
    assert set(made) == {False}


@pytest.mark.parametrize("name", DATASETS)
def test_absent_data_is_one_error_that_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"(?s)There is no data in {tmp_path}.*Put this there:"):
        create_benchmark(name, data_root=str(tmp_path / "nothing"), **MINIATURES[name][1])


# The archive that each comes in, and what should lie there instead.
ARCHIVES = {
    "core50_classes": ("core50_128x128.zip", "core50_128x128/s1/o1"),
    "core50_instances": ("core50_128x128.zip", "core50_128x128/s1/o1"),
    "split_cifar100": ("cifar-100-python.tar.gz", "cifar-100-python/train"),
    "split_cub200": ("CUB_200_2011.tgz", "classes.txt"),
    "split_imagenet_r": ("imagenet-r.tar", "nXXXXXXXX"),
    "split_tiny_imagenet": ("tiny-imagenet-200.zip", "tiny-imagenet-200/wnids.txt"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_was_left_packed_is_named(name: str, tmp_path: Path) -> None:
    archive, layout = ARCHIVES[name]
    (tmp_path / archive).write_bytes(b"packed")
    with pytest.raises(DataError, match=f"(?s)no data in .*{layout}.*Unpack first.*{archive}"):
        create_benchmark(name, data_root=tmp_path)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("options", [{}, {"data_root": None}])
def test_a_data_set_without_data_root_is_refused(name: str, options: dict) -> None:
    with pytest.raises(ValueError, match=f"name='{name}' .* but data_root is not given"):
        create_benchmark(name, **options)


def test_an_unknown_name_lists_embedded_benchmarks_and_data_sets() -> None:
    with pytest.raises(ValueError, match="name='mnist' .*blurry_digits.*split_imagenet_r"):
        create_benchmark("mnist")
