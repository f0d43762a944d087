"""The plan of the house, kept by reading the code: floors, libraries, sizes, the test IDs."""

import ast
import graphlib
import subprocess
import sys

import pytest

from tests.source import REPOSITORY, Module, functions, imports, read

# From the ground up. A module imports from lower floors only; parts of one floor are siblings
# that do not know each other; modules inside one part may import each other without a cycle.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("storage",),
    ("config",),
    ("data", "model", "scoring"),
    ("methods",),
    ("training",),
    ("detector",),
    ("study",),
    ("search",),
    ("backend",),
    ("report",),
    ("pipeline",),
    ("remote",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

# Where a library may be imported; a folder ends with a slash.
HOMES = {
    "ray": ("raysearch/backend/", "raysearch/remote/jobs.py"),
    "optuna": ("raysearch/search/", "raysearch/report/html/optuna_charts.py"),
    "timm": ("raysearch/model/backbone.py",),
    "sklearn": ("raysearch/scoring/",),
    "torch.distributed": ("raysearch/training/distributed.py",),
    "matplotlib": ("raysearch/report/",),
    "plotly": ("raysearch/report/",),
    "mlflow": ("raysearch/backend/mlflow_runs.py",),
    "jinja2": ("raysearch/report/html/page.py",),
    # Above training and detector nothing depends on what a method is.
    "raysearch.methods": (
        "raysearch/methods/",
        "raysearch/training/",
        "raysearch/detector.py",
    ),
}

# Where private parts of other libraries may be used: a module for each of these, whose tests name
# the version that it was tried with.
PRIVATE_HOMES = {
    "raysearch/search/optuna_backend.py",  # Optuna
    "raysearch/backend/ray_internals.py",  # Ray
    "raysearch/methods/mixup.py",  # torch
}

# Functions that open what may belong to test IDs, and who else than their own module may name
# them. dataset.py reads the labels of validation IDs: its own tests show that it reads no others.
FINAL_TEST = "raysearch/study/final_test.py"
GUARDS = {
    "read_ground_truth": {FINAL_TEST, "raysearch/data/dataset.py"},
    "read_ground_truth_domains": {FINAL_TEST},
    # The final test of several machine types: of a shared search.
    "score_test_clips": {FINAL_TEST, "raysearch/study/shared_test.py"},
}

MODULE_LINES = 300
FUNCTION_LINES = 60
SHORT_LINES = 40

SHORT = {
    "raysearch/__main__.py": "python -m raysearch",
    "raysearch/methods/baseline.py": "each method is a module of its own",
    "raysearch/methods/frames.py": "autoencoder.py and flow.py share it; no method knows another",
    "raysearch/scoring/projection.py": "only reports need the import of t-SNE",
    "raysearch/search/budget.py": "callbacks of a search need no queue and no Optuna",
}
"""Modules of fewer lines, with the reason why each stands alone."""
PARAMETERS = 6


def floor_faults(module: Module) -> list[str]:
    faults = []
    for name in imports(module):
        head, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if head != "raysearch" or target in ("", "__version__", module.part):
            continue
        if target not in FLOOR_OF:
            faults.append(f"{module.path}: {name} has no floor")
        elif FLOOR_OF[target] >= FLOOR_OF[module.part]:
            faults.append(f"{module.path} must not import {name}")
    return faults


def uses(module: Module, library: str) -> bool:
    """Return True if a module imports a library, or names it in full as an attribute."""
    return any(name == library or name.startswith(f"{library}.") for name in module.names)


def library_faults(module: Module) -> list[str]:
    return [
        f"{module.path} must not use {library}"
        for library, homes in HOMES.items()
        if uses(module, library) and not module.path.startswith(homes)
    ]


def private(name: str) -> bool:
    """Return True for a private name; Python documents `os._exit`."""
    return name.startswith("_") and not name.endswith("__") and name != "_exit"


def private_faults(module: Module) -> list[str]:
    if module.path in PRIVATE_HOMES:
        return []
    dotted = (part for name in imports(module) for part in name.split("."))
    reached = (
        node.attr
        for node in module.nodes
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) not in ("self", "cls", "super()")
    )
    names = sorted({name for name in (*dotted, *reached) if private(name)})
    return [f"{module.path} must not use {name}" for name in names]


def named(module: Module) -> set[str]:
    """Every identifier, attribute and string constant of a module, but for what it defines."""
    names: set[str] = set()
    for node in module.nodes:
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.alias):
            names.add(node.name.rpartition(".")[2])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def guard_faults(modules: list[Module]) -> list[str]:
    faults = []
    for module in modules:
        defined = {function.name for function in functions(module)}
        for name in sorted(GUARDS.keys() & named(module) - defined):
            if module.path not in GUARDS[name]:
                faults.append(f"{module.path} must not name {name}")
    return faults


def size_faults(module: Module) -> list[str]:
    faults = []
    lines = len(module.source.splitlines())
    if lines > MODULE_LINES:
        faults.append(f"{module.path} has {lines} lines, more than {MODULE_LINES}")
    for function in functions(module):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            faults.append(f"{module.path}: {function.name} has {lines} lines")
        count = parameters(function)
        # A command of cli/ has a parameter for each flag.
        if count > PARAMETERS and module.part != "cli":
            faults.append(f"{module.path}: {function.name} has {count} parameters")
    return faults


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the parameters of a function, without self."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def test_every_module_stands_on_a_floor() -> None:
    homeless = [m.path for m in read("raysearch") if m.part not in FLOOR_OF and m.part]
    assert homeless == []


def test_imports_go_down_only() -> None:
    modules = [m for m in read("raysearch") if m.part in FLOOR_OF]
    assert [fault for module in modules for fault in floor_faults(module)] == []


def test_no_import_cycles() -> None:
    modules = read("raysearch")
    known = {module.name for module in modules} - {"raysearch"}
    graph = {m.name: {k for n in imports(m) for k in (n, n.rpartition(".")[0])} for m in modules}
    order = graphlib.TopologicalSorter({name: graph[name] & known for name in known})
    assert set(order.static_order()) == known


def test_libraries_stay_in_their_place() -> None:
    assert [fault for module in read("raysearch") for fault in library_faults(module)] == []


def test_private_parts_of_other_libraries_stay_in_one_module_each() -> None:
    modules = read("raysearch")
    assert [fault for module in modules for fault in private_faults(module)] == []
    assert {module.path for module in modules} >= PRIVATE_HOMES


def test_only_the_final_test_reads_test_ids() -> None:
    modules = read("raysearch")
    assert guard_faults(modules) == []


def test_packages_hold_no_code_but_the_door() -> None:
    full = [m for m in read("raysearch") if m.path.endswith("/__init__.py") and m.source]
    assert [module.path for module in full] == ["raysearch/__init__.py"]
    # What it names is imported when it is asked for; see tests/test_api.py.
    imports = [node for node in full[0].tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == [
        "from importlib import import_module",
        "from typing import TYPE_CHECKING, Any",
    ]


def test_modules_and_functions_are_small() -> None:
    modules = read("raysearch", "analysis")
    assert [fault for module in modules for fault in size_faults(module)] == []


def test_short_modules_have_a_reason() -> None:
    modules = [m for m in read("raysearch") if not m.path.endswith("__init__.py")]
    assert {m.path for m in modules if len(m.source.splitlines()) < SHORT_LINES} == SHORT.keys()


def test_the_command_line_starts_without_heavy_libraries() -> None:
    program = (
        "import sys, raysearch, raysearch.cli.main\n"
        "print(*sorted({'torch', 'ray', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("raysearch/data/x.py", "from raysearch.model import encoder"),
        ("raysearch/data/x.py", "def f():\n    import raysearch.scoring.metrics"),
        ("raysearch/scoring/x.py", "from ..training import train"),
        ("raysearch/config.py", "from . import study"),
        ("raysearch/training/train.py", "import raysearch.unheard_of"),
    ],
)
def test_a_wrong_floor_is_seen(path: str, source: str) -> None:
    assert len(floor_faults(Module(path, source))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("raysearch/training/trial.py", "def f():\n    from ray import tune"),
        ("raysearch/cli/main.py", "import optuna.trial"),
        ("raysearch/training/train.py", "import torch\ntorch.distributed.barrier()"),
        ("raysearch/training/train.py", "from torch import distributed as dist"),
    ],
)
def test_a_library_out_of_place_is_seen(path: str, source: str) -> None:
    assert len(library_faults(Module(path, source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "study._storage.get_trial(0)",
        "from ray._private import node",
        "from torch.nn import _x as y",
    ],
)
def test_a_private_part_of_another_library_is_seen(source: str) -> None:
    assert len(private_faults(Module("raysearch/training/train.py", source))) == 1


def test_a_look_at_the_test_ids_is_seen() -> None:
    index = Module("raysearch/data/ground_truth.py", "def read_ground_truth(): ...")
    trial = Module(
        "raysearch/training/trial.py",
        "from raysearch.data.ground_truth import read_ground_truth as r",
    )
    final = Module("raysearch/study/final_test.py", trial.source)
    assert guard_faults([index, trial, final]) == [
        "raysearch/training/trial.py must not name read_ground_truth"
    ]


def test_a_large_function_is_seen() -> None:
    body = "\n".join(["    pass"] * FUNCTION_LINES)
    assert len(size_faults(Module("raysearch/training/train.py", f"def f():\n{body}"))) == 1


def test_a_function_of_many_parameters_is_seen() -> None:
    many = ", ".join(f"x{number}" for number in range(PARAMETERS + 1))
    source = f"class C:\n    def f(self, {many}): ...\n    def g(self, {many[4:]}): ..."
    faults = size_faults(Module("raysearch/training/train.py", source))
    assert faults == [f"raysearch/training/train.py: f has {PARAMETERS + 1} parameters"]
    assert size_faults(Module("raysearch/cli/main.py", source)) == []
