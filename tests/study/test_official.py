"""Official scores of a final test against the rules of the public evaluators.

The evaluators read a submission and the ground truth: each file is sorted, and its rows are paired
by order. Their formulas are written out here, with scikit-learn and SciPy as they use them.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, roc_auc_score
from upath import UPath

from raysearch.scoring.official import OfficialScores
from raysearch.study.official import judge_domains, write_official
from raysearch.study.scores import FinalScore
from raysearch.study.submission import write_scores
from tests.docs.pages import REPOSITORY, rows, section, spans

IDS = ("3", "4", "5")
DOMAINS = ("source", "target")
EPSILON = sys.float_info.epsilon
Floats = NDArray[np.float64]


def submitted(seed: int, ids: Sequence[str] = IDS) -> list[FinalScore]:
    """Draw scores of both domains: unequal sizes, ties, clips in no order."""
    rng = np.random.default_rng(seed)
    scores = []
    for product_id in ids:
        for domain in DOMAINS:
            counts = rng.integers(1, 12), rng.integers(1, 12)
            labels = rng.permutation(np.repeat([0, 1], counts))
            # The coarser the grid, the more ties; a negative shift inverts the order.
            values = np.round(rng.normal(labels * rng.uniform(-2, 2), 1), rng.integers(0, 3))
            threshold = float(rng.normal())
            scores += [
                FinalScore(
                    product_id,
                    f"section_0{product_id}_{domain}_test_{number:04d}.wav",
                    domain,
                    int(label),
                    float(value),
                    threshold,
                    int(value > threshold),
                )
                for number, (label, value) in enumerate(zip(labels, values, strict=True))
            ]
    return [scores[k] for k in rng.permutation(len(scores))]


def write_truth(folder: Path, scores: Sequence[FinalScore]) -> None:
    for score in scores:
        name = f"ground_truth_valve_section_0{score.id}_{score.domain}_test.csv"
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(f"{score.clip},{score.label}\n")


def column(*paths: Path) -> Floats:
    """Read the second column of a file, or of the files of both domains, in order of all rows."""
    lines = [row for path in paths for row in csv.reader(path.read_text("utf-8").splitlines())]
    return np.array([float(value) for _, value in sorted(lines)])


def decided(truth: Floats, decisions: Floats) -> tuple[float, float, float]:
    _, false, missed, hits = confusion_matrix(truth, decisions).ravel()
    precision = hits / np.maximum(hits + false, EPSILON)
    recall = hits / np.maximum(hits + missed, EPSILON)
    return precision, recall, 2 * precision * recall / np.maximum(precision + recall, EPSILON)


def evaluate_2021(folder: Path) -> Iterator[tuple[str, str, list[float]]]:
    """Yield ID, domain, and AUC, pAUC, precision, recall and F1 of its files."""
    for product_id in IDS:
        for domain in DOMAINS:
            stem = f"valve_section_0{product_id}_{domain}_test.csv"
            truth = column(folder / f"ground_truth_{stem}")
            scores = column(folder / f"anomaly_score_{stem}")
            auc, pauc = roc_auc_score(truth, scores), roc_auc_score(truth, scores, max_fpr=0.1)
            decisions = column(folder / f"decision_result_{stem}")
            yield product_id, domain, [auc, pauc, *decided(truth, decisions)]


def evaluate_2022(folder: Path) -> Iterator[tuple[str, list[float]]]:
    """Yield ID, and AUC of both domains and pAUC; a section has one file of both domains."""
    for product_id in IDS:
        stems = [f"valve_section_0{product_id}_{domain}_test.csv" for domain in DOMAINS]
        truth = column(*(folder / f"ground_truth_{stem}" for stem in stems))
        scores = column(*(folder / f"anomaly_score_{stem}" for stem in stems))
        # Names begin with the domain, so the rows of the source come first.
        sizes = [len(column(folder / f"ground_truth_{stem}")) for stem in stems]
        domains = np.repeat([0, 1], sizes)
        aucs = []
        for domain in (0, 1):
            chosen = (domains == domain) | (truth != 0)
            aucs.append(roc_auc_score(truth[chosen], scores[chosen]))
        yield product_id, [*aucs, roc_auc_score(truth, scores, max_fpr=0.1)]


@pytest.mark.parametrize("seed", range(30))
def test_the_scores_are_those_of_the_evaluators(seed: int, tmp_path: Path) -> None:
    scores = submitted(seed)
    write_scores(UPath(tmp_path), "valve", scores)
    write_truth(tmp_path, scores)
    result = judge_domains(scores, IDS)
    assert result is not None
    by_id = {row.id: row for row in result.ids}

    areas = []
    for product_id, domain, expected in evaluate_2021(tmp_path):
        names = [f"{domain}_{name}" for name in ("auc", "pauc", "precision", "recall", "f1")]
        assert by_id[product_id].values(names) == pytest.approx(expected, abs=1e-9)
        areas += expected[:2]
    expected_2021 = scipy.stats.hmean(np.maximum(areas, EPSILON))
    assert result.mean.official_2021 == pytest.approx(expected_2021, abs=1e-9)

    mixed = []
    for product_id, expected in evaluate_2022(tmp_path):
        names = ["smix_auc", "tmix_auc", "mix_pauc"]
        assert by_id[product_id].values(names) == pytest.approx(expected, abs=1e-9)
        mixed += expected
    expected_2022 = scipy.stats.hmean(np.maximum(mixed, EPSILON))
    assert result.mean.official_2022 == pytest.approx(expected_2022, abs=1e-9)
    assert result.mean.note == ""


def without(scores: Sequence[FinalScore], identity: str, domain: str) -> list[FinalScore]:
    return [each for each in scores if (each.id, each.domain) != (identity, domain)]


def test_one_domain_alone_has_no_official_scores() -> None:
    scores = [score for score in submitted(0) if score.domain == "source"]
    assert judge_domains(scores, IDS) is None
    assert judge_domains([], IDS) is None
    unlabelled = [replace(score, label=None) for score in submitted(0)]
    assert judge_domains(unlabelled, IDS) is None


def test_an_id_without_a_domain_has_a_note_in_place_of_a_number() -> None:
    scores = submitted(0)
    whole, result = judge_domains(scores, IDS), judge_domains(without(scores, "4", "target"), IDS)
    assert whole is not None
    assert result is not None
    _, lacking, _ = result.ids
    assert lacking.source_auc == whole.ids[1].source_auc
    assert (lacking.official_2021, lacking.official_2022) == (None, None)
    assert lacking.note == "no target clips"
    assert (result.ids[0], result.ids[2]) == (whole.ids[0], whole.ids[2])
    assert result.mean.note == (
        "score of 2021 over 2 of 3 test IDs; score of 2022 over 2 of 3 test IDs; "
        "ID 4: no target clips"
    )


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"label": None}, "no labels of target clips"),
        ({"label": 0}, "labelled target clips are all of one kind"),
        ({"domain": "unknown"}, "no target clips, … without a domain left out"),
        ({"error": "not audio"}, "… unreadable, with the worst score"),
    ],
)
def test_what_an_id_lacks_is_said(change: dict[str, object], note: str) -> None:
    scores = [
        replace(each, **change) if (each.id, each.domain) == ("4", "target") else each  # type: ignore[arg-type]
        for each in submitted(0)
    ]
    result = judge_domains(scores, IDS)
    assert result is not None
    count = sum((each.id, each.domain) == ("4", "target") for each in submitted(0))
    assert result.ids[1].note == note.replace("…", str(count))


def test_partial_labels_are_counted() -> None:
    scores = submitted(0)
    chosen = [k for k, each in enumerate(scores) if (each.id, each.domain) == ("4", "target")]
    scores[chosen[0]] = replace(scores[chosen[0]], label=None)
    result = judge_domains(scores, IDS)
    assert result is not None
    assert f"labels of {len(chosen) - 1} of {len(chosen)} target clips" in result.ids[1].note


def test_an_id_without_clips_is_a_row(tmp_path: Path) -> None:
    result = judge_domains(submitted(0), [*IDS, "left"])
    assert result is not None
    path = UPath(tmp_path) / "official_scores.csv"
    write_official(path, "valve", result)
    *lines, last = csv.DictReader(path.read_text("utf-8").splitlines())
    assert [line["id"] for line in lines] == [*IDS, "left"]
    assert lines[3]["note"] == "no source clips, no target clips"
    assert (lines[3]["source_auc"], lines[3]["official_2021"]) == ("", "")
    assert (last["machine"], last["id"]) == ("valve", "hmean")
    assert float(last["official_2021"]) == result.mean.official_2021
    assert float(lines[0]["target_f1"]) == result.ids[0].target_f1


def test_every_column_is_documented_in_order() -> None:
    documented = [
        name
        for row in rows(section(REPOSITORY / "docs/outputs.md", "## Official scores"))
        for name in spans(row["column"])
    ]
    names = [field.name for field in fields(OfficialScores)]
    assert documented == ["machine", *names]
