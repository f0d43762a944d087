"""A backbone of 700 weights, which timm knows in every process that has this folder on its path.

The golden run keeps encoders in the repository, where those of timm would be too large.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder


class _Finder(MetaPathFinder):
    """Adds the backbone when timm is imported, and not before: it takes seconds."""

    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name == "timm" else None
        if spec is None:
            return None
        spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        _register(module)


def _register(timm):
    from torch import nn

    class Golden(nn.Module):
        """(B, 1, M, F) -> (B, 8)."""

        head_hidden_size = 8

        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                *(nn.Conv2d(1, 4, 5, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
                *(nn.Conv2d(4, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            )

        def forward(self, spectrograms):
            return self.layers(spectrograms)

    def golden(pretrained=False, **settings):
        return Golden()

    timm.models.register_model(golden)


sys.meta_path.insert(0, _Finder())
