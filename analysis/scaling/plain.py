"""Measurements of a plain search: Ray Tune and OptunaSearch over five dimensions.

Two settings are better than Tune's defaults. Processes are reused, which saves more than a second
per trial. Proposals are made only when a trial can start, so they know the latest results.
"""

import logging
import random
import time
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.distributions import CategoricalDistribution, FloatDistribution
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from scaling.measuring import Facts, Times, main, timed

SPACE = {
    "lr": FloatDistribution(1e-4, 3e-3, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
    "lambda": CategoricalDistribution([0.1, 1.0, 10.0]),
    "inlier": CategoricalDistribution(["gmm", "lof"]),
    "p": CategoricalDistribution([1, 2, 4, 8, 16, 32, 64]),
}


def trial(config: dict[str, Any]) -> None:
    """Report once and do nothing else."""
    tune.report({"score": random.random()})


def reporter(config: dict[str, Any], reports: int) -> None:
    """Report without a pause."""
    for _ in range(reports):
        tune.report({"score": random.random()})


def searcher(observations: int) -> OptunaSearch:
    """Return a search that knows a number of random observations."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = random.Random(0)
    points = [_random_point(rng) for _ in range(observations)]
    return OptunaSearch(
        SPACE,
        metric="score",
        mode="max",
        points_to_evaluate=points or None,
        evaluated_rewards=[rng.random() for _ in points] or None,
        seed=0,
    )


def _random_point(rng: random.Random) -> dict[str, Any]:
    choices = {k: d.choices for k, d in SPACE.items() if isinstance(d, CategoricalDistribution)}
    return {"lr": 10 ** rng.uniform(-4, -2.6)} | {k: rng.choice(v) for k, v in choices.items()}


def settings(
    trials: int, *, observations: int = 0, reuse: bool = True, concurrent: int = 2
) -> tune.TuneConfig:
    """Return the settings of a search.

    Args:
        trials: number of trials.
        observations: results that the search knows from the start.
        reuse: run trials one after the other in the same processes.
        concurrent: trials at once.
    """
    return tune.TuneConfig(
        search_alg=searcher(observations),
        num_samples=trials,
        reuse_actors=reuse,
        max_concurrent_trials=concurrent,
    )


def tuner(trainable: Any, folder: Path, config: tune.TuneConfig, times: Times) -> tune.Tuner:
    """Return a search that notes the times of its trials."""
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=config,
        run_config=tune.RunConfig(
            name="plain", storage_path=str(folder), verbose=0, callbacks=[Clock(times)]
        ),
    )


class Clock(tune.Callback):
    """Callback that notes the times of reports and of trials' ends."""

    def __init__(self, times: Times) -> None:
        self.times = times

    def on_trial_result(self, *arguments: Any, **info: Any) -> None:
        """Note a report."""
        self.times.report()

    def on_trial_complete(self, *arguments: Any, **info: Any) -> None:
        """Note the end of a trial."""
        self.times.end()


def plain_trials(folder: Path, trials: int, before: int, reuse: bool = True) -> Facts:
    """Measure trials that do nothing."""
    start()
    times = Times()
    config = settings(trials, observations=before, reuse=reuse)
    search = tuner(trial, folder, config, times)
    times.begun = time.monotonic()
    search.fit()
    return times.facts()


def plain_reports(folder: Path, reporters: int, reports: int) -> Facts:
    """Measure trials that report, all at once."""
    start(reporters)
    times = Times()
    trainable = tune.with_parameters(reporter, reports=reports)
    tuner(trainable, folder, settings(reporters, concurrent=reporters), times).fit()
    return times.reporting(reporters)


def start(cpus: int = 2) -> None:
    """Start Ray as raysearch does."""
    ray.init(
        address="local", num_cpus=cpus, _node_ip_address="127.0.0.1", log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip


def plain_ask(folder: Path, before: int) -> Facts:
    """Measure a proposal and its result after a number of trials."""
    search, names = searcher(before), iter(range(1000))

    def step() -> None:
        name = str(next(names))
        search.suggest(name)
        search.on_trial_complete(name, {"score": random.random()})

    return {"ask_ms": timed(step)}


if __name__ == "__main__":
    main(plain_trials, plain_reports, plain_ask)
