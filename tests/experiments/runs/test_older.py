"""Records of the first version, in which methods and PETs are as Python printed them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from runs.job import Job
from runs.methods import CLIP, METHODS, PETS, VIT, values_of
from runs.older import translated

from avl_pegp import LoRA

PEGP = "<class 'avl_pegp.plugins.pegp.PEGPPlugin'>"
REST = "pet=None, lr_factor=1.0, rival=None, refit=False)"
PROTECTION = "Protection(memory='union', centred=True, power=1, eta=1.0, alpha=None)"


@pytest.mark.parametrize(
    ("menu", "method", "printed"),
    [
        (VIT, "pegp", f"Method(tunes='always', head=None, pegp={{}}, plugin={PEGP}, {REST}"),
        (VIT, "ncm", f"Method(tunes='never', head='ncm', pegp=None, plugin={PEGP}, {REST}"),
        (
            VIT,
            "ewc",
            f"Method(tunes='always', head=None, pegp=None, plugin={PEGP}, pet=None, lr_factor=0.25, "
            "rival=functools.partial(<class 'avl_pegp.plugins.regularization.EWCPlugin'>, 1000.0, "
            "samples=100), refit=False)",
        ),
        (
            CLIP,
            "zscl",
            f"Method(tunes='always', head=None, pegp=None, plugin={PEGP}, pet=None, lr_factor=1.0, "
            "rival=<function zscl>, refit=False)",
        ),
        (
            CLIP,
            "pegp_references",
            "Method(tunes='always', head=None, pegp={}, plugin=<function with_references>, " + REST,
        ),
        (
            CLIP,
            "pegp_90",
            "Method(tunes='always', head=None, pegp={'energy': 0.95, 'protection': "
            f"{PROTECTION.replace('eta=1.0', 'eta=0.9')}, 'rebase': False}}, plugin={PEGP}, {REST}",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_a_method_is_known_again(menu, method, printed):
    now = Job("", "", does=menu.methods[method]).described()
    assert translated(now | {"does": printed}) == now


LORA = "LoRA(rank=8, alpha=None, targets=('qkv', 'fc1'), blocks=None, tower='image')"


def test_a_pet_and_its_protection_are_known_again():
    now = Job("", "", tuning=PETS["lora"]).described()
    pegp = f"{{'energy': 0.95, 'protection': {PROTECTION}}}"
    printed = f"Tuning(config={LORA}, lr=0.004, pegp={pegp}, plugins=())"
    assert translated(now | {"tuning": printed}) == now
    other = printed.replace("lr=0.004", "lr=0.04")
    assert translated(now | {"tuning": other})["tuning"] == now["tuning"] | {"lr": 0.04}
    assert translated(now | {"tuning": "None"})["tuning"] is None


def test_several_pets_and_what_they_need_are_known_again():
    lora = values_of(LoRA(rank=8, targets=("qkv", "fc1")))
    own = ({"kind": "context_per_experience"},)
    now = Job("", "", tuning=replace(PETS["lora"], pet=(lora, lora), pegp={}, plugins=own))
    plugin = "<class 'avl_pegp.plugins.context_per_experience.ContextPerExperiencePlugin'>"
    printed = f"Tuning(config=({LORA}, {LORA}), lr=0.004, pegp={{}}, plugins=({plugin},))"
    assert translated(now.described() | {"tuning": printed}) == now.described()


@pytest.mark.parametrize("printed", ["", "Method(", "open('/etc')", "Method(x=1)", "[1]", "7"])
def test_what_can_not_be_read_stays_as_it_is(printed):
    job = Job("", "", does=METHODS["plain"]).described() | {"does": printed, "tuning": printed}
    assert translated(job) == job


def test_jobs_of_today_stay_as_they_are():
    job = Job("", "", does=METHODS["ewc"], tuning=PETS["lora"], correction="ridge").described()
    assert translated(job) == job


def test_a_job_from_before_there_were_corrections_had_none():
    job = Job("", "", does=METHODS["ewc"], tuning=PETS["lora"]).described()
    older = {name: value for name, value in job.items() if name != "correction"}
    assert translated(older) == job
