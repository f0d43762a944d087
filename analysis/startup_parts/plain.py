"""Plain script for startup.py: Ray Tune, Optuna and torch as in their documentation.

It reads the same recordings, trains a small network, and writes the file `first` into its folder
after the first epoch of the first trial.
"""

import sys
from pathlib import Path

import soundfile
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from torchaudio.transforms import MelSpectrogram

FOLDER = Path(sys.argv[1])


def train(config: dict[str, float]) -> None:
    """Train a network that separates valves from other machines."""
    files = sorted(FOLDER.glob("data/dev_data/*/train/*.wav"))
    labels = torch.tensor([float("valve" in str(path)) for path in files])
    waves = torch.stack([torch.from_numpy(soundfile.read(path)[0]).float() for path in files])
    spectrograms = MelSpectrogram(16000, 512, hop_length=512, n_mels=32)(waves)[:, None].log1p()
    layers = [torch.nn.Conv2d(1, 16, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3, 2)]
    pool = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 1)]
    network = torch.nn.Sequential(*layers, *pool)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config["lr"])
    for _ in range(100):
        for rows in torch.randperm(len(files)).split(16):  # type: ignore[no-untyped-call]
            logits = network(spectrograms[rows]).squeeze(1)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        (FOLDER / "first").touch()
        tune.report({"loss": loss.item()})


tuner = tune.Tuner(
    tune.with_resources(train, {"cpu": 2}),
    param_space={"lr": tune.loguniform(1e-4, 1e-2)},
    tune_config=tune.TuneConfig(
        metric="loss", mode="min", search_alg=OptunaSearch(), num_samples=2
    ),
    run_config=tune.RunConfig(storage_path=str(FOLDER / "tune"), verbose=0),
)
tuner.fit()
