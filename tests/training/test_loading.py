"""What reaches the device of a training is what the batch says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysearch.data.batches import Batch
from raysearch.data.dataset import TrialData
from raysearch.training.feed import Feed
from raysearch.training.loading import load
from tests.tiny import open_valve, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture(scope="module")
def batch(data: TrialData) -> Batch:
    return next(iter(Feed(tiny_config(data), data).training(0)))


def test_the_input_has_the_waveforms_and_labels_of_the_batch(batch: Batch) -> None:
    inputs = load(batch, 6, CPU).send(CPU)
    np.testing.assert_array_equal(inputs.waves.numpy(), batch.waveforms)
    assert inputs.targets.dtype == inputs.machine.dtype == torch.float32
    for target, share, product in zip(
        inputs.targets.tolist(), inputs.machine.tolist(), batch.products.tolist(), strict=True
    ):
        assert target == [float(k == product) for k in range(6)]
        assert share == float(product >= 0)
    assert inputs.networks is None


def test_numbers_of_networks_come_along(batch: Batch) -> None:
    numbered = replace(batch, networks=np.arange(batch.size))
    networks = load(numbered, 6, CPU).send(CPU).networks
    assert networks is not None
    assert networks.tolist() == list(range(batch.size))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_digits(batch: Batch) -> None:
    gpu = torch.device("cuda")
    there, here = load(batch, 6, gpu).send(gpu), load(batch, 6, CPU).send(CPU)
    assert torch.equal(there.waves.cpu(), here.waves)
    assert torch.equal(there.targets.cpu(), here.targets)
    assert torch.equal(there.machine.cpu(), here.machine)
