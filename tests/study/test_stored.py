"""Files of a run read back: what was cut off or changed is seen, and says so in one line."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from raysearch.errors import DamageError, UserError
from raysearch.scoring.inlier import InlierSpec
from raysearch.study.ledger import check_files, note_opening, note_result, read_ledger
from raysearch.study.records import Proposal, Record
from raysearch.study.scores import (
    FinalScore,
    FinalTest,
    IdResult,
    read_final,
    read_scores,
    write_final,
    write_scores,
)
from raysearch.study.stored import MADE_AGAIN, checked, explain_damage, read_json, read_table
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from tests.records import complete, row

RESULT = FinalTest((IdResult("3", 0.75, 0.5), IdResult("4", 0.5, 0.5, note='a "b", c')))
SCORES = [FinalScore("3", f"{n}.wav", "source", n % 2, n / 3, 1.0, 0) for n in range(4)]
WINNER = Winner(
    "valve", 0, "ab12", Configuration(1e-3, 8, 1.0), InlierSpec("gmm", 2), 0.9, 1, "data"
)
RECORD = next((Path(__file__).parents[1] / "golden/expected/valve/records").glob("*.json"))


@dataclass(frozen=True)
class Example:
    count: int
    share: float | None


def test_a_final_test_cut_off_anywhere_is_damaged(tmp_path: Path) -> None:
    path = UPath(tmp_path / "final_test.csv")
    write_final(path, "valve", RESULT)
    assert read_final(path).areas == RESULT.areas
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DamageError, match=r"final_test\.csv: damaged.*from a backup"):
            read_final(path)


def test_scores_cut_off_within_a_line_are_damaged(tmp_path: Path) -> None:
    path = UPath(tmp_path / "final_scores.csv")
    write_scores(path, SCORES)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if content[:length].endswith(b"\n"):
            assert len(read_scores(path)) < len(SCORES)  # The ledger has the hash of the whole.
        else:
            with pytest.raises(DamageError, match=r"final_scores\.csv: damaged"):
                read_scores(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"0.75", b"0.85"),
        lambda content: b"\n".join(content.split(b"\n")[:-2]) + b"\n",
    ],
)
@pytest.mark.parametrize("name", ["final_test.csv", "final_scores.csv"])
def test_a_changed_result_is_not_that_of_the_ledger(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    folder = UPath(tmp_path)
    write_final(folder / "final_test.csv", "valve", RESULT)
    write_scores(
        folder / "final_scores.csv", [*SCORES, FinalScore("3", "x", "source", 1, 0.75, 1, 0)]
    )
    facts = {"command": "x", "test_ids": ["3", "4"], "clips": 5}
    note_opening(folder, "2026-01-01T00:00:00+00:00", 1, facts, WINNER)
    note_result(folder, "2026-01-01T00:00:00+00:00", 1, RESULT)
    ledger = read_ledger(folder, "2026-01-01T00:00:00+00:00")
    check_files(folder, ledger)
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamageError, match=rf"{name}: .*SHA-256 is not that in test_ledger\.jsonl"):
        check_files(folder, ledger)
    path.unlink()
    check_files(folder, ledger)


def test_a_torn_last_line_of_a_ledger_may_be_deleted(tmp_path: Path) -> None:
    folder = UPath(tmp_path)
    facts = {"command": "x", "test_ids": ["3"], "clips": 5}
    for number in (1, 2):
        note_opening(folder, "2026-01-01T00:00:00+00:00", number, facts, WINNER)
    path = folder / "test_ledger.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:50])
    with pytest.raises(DamageError, match=r"test_ledger\.jsonl:2: .*delete that line"):
        read_ledger(folder, "2026-01-01T00:00:00+00:00")
    path.write_bytes(first[:50] + b"\n" + second)
    with pytest.raises(DamageError, match=r"test_ledger\.jsonl:1: .*from a backup"):
        read_ledger(folder, "2026-01-01T00:00:00+00:00")
    path.write_bytes(first)
    assert len(read_ledger(folder, "2026-01-01T00:00:00+00:00").openings) == 1


def _leaves(content: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(content, dict | list) and content:
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return [path, *(leaf for key, value in items for leaf in _leaves(value, (*path, key)))]
    return [path]


WHOLE = json.loads(RECORD.read_text())
LEAVES = [leaf for leaf in _leaves(WHOLE) if leaf]


@given(
    st.sampled_from(LEAVES),
    st.sampled_from([None, [], {}, "x", -1, [[1]], {"a": None}, True, 1e99]),
)
def test_a_record_with_another_value_is_read_or_damaged(
    leaf: tuple[str | int, ...], value: object
) -> None:
    content = json.loads(RECORD.read_text())
    part = content
    for key in leaf[:-1]:
        part = part[key]
    part[leaf[-1]] = value
    with suppress(DamageError), explain_damage("x.json", MADE_AGAIN):
        record = Record.from_json(content)
        assert record.device_seconds is not None
        assert record.to_json().keys() == content.keys()


def test_the_types_of_a_dataclass_are_checked() -> None:
    assert checked(Example(1, None)) == Example(1, None)
    for wrong in (Example("x", 0.5), Example(1, [0.5]), Example(None, 0.5)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"count|share"):
            checked(wrong)


@pytest.mark.parametrize("key", ["epoch", "train_loss", "val_loss", "lr", "seconds"])
@pytest.mark.parametrize("value", ["x", None, [1]])
def test_every_number_of_an_epoch_is_checked(key: str, value: object) -> None:
    record = complete(Proposal(0, WINNER.configuration), row("gmm", 2, 0.5))
    content = json.loads(json.dumps(record.to_json()))
    assert Record.from_json(content) == record
    content["history"][0][key] = value
    with pytest.raises(ValueError, match=key):
        Record.from_json(content)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n3\n", "line 3 has not a value for each column"),
        ("a,b\n1,2,3\n", "line 2 has not a value for each column"),
        ("a,c\n1,2\n", "no column b"),
        ("", "no column a"),
        ("a,b\n1,2", "the last line is cut short"),
    ],
)
def test_a_table_has_a_value_for_each_column(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,\n")
    assert read_table(path, "a", "b") == [{"a": "1", "b": ""}]
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_table(path, "a", "b")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "frozen.json").mkdir()
    with pytest.raises(UserError, match=r"frozen\.json: cannot be read \(Is a directory\)"):
        read_json(UPath(tmp_path / "frozen.json"), dict, MADE_AGAIN)
