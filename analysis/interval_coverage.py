"""Coverage of the intervals, false claims of a lead, and the optimism of a search, by simulation.

    python analysis/interval_coverage.py --out analysis-output
    python analysis/interval_coverage.py --out analysis-output --repeats 200    # rough, in a minute

Clips are simulated whose true scores are known. A normal clip scores N(0, 1), an anomalous clip
N(d, 1) with the d of its ID's true AUC; three IDs. A seed shifts d by a normal error, and two
encoders agree on the clips with the correlation `AGREEMENT`. Measured are

- clips: shares of 95 % intervals that hold the true harmonic mean, for several true AUCs and
  numbers of clips, nominally 95 %;
- seeds: the same of the mean over all seeds, for two to five seeds and three sizes of their effect;
- leads: how often one of two equal configurations is called better beyond noise, nominally 5 %;
- search: the best score of a search in which all configurations are equally good, against its true
  score, and against the estimate without selection.

Writes interval_coverage.csv and prints it. With 1000 repeats a share of 95 % errs by 0.7 points,
that of clips, of four times as many, by 0.3; the program takes about ten minutes on two cores.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from raysearch.scoring.intervals import lead_interval, score_interval
from raysearch.scoring.jackknife import clip_score, counted_areas
from raysearch.scoring.metrics import (
    MAX_FPR,
    ClipScores,
    Floats,
    harmonic_mean,
    standardise,
)
from raysearch.study.ranking import Candidate, Training
from raysearch.study.records import Proposal, Record, State
from raysearch.study.selection import unselected_score
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult

AUCS = ((0.55, 0.6, 0.7), (0.7, 0.75, 0.8), (0.9, 0.9, 0.9), (0.6, 0.9, 0.97), (0.98, 0.98, 0.98))
"""True AUCs of the three IDs."""

SIZES = (10, 20, 100)
"""Numbers of normal and of anomalous clips of an ID."""

SEEDS = (1, 2, 3, 5)
EFFECTS = (0.0, 0.1, 0.4)
"""Standard deviations of d over seeds; those of the score are about a tenth."""

AGREEMENT = 0.8
BASE = (0.7, 0.8, 0.9)
TRIALS, ROWS = 12, 8
"""Encoders of a null search, and inlier models of each."""

GRID = (np.arange(1000) + 0.5) / 1000 * MAX_FPR


@dataclass(frozen=True)
class Row:
    """A measured figure.

    Attributes:
        figure: clips, seeds, leads or search.
        case: conditions of the simulation.
        clips: normal and anomalous clips of an ID, of each as many.
        seeds: of a configuration.
        value: measured.
        nominal: expected.
    """

    figure: str
    case: str
    clips: int
    seeds: int
    value: float
    nominal: float


def distances(aucs: Sequence[float]) -> Floats:
    """Return the distances d of anomalous clips from normal clips (I,) of true AUCs."""
    return np.array([2**0.5 * NormalDist().inv_cdf(auc) for auc in aucs])


def true_scores(shifts: Floats) -> Floats:
    """Return the true harmonic means of AUC and pAUC of distances (..., I)."""
    auc = norm.cdf(shifts / np.sqrt(2))
    part = norm.cdf(shifts[..., None] + norm.ppf(GRID)).mean(axis=-1) * MAX_FPR
    inverse = 1 / auc + 1 / standardise(part)
    return np.asarray(2 * shifts.shape[-1] / inverse.sum(axis=-1))


def mean_true_score(shifts: Floats) -> float:
    """Return the mean true score over the seeds of distances (seeds, I)."""
    # By parts: the curves of 20,000 seeds take gigabytes.
    return float(np.mean([true_scores(part) for part in np.split(shifts, 100)]))


def simulate(
    shifts: Floats, clips: int, generator: np.random.Generator, agreement: float = AGREEMENT
) -> list[ClipScores]:
    """Draw the scores of the same clips by several encoders.

    Args:
        shifts: (encoders, I), distances of anomalous clips from normal clips.
        clips: normal and anomalous clips of an ID, of each as many.
        generator: of the draws.
        agreement: correlation of two encoders' scores of a clip.
    """
    labels = np.repeat(np.array([0, 1], np.int64), clips)
    runs: list[dict[str, tuple[NDArray[np.int64], Floats]]] = [{} for _ in shifts]
    for identity in range(shifts.shape[1]):
        common = generator.normal(size=labels.size) * np.sqrt(agreement)
        for run, shift in zip(runs, shifts, strict=True):
            alone = generator.normal(size=labels.size) * np.sqrt(1 - agreement)
            run[str(identity)] = labels, common + alone + shift[identity] * labels
    return list(runs)


def clip_coverage(repeats: int, sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """Yield the coverage of intervals over clips, of one seed."""
    for clips in sizes:
        for aucs in AUCS:
            generator = np.random.default_rng(clips)
            shifts = distances(aucs)
            true = float(true_scores(shifts))
            bounds = [
                score_interval(simulate(shifts[None], clips, generator)) for _ in range(repeats)
            ]
            case = "AUC " + ", ".join(f"{auc:g}" for auc in aucs)
            yield Row("clips", case, clips, 1, share(bounds, true), 0.95)


def seed_coverage(
    repeats: int, sizes: Sequence[int] = SIZES[1:], seeds: Sequence[int] = SEEDS
) -> Iterator[Row]:
    """Yield coverage and false claims of configurations that differ in their seeds alone."""
    base = distances(BASE)
    for clips in sizes:
        for count in seeds:
            for effect in EFFECTS:
                generator = np.random.default_rng([clips, count])
                errors = generator.normal(size=(20000, base.size))
                true = mean_true_score(base + effect * errors)
                bounds, claims = [], []
                for _ in range(repeats):
                    shifts = base + effect * generator.normal(size=(2 * count, base.size))
                    runs = simulate(shifts, clips, generator)
                    bounds.append(score_interval(runs[:count]))
                    lead = lead_interval(runs[:count], runs[count:])
                    claims.append(lead is not None and (lead[0] > 0 or lead[1] < 0))
                case = f"seed effect {effect:g}"
                if count > 1:
                    yield Row("seeds", case, clips, count, share(bounds, true), 0.95)
                nominal = 0.05 if count > 1 else 0.0
                yield Row("leads", case, clips, count, float(np.mean(claims)), nominal)


def share(bounds: Sequence[tuple[float, float] | None], true: float) -> float:
    """Return the share of intervals that hold a true value; a missing interval holds none."""
    return float(np.mean([each is not None and each[0] <= true <= each[1] for each in bounds]))


def null_search(
    clips: int, further: int, effect: float, generator: np.random.Generator
) -> list[Candidate]:
    """Make a search whose encoders and inlier models are all equally good.

    Args:
        clips: normal and anomalous clips of an ID, of each as many.
        further: further seeds of the three best encoders.
        effect: standard deviation of d over seeds.
        generator: of the draws.
    """
    base = distances(BASE)

    def train(encoder: int, count: int) -> list[list[InlierResult]]:
        errors = effect * generator.normal(size=(count, 1, base.size))
        shifts = np.repeat(base + errors, ROWS, axis=1).reshape(-1, base.size)
        rows = [_row(run) for run in simulate(shifts, clips, generator)]
        return [rows[k * ROWS : (k + 1) * ROWS] for k in range(count)]

    trained = [train(encoder, 1 + further) for encoder in range(TRIALS)]
    ranked = sorted(range(TRIALS), key=lambda k: -max(r.val_score or 0 for r in trained[k][0]))
    return [
        Candidate(tuple(_training(k, row, seed) for seed, row in enumerate(kept)), sound=True)
        for k, encoders in enumerate(trained)
        for n in range(ROWS)
        for kept in [[rows[n] for rows in encoders[: 1 + further * (k in ranked[:3])]]]
    ]


def _row(run: ClipScores) -> InlierResult:
    areas = {}
    for identity, (labels, scores) in run.items():
        auc, pauc = counted_areas(labels, scores, np.ones((1, labels.size), np.int64))
        areas[identity] = float(auc[0]), float(pauc[0])
    score = harmonic_mean(value for pair in areas.values() for value in pair)
    first, second = ({i: pair[n] for i, pair in areas.items()} for n in (0, 1))
    return InlierResult("none", None, score, first, second)


def _training(trial: int, row: InlierResult, seed: int) -> Training:
    proposal = Proposal(trial, Configuration(1e-3 * (1 + trial), 16, 1.0), seed=seed)
    record = Record(proposal, State.COMPLETE, f"e{trial}-{seed}", 1, seed, "", rows=(row,))
    return Training(record, row)


def search_optimism(repeats: int, sizes: Sequence[int] = SIZES[1:]) -> Iterator[Row]:
    """Yield how far the best score of a null search, and its estimates, lie above the truth."""
    base = distances(BASE)
    for clips in sizes:
        for further, effect in ((0, 0.0), (2, 0.1)):
            generator = np.random.default_rng([clips, further])
            errors = effect * generator.normal(size=(20000, base.size))
            true = mean_true_score(base + errors)
            # Areas of few clips are biased even of a single configuration.
            single = []
            for _ in range(20 * repeats):
                shifts = base + effect * generator.normal(size=(1, base.size))
                single.append(clip_score(simulate(shifts, clips, generator)[0]))
            plain = float(np.mean(single)) - true
            best, unselected = [], []
            for _ in range(repeats):
                candidates = null_search(clips, further, effect, generator)
                best.append(max(c.mean() for c in candidates if len(c.trainings) == 1 + further))
                unselected.append(unselected_score(candidates) or 0.0)
            case = f"{TRIALS} x {ROWS} equal configurations"
            for name, values in (("winner", best), ("without selection", unselected)):
                gap = float(np.mean(values)) - true
                yield Row("search", f"{case}, {name}", clips, 1 + further, gap, plain)


def _parts(repeats: int) -> list[Callable[[], Iterator[Row]]]:
    """Return the parts of the measurement, each for a process of its own."""
    return [
        *(partial(clip_coverage, 4 * repeats, (size,)) for size in SIZES),
        *(partial(seed_coverage, repeats, (size,), (n,)) for size in SIZES[1:] for n in SEEDS),
        *(partial(search_optimism, max(repeats // 10, 2), (size,)) for size in SIZES[1:]),
    ]


def _measure(part: Callable[[], Iterator[Row]]) -> list[Row]:
    return list(part())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all figures, write and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--repeats", type=int, default=1000)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with ProcessPoolExecutor() as pool:
        for part in pool.map(_measure, _parts(options.repeats)):
            rows += part
            print(f"{rows[-1].figure}: {len(rows)} figures", file=sys.stderr)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "interval_coverage.csv", index=False)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
