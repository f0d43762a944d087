"""Batches of a training: what each network is shown."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.data.batches import Batch
from raysearch.data.dataset import TrialData
from raysearch.training.configuration import TrialConfig
from raysearch.training.feed import Feed
from tests.shared import TRAIN_CLIPS
from tests.tiny import open_valve, tiny_config

KEPT = TRAIN_CLIPS - 1
"""Training clips of an ID without the one that is held out."""


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


def config(data: TrialData, **changes: Any) -> TrialConfig:
    return tiny_config(data, batch_size=8, **changes)


def labels(batches: list[Batch]) -> Counter[tuple[int, int]]:
    """Count the samples of batches by network and product."""
    return Counter(
        (int(network), int(product))
        for batch in batches
        for network, product in zip(
            np.zeros_like(batch.products) if batch.networks is None else batch.networks,
            batch.products,
            strict=True,
        )
    )


def test_outlier_exposure_has_as_many_others_as_targets(data: TrialData) -> None:
    feed = Feed(config(data), data)
    batches = list(feed.training(0))
    assert len(batches) == feed.steps == -(-6 * KEPT // 4)
    assert labels(batches) == {(0, -1): 6 * KEPT} | {(0, k): KEPT for k in range(6)}


def test_serial_has_the_target_alone(data: TrialData) -> None:
    feed = Feed(config(data, method="serial"), data)
    batches = list(feed.training(0))
    assert len(batches) == feed.steps == -(-6 * KEPT // 8)
    assert labels(batches) == {(0, k): KEPT for k in range(6)}
    assert labels(list(feed.validation())) == {(0, k): 1 for k in range(6)}


def test_each_id_is_told_from_all_else(data: TrialData) -> None:
    feed = Feed(config(data, method="ddcsad"), data)
    batches = list(feed.training(0))
    assert len(batches) == feed.steps == -(-KEPT // 4)
    shown = {(k, product): KEPT for k in range(6) for product in (k, -1)}
    assert labels(batches) == shown
    assert {k for k, _ in labels(list(feed.validation()))} == set(range(6))
    for number, clips in enumerate(feed.sets):
        ids = {data.target.clips[i].id for i in clips.target.clips}
        assert ids == {data.ids[number]}
        rest, *others = clips.others
        assert {data.target.clips[i].id for i in rest.clips} == set(data.ids) - ids
        assert {clip.machine for part in others for clip in part.store.clips} == {"fan", "pump"}


def test_an_epoch_follows_from_its_number(data: TrialData) -> None:
    feed = Feed(config(data, method="ddcsad"), data)
    first, again, next_epoch = (list(feed.training(n)) for n in (0, 0, 1))
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left.waveforms, right.waveforms)
    assert not np.array_equal(first[0].waveforms, next_epoch[0].waveforms)
