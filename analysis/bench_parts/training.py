"""Parts of a training: feeding, front end, step, epoch, and what real recordings cost."""

from collections.abc import Callable, Iterator
from itertools import count, repeat
from statistics import median

import torch
from bench_parts.duel import CannotRunError, Duel, Work, in_turns
from bench_parts.plan import Bench
from bench_parts.recipe import LogMel, Trainer, new_loader
from bench_parts.rows import Figure
from gpu.outcome import synchronise
from gpu.speed import bare_step

from raysearch.data.batches import Batch
from raysearch.training.feed import Feed
from raysearch.training.learner import Learner
from raysearch.training.loading import load
from raysearch.training.network import frontend


class ConstantFeed(Feed):
    """Feed that yields the first batch of an epoch again and again.

    Attributes:
        length: batches that it yields.
        shown: batches that it has yielded.
    """

    length = 1
    shown = 0

    def training(self, epoch: int) -> Iterator[Batch]:
        """Yield one batch `length` times."""
        first = next(iter(super().training(epoch)))
        for batch in repeat(first, self.length):
            self.shown += 1
            yield batch


def raysearch_training(bench: Bench, batch_size: int, steps: int | None = None) -> Work:
    """Return the training of an epoch by raysearch.

    Args:
        bench: recordings and sizes.
        batch_size: samples of a batch.
        steps: on one constant batch; None trains on the recordings.
    """
    config = bench.config(batch_size)
    learner, numbers = Learner(config, bench.data, pretrained=False), count()
    constant = None if steps is None else ConstantFeed(config, bench.data)
    if constant is not None and steps is not None:
        learner.feed, constant.length = constant, steps

    def train() -> None:
        learner.train(next(numbers))
        synchronise()
        if constant is not None and not constant.shown:
            raise CannotRunError("Learner.train takes its batches from elsewhere than its feed")

    return train


def repeated(work: Work, times: int) -> Work:
    """Return a piece of work that is done several times in each call."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


def feeding(bench: Bench, batch_size: int) -> Duel:
    """Compare the batches of an epoch, brought to the device, without a network."""
    loader = new_loader(bench.files(), bench.setting(batch_size))
    feed, numbers, passes = Feed(bench.config(batch_size), bench.data), count(), bench.plan.feeds

    def recipe() -> None:
        for waves, _ in loader:
            waves.to(bench.device, non_blocking=True)
        synchronise()

    def raysearch() -> None:
        for batch in feed.training(next(numbers)):
            load(batch, len(bench.data.ids), bench.device).send(bench.device)
        synchronise()

    remark = f"{passes} epochs, {bench.plan.workers} loader processes against this process"
    clips = passes * bench.clips
    works = repeated(recipe, passes), repeated(raysearch, passes)
    return Duel(f"feeding, batch {batch_size}", "clips", clips, *works, remark)


def front_end(bench: Bench, batch_size: int) -> Duel:
    """Compare the spectrograms of a batch of noise."""
    waves = torch.randn(batch_size, bench.options.segment).to(bench.device)
    plain = LogMel(bench.setting(batch_size)).to(bench.device)
    banded = frontend(bench.options).to(bench.device)
    with torch.inference_mode():
        difference = float((plain(waves) - banded(waves)).abs().max())

    def work(module: torch.nn.Module) -> Work:
        def run() -> None:
            with torch.inference_mode():
                for _ in range(bench.plan.steps):
                    module(waves)
            synchronise()

        return run

    remark = f"largest difference of the outputs {difference:.1e}"
    clips = bench.plan.steps * batch_size
    return Duel(f"front end, batch {batch_size}", "clips", clips, work(plain), work(banded), remark)


def step(bench: Bench, batch_size: int) -> Duel:
    """Compare whole steps, front end and Mixup included, on one constant batch."""
    setting, steps = bench.setting(batch_size), bench.plan.steps
    trainer = Trainer(setting)
    batch = next(iter(new_loader(bench.files(), setting)))
    constant = batch[0].to(trainer.device), batch[1].to(trainer.device)

    def recipe() -> None:
        trainer.train(repeat(constant, steps))

    raysearch = raysearch_training(bench, batch_size, steps)
    remark = f"{steps} steps on one constant batch, front end and Mixup included"
    clips = steps * batch_size
    return Duel(f"step, batch {batch_size}", "clips", clips, recipe, raysearch, remark)


def epoch(bench: Bench, batch_size: int) -> Duel:
    """Compare whole epochs of a training, without validation and checkpoints."""
    setting, passes = bench.setting(batch_size), bench.plan.passes
    trainer, loader = Trainer(setting), new_loader(bench.files(), setting)

    def recipe() -> None:
        trainer.train(loader)

    works = repeated(recipe, passes), repeated(raysearch_training(bench, batch_size), passes)
    remark = f"{setting.backbone}, {passes} epochs of {bench.clips} clips"
    return Duel(f"epoch, batch {batch_size}", "clips", passes * bench.clips, *works, remark)


def constant_batch(bench: Bench, batch_size: int) -> Iterator[Figure]:
    """Compare epochs of real recordings with as many steps on a constant batch, and bare steps."""
    config, steps = bench.config(batch_size), bench.steps(batch_size)
    works = [
        raysearch_training(bench, batch_size),
        raysearch_training(bench, batch_size, steps),
        _bare(bare_step(config, len(bench.data.ids)), steps),
    ]
    seconds = in_turns([repeated(work, bench.plan.passes) for work in works], bench.plan.repeats)
    real, constant, bare = (median(times) for times in seconds)
    rate = bench.plan.passes * bench.clips / real
    remark = f"{rate:.1f} clips/s of real recordings"
    name = f"batch {batch_size}"
    yield Figure(
        f"real data, {name}", "of a constant batch", constant / real, bench.plan.share, remark
    )
    remark += "; the bare step is eager and has no Mixup"
    yield Figure(f"bare step, {name}", "of the bare step", bare / real, None, remark)


def _bare(step: Callable[[], None], steps: int) -> Work:
    run = repeated(step, steps)

    def bare() -> None:
        run()
        synchronise()

    return bare
