"""The outlier-exposure encoder: backbone, neck, and the two heads of the paper's figure 2.

Shape letters: B samples, M mel bands, F frames, D dimensions of the embedding, K product IDs.
"""

import torch
from torch import Tensor, nn


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
        """Build the network.

        Args:
            backbone: name of a timm model.
            pretrained: True for timm's weights, False for random ones, a path for a file.
            products: K.
            embedding: D.
            dropout: probability, on the pooled features.
            divide_norm: divide ||f||^2 by D before the machine head.

        Raises:
            UserError: timm has no such backbone, or its weights cannot be loaded.
        """
        # Imported here: timm imports torchvision, which takes seconds.
        from raysearch.model.backbone import features, new_backbone

        super().__init__()
        self.backbone = new_backbone(backbone, pretrained)
        self.neck = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features(self.backbone), embedding),
            nn.BatchNorm1d(embedding),
            nn.PReLU(),
            nn.Linear(embedding, embedding),
        )
        self.product_head = nn.Linear(embedding, products, bias=False)
        self.machine_head = nn.Linear(1, 1)
        self.norm_divisor = float(embedding) if divide_norm else 1.0
        self.to(memory_format=torch.channels_last)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return embeddings f (B, D) of spectrograms (B, 1, M, F)."""
        features = self.backbone(spectrograms.contiguous(memory_format=torch.channels_last))
        embeddings: Tensor = self.neck(features)
        return embeddings.float()

    def heads(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return product logits g(f) (B, K) and machine logits a ||f||^2 + b (B,)."""
        # In half precision ||f||^2 overflows long before an embedding does.
        with torch.autocast(device_type=embeddings.device.type, enabled=False):
            norm = embeddings.square().sum(dim=1, keepdim=True) / self.norm_divisor
            return self.product_head(embeddings), self.machine_head(norm).squeeze(1)

    def forward(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """Return product logits (B, K) and machine logits (B,) of spectrograms (B, 1, M, F)."""
        return self.heads(self.embed(spectrograms))
