"""The score of the reference on disk."""

from dataclasses import replace

import pytest
from upath import UPath

from raysearch import storage
from raysearch.errors import UserError
from raysearch.study.reference import (
    final_reference,
    read_reference,
    reference_score,
    write_reference,
)
from raysearch.study.scores import FinalTest, IdResult, write_final
from tests.records import row


def test_the_first_reference_of_a_study_stays(folder: UPath) -> None:
    storage.write_text(folder / "study.json", "{}")
    assert (read_reference(folder), reference_score(folder)) == (None, None)
    first = row("mahalanobis", 0.1, 1 / 3)
    write_reference(first, folder)
    write_reference(replace(first, val_score=0.9), folder)
    assert read_reference(folder) == first
    assert reference_score(folder) == 1 / 3


def test_a_damaged_reference_is_named(folder: UPath) -> None:
    storage.write_text(folder / "reference.json", '{"inlier": 3}')
    with pytest.raises(UserError, match=r"reference\.json: damaged"):
        reference_score(folder)


def test_the_final_score_of_the_reference_has_a_file_of_its_own(folder: UPath) -> None:
    assert final_reference(folder) is None
    result = FinalTest((IdResult("3", 0.75, 0.5),))
    write_final(folder / "reference_test.csv", "valve", result)
    assert final_reference(folder) == pytest.approx(result.score)
