"""Fixtures of the pages: charts that cost little."""

import pytest

from raysearch.report.html import optuna_charts


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute importances of a few trees; of thirty they take as long as the rest of a page."""
    monkeypatch.setattr(optuna_charts, "TREES", 4)
