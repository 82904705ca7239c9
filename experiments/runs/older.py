"""Jobs in older records: without younger fields, and with methods and PETs as Python prints."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import asdict
from typing import Any

from avl_pegp.projection import Protection
from runs.methods import KINDS, Values, values_of

PETS = {cls.__name__: cls for cls in KINDS.values()}
BASELINES = {  # by the class that was printed: its kind, and the names of its arguments
    "L2Plugin": ("l2", ("strength",)),
    "EWCPlugin": ("ewc", ("strength", "samples")),
    "LwFPlugin": ("lwf", ("strength",)),
}
YOUNGER: Values = {"correction": None}  # fields, and what runs had before there were any
FUNCTIONS: dict[str, Values] = {
    "zscl": {"kind": "zscl", "ensemble_every": 5},
    "vr_lwf_of_words": {"kind": "vr_lwf"},
    "ContextPerExperiencePlugin": {"kind": "context_per_experience"},
}


def translated(job: dict[str, Any]) -> dict[str, Any]:
    """A record's job as it is described today; what can't be read stays as it is."""
    found = YOUNGER | job
    for name, read in (("does", _method), ("tuning", _tuning)):
        if isinstance(job.get(name), str):
            try:
                found[name] = read(_value(_parsed(job[name])))
            except (
                SyntaxError,
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                RecursionError,
            ):
                continue
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _parsed(printed: str) -> ast.expr:
    """As an expression: ``<class 'a.b.C'>`` and ``<function f>`` are printed for ``C`` and ``f``."""
    names = re.sub(r"<(?:class|function) '?(?:\w+\.)*(\w+)'?>", r"\1", printed)
    return ast.parse(names, mode="eval").body


def _value(node: ast.expr) -> Any:
    """Plain values of an expression; of what is called, the fields."""
    if isinstance(node, ast.Name):
        return FUNCTIONS.get(node.id, node.id)
    if isinstance(node, ast.Tuple | ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {k.value: _value(v) for k, v in zip(node.keys, node.values, strict=True)}  # type: ignore[union-attr]
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    name = node.func.id if isinstance(node.func, ast.Name) else "partial"
    fields = {word.arg or "": _value(word.value) for word in node.keywords}
    if name == "partial":
        cls, *given = map(_value, node.args)
        kind, names = BASELINES[cls]
        return {"kind": kind, **dict(zip(names, given, strict=False)), **fields}
    if name == "Protection":
        return asdict(Protection(**fields))
    return values_of(PETS[name](**fields)) if name in PETS else fields


def _method(fields: Values) -> Values:
    plugin, baseline = fields.pop("plugin"), fields.pop("rival")
    if plugin == "with_references":
        fields["pegp"]["references"] = True
    return {**fields, "baseline": baseline}


def _tuning(fields: Values | None) -> Values | None:
    if fields is None:
        return None
    pets = fields.pop("config")
    return {**fields, "pet": pets if isinstance(pets, list) else [pets]}
