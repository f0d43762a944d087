"""The encoder: any backbone, and its neck."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from raysearch.config import Options
from raysearch.model.encoder import BackboneEncoder

D = 12


def encoder(backbone: str = "test_resnet", pretrained: bool | str = False) -> BackboneEncoder:
    torch.manual_seed(0)
    return BackboneEncoder(Options(backbone=backbone, embedding=D), pretrained=pretrained).eval()


def spectrograms(batch: int = 3, bands: int = 32, frames: int = 63) -> Tensor:
    return torch.randn(batch, 1, bands, frames, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "backbone",
    [
        "mobilenetv3_small_050",  # a convolution after pooling: 288 features become 1024
        "test_efficientnet",
        "test_resnet",
        "test_convnext",
        "test_mambaout",  # a head with a hidden layer of its own
    ],
)
def test_any_family_of_backbones_fits(backbone: str) -> None:
    model = encoder(backbone)
    embeddings = model.embed(spectrograms())
    assert embeddings.shape == (3, D)
    assert embeddings.dtype == torch.float32
    embeddings.sum().backward()  # type: ignore[no-untyped-call]
    first = next(p for p in model.backbone.parameters() if p.ndim == 4)
    assert first.shape[1] == 1  # one channel
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_the_default_backbone_is_known_and_its_neck_is_that_of_the_recipes() -> None:
    model = BackboneEncoder(Options(), pretrained=False)
    dropout, first, norm, activation, second = model.neck
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.3
    assert isinstance(first, nn.Linear)
    assert (first.in_features, first.out_features) == (1280, 128)
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(activation, nn.PReLU)
    assert isinstance(second, nn.Linear)
    assert (second.in_features, second.out_features) == (128, 128)


def test_the_neck_of_the_paper_has_a_second_non_linear_transformation() -> None:
    recipe = encoder()
    torch.manual_seed(0)
    options = Options(backbone="test_resnet", embedding=D, neck="paper")
    paper = BackboneEncoder(options, pretrained=False)
    *rest, norm, activation = paper.neck
    assert [type(layer) for layer in rest] == [type(layer) for layer in recipe.neck]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_features == D
    assert isinstance(activation, nn.PReLU)
    # The layers of the recipes begin with the same weights under the same names.
    state = paper.state_dict()
    assert all(torch.equal(state[name], value) for name, value in recipe.state_dict().items())
    linear = recipe.embed(spectrograms())
    expected = torch.nn.functional.prelu(linear / (1 + norm.eps) ** 0.5, activation.weight)
    torch.testing.assert_close(paper.eval().embed(spectrograms()), expected)


def test_in_evaluation_an_embedding_does_not_depend_on_its_batch() -> None:
    model, batch = encoder(), spectrograms()
    with torch.inference_mode():
        together = model.embed(batch)
        alone = torch.cat([model.embed(row[None]) for row in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = timm.create_model("test_resnet", pretrained=False)  # three channels, a classifier
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    loaded = encoder(pretrained=str(path)).backbone.state_dict()
    published = source.state_dict()
    convolutions = [k for k, v in loaded.items() if v.shape != published[k].shape]
    assert len(convolutions) == 1  # the first, whose three channels are added up
    (stem,) = convolutions
    torch.testing.assert_close(loaded[stem], published[stem].sum(dim=1, keepdim=True))
    assert all(torch.equal(v, published[k]) for k, v in loaded.items() if k != stem)
    random = encoder(pretrained=False).backbone.state_dict()
    assert not torch.equal(random[stem], loaded[stem])
