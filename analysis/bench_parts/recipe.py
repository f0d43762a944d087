"""A plain recipe of the outlier-exposure encoder, as public repositories of the field write it.

A file is read and cropped by worker processes of a DataLoader, one file a sample; Python collates
the samples; torchaudio computes the spectrogram; the network of timm is contiguous; AdamW and the
precision are PyTorch's defaults; the loss is read after every step. Nothing of raysearch is used.

Shape letters: B samples of a batch, T samples of a segment, K product IDs, M mel bands, F frames,
D dimensions of the embedding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader, Dataset, Sampler
from torchaudio.transforms import MelSpectrogram

Samples = tuple[Tensor, Tensor]
"""Waveforms (B, T), and positions of their product IDs (B,), -1 for other machine types."""


@dataclass(frozen=True)
class File:
    """A clip in a wav file.

    Attributes:
        path: of the file.
        product: position of its product ID, -1 for another machine type.
        mean: of the samples of its machine type, in [-1, 1].
        std: of the same.
    """

    path: str
    product: int
    mean: float
    std: float

    def read(self) -> NDArray[np.float32]:
        """Read the whole clip and normalise it: (L,)."""
        wave, _ = soundfile.read(self.path, dtype="float32")
        normalised: NDArray[np.float32] = (wave - np.float32(self.mean)) / np.float32(self.std)
        return normalised


@dataclass(frozen=True)
class Setting:
    """Settings of a training; `products` is K, `workers` are processes of the DataLoader."""

    backbone: str
    products: int
    batch_size: int
    workers: int
    steps: int
    rate: int = 16000
    segment: int = 32000
    n_fft: int = 2048
    hop: int = 256
    n_mels: int = 224
    f_min: float = 50.0
    f_max: float = 7800.0
    embedding: int = 128
    dropout: float = 0.3
    lr: float = 1e-3
    lam: float = 1.0
    alpha: float = 0.2


class Clips(Dataset[tuple[Tensor, int]]):
    """Clips of wav files: a random crop of each, or its first segment."""

    def __init__(self, files: Sequence[File], segment: int, *, is_random: bool) -> None:
        self.files, self.segment, self.is_random = files, segment, is_random

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read a file and return its crop (T,) and its product."""
        file = self.files[index]
        wave = file.read()
        if len(wave) < self.segment:
            wave = np.resize(wave, self.segment)
        last = len(wave) - self.segment
        start = int(torch.randint(last + 1, ())) if self.is_random else 0
        return torch.from_numpy(wave[start : start + self.segment]), file.product


class Balanced(Sampler[list[int]]):
    """Batches of which half is the target machine type; each of its clips once an epoch."""

    def __init__(self, files: Sequence[File], batch_size: int) -> None:
        products = torch.tensor([file.product for file in files])
        self.targets = torch.nonzero(products >= 0).flatten()
        self.others = torch.nonzero(products < 0).flatten()
        self.half = batch_size // 2

    def __len__(self) -> int:
        return -(-len(self.targets) // self.half)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the positions of the clips of each batch."""
        count = len(self.targets)
        targets = self.targets[torch.randperm(count)]
        rounds = -(-count // len(self.others))
        orders = [torch.randperm(len(self.others)) for _ in range(rounds)]
        others = self.others[torch.cat(orders)[:count]]
        for start in range(0, count, self.half):
            rows = slice(start, start + self.half)
            yield [*targets[rows].tolist(), *others[rows].tolist()]


def new_loader(files: Sequence[File], setting: Setting) -> DataLoader[tuple[Tensor, int]]:
    """Return a loader of balanced batches; its processes live as long as the loader."""
    return DataLoader(
        Clips(files, setting.segment, is_random=True),
        batch_sampler=Balanced(files, setting.batch_size),
        num_workers=setting.workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=setting.workers > 0,
    )


class Network(nn.Module):
    """Backbone, neck and both heads."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        size = setting.embedding
        self.backbone = timm.create_model(setting.backbone, in_chans=1, num_classes=0)
        features = self.backbone.num_features
        assert isinstance(features, int), features
        self.neck = nn.Sequential(
            nn.Dropout(setting.dropout),
            nn.Linear(features, size),
            nn.BatchNorm1d(size),
            nn.PReLU(),
            nn.Linear(size, size),
        )
        self.product_head = nn.Linear(size, setting.products, bias=False)
        self.machine_head = nn.Linear(1, 1)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return embeddings (B, D) of spectrograms (B, 1, M, F)."""
        embeddings: Tensor = self.neck(self.backbone(spectrograms))
        return embeddings

    def forward(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """Return product logits (B, K) and machine logits (B,)."""
        embeddings = self.embed(spectrograms)
        norm = embeddings.square().mean(dim=1, keepdim=True)
        return self.product_head(embeddings), self.machine_head(norm).squeeze(1)


class LogMel(nn.Module):
    """Logarithm of torchaudio's mel spectrogram."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            setting.rate,
            setting.n_fft,
            hop_length=setting.hop,
            f_min=setting.f_min,
            f_max=setting.f_max,
            n_mels=setting.n_mels,
            power=1.0,
            normalized=True,
        )

    def forward(self, waves: Tensor) -> Tensor:
        """Return spectrograms (B, 1, M, F) of waveforms (B, T)."""
        spectrograms: Tensor = torch.log(self.mel(waves) + 1e-5).unsqueeze(1)
        return spectrograms


class Trainer:
    """A training: network, front end, optimiser, schedule."""

    def __init__(self, setting: Setting) -> None:
        """Build all; `setting.steps` is the length of the schedule."""
        self.setting = setting
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = Network(setting).to(self.device)
        self.features = LogMel(setting).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=setting.lr, weight_decay=0.0
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=setting.lr, total_steps=setting.steps
        )

    def train(self, batches: Iterable[Samples]) -> float:
        """Train on some batches and return their mean loss."""
        self.network.train()
        losses = []
        for waves, products in batches:
            loss = self.loss(waves, products, mixes=True)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.schedule.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def validate(self, batches: Iterable[Samples]) -> float:
        """Return the mean loss of some batches."""
        self.network.eval()
        with torch.no_grad():
            losses = [self.loss(*batch, mixes=False).item() for batch in batches]
        return sum(losses) / len(losses)

    def loss(self, waves: Tensor, products: Tensor, *, mixes: bool) -> Tensor:
        """Return the loss of waveforms (B, T) with product IDs (B,)."""
        waves = waves.to(self.device, non_blocking=True)
        products = products.to(self.device, non_blocking=True)
        machine = (products >= 0).float()
        targets = one_hot(products.clamp(min=0), self.setting.products) * machine[:, None]
        if mixes:
            waves, targets, machine = mixup(waves, targets, machine, self.setting.alpha)
        product_logits, machine_logits = self.network(self.features(waves))
        mask = (machine > 0).float()
        product = bce(product_logits, targets, reduction="none").mean(dim=1)
        product = (product * mask).sum() / mask.sum().clamp(min=1)
        return bce(machine_logits, machine) + self.setting.lam * product


def mixup(
    waves: Tensor, targets: Tensor, machine: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each sample with another of the batch, a coefficient for each sample."""
    share = torch.distributions.Beta(alpha, alpha).sample((len(waves),)).to(waves)
    partner = torch.randperm(len(waves), device=waves.device)
    weight, rest = share[:, None], 1 - share[:, None]
    return (
        weight * waves + rest * waves[partner],
        weight * targets + rest * targets[partner],
        share * machine + (1 - share) * machine[partner],
    )
