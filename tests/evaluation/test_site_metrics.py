"""PEGP's metrics against numbers that a test computes by itself, in numpy, from what it has kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avalanche.evaluation.metric_results import TensorImage
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from inspected import Kept, inspected, run
from models import PETS
from streams import by_loop, by_stream, naive, online, stream

from avl_pegp import Adapter, LoRA, PEGPPlugin
from avl_pegp.evaluation import pegp_metrics, site_metrics
from avl_pegp.projection import Protection

AT_EXTENSION = {"Rank", "FreeDimensions", "CapturedEnergy"}
IN_STEPS = {"RemovedShare", "RemovedGradientShare", "Leak", "Drift"}
IMAGES = {"RankGrowth", "DriftOverTime", "AccuracyMatrix"}


class Witness(SupervisedPlugin):
    """Weights before each step, after the optimizer's, and after its projection; gradients too."""

    def __init__(self, pegp, first):
        super().__init__()
        self.pegp, self.first, self.seen = pegp, first, {}

    def matrices(self, gradients=False):
        coverage = self.pegp.coverage
        tensors = coverage.gradients() if gradients else coverage.tensors()
        return {n: coverage.sites[n].read(tensors).double().numpy().copy() for n in coverage.sites}

    def after_backward(self, strategy, **kwargs):
        if self.first:
            self.now = {"gradient": self.matrices(gradients=True), "before": self.matrices()}

    def after_update(self, strategy, **kwargs):
        if self.first:
            self.now |= {"after": self.matrices(), "memories": self.pegp.memory.sites}
            self.seen[strategy.clock.train_iterations] = self.now
        else:
            self.seen.setdefault(strategy.clock.train_iterations, {})["projected"] = self.matrices()


def norm(values):
    return np.sqrt(np.square(values).sum())


@pytest.mark.parametrize(
    ("pet", "project", "soft"),
    [
        ("lora", "step", False),
        ("lora", "none", False),
        ("lora", "step", True),
        ("adapter", "gradient", False),
        ("prefix", "step", False),
        ("prompt", "gradient", True),
    ],
)
def test_shares_removed_and_leaks_are_those_of_the_steps_that_were_made(pet, project, soft):
    protection = Protection(eta=0.7) if soft else None
    plugin = PEGPPlugin(energy=0.9, project=project, protection=protection, progress=False)
    parts = inspected(PETS[pet], plugin=plugin, train_epochs=3)
    first, last = Witness(plugin.pegp, True), Witness(plugin.pegp, False)
    parts.strategy.plugins.insert(0, first)
    parts.strategy.plugins.insert(2, last)
    logger = run(parts, experiences=2)
    looked = [i for i in first.seen if i % 3 == 0 and first.seen[i]["memories"]]
    assert looked and looked == sorted(logger.of("RemovedShare")[""])
    for i in looked:
        for metric, ratios in by_hand(first.seen[i], last.seen[i]["projected"]).items():
            logged = {n: values[i] for n, values in logger.of(metric).items() if i in values}
            assert logged == pytest.approx(ratios, rel=1e-6, abs=1e-8), metric


def by_hand(then, end):
    """Ratios of norms by metric and site, from what was seen of one step, and how it ended."""
    parts = {"RemovedShare": {}, "RemovedGradientShare": {}, "Leak": {}}
    for site, memory in then["memories"].items():
        bases = [basis.columns.numpy() for basis in memory.bases]
        along = [u * b.holds.numpy() @ u.T for u, b in zip(bases, memory.bases, strict=True)]
        step = then["after"][site] - then["before"][site]
        moved = end[site] - memory.reference.numpy()
        parts["RemovedShare"][site] = norm(step @ np.stack(along)), norm(step)
        gradient = then["gradient"][site]
        parts["RemovedGradientShare"][site] = norm(gradient @ np.stack(along)), norm(gradient)
        leaked = [m @ u for m, u in zip(moved, bases, strict=True)]
        parts["Leak"][site] = np.sqrt(sum(norm(leak) ** 2 for leak in leaked)), norm(moved)
    for by_site in parts.values():
        by_site[""] = tuple(map(norm, zip(*by_site.values(), strict=True)))
    return {
        metric: {site: part / whole for site, (part, whole) in by_site.items() if whole}
        for metric, by_site in parts.items()
    }


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("pet", PETS)
def test_ranks_and_energy_are_those_of_bases_and_moments(pet, centred):
    plugin = PEGPPlugin(energy=0.9, protection=Protection(centred=centred), progress=False)
    logger = run(inspected(PETS[pet], plugin=plugin, train_epochs=1), experiences=2)
    ranks, sizes, held, energies = {}, {}, {}, {}
    for name, memory in plugin.pegp.memory.sites.items():
        width = memory.reference.shape[-1]
        ranks[name], sizes[name] = plugin.ranks()[name]
        held[name] = energies[name] = 0.0
        for basis, augmented in zip(memory.bases, memory.moment.matrix.numpy(), strict=True):
            U, C, count = basis.columns.numpy(), augmented[:width, :width], augmented[-1, -1]
            mean = augmented[-1, :width] / count
            C = C - centred * count * np.outer(mean, mean)
            held[name] += np.trace(U.T @ C @ U)
            energies[name] += np.trace(C)
    assert logger.latest("Rank") == {"": sum(ranks.values()), **ranks}
    free = {name: sizes[name] - ranks[name] for name in ranks}
    assert logger.latest("FreeDimensions") == {"": sum(free.values()), **free}
    captured = {n: held[n] / energies[n] for n in held}
    captured[""] = sum(held.values()) / sum(energies.values())
    assert logger.latest("CapturedEnergy") == pytest.approx(captured, rel=1e-9)
    assert min(captured.values()) > 0.85


@pytest.mark.parametrize("project", ["step", "none"])
def test_drift_is_the_plugins_meter(project):
    plugin = PEGPPlugin(energy=0.9, project=project, progress=False)
    parts = inspected(plugin=plugin)
    logger = run(parts)
    drift = plugin.drift()
    energies = {n: m.output_energy for n, m in plugin.pegp.memory.sites.items()}
    drift[""] = sum(drift[n] * energies[n] for n in energies) / sum(energies.values())
    assert logger.latest("Drift") == pytest.approx(drift, rel=1e-9)
    assert drift[""] > 0


def test_histograms_are_of_the_singular_values_of_all_old_features():
    """At the first site: those of the embedded patches after the norm, stacked."""
    parts = inspected(LoRA(4), train_epochs=1)
    logger = run(parts, experiences=2, evaluate=True)
    block, model = parts.model.blocks[0], parts.model.eval()
    seen = []
    hook = block.attn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for experience in stream(2).train_stream[:2]:
            model(torch.stack([x for x, *_ in experience.dataset]))
    hook.remove()
    features = torch.cat(seen).flatten(0, 1).numpy()
    expected = np.linalg.svd(features, compute_uv=False)
    logged = 10 ** logger.latest("SingularValues")["blocks.0.attn.qkv.A"].numpy()
    kept = expected > 1e-5 * expected[0]
    assert logged[: kept.sum()] == pytest.approx(expected[kept], rel=1e-4)
    assert len(logged) < 1.5 * kept.sum()


@pytest.mark.long
def test_images_come_with_evaluations():
    logger = run(inspected(train_epochs=1), experiences=2, evaluate=True)
    for metric in IMAGES:
        (images,) = logger.of(metric).values()
        assert len(images) == 2  # one an evaluation
        for image in images.values():
            assert isinstance(image, TensorImage)
            pixels = image.image
            assert (
                pixels.dtype == torch.uint8 and pixels.shape[0] == 3 and min(pixels.shape[1:]) > 99
            )
            assert len(pixels.flatten().unique()) > 10


@pytest.fixture
def figures(monkeypatch):
    """The figures of which metrics make images."""
    kept, as_image = [], site_metrics.as_image
    monkeypatch.setattr(site_metrics, "as_image", lambda f: kept.append(f) or as_image(f))
    return kept


def drawn_over(figures):
    """The last two figures' label of the horizontal axis, and their first lines' numbers on it."""
    axes = [figure.axes[0] for figure in figures[-2:]]
    return [(axis.get_xlabel(), axis.lines[0].get_xdata().tolist()) for axis in axes]


def test_images_of_an_online_stream_count_how_often_bases_were_extended(figures):
    plugin = PEGPPlugin(energy=0.9, every=2, progress=False)
    parts = inspected(plugin=plugin, train_epochs=1)
    by_stream(parts.strategy, online(4, boundaries=False))
    parts.strategy.eval(stream().test_stream)
    extended = plugin.pegp.memory.experiences
    assert extended > 3  # tasks
    assert drawn_over(figures) == [("times that bases grew", [*range(1, extended + 1)])] * 2


def test_images_count_on_from_what_was_loaded(figures):
    first = inspected(train_epochs=1)
    run(first, experiences=2)
    second = inspected(train_epochs=1)
    second.model.load_state_dict(first.model.state_dict())
    second.plugin.load_state_dict(first.plugin.state_dict())
    second.strategy.train(stream(2).train_stream[2], eval_streams=[])
    second.strategy.eval(stream(2).test_stream)
    assert drawn_over(figures) == [("times that bases grew", [2, 3])] * 2


def test_numbers_are_plain_where_loggers_choose_by_type():
    logger = run(inspected(every=1, train_epochs=1), experiences=2, evaluate=True)
    for metric in AT_EXTENSION | IN_STEPS:
        values = [value for site in logger.of(metric).values() for value in site.values()]
        assert values and {type(value) for value in values} <= {int, float}, metric
        assert np.isfinite(values).all()
    assert all(spectrum.dim() == 1 for spectrum in logger.latest("SingularValues").values())


@pytest.mark.parametrize("every", [1, 4, 100])
def test_a_look_is_taken_every_so_many_iterations_and_none_in_between(every, monkeypatch):
    looks = []
    parts = inspected(every=every, train_epochs=5)
    parts.strategy.optimizer.register_step_post_hook(
        lambda optimizer, *_: looks.append(len(optimizer._optimizer_step_post_hooks) > 1)
    )
    logger = run(parts)
    steps = len(looks)
    due = [i for i in range(5, steps) if i % 5 % every == 0]  # five steps an experience
    assert [i for i, looked in enumerate(looks) if looked] == due
    assert sorted(logger.of("RemovedShare").get("", {})) == due


def test_metrics_only_look():
    models = []
    for metrics in ([], pegp_metrics(every=1)):
        parts = inspected(Adapter(4), metrics=metrics, train_mb_size=2)
        run(parts, evaluate=True)
        models.append(parts)
    for a, b in zip(*(parts.model.parameters() for parts in models), strict=True):
        assert torch.equal(a, b)
    assert not models[1].strategy.optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("train", [by_stream, by_loop])
@pytest.mark.parametrize("boundaries", [True, False])
@pytest.mark.long
def test_online_streams_are_told_of_every_extension(train, boundaries):
    plugin = PEGPPlugin(energy=0.9, every=2, progress=False)
    parts = inspected(plugin=plugin, every=1, train_epochs=1)
    train(parts.strategy, online(4, boundaries))
    plugin.consolidate()
    parts.strategy.eval(stream().test_stream)
    ranks = parts.logger.of("Rank")[""]
    extended = plugin.pegp.memory.experiences
    assert (
        extended >= 3 and extended - 1 <= len(ranks) <= extended
    )  # two at the same iteration are one
    assert parts.logger.latest("Rank") == {
        "": sum(rank for rank, _ in plugin.ranks().values()),
        **{name: rank for name, (rank, _) in plugin.ranks().items()},
    }
    assert all(parts.logger.of(metric) for metric in IN_STEPS | {"RankGrowth", "SingularValues"})


def test_what_a_rebase_has_just_started_has_no_drift_and_is_left_out():
    plugin = PEGPPlugin(energy=0.99, rebase=True, progress=False)
    logger = run(inspected(plugin=plugin), experiences=2)
    assert logger.latest("Rank")
    assert np.isfinite([v for site in logger.of("Drift").values() for v in site.values()]).all()


def test_metrics_find_the_plugin_or_say_that_there_is_none():
    evaluator = EvaluationPlugin(*pegp_metrics(), loggers=[Kept()])
    parts = naive(evaluator=evaluator)
    parts.strategy.plugins.remove(parts.plugin)
    with pytest.raises(ValueError, match="no PEGPPlugin .* add one"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])


@pytest.mark.parametrize("every", [0, -1, 2.0, True])
def test_a_wrong_number_of_iterations_is_refused(every):
    with pytest.raises(ValueError, match=r"every=.* must be a whole number of at least 1"):
        pegp_metrics(every=every)


def test_no_matrices_no_image():
    logger = Kept()
    parts = naive(evaluator=EvaluationPlugin(*pegp_metrics(), loggers=[logger]), train_epochs=1)
    benchmark = stream()
    parts.strategy.eval(benchmark.test_stream)
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    parts.strategy.eval(benchmark.test_stream)
    assert logger.of("RankGrowth") and not logger.of("AccuracyMatrix")
