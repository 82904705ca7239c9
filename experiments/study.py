"""Start a study: many runs, or a look into single ones; without a name, or with --help, a list.

python experiments/study.py results --out runs/results
python experiments/study.py results --help
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent / "studies"


def studies() -> dict[str, str]:
    """The names of all studies, each with the first line of what it says of itself."""
    found = {}
    for file in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[file.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main() -> None:
    known = studies()
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, known))
        lines = (f"  {study:<{width}}  {line}" for study, line in known.items())
        print("usage: study.py NAME ...\n", __doc__, "Studies:", *lines, sep="\n")
        return
    if name not in known:
        print(f"study.py: error: {name}: must be one of {', '.join(known)}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f"study.py {name}", *rest]
    import_module(f"studies.{name}").main()


if __name__ == "__main__":
    main()
