"""Figures of sites against what their numbers say."""

from __future__ import annotations

import io

import numpy as np
import pytest

from avl_pegp.evaluation import Spectrum, by_block, drift_over_time, energy_spectrum, rank_growth

KINDS = ["attn.qkv.A", "attn.qkv.B", "mlp.fc1.A", "mlp.fc1.B"]
MANY = [f"blocks.{block}.{kind}.{'x' * 60}" for block in range(50) for kind in KINDS]  # 200 sites


def drawn(figure):
    figure.savefig(io.BytesIO(), dpi=20)  # warnings are errors
    return figure


def values(line):
    return np.asarray(line.get_ydata()).tolist()


def test_growth_has_a_panel_a_kind_and_a_line_a_block_from_dark_to_light():
    history = [{f"blocks.{b}.{k}": (b + i, 8) for b in range(3) for k in "AB"} for i in range(4)]
    first, second, bar = drawn(rank_growth(history, "title")).axes
    assert [first.get_title(), second.get_title()] == ["A", "B"]
    assert [values(line) for line in first.lines] == [
        [100 * (b + i) / 8 for i in range(4)] for b in range(3)
    ]
    assert first.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    greys = [sum(line.get_color()[:3]) for line in first.lines]
    assert greys == sorted(greys)
    assert bar.get_ylabel() == "block"
    assert first.get_ylim() == (-2, 102)


@pytest.mark.parametrize(
    ("draw", "entry"), [(rank_growth, {"0.A": (1, 2)}), (drift_over_time, {"0.A": 0.5})]
)
def test_the_axis_counts_experiences_or_the_times_that_bases_grew(draw, entry):
    axis, _ = drawn(draw([entry] * 3, "title")).axes
    assert axis.get_xlabel() == "experiences learned"
    assert axis.lines[0].get_xdata().tolist() == [1, 2, 3]
    axis, _ = drawn(draw([entry] * 3, "title", extensions=[4, 5, 9])).axes
    assert axis.get_xlabel() == "times that bases grew"
    assert axis.lines[0].get_xdata().tolist() == [4, 5, 9]
    with pytest.raises(
        ValueError, match="extensions has 1 numbers for 3 entries of history: must be"
    ):
        draw([entry] * 3, "title", extensions=[1])


def test_drift_leaves_out_what_has_no_place_on_a_logarithmic_scale():
    history = [{"blocks.0.A": drift} for drift in (None, float("nan"), 0.0, 0.01, 1e-9, 0.02)]
    axis, _ = drawn(drift_over_time(history, "title")).axes
    np.testing.assert_allclose(values(axis.lines[0]), [*[np.nan] * 3, 1, np.nan, 2])
    assert axis.get_yscale() == "log"


def test_by_block_has_a_line_a_kind_over_the_blocks():
    shares = {"blocks.0.A": 0.1, "blocks.1.A": 0.2, "blocks.4.A": None, "blocks.0.B": 1.0}
    figure = drawn(by_block({"PEGP": shares, "other": {"blocks.1.A": 0.5}}, "title", "rank"))
    pegp, other = figure.axes
    assert [pegp.get_title(), other.get_title()] == ["PEGP", "other"]
    assert pegp.lines[0].get_xdata().tolist() == [0, 1, 4]
    np.testing.assert_allclose(values(pegp.lines[0]), [10, 20, np.nan])
    np.testing.assert_allclose(values(other.lines[0]), [np.nan, 50, np.nan])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]


def test_blocks_are_drawn_in_their_order_however_they_are_given():
    shares = {f"blocks.{block}.A": block / 20 for block in (2, 10, 0, 1)}
    (axis,) = by_block({"PEGP": shares}, "title", "rank").axes
    assert axis.lines[0].get_xdata().tolist() == [0, 1, 2, 10]
    np.testing.assert_allclose(values(axis.lines[0]), [0, 5, 10, 50])
    axis, _ = rank_growth([{site: (round(20 * s), 20) for site, s in shares.items()}], "title").axes
    assert [values(line) for line in axis.lines] == [[0], [5], [10], [50]]


def test_a_shared_logarithmic_scale_holds_the_values_of_all_panels():
    panels = {"small": {"0.A": 1e-4}, "large": {"0.A": 7.0}}
    for axis in drawn(by_block(panels, "title", "drift", log=True)).axes:
        low, high = axis.get_ylim()
        assert low <= 0.01
        assert high >= 700


@pytest.mark.parametrize(
    ("drift", "about"),
    [
        (0.0, "below 0.0001 % at every site"),
        (1e-9, "below 0.0001 %"),
        (-1e-17, "below 0.0001 %"),  # a zero, rounded
        (None, "no numbers"),
        (float("inf"), "no numbers"),
    ],
)
def test_a_panel_without_a_line_says_why(drift, about):
    panels = {"drifts": {"0.A": 0.1}, "stays": {"0.A": drift}}
    first, second = drawn(by_block(panels, "title", "drift", log=True)).axes
    assert not first.texts
    assert about in second.texts[0].get_text()


@pytest.mark.parametrize("drift", [0.0, 1e-9, None])
def test_a_kind_of_site_that_never_drifted_says_so(drift):
    history = [{"0.A": 0.1, "0.B": drift}, {"0.A": 0.2, "0.B": drift}]
    moved, stayed = drawn(drift_over_time(history, "title")).axes[:2]
    assert not moved.texts
    assert stayed.texts[0].get_text() == "nothing known above 0.0001 %"


def test_a_panel_whose_kinds_are_not_drawn_says_so():
    pets = {pet: {f"blocks.0.{pet}{kind}": 0.5 for kind in range(5)} for pet in "abcd"}
    *drawn_ones, last = drawn(by_block(pets, "title", "rank")).axes
    assert [len(axis.texts) for axis in drawn_ones] == [0, 0, 0]
    assert last.texts[0].get_text() == "all there is to draw is of kinds left out"


def test_a_panel_of_which_only_zeros_are_drawn_has_a_line():
    (axis,) = drawn(by_block({"plain": {"0.A": 0.0}}, "title", "rank")).axes
    assert not axis.texts


def test_a_spectrum_falls_from_all_to_nothing_and_has_its_basis_and_threshold():
    spectra = {"blocks.0.A": Spectrum([6.0, 3.0, 1.0], 2, 0.85)}
    axis, _ = drawn(energy_spectrum(spectra, 0.9, "title")).axes
    curve, basis, threshold = axis.lines
    np.testing.assert_allclose(values(curve), [100, 40, 10, np.nan])
    assert [*basis.get_xdata(), *basis.get_ydata()] == pytest.approx([2, 15])
    assert values(threshold) == pytest.approx([10, 10])


def test_a_full_basis_stands_at_the_bottom_and_energy_one_has_no_threshold():
    spectra = {"0.A": Spectrum([6.0, 3.0], 2, 1.0), "1.A": Spectrum([0.0, 0.0], 0, float("nan"))}
    axis, _ = drawn(energy_spectrum(spectra, 1.0, "title")).axes
    assert len(axis.lines) == 4  # two curves, two dots
    assert axis.lines[1].get_ydata()[0] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "sites",
    [
        MANY,
        [f"{'layer' * 30}{i}" for i in range(200)],  # in no block
        ["0", "2"],
        ["visual.blocks.0.A", "text.blocks.0.A"],
        [f"blocks.0.kind{i}" for i in range(200)],
    ],
    ids=["deep", "flat", "sequential", "towers", "kinds"],
)
def test_any_names_of_many_sites_are_drawn(sites):
    ranks = [{site: (i, 200) for i, site in enumerate(sites)} for _ in range(100)]
    figure = drawn(rank_growth(ranks, "title" * 100))
    panels = figure.axes[:-1]
    assert sum(len(axis.lines) for axis in panels) == min(
        len(sites), 12 if len(panels) == 12 else 999
    )
    assert all(len(axis.get_title()) <= 40 for axis in panels)
    drawn(by_block({"PEGP": dict.fromkeys(sites, 0.5)}, "title", "rank"))


def test_towers_are_kinds_of_their_own():
    sites = ["visual.blocks.0.A", "text.blocks.0.A"]
    first, second, _ = rank_growth([dict.fromkeys(sites, (1, 2))], "title").axes
    assert [first.get_title(), second.get_title()] == ["visual.blocks.*.A", "text.blocks.*.A"]


def test_a_site_that_comes_later_begins_later():
    axis, _ = drawn(rank_growth([{"0.A": (1, 2)}, {"0.A": (1, 2), "1.A": (2, 2)}], "title")).axes
    np.testing.assert_allclose(values(axis.lines[1]), [np.nan, 100])


def test_growth_leaves_out_a_site_without_a_direction():
    axis, _ = drawn(rank_growth([{"0.A": (1, 2), "1.A": (0, 0)}], "title")).axes
    assert [values(line) for line in axis.lines] == [[50]]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: rank_growth([], "title"),
        lambda: rank_growth([{}], "title"),
        lambda: drift_over_time([], "title"),
        lambda: by_block({"PEGP": {}}, "title", "rank"),
        lambda: energy_spectrum({}, 0.9, "title"),
    ],
)
def test_no_site_is_refused(draw):
    with pytest.raises(ValueError, match="no site to draw: give what plugin.ranks"):
        draw()


@pytest.mark.parametrize("energy", [0.0, 1.1, float("nan")])
def test_an_energy_that_cannot_be_is_refused(energy):
    with pytest.raises(ValueError, match="energy=.*must be above 0 and at most 1"):
        energy_spectrum({"0.A": Spectrum([1.0], 1, 1.0)}, energy, "title")
