"""Who may import whom: the rules are the tables below, and a planted import shows that each of them bites."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "edgecls"

#: Rooms, by a module's or a folder's name. Everyone may import these; they import only each other.
SHARED = ("errors", "spec", "registry", "artifact", "process", "images", "synthetic", "dataset", "labels", "reference", "text", "fetch")

#: The two halves. A room imports itself and those before it, never the other half: they meet at the artifact.
WEIGHTS = ("mapped", "plain_pickle", "torch_file", "safetensors_file", "h5_file", "keras_names", "weights")
MAKING = ("keras_layers", "models", "layers", "pretrained", *WEIGHTS, "randomise", "builder", "keras_file", "finetuning", "exporters")
MEASURING = ("graph", "metadata", "runtimes", "verification", "inspection", "evaluation", "profiling", "tuning", "reports", "devices", "apps")

MAY_IMPORT = {
    **{room: SHARED for room in SHARED},
    **{room: (*SHARED, *half[: half.index(room) + 1]) for half in (MAKING, MEASURING) for room in half},
    "registry": (*SHARED, "models"),  # which it discovers, lazily
    "exporters": (*SHARED, *MAKING, "graph", "metadata"),  # which read what they quantize
    "verbs": (*SHARED, *MAKING, *MEASURING, "verbs"),  # the verbs join the halves
    "cli": (*SHARED, *MAKING, *MEASURING, "verbs", "cli"),
    "__init__": ("builder", "verbs"),  # the public verbs
    "__main__": ("cli",),
}

#: `edgecls --help` and `edgecls list` load these rooms, and so no framework at the top of a module.
LIGHT = {*SHARED, "models", "reports", "verbs", "cli", "__init__", "__main__"}
FRAMEWORKS = {
    *("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert", "litert_quantizer"),
    *("PIL", "h5py", "safetensors", "google", "flatbuffers", "torch"),
}

IN_A_STRING = re.compile(rf"edgecls\.({'|'.join(MAY_IMPORT)})\b[\w.]*(:\w+)?")


def violations(package: Path) -> list[str]:
    """One line for each import in `package` that the tables above do not allow."""
    return [
        f"{path.relative_to(package)}: {problem}"
        for path in sorted(package.rglob("*.py"))
        for problem in _problems(path, package)
    ]


def _problems(path: Path, package: Path) -> Iterator[str]:
    place = path.relative_to(package).with_suffix("").parts
    room = place[0]
    if room not in MAY_IMPORT:
        yield f"{room} has no place in the tables of this test"
        return
    tree = ast.parse(path.read_text())
    for name in _imports(tree, (package.name, *place[:-1])):
        if name.split(".")[0] == package.name and name != f"{package.name}.__version__":
            imported = (name + ".__init__").split(".")[1]
            if imported not in MAY_IMPORT[room]:
                yield f"{room} may not import {imported}"
    if room in LIGHT:
        for name in _imports_at_the_top(tree):
            if name.split(".")[0] in FRAMEWORKS:
                yield f"imports {name} at its top"


def _imports(tree: ast.AST, folder: tuple[str, ...]) -> Iterator[str]:
    """Dotted names of all that is imported, wherever it stands, `from` imports with the name they take.

    A module named in a string is imported too: the jobs of child processes are named so.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and IN_A_STRING.fullmatch(str(node.value)):
            yield node.value.split(":")[0]


def _imports_at_the_top(node: ast.AST) -> Iterator[str]:
    """Names of the modules imported along with this one: not in functions, not for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield child.module
        elif not isinstance(child, ast.FunctionDef) and not _is_for_type_checkers(child):
            yield from _imports_at_the_top(child)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_every_import_is_allowed():
    assert violations(PACKAGE) == []


PLANTED = {
    "builder.py": {
        "from edgecls.graph import read": "builder may not import graph",
        "from edgecls import runtimes": "builder may not import runtimes",
        "import edgecls.reports.columns": "builder may not import reports",
        "from . import exporters": "builder may not import exporters",
        "def build():\n    from edgecls.verbs import export": "builder may not import verbs",
        "from edgecls import build": "builder may not import build",
        "import edgecls": "builder may not import __init__",
    },
    "weights.py": {"from edgecls.builder import build": "weights may not import builder"},
    "models/vgg.py": {
        "from edgecls import weights": "models may not import weights",
        "from ..cli import main": "models may not import cli",
        "import keras": "imports keras at its top",
        "try:\n    from tensorflow.nn import relu\nfinally:\n    pass": "imports tensorflow.nn at its top",
        "class Block:\n    import keras.layers": "imports keras.layers at its top",
    },
    "profiling/measure.py": {
        "from edgecls.builder import build": "profiling may not import builder",
        "def f():\n    from edgecls.exporters import tflite": "profiling may not import exporters",
        "JOB = 'edgecls.exporters.tflite:convert'": "profiling may not import exporters",
    },
    "runtimes/base.py": {"from edgecls.profiling import record": "runtimes may not import profiling"},
    "errors.py": {"from edgecls.builder import build": "errors may not import builder"},
    "verbs/profile.py": {
        "from edgecls.cli import main": "verbs may not import cli",
        "from PIL import Image": "imports PIL at its top",
    },
    "__init__.py": {"from edgecls.cli import main": "__init__ may not import cli"},
    "helpers.py": {"": "helpers has no place in the tables of this test"},
}

ALLOWED = {
    "builder.py": "import keras\nfrom edgecls import registry, weights\nfrom edgecls.models import vgg",
    "exporters/tflite.py": "from edgecls.builder import build\nfrom . import recipe",
    "models/vgg.py": "def build():\n    import keras\nif TYPE_CHECKING:\n    import keras",
    "registry.py": "def rows():\n    from edgecls import models",
    "profiling/run.py": "from edgecls.runtimes import run\nJOB = 'edgecls.profiling.measure:measure'",
    "verbs/profile.py": "from edgecls import __version__, builder, profiling, verbs",
    "cli/list_.py": "from edgecls.verbs import export\nPROGRAM = 'edgecls'",
    "__main__.py": "from edgecls.cli import main",
}


def package(folder: Path, modules: dict[str, str]) -> Path:
    """A package named edgecls in `folder`: path -> text."""
    for name, text in modules.items():
        path = folder / "edgecls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "edgecls"


def test_what_is_allowed_passes(tmp_path):
    assert violations(package(tmp_path, ALLOWED)) == []


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [(module, text, expected) for module, cases in PLANTED.items() for text, expected in cases.items()],
)
def test_a_planted_violation_is_named(tmp_path, module, text, expected):
    assert violations(package(tmp_path, ALLOWED | {module: text})) == [f"{module}: {expected}"]
