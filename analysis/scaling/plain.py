"""What a user would write instead of raysearch: Ray Tune and OptunaSearch over five dimensions.

It has two settings that most scripts lack: processes are reused, which is not Tune's default and
saves more than a second per trial, and no proposals wait while all places are taken, so that each
knows most results.
"""

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import ray
from measuring import Facts, Times, main, timed
from optuna.distributions import CategoricalDistribution, FloatDistribution
from ray import tune
from ray.tune.search.optuna import OptunaSearch

SPACE = {
    "lr": FloatDistribution(1e-4, 3e-3, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
    "lambda": CategoricalDistribution([0.1, 1.0, 10.0]),
    "inlier": CategoricalDistribution(["gmm", "lof"]),
    "p": CategoricalDistribution([1, 2, 4, 8, 16, 32, 64]),
}


def trial(config: dict[str, Any]) -> None:
    """Does nothing and reports once."""
    tune.report({"score": random.random()})


def reporter(config: dict[str, Any], reports: int) -> None:
    """Reports as fast as it can."""
    for _ in range(reports):
        tune.report({"score": random.random()})


def searcher(observations: int) -> OptunaSearch:
    """A search that has so many observations behind it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = random.Random(0)
    points = [_drawn(rng) for _ in range(observations)]
    return OptunaSearch(
        SPACE,
        metric="score",
        mode="max",
        points_to_evaluate=points or None,
        evaluated_rewards=[rng.random() for _ in points] or None,
        seed=0,
    )


def _drawn(rng: random.Random) -> dict[str, Any]:
    choices = {k: d.choices for k, d in SPACE.items() if isinstance(d, CategoricalDistribution)}
    return {"lr": 10 ** rng.uniform(-4, -2.6)} | {k: rng.choice(v) for k, v in choices.items()}


def tuner(
    trainable: Any,
    folder: Path,
    trials: int,
    callbacks: Sequence[tune.Callback],
    *,
    observations: int = 0,
    reuse: bool = True,
    concurrent: int = 2,
) -> tune.Tuner:
    """The run."""
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher(observations),
            num_samples=trials,
            reuse_actors=reuse,
            max_concurrent_trials=concurrent,
        ),
        run_config=tune.RunConfig(
            name="plain", storage_path=str(folder), verbose=0, callbacks=list(callbacks)
        ),
    )


class Ends(tune.Callback):
    """Notes the times of a plain run."""

    def __init__(self, times: Times) -> None:
        self.times = times

    def on_trial_result(self, *arguments: Any, **info: Any) -> None:
        """A trial reported."""
        self.times.report()

    def on_trial_complete(self, *arguments: Any, **info: Any) -> None:
        """A trial ended."""
        self.times.end()


def plain_trials(folder: Path, trials: int, before: int, reuse: bool = True) -> Facts:
    """Trials that do nothing, through Tune and OptunaSearch."""
    start()
    times = Times()
    run = tuner(trial, folder, trials, [Ends(times)], observations=before, reuse=reuse)
    times.begun = time.monotonic()
    run.fit()
    return times.facts()


def plain_reports(folder: Path, reporters: int, reports: int) -> Facts:
    """Trials that report, all at once, through Tune and OptunaSearch."""
    start(reporters)
    times = Times()
    trainable = tune.with_parameters(reporter, reports=reports)
    tuner(trainable, folder, reporters, [Ends(times)], concurrent=reporters).fit()
    return times.reporting(reporters)


def start(cpus: int = 2) -> None:
    """Starts Ray as raysearch starts it."""
    ray.init(
        address="local", num_cpus=cpus, _node_ip_address="127.0.0.1", log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip


def plain_ask(folder: Path, before: int) -> Facts:
    """The same of OptunaSearch."""
    search, names = searcher(before), iter(range(1000))

    def step() -> None:
        name = str(next(names))
        search.suggest(name)
        search.on_trial_complete(name, {"score": random.random()})

    return {"ask_ms": timed(step)}


if __name__ == "__main__":
    main(plain_trials, plain_reports, plain_ask)
