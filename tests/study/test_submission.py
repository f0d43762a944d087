"""The meta information of a submission."""

from typing import Any

import pytest
import yaml
from upath import UPath

from raysearch.config import Options
from raysearch.scoring.metrics import harmonic_mean
from raysearch.scoring.spec import InlierSpec
from raysearch.study.submission import META, write_meta
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult

SPECS = {"gmm": InlierSpec("gmm", 2), "none": InlierSpec("none", None)}
AUC, PAUC = {"0": 0.8, "1": 0.6}, {"0": 0.7, "1": 0.5}


def meta(folder: UPath, inlier: str = "gmm", members: int = 0, **options: Any) -> dict[str, Any]:
    winner = Winner("valve", 0, "e", Configuration(1e-3, 32, 1.0), SPECS[inlier], 0.7, 0, "d")
    row = InlierResult(inlier, SPECS[inlier].p, 0.65, AUC, PAUC)
    settings = Options.model_validate(options)
    write_meta(folder, winner, [settings] * (members or 1), row, parameters=1234)
    content: dict[str, Any] = yaml.safe_load((folder / META).read_text())
    return content


@pytest.fixture
def local(tmp_path: Any) -> UPath:
    return UPath(tmp_path)


def test_the_system_describes_itself(local: UPath) -> None:
    system = meta(local, rate=8000, f_max=3900)["system"]
    assert system["description"] == {
        "input_sampling_rate": "8kHz",
        "acoustic_features": "log-mel energies",
        "data_augmentation": "mixup",
        "embeddings": "tf_efficientnet_b0.ns_jft_in1k",
        "machine_learning_method": "proposed, gmm",
        "ensemble_method_subsystem_count": None,
        "decision_making": None,
        "external_data_usage": "pretrained weights",
    }
    assert system["complexity"] == {"total_parameters": 1234}


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"mixup": "off"}, "data_augmentation", None),
        ({"method": "serial"}, "data_augmentation", None),
        ({"pretrained": False}, "embeddings", None),
        ({"method": "autoencoder"}, "external_data_usage", None),
        ({"compression": "none"}, "acoustic_features", "mel energies"),
    ],
)
def test_what_a_method_does_without_is_null(
    local: UPath, options: dict[str, Any], key: str, value: str | None
) -> None:
    assert meta(local, **options)["system"]["description"][key] == value


@pytest.mark.parametrize("members", [2, 5])
def test_an_ensemble_counts_its_detectors(local: UPath, members: int) -> None:
    description = meta(local, "none", members)["system"]["description"]
    assert description["ensemble_method_subsystem_count"] == members
    assert description["decision_making"] == "average"
    assert description["machine_learning_method"] == "parallel"
    assert description["data_augmentation"] == "mixup"
    assert description["embeddings"] == "tf_efficientnet_b0.ns_jft_in1k"


def test_results_are_those_of_the_validation_ids_in_percent(local: UPath) -> None:
    results = meta(local)["results"]["development_dataset"]["valve"]
    assert results["sections"] == {
        "0": {"auc": 80.0, "pauc": 70.0},
        "1": {"auc": 60.0, "pauc": 50.0},
    }
    assert results["averaged_auc"] == round(100 * harmonic_mean(AUC.values()), 2)
    assert results["averaged_pauc"] == round(100 * harmonic_mean(PAUC.values()), 2)


def test_people_fill_in_their_names(local: UPath) -> None:
    submission = meta(local)["submission"]
    assert submission["label"] is None
    assert submission["authors"][0]["lastname"] is None
    assert len(submission["abbreviation"]) <= 10


def test_the_results_of_a_shared_search_are_listed_by_machine_type(local: UPath) -> None:
    winner = Winner("shared", 0, "e", Configuration(1e-3, 32, 1.0), SPECS["gmm"], 0.7, 0, "d")
    auc, pauc = {"fan/0": 0.8, "valve/0": 0.6}, {"fan/0": 0.7, "valve/0": 0.5}
    row = InlierResult("gmm", 2, 0.65, auc, pauc)
    write_meta(local, winner, [Options()], row, parameters=1)
    content = yaml.safe_load((local / META).read_text())
    results = content["results"]["development_dataset"]
    assert results.keys() == {"fan", "valve"}
    assert results["fan"] == {
        "averaged_auc": 80.0,
        "averaged_pauc": 70.0,
        "sections": {"0": {"auc": 80.0, "pauc": 70.0}},
    }
