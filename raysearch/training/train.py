"""Training of an encoder on one or more workers, from a configuration and recordings."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from raysearch.config import Options
from raysearch.data.dataset import TrialData
from raysearch.errors import MemoryLimitError, TrialError, UserError, one_line
from raysearch.methods.lookup import find_method
from raysearch.methods.method import MACHINE, PRODUCT
from raysearch.model.encoder import Encoder
from raysearch.storage import AnyPath, make_folder
from raysearch.training import checkpoint
from raysearch.training.configuration import TrialConfig
from raysearch.training.distributed import broadcast
from raysearch.training.divergence import FAILED, HOPELESS, Divergence
from raysearch.training.learner import Learner
from raysearch.training.network import best_device, new_encoder
from raysearch.training.outcome import Epoch
from raysearch.training.state import is_trained

Report = Callable[[Epoch], None]
ScoreEncoder = Callable[[Encoder, int], float | None]
"""Callback: encoder of the least validation loss so far, in evaluation mode, and number of finished
epochs -> its validation score, None if it has none. Collective."""


@dataclass(frozen=True)
class Trained:
    """A finished training: the encoder of the best epoch, in evaluation mode.

    Attributes:
        history: losses of each epoch; empty for a method without a training.
        resumes: number of finished epochs at each resume.
        untrained: validation loss before the first epoch; None if it was not kept.
    """

    encoder: Encoder
    history: tuple[Epoch, ...]
    resumes: tuple[int, ...]
    untrained: float | None = None

    @property
    def best(self) -> Epoch | None:
        """The epoch of least validation loss; None without a training."""
        return min(self.history, key=lambda epoch: epoch.val_loss, default=None)

    @property
    def remark(self) -> str:
        """Warning about the training for the readers, else empty."""
        return Divergence.of(self.untrained, self.history).remark

    @property
    def seconds(self) -> float:
        """Time of all epochs, those before an interruption included."""
        return sum(epoch.seconds for epoch in self.history)


def train(
    config: TrialConfig,
    data: TrialData,
    report: Report,
    folder: AnyPath,
    judge: ScoreEncoder | None = None,
    rungs: Collection[int] = (),
) -> Trained:
    """Train an encoder, or resume the interrupted training in a folder.

    Collective: all workers return the same. Only rank 0 reads and writes the folder, which other
    workers may see late or not at all.

    Args:
        config: of the encoder.
        data: recordings.
        report: callback after every trained epoch and its checkpoint, on every worker.
        folder: of `best.safetensors` and, until the end, `last.safetensors`.
        judge: callback that scores the encoder at the rungs.
        rungs: epochs after which the training may be pruned.

    Raises:
        TrialError: the loss is not finite or far above that of the untrained network, the GPU is
            out of memory, or a batch is too small for the workers.
        UserError: the folder holds the encoder of another configuration.
    """
    signature = config.signature()
    if broadcast(lambda: is_trained(folder)):
        pass
    elif not find_method(config.options).is_trained:
        broadcast(lambda: _save_untrained(config, len(data.ids), folder))
    else:
        run = _Run(config, data, folder, judge, rungs)
        while len(run.history) < config.options.epochs:
            run.divergence.refuse(HOPELESS)
            report(run.epoch())
        run.divergence.refuse(FAILED)
        broadcast(run.finish)
    return load_trained(config.options, len(data.ids), folder, signature=signature)


def _save_untrained(config: TrialConfig, products: int, folder: AnyPath) -> None:
    """Save the fixed network of a method without a training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = new_encoder(config.options, products, pretrained=config.options.pretrained)
    facts = {"signature": config.signature(), "history": [], "resumes": []}
    make_folder(folder)
    checkpoint.save(folder / "best.safetensors", network.state_dict(), facts)


def load_trained(
    options: Options, products: int, folder: AnyPath, *, signature: str | None = None
) -> Trained:
    """Load the encoder that `train` saved in a folder, from the file alone. Collective.

    Raises:
        UserError: no readable encoder, or one of another signature.
    """
    tensors, facts = broadcast(lambda: _load_checkpoint(folder / "best.safetensors", signature))
    history = tuple(Epoch(**epoch) for epoch in facts["history"])
    encoder = _rebuild(options, products, tensors)
    return Trained(encoder, history, tuple(facts["resumes"]), facts.get("untrained"))


def _rebuild(options: Options, products: int, tensors: Mapping[str, Tensor]) -> Encoder:
    encoder = new_encoder(options, products, pretrained=False)
    encoder.load_state_dict(tensors)
    return encoder.to(best_device()).eval()


Checkpoint = tuple[dict[str, Tensor], dict[str, Any]]


def _load_checkpoint(path: AnyPath, signature: str | None) -> Checkpoint:
    tensors, facts = checkpoint.load(path)
    stored = facts.get("signature", signature)  # older files have none
    if signature is not None and stored != signature:
        raise UserError(
            f"{path} is of another configuration (signature {stored}, not {signature}); "
            "train in another folder, or remove it"
        )
    return tensors, facts


class _Run:
    """A training: its learner, its history and its files."""

    def __init__(
        self,
        config: TrialConfig,
        data: TrialData,
        folder: AnyPath,
        judge: ScoreEncoder | None,
        rungs: Collection[int],
    ) -> None:
        self.config, self.signature = config, config.signature()
        self.judge, self.rungs = judge, rungs
        self.folder = folder
        self.last, self.best = folder / "last.safetensors", folder / "best.safetensors"
        state = broadcast(self._load_last)
        # A resumed training restores every weight.
        pretrained = config.options.pretrained if state is None else False
        self.learner = Learner(config, data, pretrained=pretrained)
        self.history: list[Epoch] = []
        self.resumes: list[int] = []
        self.untrained: float | None = None
        if state is None:
            self.learner.prepare()
        else:
            self._resume(*state)

    def _load_last(self) -> Checkpoint | None:
        # Made only now: a folder that is gone later was on a disk that was unmounted.
        make_folder(self.folder)
        return _load_checkpoint(self.last, self.signature) if self.last.exists() else None

    def _resume(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.learner.restore(tensors, facts)
        self.history = [Epoch(**epoch) for epoch in facts["history"]]
        self.resumes = [*facts["resumes"], len(self.history)]
        self.untrained = facts.get("untrained")
        broadcast(self._save_best)

    def finish(self) -> None:
        """Write the whole history to the best checkpoint and remove the last one."""
        tensors, _ = checkpoint.load(self.best)
        checkpoint.save(self.best, tensors, self._facts())
        self.last.unlink()

    def epoch(self) -> Epoch:
        """Train and validate one epoch and write its checkpoints. Collective."""
        try:
            return self._epoch()
        except torch.OutOfMemoryError as error:
            reason = ". ".join(str(error).split(". ")[1:3]) or str(error)
        # Outside of `except`: the caught error references the tensors that filled the memory.
        raise MemoryLimitError(
            f"out of GPU memory at batch size {self.config.configuration.batch_size} "
            f"({one_line(reason)}); choose a smaller batch_size in the space or more GPUs "
            "a trial"
        )

    def _epoch(self) -> Epoch:
        number, start = len(self.history), time.perf_counter()
        if number == 0:
            # Draws no random number: the epochs are the same without it.
            self.untrained = self.learner.validate().total
        lr = self.learner.lr
        training, validation = self.learner.train(number), self.learner.validate()
        if not (math.isfinite(training.total) and math.isfinite(validation.total)):
            raise TrialError(f"the loss diverged (not finite) in epoch {number + 1}")
        latest = Epoch(
            number + 1,
            training.total,
            training.parts.get(MACHINE),
            training.parts.get(PRODUCT),
            validation.total,
            validation.parts.get(MACHINE),
            validation.parts.get(PRODUCT),
            lr,
            0.0,
        )
        self.history.append(latest)
        score = self._score_at_rung(latest)
        seconds = broadcast(lambda: time.perf_counter() - start)
        self.history[-1] = latest = replace(latest, seconds=seconds, val_score=score)
        broadcast(self._save)
        return latest

    @property
    def divergence(self) -> Divergence:
        """Validation losses against that of the untrained network."""
        return Divergence.of(self.untrained, self.history)

    def _score_at_rung(self, latest: Epoch) -> float | None:
        if self.judge is None or latest.epoch not in self.rungs:
            return None
        if self.divergence.exceeds(FAILED):  # A score would make other trials look worse.
            return None
        best = min(self.history, key=lambda epoch: epoch.val_loss)
        if best is latest:
            return self.judge(self.learner.encoder, latest.epoch)
        since_best = [e.val_score for e in self.history if e.epoch >= best.epoch]
        scores = [score for score in since_best if score is not None]
        if scores:  # The same encoder was scored at an earlier rung.
            return scores[-1]
        tensors, _ = broadcast(lambda: _load_checkpoint(self.best, self.signature))
        return self.judge(
            _rebuild(self.config.options, len(self.learner.data.ids), tensors), latest.epoch
        )

    def _is_best(self, latest: Epoch) -> bool:
        return min(self.history, key=lambda epoch: epoch.val_loss) is latest

    def _facts(self) -> dict[str, Any]:
        return {
            "signature": self.signature,
            "history": [asdict(epoch) for epoch in self.history],
            "resumes": self.resumes,
            "untrained": self.untrained,
        }

    def _save(self) -> None:
        tensors, facts = self.learner.state()
        checkpoint.save(self.last, tensors, self._facts() | facts)
        self._save_best()

    def _save_best(self) -> None:
        if self._is_best(self.history[-1]):
            tensors = self.learner.encoder.state_dict()
            checkpoint.save(self.best, tensors, self._facts())
