"""What each command imports: a library that it does not use costs seconds at every start."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # Processes that import whole libraries.

HEAVY = {
    *("torch", "timm", "torchvision", "torchaudio", "sklearn", "scipy", "plotly", "ray", "optuna"),
    *("mlflow", "tensorboardX", "pandas", "pyarrow", "matplotlib"),
}
"""Libraries that take a tenth of a second to import, or much longer."""


def loaded(*modules: str) -> set[str]:
    """Import modules in a new process; return the heavy libraries that came with them."""
    program = f"import sys, {', '.join(modules)}\nprint(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("modules", "used"),
    [
        # `raysearch run` until everything that can be checked by name is checked.
        (["raysearch.pipeline.run"], set()),
        # Its driver until the first trial is on its way.
        (
            ["raysearch.pipeline.run", "raysearch.search.sampler", "raysearch.backend.tune"],
            {"ray", "optuna", "pandas", "pyarrow"},
        ),
        (["raysearch.report.status"], set()),
        (["raysearch.report.compare"], {"pandas", "pyarrow"}),
        (["raysearch.report.tables"], {"pandas", "pyarrow"}),
        # Importances take scikit-learn, and Optuna's charts come with matplotlib.
        (["raysearch.report.html.overview"], HEAVY - {"torch", "timm", "torchaudio", "ray"}),
        (["raysearch.study.bundle"], {"torch", "torchaudio"}),
        # The process of a trial until its first score.
        (
            ["raysearch.backend.trainable", "raysearch.backend.worker"],
            {"ray", "pandas", "pyarrow", "torch", "torchaudio"},
        ),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, list) else "",
)
def test_a_command_imports_what_it_uses(modules: list[str], used: set[str]) -> None:
    assert loaded(*modules) <= used


def test_an_import_that_is_not_needed_is_seen() -> None:
    assert "pandas" in loaded("raysearch.report.tables")


def test_tune_counts_no_callbacks_of_a_search() -> None:
    """Tried with Ray 2.60, which imports MLflow to tell the kinds of callbacks."""
    program = """
import sys
from ray.air._internal import usage
from ray.tune import Callback, tune
from raysearch.backend.ray_internals import without_callback_count

with without_callback_count():
    tune.air_usage.tag_callbacks([Callback()])
print("mlflow" in sys.modules)
usage._count_callbacks([Callback()])
print("mlflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["False", "True"]
