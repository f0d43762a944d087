"""A pretrained backbone: its features as they are."""

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from raysearch.methods.frozen import Frozen
from tests.tiny import TINY


def test_embeddings_are_the_pooled_features_of_the_published_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = timm.create_model("test_resnet", in_chans=1, num_classes=0).eval()
    path = tmp_path / "weights.safetensors"
    save_file(published.state_dict(), path)
    options = TINY.replace({"method": "frozen", "backbone": "test_resnet"})
    network = Frozen(options).network(6, pretrained=str(path)).eval()
    spectrograms = torch.randn(3, 1, 32, 40)
    with torch.inference_mode():
        torch.testing.assert_close(network.embed(spectrograms), published(spectrograms))
