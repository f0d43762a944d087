"""The signature of an encoder: the same for the same encoder, another for every other."""

from typing import Any

import pytest
from pydantic import ValidationError

from raysearch.config import SCORING_ONLY, Options
from raysearch.training.configuration import Configuration, TrialConfig


def config(options: dict[str, Any] | None = None, **changes: Any) -> TrialConfig:
    sampled = {"lr": 1e-3, "batch_size": 32, "lam": 10.0}
    overrides = {key: changes.pop(key) for key in sampled if key in changes}
    facts: dict[str, Any] = {
        "machine": "valve",
        "data": "0123456789ab",
        "configuration": Configuration(**(sampled | overrides)),
        "seed": 0,
        "options": Options(**(options or {})),
    }
    return TrialConfig(**(facts | changes))


def test_a_signature_stays_the_same_over_processes_and_versions() -> None:
    # If this changes, encoders of earlier runs are not found any more: only do it on purpose.
    assert config().signature() == "dbff9012ca6e"


def test_equal_configurations_have_equal_signatures() -> None:
    assert config().signature() == config(lr=0.001, batch_size=32, lam=10).signature()
    assert config({"epochs": 300}).signature() == config().signature()


@pytest.mark.parametrize(
    "change",
    [
        {"machine": "fan"},
        {"data": "ba9876543210"},
        {"lr": 1.0000001e-3},
        {"batch_size": 64},
        {"lam": 1.0},
        {"seed": 1},
    ],
    ids=str,
)
def test_whatever_is_searched_changes_the_signature(change: dict[str, Any]) -> None:
    assert config(**change).signature() != config().signature()


OTHERWISE: dict[str, Any] = {
    "method": "serial",
    "machine_loss": False,
    "product_mask": "all",
    "aam_margin": 0.4,
    "aam_scale": 20.0,
    "ddcsad_metric": "deep_sad",
    "ddcsad_metric_weight": 0.5,
    "ddcsad_score_weight": 0.2,
    "epochs": 299,
    "backbone": "test_efficientnet",
    "pretrained": False,
    "embedding": 64,
    "neck": "paper",
    "dropout": 0.2,
    "divide_norm": False,
    "machine_head": "positive",
    "rate": 16001,
    "channel": 0,
    "domain": "both",
    "test_domain": "both",
    "segment_seconds": 1.0,
    "segments": 5,
    "n_fft": 1024,
    "hop": 128,
    "n_mels": 128,
    "f_min": 0.0,
    "f_max": 7000.0,
    "compression": "db",
    "amplitude": "target",
    "mixup": "off",
    "mixup_alpha": 0.3,
    "weight_decay": 0.01,
    "validation_share": 0.2,
    "validation_segments": "all",
    "precision": "fp32",
    "compile": True,
    "inlier_fit": "all",
    "reg_covar": 1e-3,
    "aggregator": {"gmm": "max"},
    "threshold_quantile": 0.95,
}


def test_every_option_is_tried_below() -> None:
    assert OTHERWISE.keys() == Options.model_fields.keys()


@pytest.mark.parametrize("option", OTHERWISE)
def test_an_option_changes_the_signature_unless_it_is_about_scoring(option: str) -> None:
    changed = config({option: OTHERWISE[option]})
    assert changed != config()
    same = changed.signature() == config().signature()
    assert same == (option in SCORING_ONLY)


def test_searched_options_are_signed_like_fixed_ones() -> None:
    searched = Configuration(1e-3, 32, 10.0, (("mixup", "off"), ("embedding", 64)))
    assert searched.options == (("embedding", 64), ("mixup", "off"))
    options = Options().replace(dict(searched.options))
    trial = config().model_copy(update={"configuration": searched, "options": options})
    assert trial.signature() == config({"embedding": 64, "mixup": "off"}).signature()


@pytest.mark.parametrize(
    "change",
    [{"lr": 0}, {"lr": float("inf")}, {"batch_size": 1}, {"lam": -1}, {"seed": -1}, {"gpus": 1}],
    ids=str,
)
def test_a_senseless_trial_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"nothing can be trained with|validation error"):
        config(**change)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().seed = 1  # type: ignore[misc]


def test_a_configuration_survives_its_own_json() -> None:
    made = config({"channel": 1, "pretrained": "weights.safetensors"})
    again = TrialConfig.model_validate_json(made.model_dump_json())
    assert again == made
    assert again.signature() == made.signature()
