"""One training, for one worker and for many: recordings and a configuration -> an encoder."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from raysearch.config import Options, TrialConfig
from raysearch.data.dataset import TrialData
from raysearch.errors import TrialError, UserError, one_line
from raysearch.model.encoder import Encoder
from raysearch.storage import AnyPath
from raysearch.training import checkpoint
from raysearch.training.distributed import broadcast
from raysearch.training.learner import Learner
from raysearch.training.network import best_device, new_encoder
from raysearch.training.outcome import Epoch
from raysearch.training.state import is_trained

Report = Callable[[Epoch], None]
ScoreEncoder = Callable[[Encoder, int], float | None]
"""Encoder of the least validation loss so far, in evaluation mode, and epochs done -> its
validation score, None if it has none. All workers call it alike."""


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


def train(
    config: TrialConfig,
    data: TrialData,
    report: Report,
    folder: AnyPath,
    judge: ScoreEncoder | None = None,
    rungs: Collection[int] = (),
) -> Trained:
    """Trains an encoder, or goes on where a training in this folder was interrupted.

    Workers of one trial call it alike and all return the same. The first of them alone reads
    and writes the folder, which the others may see late or not at all.

    Args:
        config: what to train.
        data: recordings.
        report: told of every epoch that is trained, on every worker, once its checkpoint stands.
        folder: holds `best.safetensors` and, until the end, `last.safetensors`.
        judge: asked at the rungs.
        rungs: epochs after which the training may be given up.

    Raises:
        TrialError: the loss is no longer finite, the GPU's memory is too small, or a batch.
        UserError: the folder holds the encoder of another configuration.
    """
    signature = config.signature()
    if not broadcast(lambda: is_trained(folder)):
        run = _Run(config, data, folder, judge, rungs)
        while len(run.history) < config.options.epochs:
            report(run.epoch())
        broadcast(run.finish)
    return load_trained(config.options, len(data.ids), folder, signature=signature)


def load_trained(
    options: Options, products: int, folder: AnyPath, *, signature: str | None = None
) -> Trained:
    """Loads the encoder that `train` left in a folder, rebuilt from the file alone.

    Raises:
        UserError: there is none, or not the one of this signature.
    """
    tensors, facts = broadcast(lambda: _load(folder / "best.safetensors", signature))
    history = tuple(Epoch(**epoch) for epoch in facts["history"])
    return Trained(_rebuilt(options, products, tensors), history, tuple(facts["resumes"]))


def _rebuilt(options: Options, products: int, tensors: Mapping[str, Tensor]) -> Encoder:
    encoder = new_encoder(options, products, pretrained=False)
    encoder.load_state_dict(tensors)
    return encoder.to(best_device()).eval()


Checkpoint = tuple[dict[str, Tensor], dict[str, Any]]


def _load(path: AnyPath, signature: str | None) -> Checkpoint:
    tensors, facts = checkpoint.load(path)
    found = facts.get("signature", signature)  # older files do not tell
    if signature is not None and found != signature:
        raise UserError(
            f"{path} is of another configuration (signature {found}, not {signature}); "
            "train in another folder, or remove it"
        )
    return tensors, facts


class _Run:
    """One training: what learns, its history and its files."""

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
        self.last, self.best = folder / "last.safetensors", folder / "best.safetensors"
        interrupted = broadcast(self._interrupted)
        # What an interrupted training takes up replaces every weight.
        pretrained = config.options.pretrained if interrupted is None else False
        self.learner = Learner(config, data, pretrained=pretrained)
        self.history: list[Epoch] = []
        self.resumes: list[int] = []
        if interrupted is not None:
            self._take_up(*interrupted)

    def _interrupted(self) -> Checkpoint | None:
        return _load(self.last, self.signature) if self.last.exists() else None

    def _take_up(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.learner.restore(tensors, facts)
        self.history = [Epoch(**epoch) for epoch in facts["history"]]
        self.resumes = [*facts["resumes"], len(self.history)]
        broadcast(self._save_best)

    def finish(self) -> None:
        """Completes the history of the best checkpoint and removes what only resuming needs."""
        tensors, _ = checkpoint.load(self.best)
        checkpoint.save(self.best, tensors, self._facts())
        self.last.unlink()

    def epoch(self) -> Epoch:
        """Trains and validates one epoch and writes its checkpoints."""
        try:
            return self._epoch()
        except torch.OutOfMemoryError as error:
            reason = ". ".join(str(error).split(". ")[1:3]) or str(error)
        # Raised out here, since the caught error holds on to the tensors that filled the memory.
        raise TrialError(
            f"out of GPU memory at batch size {self.config.configuration.batch_size} "
            f"({one_line(reason)}); choose a smaller batch_size in the space or more GPUs "
            "a trial"
        )

    def _epoch(self) -> Epoch:
        number, start = len(self.history), time.perf_counter()
        lr = self.learner.lr
        trained = self.learner.train(number)
        held = self.learner.validate()
        if not all(math.isfinite(value) for value in (*trained, *held)):
            raise TrialError(f"the loss diverged (not finite) in epoch {number + 1}")
        done = Epoch(number + 1, *trained, *held, lr, 0.0)
        self.history.append(done)
        score = self._judged(done)
        seconds = broadcast(lambda: time.perf_counter() - start)
        self.history[-1] = done = replace(done, seconds=seconds, val_score=score)
        broadcast(self._save)
        return done

    def _judged(self, done: Epoch) -> float | None:
        if self.judge is None or done.epoch not in self.rungs:
            return None
        best = min(self.history, key=lambda epoch: epoch.val_loss)
        if best is done:
            return self.judge(self.learner.encoder, done.epoch)
        since = [e.val_score for e in self.history if e.epoch >= best.epoch]
        known = [score for score in since if score is not None]
        if known:  # The same encoder was judged at an earlier rung.
            return known[-1]
        tensors, _ = broadcast(lambda: _load(self.best, self.signature))
        return self.judge(
            _rebuilt(self.config.options, len(self.learner.data.ids), tensors), done.epoch
        )

    def _is_best(self, done: Epoch) -> bool:
        return min(self.history, key=lambda epoch: epoch.val_loss) is done

    def _facts(self) -> dict[str, Any]:
        return {
            "signature": self.signature,
            "history": [asdict(epoch) for epoch in self.history],
            "resumes": self.resumes,
        }

    def _save(self) -> None:
        tensors, facts = self.learner.state()
        checkpoint.save(self.last, tensors, self._facts() | facts)
        self._save_best()

    def _save_best(self) -> None:
        if self._is_best(self.history[-1]):
            checkpoint.save(self.best, self.learner.encoder.state_dict(), self._facts())
