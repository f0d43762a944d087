"""The function that Tune runs for each trial, with something else than training to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysearch.backend.resources import Share
from raysearch.backend.trainable import run_tune_trial
from raysearch.scoring.spec import InlierSpec
from raysearch.study.context import StudyContext
from raysearch.study.records import Proposal
from raysearch.training.configuration import Configuration
from tests.search.queues import make_context, space


def test_a_trial_is_done_for_its_own_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports, done = list[dict[str, Any]](), list[tuple[StudyContext, Proposal, Share]]()
    monkeypatch.setattr("ray.tune.report", reports.append)
    monkeypatch.setattr("raysearch.backend.failures.this_node", lambda: "node1")

    def work(
        context: StudyContext,
        proposal: Proposal,
        share: Share,
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        done.append((context, proposal, share))
        report({"epoch": 1})

    contexts = {name: make_context(tmp_path / name, space(), name) for name in ("fan", "valve")}
    share = Share(workers=1, cpus=1, gpus=0.0, concurrent=1)
    proposal = Proposal(3, Configuration(1e-3, 32, 10.0), InlierSpec("gmm", 4), seed=2, rerun_of=1)
    run_tune_trial(proposal.to_tune("fan"), (contexts, share, work))
    assert done == [(contexts["fan"], proposal, share)]
    assert reports == [{"epoch": 1, "node": "node1"}]
