"""Tables of the public DCASE evaluators: decisions at the threshold, official scores."""

from collections.abc import Mapping, Sequence

import numpy as np

from raysearch.report.html.parts import Table
from raysearch.report.wording import cell
from raysearch.scoring.official import (
    OfficialResult,
    OfficialScores,
    detection,
    official_mean,
)
from raysearch.study.scores import FinalScore

Triple = tuple[float, float, float]

COLUMNS = {
    "source AUC": "source_auc",
    "source pAUC": "source_pauc",
    "target AUC": "target_auc",
    "target pAUC": "target_pauc",
    "smix AUC": "smix_auc",
    "tmix AUC": "tmix_auc",
    "mix pAUC": "mix_pauc",
    "2021": "official_2021",
    "2022": "official_2022",
}
"""Header of the table of official scores -> value."""


def threshold_table(by_id: Mapping[str, Sequence[FinalScore]]) -> Table | None:
    """Return precision, recall and F1 of every test ID, and domain if there are several.

    Args:
        by_id: scored clips of each test ID.

    Returns:
        None without labels of both kinds.
    """
    domains = sorted({clip.domain for clips in by_id.values() for clip in clips})
    results = {
        (product_id, domain): triple
        for product_id, clips in by_id.items()
        for domain in domains
        if (triple := _detection([clip for clip in clips if clip.domain == domain])) is not None
    }
    if not results:
        return None
    header = ["ID", "domain", "precision", "recall", "F1"]
    rows = [[*key, *map(cell, triple)] for key, triple in results.items()]
    means = [cell(official_mean(kind)) for kind in zip(*results.values(), strict=True)]
    rows.append(["harmonic mean", "", *means])
    if len(domains) == 1:
        header, rows = ["ID", *header[2:]], [[row[0], *row[2:]] for row in rows]
    return Table(
        "At the threshold",
        header,
        rows,
        "Precision is the share of anomalies among clips called anomalous, recall the share of "
        "anomalies that are called so, F1 their harmonic mean, as the public DCASE evaluators "
        "compute them.",
        numbers=frozenset(range(len(header) - 3, len(header))),
        strong=frozenset({len(results)}),
    )


def _detection(clips: Sequence[FinalScore]) -> Triple | None:
    labelled = [(clip.label, clip.decision) for clip in clips if clip.label is not None]
    labels, decisions = np.array(labelled, np.int64).reshape(-1, 2).T
    return detection(labels, decisions)


def official_table(official: OfficialResult) -> Table:
    """Return the table of official scores over both domains."""
    rows = [_row(row.id, row) for row in official.ids]
    rows.append(_row("harmonic mean", official.mean))
    # In the caption: beside nine numbers a note would have no room.
    note = f" Note: {official.mean.note}." if official.mean.note else ""
    return Table(
        "Official scores",
        ["ID", *COLUMNS],
        rows,
        "Scores of both domains, by the formulas of the public DCASE evaluators: source and "
        "target clips by themselves; smix and tmix are normal clips of the source or target "
        "domain against the anomalies of both, mix pAUC is of all clips. 2021 is the harmonic "
        "mean of the first four columns, 2022 that of the next three, as in later years." + note,
        numbers=frozenset(range(1, len(COLUMNS) + 1)),
        strong=frozenset({len(official.ids)}),
    )


def _row(name: str, row: OfficialScores) -> list[str]:
    values = [getattr(row, attribute) for attribute in COLUMNS.values()]
    return [name, *map(cell, values)]
