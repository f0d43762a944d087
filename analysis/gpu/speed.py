"""Speed of raysearch's epoch against the bare step: the cost of feeding and bookkeeping."""

import time
from collections.abc import Callable
from itertools import count

import torch
from gpu.outcome import Row, Section, counted_syncs, say, synchronise
from gpu.plan import PRECISIONS, Plan, clips_and_steps
from torch.nn.functional import one_hot

from raysearch.data.dataset import TrialData
from raysearch.methods.losses import machine_loss, product_loss
from raysearch.training.configuration import TrialConfig
from raysearch.training.feed import Feed
from raysearch.training.learner import Learner
from raysearch.training.loading import load
from raysearch.training.network import best_device, frontend, new_encoder

TITLE = (
    "speed in clips/s: epoch (validation included), its training alone, the bare step on one "
    "constant batch,\nand feeding alone; shares are of the bare step's speed"
)


def fill(section: Section, plan: Plan, data: TrialData, trained: Section) -> None:
    """Measure every batch size and precision; epochs were measured by the training section."""
    epochs = {
        (row["batch"], row["precision"]): row["clips_per_s"]
        for rows in trained.tables.values()
        for row in rows
    }
    for batch_size in plan.batch_sizes:
        for precision in PRECISIONS:
            say(f"speed: batch size {batch_size}, {precision}")
            config = plan.config(data, batch_size, precision, plan.epochs)
            row: Row = {"batch": batch_size, "precision": precision}
            epoch = epochs.get((batch_size, precision))
            section.add(TITLE, row | measure(config, data, epoch, plan.step_seconds))


def measure(config: TrialConfig, data: TrialData, epoch: float | None, seconds: float) -> Row:
    """Return the speeds of one setting.

    Args:
        config: of the training.
        data: recordings.
        epoch: clips/s of whole epochs; None if they could not be measured.
        seconds: time for which the bare step is repeated.
    """
    alone, syncs = training_alone(config, data)
    bare = repeated(bare_step(config, len(data.ids)), config.batch_size, seconds)
    _, steps = clips_and_steps(config, data)
    return {
        "epoch": epoch,
        "training": alone,
        "bare_step": bare,
        "feed": feeding(config, data),
        "epoch_share": None if epoch is None else share(epoch, bare),
        "training_share": share(alone, bare),
        "syncs_per_step": sum(syncs.values()) / steps if torch.cuda.is_available() else None,
        "syncs": {line: count / steps for line, count in syncs.items()},
    }


def share(speed: float, bare: float) -> float:
    """Return a speed as a share of the bare step's speed."""
    return speed / bare


def training_alone(config: TrialConfig, data: TrialData) -> tuple[float, dict[str, int]]:
    """Train three epochs without validation and checkpoints.

    Returns:
        Clips/s of the second epoch, and waits for the GPU in the third, by source line.
    """
    clips, _ = clips_and_steps(config, data)
    learner = Learner(config, data, pretrained=False)
    learner.train(0)
    synchronise()
    start = time.perf_counter()
    learner.train(1)
    synchronise()
    speed = clips / (time.perf_counter() - start)
    syncs: dict[str, int] = {}
    if torch.cuda.is_available():
        with counted_syncs(syncs):
            learner.train(2)
    return speed, syncs


def feeding(config: TrialConfig, data: TrialData) -> float:
    """Return the clips/s of bringing an epoch's crops to the device, without a network."""
    device, clips = best_device(), 0
    start = time.perf_counter()
    for batch in Feed(config, data).training(0):
        load(batch, len(data.ids), device).send(device)
        clips += batch.size
    synchronise()
    return clips / (time.perf_counter() - start)


def bare_step(config: TrialConfig, products: int) -> Callable[[], None]:
    """Return a training step on one constant batch on the device.

    Front end, encoder, losses, precision and optimiser are those of a trial; Mixup is left out.
    """
    options, device = config.options, best_device()
    encoder = new_encoder(options, products, pretrained=False).to(device).train()
    front = frontend(options).to(device)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=config.lr)
    waves = torch.randn(config.batch_size, options.segment).to(device)
    numbers = torch.arange(config.batch_size)
    machine = (numbers < config.batch_size // 2).float().to(device)
    targets = one_hot(numbers % products, products).to(device) * machine[:, None]

    def step() -> None:
        half = options.precision == "bf16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            product_logits, machine_logits = encoder(front(waves))
        product = product_loss(product_logits, targets, machine)
        loss = machine_loss(machine_logits, machine) + config.lam * product
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def repeated(step: Callable[[], None], batch_size: int, seconds: float, chunk: int = 5) -> float:
    """Return the clips/s of a step, repeated for some seconds after one chunk of warm-up."""
    start = 0.0
    for number in count():
        for _ in range(chunk):
            step()
        synchronise()
        now = time.perf_counter()
        if number == 0:
            start = now
        elif now - start >= seconds:
            return number * chunk * batch_size / (now - start)
    raise AssertionError("unreachable")
