"""A search of one trial by a plain recipe: Ray Tune, OptunaSearch, and the recipe's training.

    python -m bench_parts.recipe_trial FOLDER     # in analysis/

FOLDER holds trial.json, the settings and files of the trial; the trial writes result.json there.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_parts.recipe import Clips, File, Setting, Trainer, new_loader
from bench_parts.recipe_scoring import embed_clips, score_models
from torch.utils.data import DataLoader


def main(folder: Path) -> None:
    """Run the search."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    facts = json.loads((folder / "trial.json").read_text())

    def trial(config: dict[str, Any]) -> None:
        results = run(facts, config["lr"], folder)
        (folder / "result.json").write_text(json.dumps(results))
        tune.report({"score": max(results.values())})

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": facts["cpus"]}),
        param_space={"lr": tune.loguniform(0.9e-3, 1.1e-3)},
        tune_config=tune.TuneConfig(
            metric="score", mode="max", search_alg=OptunaSearch(), num_samples=1
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    )
    tuner.fit()


def run(facts: dict[str, Any], lr: float, folder: Path) -> dict[str, float]:
    """Train, keep the best epoch by the loss of the held-out clips, and score the inlier models.

    Args:
        facts: content of trial.json.
        lr: learning rate.
        folder: of the checkpoint.
    """
    setting = Setting(**facts["setting"] | {"lr": lr})
    train, held_out, tests = (_files(facts[name]) for name in ("train", "held_out", "tests"))
    trainer = Trainer(setting)
    loader = new_loader(train, setting)
    validation = DataLoader(
        Clips(held_out, setting.segment, is_random=False),
        batch_size=setting.batch_size,
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
    )
    checkpoint, best = folder / "best.pt", float("inf")
    for _ in range(facts["epochs"]):
        trainer.train(loader)
        loss = trainer.validate(validation)
        if loss < best:
            best = loss
            torch.save(trainer.network.state_dict(), checkpoint)
    if checkpoint.exists():
        trainer.network.load_state_dict(torch.load(checkpoint))
    targets = [file for file in held_out if file.product >= 0]
    fits = embed_clips(targets, trainer, facts["segments"])
    scored = embed_clips(tests, trainer, facts["segments"])
    products = range(setting.products)
    return score_models(
        [np.concatenate(_of(targets, fits, k)) for k in products],
        {k: (_of(tests, scored, k), _of(tests, facts["labels"], k)) for k in facts["tested"]},
        facts["models"],
    )


def _files(rows: Sequence[dict[str, Any]]) -> list[File]:
    return [File(**row) for row in rows]


def _of(files: Sequence[File], values: Sequence[Any], product: int) -> list[Any]:
    """Return the values of the files of a product ID."""
    return [value for file, value in zip(files, values, strict=True) if file.product == product]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
