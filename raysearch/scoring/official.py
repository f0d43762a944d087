"""Scores of the public evaluators of DCASE Task 2, over source and target domain.

AUC, pAUC, precision, recall, F1 and the official score from 2022 on are the formulas in the source
of `dcase2021_task2_evaluator` and `dcase2022_task2_evaluator`, which that of 2023 repeats. The
evaluator of 2021 prints the means of AUC and of pAUC alone; their harmonic mean as official score
is the definition of the task. Both average over all machine types, here the mean is over the
product IDs of one.

The evaluators stop where a value is missing. What a product ID lacks is None here, a choice of
this module, as is the mean over the IDs that have a value.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.scoring.metrics import auc_pauc, harmonic_mean

DOMAINS = ("source", "target")

PARTS_2021 = ("source_auc", "source_pauc", "target_auc", "target_pauc")
"""Values of a product ID in the official score of 2021."""
PARTS_2022 = ("smix_auc", "tmix_auc", "mix_pauc")
"""Values of a product ID in the official score from 2022 on."""

MEAN = "hmean"
"""ID of the harmonic means over all IDs."""


@dataclass(frozen=True)
class LabelledClips:
    """Labelled test clips of a product ID.

    Attributes:
        domains: (N,), `source` or `target`.
        labels: (N,), 1 for an anomaly, 0 for normal.
        scores: (N,), higher = more anomalous.
        decisions: (N,), 1 above the threshold.
    """

    domains: NDArray[Any]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    decisions: NDArray[np.int64]

    def part(self, mask: NDArray[np.bool_]) -> "LabelledClips":
        """Return the clips of a mask (N,)."""
        return LabelledClips(
            self.domains[mask], self.labels[mask], self.scores[mask], self.decisions[mask]
        )

    @property
    def areas(self) -> tuple[float, float] | None:
        """AUC and pAUC; None unless there are normal and anomalous clips."""
        if len(np.unique(self.labels)) < 2:
            return None
        return auc_pauc(self.labels, self.scores)


@dataclass(frozen=True)
class OfficialScores:
    """Scores of a product ID, or their harmonic means over all; a missing value is None.

    Attributes:
        source_auc: of the source clips by themselves, as pAUC, precision, recall and F1 of both
            domains.
        smix_auc: AUC of normal source clips against the anomalies of both domains.
        tmix_auc: AUC of normal target clips against the anomalies of both domains.
        mix_pauc: pAUC of all clips.
        official_2021: harmonic mean of AUC and pAUC of both domains.
        official_2022: harmonic mean of `smix_auc`, `tmix_auc` and `mix_pauc`; of later years, too.
        note: reason for a missing value, or what a value leaves out; else empty.
    """

    id: str
    source_auc: float | None = None
    source_pauc: float | None = None
    target_auc: float | None = None
    target_pauc: float | None = None
    smix_auc: float | None = None
    tmix_auc: float | None = None
    mix_pauc: float | None = None
    official_2021: float | None = None
    official_2022: float | None = None
    source_precision: float | None = None
    source_recall: float | None = None
    source_f1: float | None = None
    target_precision: float | None = None
    target_recall: float | None = None
    target_f1: float | None = None
    note: str = ""

    @property
    def has_value(self) -> bool:
        """True if any value is there."""
        return any(getattr(self, name) is not None for name in VALUES)

    def values(self, names: Iterable[str]) -> list[float] | None:
        """Return some values; None if any of them is missing."""
        values = [getattr(self, name) for name in names]
        return None if None in values else values


VALUES = tuple(field.name for field in fields(OfficialScores) if field.name not in ("id", "note"))


@dataclass(frozen=True)
class OfficialResult:
    """Official scores of a machine type.

    Attributes:
        ids: scores of each test ID, by ID.
    """

    ids: tuple[OfficialScores, ...]

    @cached_property
    def mean(self) -> OfficialScores:
        """Harmonic mean of each value over the IDs that have it, with what it leaves out."""
        means = {}
        for name in VALUES:
            present = [value for row in self.ids if (value := getattr(row, name)) is not None]
            means[name] = official_mean(present) if present else None
        return OfficialScores(MEAN, **means, note=self._note)

    @property
    def _note(self) -> str:
        total = len(self.ids)
        notes = []
        for year, parts in (("2021", PARTS_2021), ("2022", PARTS_2022)):
            count = sum(row.values(parts) is not None for row in self.ids)
            if count < total:
                notes.append(f"score of {year} over {count} of {total} test IDs")
        return "; ".join(notes + [f"ID {row.id}: {row.note}" for row in self.ids if row.note])


def official_mean(values: Iterable[float]) -> float:
    """Return the harmonic mean as the evaluators do, a value of 0 raised to the machine epsilon.

    Raises:
        ValueError: no values, or a value that is not finite.
    """
    return harmonic_mean(np.maximum(list(values), sys.float_info.epsilon))


def detection(labels: NDArray[Any], decisions: NDArray[Any]) -> tuple[float, float, float] | None:
    """Return precision, recall and F1 of decisions, anomalies being positive.

    A ratio of 0 to 0 is 0, as in the evaluators.

    Args:
        labels: (N,), 1 for an anomaly, 0 for normal.
        decisions: (N,), 1 above the threshold.

    Returns:
        None unless there are normal and anomalous clips; the evaluators then stop, or give 0.
    """
    if len(np.unique(labels)) < 2:
        return None
    hits = int(np.sum((labels == 1) & (decisions == 1)))
    precision = _ratio(hits, int(np.sum(decisions == 1)))
    recall = _ratio(hits, int(np.sum(labels == 1)))
    return precision, recall, _ratio(2 * precision * recall, precision + recall)


def _ratio(part: float, whole: float) -> float:
    return part / max(whole, sys.float_info.epsilon)


def official_scores(product_id: str, clips: LabelledClips, note: str = "") -> OfficialScores:
    """Compute the official scores of a product ID.

    Args:
        product_id: of the clips.
        clips: labelled clips of both domains, or of one.
        note: see `OfficialScores`.
    """
    values = {name: value for domain in DOMAINS for name, value in _domain(clips, domain)}
    values |= _mixed(clips)
    values["official_2021"] = _mean_of(values, PARTS_2021)
    values["official_2022"] = _mean_of(values, PARTS_2022)
    return OfficialScores(product_id, **values, note=note)


def _domain(clips: LabelledClips, domain: str) -> Iterable[tuple[str, float | None]]:
    part = clips.part(clips.domains == domain)
    areas = part.areas or (None, None)
    decided = detection(part.labels, part.decisions) or (None, None, None)
    names = ("auc", "pauc", "precision", "recall", "f1")
    return zip((f"{domain}_{name}" for name in names), (*areas, *decided), strict=True)


def _mixed(clips: LabelledClips) -> dict[str, float | None]:
    """Return what judges both domains together; empty if a domain has no clips."""
    if not set(DOMAINS) <= set(clips.domains.tolist()):
        return {}
    is_anomaly = clips.labels == 1
    source, target = (
        clips.part(is_anomaly | (clips.domains == domain)).areas for domain in DOMAINS
    )
    return {
        "smix_auc": source and source[0],
        "tmix_auc": target and target[0],
        "mix_pauc": clips.areas and clips.areas[1],
    }


def _mean_of(values: Mapping[str, float | None], parts: Sequence[str]) -> float | None:
    present = [value for part in parts if (value := values.get(part)) is not None]
    return official_mean(present) if len(present) == len(parts) else None
