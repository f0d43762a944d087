"""Encoder, optimiser and schedule of a training, and one pass over the recordings.

Shape letters: B samples of a batch, T samples of a segment, K product IDs. Workers of one trial
prepare the same batches and keep a shard of the samples each, so a batch size is always that of
the trial, and losses and gradients are those of the whole batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from raysearch.config import derive_seed
from raysearch.data.batches import Batch, prefetch
from raysearch.data.dataset import TrialData
from raysearch.errors import TrialError
from raysearch.methods.lookup import find_method
from raysearch.methods.mixup import mixup
from raysearch.model.encoder import TrainingInput
from raysearch.training import checkpoint
from raysearch.training.configuration import TrialConfig
from raysearch.training.distributed import all_reduce_sum, rank, world_size
from raysearch.training.feed import Feed
from raysearch.training.loading import Loaded, load
from raysearch.training.network import best_device, frontend, full_precision, new_encoder
from raysearch.training.step import Inputs, Losses, Objective, new_step
from raysearch.training.sync_layers import wrap_encoder


@dataclass(frozen=True)
class Means:
    """Mean losses over samples.

    Attributes:
        total: weighted sum of the parts.
        parts: by name.
    """

    total: float
    parts: dict[str, float]


class Learner:
    """An encoder in training, replicated on every worker of a trial."""

    def __init__(self, config: TrialConfig, data: TrialData, *, pretrained: bool | str) -> None:
        """Build encoder, optimiser and schedule as before the first epoch.

        Args:
            config: of the encoder.
            data: recordings.
            pretrained: as `Encoder`.

        Raises:
            TrialError: a batch with fewer samples than workers.
        """
        options = config.options
        self.config, self.data = config, data
        self.method = find_method(options)
        self.weights = self.method.weights(config.configuration.lam)
        self.device = best_device()
        self.feed = Feed(config, data)
        _check_batches(config, self.feed.smallest_batch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.seed, _WEIGHTS))
            self.encoder = new_encoder(options, len(data.ids), pretrained=pretrained)
        self.encoder.to(self.device)
        self.objective = Objective(frontend(options).to(self.device), self.method, self.weights)
        self.network = wrap_encoder(self.encoder)
        self.step = new_step(self.network, self.objective, options)
        self.optimiser = torch.optim.AdamW(
            self.encoder.parameters(),
            lr=config.lr,
            weight_decay=options.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=config.lr, total_steps=self.feed.steps * options.epochs
        )

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state that the next epoch depends on, as tensors and JSON facts."""
        tensors = {f"model/{k}": tensor for k, tensor in self.encoder.state_dict().items()}
        tensors |= checkpoint.optimiser_tensors(self.optimiser)
        groups = [
            {k: v for k, v in group.items() if k != "params" and k not in _OF_DEVICE}
            for group in self.optimiser.param_groups
        ]
        schedule = {k: v for k, v in self.schedule.state_dict().items() if _is_json(v)}
        return tensors, {"schedule": schedule, "groups": groups}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Restore the output of `state`; the world size may differ."""
        self.encoder.load_state_dict(
            {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        )
        checkpoint.restore_optimiser(self.optimiser, tensors)
        self.schedule.load_state_dict(facts["schedule"])
        for group, values in zip(self.optimiser.param_groups, facts["groups"], strict=True):
            group.update({k: v for k, v in values.items() if k not in _OF_DEVICE})

    def train(self, number: int) -> Means:
        """Train one epoch, counted from 0. Collective."""
        config = self.config
        # The generators of an epoch follow from (seed, epoch): resuming needs only its number.
        generator = torch.Generator().manual_seed(derive_seed(config.seed, _MIXUP, number))
        self.network.train()
        meter = _Meter(self.weights, self.device)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(config.seed, _DROPOUT, number))
            # Each worker cuts all crops of a batch and keeps its shard: at 14,400 clips/s they cost
            # next to nothing, and all workers draw the same.
            for loaded in prefetch(map(self._load, self.feed.training(number))):
                inputs = self._mix(loaded.send(self.device), number, generator)
                losses = self.step(inputs)
                self.optimiser.step()
                self.schedule.step()
                meter.add(losses, dict.fromkeys(losses, len(inputs.waves)))
        return meter.means()

    def validate(self) -> Means:
        """Compute the losses of the held-out clips, where both classes count half. Collective."""
        self.network.eval()
        meters = _Meter(self.weights, self.device), _Meter(self.weights, self.device)
        # Validation selects the epoch, so it computes in full precision, as scoring does.
        with torch.inference_mode(), full_precision():
            for batch in self.feed.validation():
                for meter, samples in zip(meters, split_classes(batch), strict=True):
                    if len(samples.products):
                        self._measure(samples, meter)
        return _balance(*meters)

    def _measure(self, batch: Batch, meter: "_Meter") -> None:
        """Add the losses of a batch of one class to its meter."""
        size, targets = len(batch.products), int((batch.products >= 0).sum())
        counts = {
            name: targets if name in self.method.over_targets else size for name in self.weights
        }
        if rank() < size:
            losses = self.losses(batch)
        else:  # fewer samples than workers
            losses = {name: torch.zeros((), device=self.device) for name in counts}
        meter.add(losses, counts)

    def losses(self, batch: Batch) -> Losses:
        """Compute the losses of this worker's shard of a batch, without Mixup."""
        # Workers may have unequal numbers of batches, so they must not synchronise: the encoder
        # without its wrapper.
        inputs = self._load(batch).send(self.device)
        return self.objective.losses(self.encoder, inputs, bf16=False)

    def _load(self, batch: Batch) -> Loaded:
        return load(batch, len(self.data.ids), self.device)

    def _mix(self, inputs: Inputs, number: int, generator: torch.Generator) -> Inputs:
        """Mix the samples of a batch of an epoch, if the draw says so."""
        if not self._mixes(number, generator):
            return inputs
        alpha = self.config.options.mixup_alpha
        mixed = mixup(inputs.waves, inputs.targets, inputs.machine, alpha, generator)
        return Inputs(*mixed, inputs.networks)

    def prepare(self) -> None:
        """Let the encoder depend on the recordings before its first epoch."""
        self.encoder.eval()
        with torch.inference_mode(), full_precision():
            self.encoder.prepare(
                TrainingInput(
                    self.objective.frontend(self._load(batch).send(self.device).waves),
                    torch.from_numpy(batch.products),
                    None if batch.networks is None else torch.from_numpy(batch.networks),
                )
                for batch in islice(self.feed.training(0), _PREPARING)
            )

    def _mixes(self, number: int, generator: torch.Generator) -> bool:
        """Draw if a batch of an epoch is mixed."""
        if not self.method.uses_mixup:
            return False
        options = self.config.options
        progress = number / max(1, options.epochs - 1)
        chance = {"constant": 1.0, "rise": progress, "decay": 1 - progress, "off": 0.0}
        return bool(torch.rand((), generator=generator) < chance[options.mixup])


_OF_DEVICE = frozenset({"capturable", "differentiable", "foreach", "fused"})
"""Settings of an optimiser that depend on the device, which may differ after a resume."""
_PREPARING = 16
"""Batches that an encoder may depend on before its first epoch."""
_WEIGHTS, _MIXUP, _DROPOUT = range(3)


def _check_batches(config: TrialConfig, smallest: int) -> None:
    if smallest < world_size():
        raise TrialError(
            f"batch_size {config.configuration.batch_size}: {world_size()} workers cannot share a "
            f"batch of {smallest} samples; choose a larger batch_size or fewer workers a trial"
        )


def _is_json(value: object) -> bool:
    return isinstance(value, bool | int | float | str | list | type(None))


def split_classes(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch into the samples of the target and all others."""
    is_target = batch.products >= 0
    return batch.select(is_target), batch.select(~is_target)


class _Meter:
    """Means of the losses over samples, summed on the device so that no step synchronises.

    Each worker adds its shards of the losses of whole batches, and the counts of whole batches.
    """

    def __init__(self, weights: Mapping[str, float], device: torch.device) -> None:
        self.weights = weights
        self.sums = {name: torch.zeros((), device=device) for name in weights}
        self.counts = dict.fromkeys(weights, 0)

    def add(self, losses: Losses, counts: Mapping[str, int]) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss.detach() * counts[name]
            self.counts[name] += counts[name]

    def means(self) -> Means:
        sums: list[float] = all_reduce_sum(torch.stack([*self.sums.values()]).double()).tolist()
        parts = {
            name: total / max(1, count)
            for total, (name, count) in zip(sums, self.counts.items(), strict=True)
        }
        return Means(sum(self.weights[name] * mean for name, mean in parts.items()), parts)


def _balance(targets: _Meter, others: _Meter) -> Means:
    """Return means in which both classes count half, as in the batches of a training.

    Fewer clips of other machine types than of the target may be held out.
    """
    of_targets, of_others = targets.means().parts, others.means().parts
    parts = {
        name: (mean + of_others[name]) / 2 if others.counts[name] else mean
        for name, mean in of_targets.items()
    }
    return Means(sum(targets.weights[name] * mean for name, mean in parts.items()), parts)
