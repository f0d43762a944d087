"""A training at one size, in a process of its own, which measures what it is asked for.

    python -m growth_parts.trial FOLDER CLIPS BATCHES BACKBONE     # in analysis/

Each line of its input is a name in `QUESTIONS`; the answer is a line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from pathlib import Path

import torch
from gpu.outcome import synchronise
from gpu.plan import configuration
from growth_parts.stores import drop_cached, open_stores

from raysearch.config import Options
from raysearch.data.batches import Batch
from raysearch.training.configuration import TrialConfig
from raysearch.training.feed import Feed
from raysearch.training.learner import Learner
from raysearch.training.loading import load

BATCH_SIZE = 32
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


class Trial:
    """A training on a part of the stores, whose costs are measured.

    Attributes:
        folder: of the stores.
        data: recordings, opened.
        opened: seconds that it took to open them.
    """

    def __init__(self, folder: Path, clips: int, batches: int, backbone: str) -> None:
        """Open the recordings and train a short epoch, which warms up.

        Args:
            folder: of the stores.
            clips: of each machine type.
            batches: of a short epoch.
            backbone: of the encoder.
        """
        start = time.perf_counter()
        self.folder, self.data = folder, open_stores(folder, clips)
        self.opened = time.perf_counter() - start
        small = {} if backbone.startswith("tf_") else {"n_fft": 512, "hop": 512, "n_mels": 32}
        options = Options.model_validate({"backbone": backbone, "pretrained": False, **small})
        self.config = TrialConfig(
            machine=self.data.machine,
            data=self.data.fingerprint,
            configuration=configuration(BATCH_SIZE),
            seed=0,
            options=options,
        )
        self.learner = Learner(self.config, self.data, pretrained=False)
        self.learner.feed = self.feed = ShortFeed(self.config, self.data)
        self.feed.length = batches
        self.numbers = count()
        self.train()

    def opening(self) -> float:
        """Return the seconds that it took to open the recordings."""
        return self.opened

    def train(self) -> float:
        """Train a short epoch; return its ms per clip.

        Raises:
            RuntimeError: the training does not take its batches from its feed.
        """
        self.feed.samples = 0
        start = time.perf_counter()
        self.learner.train(next(self.numbers))
        synchronise()
        if not self.feed.samples:
            raise RuntimeError("Learner.train takes its batches from elsewhere than its feed")
        return 1e3 * (time.perf_counter() - start) / self.feed.samples

    def feed_cold(self) -> dict[str, float]:
        """Measure a whole epoch of feeding from the disk: its clips and its ms per clip."""
        drop_cached(self.folder)
        seconds, clips = self._feed(0)
        return {"epoch_clips": clips, "feed_cold_ms_per_clip": 1e3 * seconds / clips}

    def feed_warm(self) -> float:
        """Measure as many whole epochs of feeding as take some time: the ms per clip."""
        seconds, clips = 0.0, 0
        while seconds < FEEDING_SECONDS:
            of_epoch, samples = self._feed(next(self.numbers))
            seconds, clips = seconds + of_epoch, clips + samples
        return 1e3 * seconds / clips

    def _feed(self, epoch: int) -> tuple[float, int]:
        """Return the seconds and the clips of a whole epoch of feeding."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        start, clips = time.perf_counter(), 0
        for batch in Feed(self.config, self.data).training(epoch):
            load(batch, len(self.data.ids), device).send(device)
            clips += len(batch.products)
        synchronise()
        return time.perf_counter() - start, clips


def resident() -> dict[str, float]:
    """Return the resident memory of this process in MiB: of all pages, and of anonymous ones."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / MIB for name in ("VmRSS", "RssAnon")}


QUESTIONS: dict[str, Callable[[Trial], object]] = {
    "opening": Trial.opening,
    "train": Trial.train,
    "feed cold": Trial.feed_cold,
    "feed warm": Trial.feed_warm,
    "memory": lambda _: resident(),
}

if __name__ == "__main__":
    path, clips, batches, backbone = sys.argv[1:]
    trial = Trial(Path(path), int(clips), int(batches), backbone)
    for line in sys.stdin:
        print(json.dumps(QUESTIONS[line.strip()](trial)), flush=True)
