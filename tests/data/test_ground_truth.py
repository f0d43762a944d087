"""Labels and domains of test clips in files of ground truth."""

import random
from pathlib import Path

import pytest

from raysearch.data.ground_truth import read_ground_truth, read_ground_truth_domains
from raysearch.errors import DataError


def truth(root: Path, name: str, content: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_labels_are_read_at_any_depth(tmp_path: Path) -> None:
    name = "eval_data/ground_truth/ground_truth_fan_section_03_source_test.csv"
    truth(tmp_path, name, "section_03_source_test_0000.wav,1\nsection_03_source_test_0001.wav,0\n")
    truth(tmp_path, "ground_truth_fan_section_04_target_test.csv", "\ufeffa.wav,0\r\nb.wav,1\r\n")
    assert read_ground_truth(tmp_path, "fan", ["3", "4"]) == {
        ("3", "section_03_source_test_0000.wav"): 1,
        ("3", "section_03_source_test_0001.wav"): 0,
        ("4", "a.wav"): 0,
        ("4", "b.wav"): 1,
    }


def test_only_labels_of_the_asked_machine_and_ids_are_read(tmp_path: Path) -> None:
    truth(tmp_path, "ground_truth_fan_section_03_source_test.csv", "a.wav,1\n")
    # Reading any of these would end in an error.
    for machine, section in (("fan", "04"), ("fan2", "03"), ("big_fan", "03"), ("fan", "33")):
        truth(tmp_path, f"ground_truth_{machine}_section_{section}_source_test.csv", "garbage")
    (tmp_path / "ground_truth_fan_section_05_source_test.csv").mkdir()
    truth(tmp_path, ".old/ground_truth_fan_section_03_source_test.csv", "garbage")
    assert read_ground_truth(tmp_path, "fan", ["3"]) == {("3", "a.wav"): 1}
    assert read_ground_truth(tmp_path, "fan", []) == {}


EVALUATOR = "ground_truth_fan_section_03_test.csv"


def test_files_of_domains_and_attributes_are_no_labels(tmp_path: Path) -> None:
    truth(tmp_path, f"ground_truth_data/{EVALUATOR}", "a.wav,1\nb.wav,0\n")
    truth(tmp_path, f"ground_truth_domain/{EVALUATOR}", "a.wav,0\nb.wav,0\n")
    truth(tmp_path, f"ground_truth_attributes/{EVALUATOR}", "a.wav,a_vel_6.wav\n")
    labels = {("3", "a.wav"): 1, ("3", "b.wav"): 0}
    assert read_ground_truth(tmp_path, "fan", ["3"]) == labels
    assert read_ground_truth(tmp_path / "ground_truth_data", "fan", ["3"]) == labels
    assert read_ground_truth(tmp_path / "ground_truth_domain", "fan", ["3"]) == {}


def test_domains_of_an_evaluator_are_read(tmp_path: Path) -> None:
    truth(tmp_path, f"ground_truth_data/{EVALUATOR}", "a.wav,1\nb.wav,1\n")
    truth(tmp_path, f"ground_truth_domain/{EVALUATOR}", "a.wav,0\nb.wav,1\n")
    for name in ("fan_section_04", "pump_section_03"):
        truth(tmp_path, f"ground_truth_domain/ground_truth_{name}_test.csv", "garbage")
    domains = {("3", "a.wav"): "source", ("3", "b.wav"): "target"}
    for folder in (tmp_path, tmp_path / "ground_truth_domain"):
        assert read_ground_truth_domains(folder, "fan", ["3"]) == domains
    assert read_ground_truth_domains(tmp_path / "ground_truth_data", "fan", ["3"]) == {}
    truth(tmp_path, f"old/ground_truth_domain/{EVALUATOR}", "b.wav,0\n")
    with pytest.raises(DataError, match=r"test\.csv:1: b\.wav has the domain 0, but 1 in .*:2;"):
        read_ground_truth_domains(tmp_path, "fan", ["3"])


def test_labels_that_contradict_each_other_are_refused_with_both_places(tmp_path: Path) -> None:
    truth(tmp_path, f"first/{EVALUATOR}", "a.wav,1\nb.wav,0\n")
    truth(tmp_path, f"second/{EVALUATOR}", "b.wav,0\na.wav,0\n")
    with pytest.raises(DataError) as caught:
        read_ground_truth(tmp_path, "fan", ["3"])
    assert f"second/{EVALUATOR}:2: a.wav has the label 0, but 1 in " in str(caught.value)
    assert f"first/{EVALUATOR}:1; remove the wrong one" in str(caught.value)


def test_a_line_that_is_doubled_is_read_once_unless_it_contradicts(tmp_path: Path) -> None:
    truth(tmp_path, EVALUATOR, "a.wav,1\na.wav,1\n")
    assert read_ground_truth(tmp_path, "fan", ["3"]) == {("3", "a.wav"): 1}
    truth(tmp_path, EVALUATOR, "a.wav,1\n\na.wav,0\n")
    with pytest.raises(DataError, match=r"test\.csv:3: a\.wav .* in .*test\.csv:1;"):
        read_ground_truth(tmp_path, "fan", ["3"])


def test_names_may_be_quoted_and_have_spaces(tmp_path: Path) -> None:
    truth(tmp_path, EVALUATOR, '"a.wav",1\n"b, 2.wav","0"\nMonday 3.wav, 1\n\n')
    labels = read_ground_truth(tmp_path, "fan", ["3"])
    assert labels == {("3", "a.wav"): 1, ("3", "b, 2.wav"): 0, ("3", "Monday 3.wav"): 1}


LIST_2020 = """fan
id_01_00000000.wav,anomaly_id_01_00000000.wav,1
id_03_00000000.wav,normal_id_03_00000000.wav,0
pump
id_01_00000000.wav,normal_id_01_00000000.wav,0
"""


def test_the_list_of_2020_is_read(tmp_path: Path) -> None:
    truth(tmp_path, "eval_data/eval_data_list.csv", LIST_2020)
    assert read_ground_truth(tmp_path, "fan", ["1"]) == {("1", "id_01_00000000.wav"): 1}
    assert read_ground_truth(tmp_path, "pump", ["1", "3"]) == {("1", "id_01_00000000.wav"): 0}
    assert read_ground_truth(tmp_path, "valve", ["1"]) == {}


@pytest.mark.parametrize("line", ["id_01_0.wav,x", "id_01_0.wav,x,normal", "x.wav,x,1"])
def test_a_line_of_the_list_that_is_no_label_is_refused(tmp_path: Path, line: str) -> None:
    truth(tmp_path, "eval_data_list.csv", f"fan\n{line}\n")
    with pytest.raises(DataError, match=r"eval_data_list\.csv:2: expected id_ID_NUMBER"):
        read_ground_truth(tmp_path, "fan", ["1"])


@pytest.mark.parametrize("line", ["a.wav", "a.wav,2", "a.wav,", "a.wav,normal", "a.wav;1"])
def test_a_line_that_is_no_label_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    truth(tmp_path, "ground_truth_fan_section_03_source_test.csv", f"b.wav,0\n{line}\n")
    with pytest.raises(DataError, match=r"section_03_source_test\.csv:2: expected"):
        read_ground_truth(tmp_path, "fan", ["3"])


def test_labels_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ground_truth_fan_section_03_source_test.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"\.csv:1: expected"):
        read_ground_truth(tmp_path, "fan", ["3"])


FOREIGN = {
    "a field of a megabyte": "x" * 1_000_000 + ",0",
    "a formula": "=cmd|' /C calc'!A0,2",
    "no label": "a.wav",
    "a label beyond": "a.wav,7",
    "JSON": '{"a.wav": 0}',
    "NUL": "\0\0\0",
    "noise": random.Random(0).randbytes(500).decode("latin-1"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_table_of_labels_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ground_truth_fan_section_03_test.csv"
    path.write_text(FOREIGN[kind], "utf-8")
    with pytest.raises(DataError) as caught:
        read_ground_truth(tmp_path, "fan", ["3"])
    assert str(caught.value).startswith(f"{path}:1: ")
    assert "\n" not in str(caught.value)
