"""Front end and encoder as a trial's options describe them, and where they run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raysearch.config import Options
from raysearch.model.encoder import Encoder
from raysearch.model.frontend import LogMel


def best_device() -> torch.device:
    """The GPU that this process was given, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 proper in this block, on a GPU too.

    By default PyTorch lets convolutions round to TF32, which keeps 10 bits of 23.
    """
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    settings = (convolutions, torch.backends.cuda.matmul)
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


def frontend(options: Options) -> LogMel:
    """The front end that some options describe."""
    return LogMel(
        rate=options.rate,
        n_fft=options.n_fft,
        hop=options.hop,
        n_mels=options.n_mels,
        f_min=options.f_min,
        f_max=options.f_max,
        compression=options.compression,
    )


def new_encoder(options: Options, products: int, *, pretrained: bool | str) -> Encoder:
    """The encoder that some options describe, before training."""
    return Encoder(
        backbone=options.backbone,
        pretrained=pretrained,
        products=products,
        embedding=options.embedding,
        dropout=options.dropout,
        divide_norm=options.divide_norm,
    )


def check_network(options: Options) -> None:
    """Passes silence through front end and backbone, so that wrong options show before a search.

    Raises:
        UserError: they do not fit together, or the backbone cannot be had.
    """
    from raysearch.model.backbone import check_backbone

    with torch.random.fork_rng(devices=[]):
        spectrograms = frontend(options)(torch.zeros(1, options.segment))
        check_backbone(options.backbone, options.pretrained, spectrograms)
