"""One training loop: recordings and a configuration -> the encoder of least validation loss.

Shape letters: B samples of a batch, T samples of a segment, K product IDs.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from raysearch import checkpoint
from raysearch.audio.batches import Batch, ahead, batch_count, training_batches, validation_batches
from raysearch.audio.dataset import TrialData
from raysearch.config import Options, TrialConfig, stream
from raysearch.errors import TrialError
from raysearch.model.encoder import Encoder
from raysearch.model.losses import machine_loss, mixup, product_loss, total_loss
from raysearch.network import best_device, frontend, new_encoder


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought; losses are means over its samples.

    Attributes:
        epoch: from 1.
        seconds: of training and validation.
    """

    epoch: int
    train_loss: float
    train_machine_loss: float
    train_product_loss: float
    val_loss: float
    val_machine_loss: float
    val_product_loss: float
    lr: float
    seconds: float


Report = Callable[[Epoch], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: the encoder of the best epoch, in evaluation mode.

    Attributes:
        resumes: epochs that were finished each time an interrupted training was taken up.
    """

    encoder: Encoder
    history: tuple[Epoch, ...]
    resumes: tuple[int, ...]

    @property
    def best(self) -> Epoch:
        """The epoch of least validation loss."""
        return min(self.history, key=lambda epoch: epoch.val_loss)

    @property
    def seconds(self) -> float:
        """Time of all epochs, those before an interruption included."""
        return sum(epoch.seconds for epoch in self.history)


def train(config: TrialConfig, data: TrialData, report: Report, folder: Path) -> Trained:
    """Trains an encoder, or goes on where a training in this folder was interrupted.

    Args:
        config: what to train.
        data: recordings.
        report: told of every epoch that is trained.
        folder: holds `best.safetensors` and, until the end, `last.safetensors`.

    Raises:
        TrialError: the loss is no longer finite.
    """
    if not is_trained(folder):
        run = _Run(config, data, folder)
        run.resume()
        while len(run.history) < config.options.epochs:
            report(run.epoch())
        run.finish()
    return load_trained(config.options, len(data.ids), folder)


def is_trained(folder: Path) -> bool:
    """Whether a training in this folder came to its end."""
    # `last` is written before `best` and removed at the end, so the two tell every state apart.
    return (folder / "best.safetensors").exists() and not (folder / "last.safetensors").exists()


def load_trained(options: Options, products: int, folder: Path) -> Trained:
    """Loads the encoder that `train` left in a folder, rebuilt from the file alone."""
    tensors, facts = checkpoint.load(folder / "best.safetensors")
    encoder = new_encoder(options, products, pretrained=False)
    encoder.load_state_dict(tensors)
    history = tuple(Epoch(**epoch) for epoch in facts["history"])
    return Trained(encoder.to(best_device()).eval(), history, tuple(facts["resumes"]))


class _Run:
    """The moving parts of one training."""

    def __init__(self, config: TrialConfig, data: TrialData, folder: Path) -> None:
        options = config.options
        self.config, self.data, self.folder = config, data, folder
        self.device = best_device()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(config.seed, _WEIGHTS))
            self.encoder = new_encoder(options, len(data.ids), pretrained=options.pretrained)
        self.encoder.to(self.device)
        self.frontend = frontend(options).to(self.device)
        self.target, self.held_target = data.target_parts(options.validation_share, config.seed)
        self.others, held = data.other_parts(
            options.amplitude, options.validation_share, config.seed
        )
        # With one clip an ID there is nothing to hold out; a biased loss beats a blind one.
        self.held_others = held if any(part.clips.size for part in held) else self.others
        steps = batch_count(self.target.clips.size, config.batch_size)
        self.optimiser = torch.optim.AdamW(
            self.encoder.parameters(), lr=config.lr, weight_decay=options.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=config.lr, total_steps=steps * options.epochs
        )
        self.history: list[Epoch] = []
        self.resumes: list[int] = []

    def resume(self) -> None:
        """Takes up `last.safetensors`, if an interrupted training left one."""
        path = self.folder / "last.safetensors"
        if not path.exists():
            return
        tensors, facts = checkpoint.load(path)
        self.encoder.load_state_dict(
            {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        )
        checkpoint.restore_optimiser(self.optimiser, tensors)
        self.schedule.load_state_dict(facts["schedule"])
        for group, values in zip(self.optimiser.param_groups, facts["groups"], strict=True):
            group.update(values)
        self.history = [Epoch(**epoch) for epoch in facts["history"]]
        self.resumes = [*facts["resumes"], len(self.history)]
        self._save_best()

    def finish(self) -> None:
        """Completes the history of the best checkpoint and removes what only resuming needs."""
        best = self.folder / "best.safetensors"
        tensors, _ = checkpoint.load(best)
        checkpoint.save(best, tensors, self._facts())
        (self.folder / "last.safetensors").unlink()

    def epoch(self) -> Epoch:
        """Trains and validates one epoch and writes its checkpoints."""
        number, start = len(self.history), time.perf_counter()
        lr = float(self.schedule.get_last_lr()[0])
        trained = self._pass(number)
        held = self._validate()
        if not all(math.isfinite(value) for value in (*trained, *held)):
            raise TrialError(f"the loss diverged (not finite) in epoch {number + 1}")
        seconds = time.perf_counter() - start
        done = Epoch(number + 1, *trained, *held, lr, seconds)
        self.history.append(done)
        self._save()
        return done

    def _pass(self, number: int) -> tuple[float, float, float]:
        config = self.config
        batches = training_batches(
            self.target,
            self.data.products,
            self.others,
            batch_size=config.batch_size,
            segment=config.options.segment,
            seed=config.seed,
            epoch=number,
        )
        # The generators of an epoch follow from (seed, epoch): to resume needs only its number.
        generator = torch.Generator().manual_seed(stream(config.seed, _MIXUP, number))
        self.encoder.train()
        meter = _Meter(config.lam)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stream(config.seed, _DROPOUT, number))
            for batch in ahead(batches):
                machine, product, count = self._losses(batch, generator, number)
                self.optimiser.zero_grad(set_to_none=True)
                loss = total_loss(machine, product, config.lam)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step()
                self.schedule.step()
                meter.add(machine, product, count)
        return meter.means()

    def _losses(
        self, batch: Batch, generator: torch.Generator | None, number: int
    ) -> tuple[Tensor, Tensor, int]:
        options = self.config.options
        waves = torch.from_numpy(batch.waveforms).to(self.device, non_blocking=True)
        products = torch.from_numpy(batch.products).to(self.device)
        machine = (products >= 0).float()
        targets = one_hot(products.clamp(min=0), len(self.data.ids)) * machine[:, None]
        if generator is not None and _mixes(options, number, generator):
            waves, targets, machine = mixup(waves, targets, machine, options.mixup_alpha, generator)
        # Validation picks the epoch, so it computes as scoring does: in full precision.
        half = generator is not None and (
            options.precision == "bf16"
            or (options.precision == "auto" and self.device.type == "cuda")
        )
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            embeddings = self.encoder.embed(self.frontend(waves))
        product_logits, machine_logits = self.encoder.heads(embeddings)
        return (
            machine_loss(machine_logits, machine),
            product_loss(product_logits, targets, machine),
            len(waves),
        )

    def _validate(self) -> tuple[float, float, float]:
        self.encoder.eval()
        meter = _Meter(self.config.lam)
        batches = validation_batches(
            self.held_target,
            self.data.products,
            self.held_others,
            batch_size=_EVALUATION_BATCH,
            segment=self.config.options.segment,
        )
        with torch.inference_mode():
            for batch in batches:
                machine, product, count = self._losses(batch, None, 0)
                targets = int((batch.products >= 0).sum())
                meter.add(machine, product, count, targets)
        return meter.means()

    def _facts(self) -> dict[str, Any]:
        return {"history": [asdict(epoch) for epoch in self.history], "resumes": self.resumes}

    def _save(self) -> None:
        tensors = {f"model/{k}": tensor for k, tensor in self.encoder.state_dict().items()}
        tensors |= checkpoint.optimiser_tensors(self.optimiser)
        groups = [
            {k: v for k, v in group.items() if k != "params"}
            for group in self.optimiser.param_groups
        ]
        schedule = {k: v for k, v in self.schedule.state_dict().items() if _is_json(v)}
        facts = self._facts() | {"schedule": schedule, "groups": groups}
        checkpoint.save(self.folder / "last.safetensors", tensors, facts)
        self._save_best()

    def _save_best(self) -> None:
        if min(self.history, key=lambda epoch: epoch.val_loss) is self.history[-1]:
            best = self.folder / "best.safetensors"
            checkpoint.save(best, self.encoder.state_dict(), self._facts())


_EVALUATION_BATCH = 128
_WEIGHTS, _MIXUP, _DROPOUT = range(3)


def _is_json(value: object) -> bool:
    return isinstance(value, bool | int | float | str | list | type(None))


def _mixes(options: Options, number: int, generator: torch.Generator) -> bool:
    progress = number / max(1, options.epochs - 1)
    chance = {"constant": 1.0, "rise": progress, "decay": 1 - progress, "off": 0.0}
    return bool(torch.rand((), generator=generator) < chance[options.mixup])


class _Meter:
    """Means of the losses over samples, summed on the device so that no step waits for it."""

    def __init__(self, lam: float) -> None:
        self.lam = lam
        self.sums: list[Tensor | float] = [0.0, 0.0]
        self.counts = [0, 0]

    def add(self, machine: Tensor, product: Tensor, count: int, targets: int | None = None) -> None:
        counts = (count, count if targets is None else targets)
        for k, (loss, n) in enumerate(zip((machine, product), counts, strict=True)):
            self.sums[k] = self.sums[k] + loss.detach() * n
            self.counts[k] += n

    def means(self) -> tuple[float, float, float]:
        machine, product = (
            float(total) / max(1, n) for total, n in zip(self.sums, self.counts, strict=True)
        )
        return machine + self.lam * product, machine, product
