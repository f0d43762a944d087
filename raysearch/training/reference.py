"""The reference of a trial: what the recordings give without a training.

Statistics of the log-mel spectrogram, one Mahalanobis distance per product ID. On real machines a
short search of a small encoder may stay below it.
"""

from raysearch.data.dataset import TrialData
from raysearch.scoring.spec import InlierSpec
from raysearch.training.configuration import Configuration, TrialConfig
from raysearch.training.network import new_encoder
from raysearch.training.outcome import InlierResult
from raysearch.training.trial import score_inlier_models

INLIER = InlierSpec("mahalanobis", 0.1)
"""Inlier model; its shrinkage hardly matters (0.01 to 1 differ by 0.03 on four real machines)."""


def reference_config(config: TrialConfig) -> TrialConfig:
    """Return the configuration of the reference: of a trial only what selects recordings stays.

    Args:
        config: of a trial of the study.
    """
    changes = {"method": "baseline", "compression": "log", "inlier_fit": "all", "amplitude": "own"}
    return TrialConfig(
        machine=config.machine,
        data=config.data,
        configuration=Configuration(None, None, None),
        seed=config.seed,
        options=config.options.replace(changes),
    )


def score_reference(config: TrialConfig, data: TrialData) -> InlierResult:
    """Score the validation IDs with the reference. Collective.

    Args:
        config: of a trial of the study.
        data: recordings of the search.

    Returns:
        The result; with an error in place of a score if the model cannot be fitted.
    """
    reference = reference_config(config)
    encoder = new_encoder(reference.options, len(data.ids), pretrained=False)
    (row,) = score_inlier_models(encoder, reference, data, (INLIER,))
    return row
