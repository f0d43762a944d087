"""The outlier-exposure encoder: backbone, neck, and the two heads of the paper's figure 2.

Shape letters: B samples, M mel bands, F frames, D dimensions of the embedding, K product IDs.
"""

from difflib import get_close_matches
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from raysearch.errors import UserError


class Encoder(nn.Module):
    """Log-mel spectrogram -> embedding, with a product head and a machine head on it.

    The neck is that of the first author's recipes: Dropout, Linear, BatchNorm, PReLU, Linear.
    """

    def __init__(
        self,
        *,
        backbone: str,
        pretrained: bool | str,
        products: int,
        embedding: int = 128,
        dropout: float = 0.3,
        divide_norm: bool = True,
    ) -> None:
        """Builds the network.

        Args:
            backbone: name of a timm model.
            pretrained: True for timm's weights, False for random ones, a path for a file.
            products: K.
            embedding: D.
            dropout: probability, on the pooled features.
            divide_norm: divide ||f||^2 by D before the machine head.

        Raises:
            UserError: timm knows no such backbone, or its weights cannot be had.
        """
        super().__init__()
        self.backbone = _backbone(backbone, pretrained)
        self.neck = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(_features(self.backbone), embedding),
            nn.BatchNorm1d(embedding),
            nn.PReLU(),
            nn.Linear(embedding, embedding),
        )
        self.product_head = nn.Linear(embedding, products, bias=False)
        self.machine_head = nn.Linear(1, 1)
        self.norm_divisor = float(embedding) if divide_norm else 1.0
        self.to(memory_format=torch.channels_last)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Returns embeddings f (B, D) of spectrograms (B, 1, M, F)."""
        features = self.backbone(spectrograms.contiguous(memory_format=torch.channels_last))
        embeddings: Tensor = self.neck(features)
        return embeddings.float()

    def heads(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Returns product logits g(f) (B, K) and machine logits a ||f||^2 + b (B,)."""
        # In half precision ||f||^2 overflows long before an embedding does.
        with torch.autocast(device_type=embeddings.device.type, enabled=False):
            norm = embeddings.square().sum(dim=1, keepdim=True) / self.norm_divisor
            return self.product_head(embeddings), self.machine_head(norm).squeeze(1)

    def forward(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """Returns product logits (B, K) and machine logits (B,) of spectrograms (B, 1, M, F)."""
        return self.heads(self.embed(spectrograms))


def check_backbone(backbone: str, pretrained: bool | str, spectrograms: Tensor) -> None:
    """Loads and uses a backbone once, so that what is wrong with it shows before a search.

    Args:
        backbone: as `Encoder`.
        pretrained: as `Encoder`.
        spectrograms: (B, 1, M, F) as the search will make them.

    Raises:
        UserError: as `Encoder`; the backbone does not take such spectrograms.
    """
    model = _backbone(backbone, pretrained).eval()
    try:
        with torch.inference_mode():
            model(spectrograms)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"backbone: {backbone} does not take spectrograms of {spectrograms.shape[2]} bands and "
            f"{spectrograms.shape[3]} frames ({reason}); choose one that takes any size, such as "
            "an efficientnet"
        ) from error


def _features(backbone: nn.Module) -> int:
    """How many pooled features a backbone gives."""
    # timm's name for what a model returns without its classifier; num_features may be fewer.
    return int(backbone.head_hidden_size)  # type: ignore[arg-type]


def _known(name: str) -> bool:
    # timm looks at the tag only when it builds the model, and then blames the weights.
    return timm.is_model(name) and ("." not in name or name in _tagged(name))


def _near(name: str) -> list[str]:
    architecture = name.partition(".")[0]
    names = _tagged(name) if timm.is_model(architecture) else timm.list_models()
    within = [known for known in names if architecture and architecture in known]
    return (within or get_close_matches(architecture, names))[:3]


def _tagged(name: str) -> list[str]:
    return timm.list_models(f"{name.partition('.')[0]}.*", include_tags=True)


def _backbone(name: str, pretrained: bool | str) -> nn.Module:
    if not _known(name):
        near = _near(name)
        hint = f", for example {', '.join(near)}" if near else "; see timm.list_models()"
        raise UserError(f"backbone: timm has no model {name!r}{hint}")
    overlay = None
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise UserError(f"pretrained: there is no file {pretrained}")
        overlay = {"file": pretrained}
    generator = torch.get_rng_state()
    try:
        model: nn.Module = timm.create_model(
            name,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay=overlay,
            in_chans=1,
            num_classes=0,
        )
    except Exception as error:
        if not pretrained:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"pretrained: the weights of {name} cannot be loaded ({reason[:120]}); download them "
            "where there is a network and set `pretrained: FILE` in the space file, or "
            "`pretrained: false` to start from random weights"
        ) from error
    if overlay is not None and (random := _left_random(model, name, generator)):
        raise UserError(
            f"pretrained: {pretrained} does not hold the weights of {name} ({random} is missing)"
        )
    return model


def _left_random(model: nn.Module, name: str, generator: Tensor) -> str:
    """The first weight that is as it was drawn, empty if all were loaded."""
    # timm loads what fits and leaves the rest, be it everything, without a word to its caller.
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator)
        drawn = timm.create_model(name, in_chans=1, num_classes=0).state_dict()
    weights = ((key, value) for key, value in model.named_parameters() if value.ndim > 1)
    return next((key for key, value in weights if torch.equal(value, drawn[key])), "")
