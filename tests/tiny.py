"""The smallest trial that is still one: for tests that train."""

from pathlib import Path
from typing import Any

from raysearch.config import Options
from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import make_source
from raysearch.training.configuration import Configuration, TrialConfig

TINY = Options(
    epochs=3,
    backbone="test_efficientnet",
    pretrained=False,
    n_fft=512,
    hop=512,
    n_mels=32,
    segment_seconds=0.5,
    segments=4,
)
TEN = TINY.model_copy(update={"segment_seconds": 2.0, "segments": 10})
"""The same with the segments of a user, for tests of scores and detectors."""

VALIDATION_IDS = ("0", "1", "2")


def open_valve(root: Path) -> TrialData:
    """Open the recordings of a search on the valves of a demo data set."""
    return open_data(make_source(root, "valve", VALIDATION_IDS, TINY))


def tiny_config(
    data: TrialData,
    *,
    lr: float = 3e-3,
    batch_size: int = 32,
    lam: float = 10.0,
    seed: int = 0,
    **options: Any,
) -> TrialConfig:
    """Return a configuration for these recordings; further keywords change its options."""
    return TrialConfig(
        machine=data.machine,
        data=data.fingerprint,
        configuration=Configuration(lr, batch_size, lam),
        seed=seed,
        options=TINY.model_copy(update=options),
    )
