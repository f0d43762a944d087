"""Front end and encoder as a trial's options describe them, and where they run."""

import torch

from raysearch.config import Options
from raysearch.model.encoder import Encoder
from raysearch.model.frontend import LogMel


def best_device() -> torch.device:
    """The GPU that this process was given, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
