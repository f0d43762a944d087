"""Times and memory of a training at one size, in a process of its own.

    python -m growth_parts.trial FOLDER CLIPS BATCHES BACKBONE     # in analysis/

Prints the figures as JSON.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from statistics import median

import torch
from gpu.outcome import synchronise
from gpu.plan import configuration
from growth_parts.stores import drop_cached, fill_cache, open_stores

from raysearch.config import Options
from raysearch.data.batches import Batch
from raysearch.data.dataset import TrialData
from raysearch.training.configuration import TrialConfig
from raysearch.training.feed import Feed
from raysearch.training.learner import Learner
from raysearch.training.loading import load

BATCH_SIZE = 32
EPOCHS = 3
"""Short epochs that are timed."""

FEEDING_SECONDS = 1.0
"""Least time for which feeding from the system's cache is repeated."""

MIB = 1024
"""Kibibytes of a mebibyte: /proc counts in kB."""


class ShortFeed(Feed):
    """Feed of a fixed number of batches, drawn over the whole store.

    Attributes:
        length: batches of an epoch.
        samples: number of samples in the latest epoch.
    """

    length = 1
    samples = 0

    def training(self, epoch: int) -> Iterator[Batch]:
        """Yield `length` batches, those of several epochs where one has fewer."""
        self.samples = 0
        epochs = (super(ShortFeed, self).training(number) for number in count(1000 * epoch))
        for batch in islice(chain.from_iterable(epochs), self.length):
            self.samples += len(batch.products)
            yield batch


def measure(folder: Path, clips: int, batches: int, backbone: str) -> dict[str, float]:
    """Return the figures of one size.

    Args:
        folder: of the stores.
        clips: of each machine type.
        batches: of the short epoch.
        backbone: of the encoder.
    """
    start = time.perf_counter()
    data = open_stores(folder, clips)
    opened = time.perf_counter() - start
    small = {} if backbone.startswith("tf_") else {"n_fft": 512, "hop": 512, "n_mels": 32}
    options = Options.model_validate({"backbone": backbone, "pretrained": False, **small})
    config = TrialConfig(
        machine=data.machine,
        data=data.fingerprint,
        configuration=configuration(BATCH_SIZE),
        seed=0,
        options=options,
    )
    train_s = training(config, data, batches)
    # Memory of a trial; feeding whole epochs alone would add the pages of all crops.
    memory = resident()
    drop_cached(folder)
    cold_s, epoch_clips = feeding(config, data, 0)
    # Crops of other epochs lie elsewhere.
    fill_cache(folder, clips)
    return {
        "open_s": opened,
        "epoch_clips": epoch_clips,
        "train_ms_per_clip": 1e3 * train_s,
        "feed_cold_ms_per_clip": 1e3 * cold_s / epoch_clips,
        "feed_ms_per_clip": 1e3 * warm_feeding(config, data),
        "anonymous_mib": memory["RssAnon"],
        "resident_mib": memory["VmRSS"],
        "resident_after_feeding_mib": resident()["VmRSS"],
    }


def training(config: TrialConfig, data: TrialData, batches: int) -> float:
    """Return the median seconds per clip of short epochs; an epoch before warms up.

    Raises:
        RuntimeError: the training does not take its batches from its feed.
    """
    learner = Learner(config, data, pretrained=False)
    learner.feed = feed = ShortFeed(config, data)
    feed.length = batches
    times = []
    for number in range(1 + EPOCHS):
        start = time.perf_counter()
        learner.train(number)
        synchronise()
        if not feed.samples:
            raise RuntimeError("Learner.train takes its batches from elsewhere than its feed")
        times.append((time.perf_counter() - start) / feed.samples)
    return median(times[1:])


def warm_feeding(config: TrialConfig, data: TrialData) -> float:
    """Return the seconds per clip of as many whole epochs of feeding as take some time."""
    seconds, clips = 0.0, 0
    for number in count(1):
        of_epoch, samples = feeding(config, data, number)
        seconds, clips = seconds + of_epoch, clips + samples
        if seconds > FEEDING_SECONDS:
            break
    return seconds / clips


def feeding(config: TrialConfig, data: TrialData, epoch: int) -> tuple[float, int]:
    """Return the seconds and the clips of a whole epoch of feeding."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start, clips = time.perf_counter(), 0
    for batch in Feed(config, data).training(epoch):
        load(batch, len(data.ids), device).send(device)
        clips += len(batch.products)
    synchronise()
    return time.perf_counter() - start, clips


def resident() -> dict[str, float]:
    """Return the resident memory of this process in MiB: of all pages, and of anonymous ones."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / MIB for name in ("VmRSS", "RssAnon")}


if __name__ == "__main__":
    path, clips, batches, backbone = sys.argv[1:]
    print(json.dumps(measure(Path(path), int(clips), int(batches), backbone)))
