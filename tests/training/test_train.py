"""Training: the golden curve, resuming, the epoch that is kept, and how it fails."""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.errors import TrialError, UserError
from raysearch.methods.proposed import OutlierExposureEncoder
from raysearch.model.encoder import Encoder
from raysearch.training import checkpoint
from raysearch.training.conditions import TRAINED
from raysearch.training.embedding import Embedder
from raysearch.training.learner import Learner
from raysearch.training.network import frontend
from raysearch.training.outcome import Epoch
from raysearch.training.state import is_trained
from raysearch.training.step import Losses as Parts
from raysearch.training.step import Objective
from raysearch.training.train import Trained, load_trained, train
from tests.shared import TRAIN_CLIPS
from tests.tiny import TINY, open_valve, tiny_config

Losses = list[tuple[float, float]]


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


def on_cpu(patch: pytest.MonkeyPatch) -> None:
    for module in ("raysearch.training.train", "raysearch.training.learner"):
        patch.setattr(f"{module}.best_device", lambda: torch.device("cpu"))


@pytest.fixture(autouse=True)
def _cpu_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Bit for bit the same is promised for a CPU; a GPU adds up in an order of its own.
    on_cpu(monkeypatch)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ignore(_: Epoch) -> None:
    pass


def forbidden(epoch: Epoch) -> None:
    raise AssertionError(f"epoch {epoch.epoch} was trained")


def stop_after(number: int) -> Callable[[Epoch], None]:
    def report(epoch: Epoch) -> None:
        if epoch.epoch == number:
            raise KeyboardInterrupt

    return report


def losses(trained: Trained) -> Losses:
    return [(epoch.train_loss, epoch.val_loss) for epoch in trained.history]


def timeless(trained: Trained) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in trained.history]


def same_weights(left: Trained, right: Trained) -> bool:
    first, second = left.encoder.state_dict(), right.encoder.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# To make it again after a change that is meant to move it: run the test and copy what it prints.
GOLDEN: Losses = [(1.4634669, 1.5032634), (1.4102973, 1.4957286), (1.4563743, 1.4910544)]


def test_golden_loss_curve(data: TrialData, tmp_path: Path) -> None:
    # A low learning rate: the gradient of the bias before the batch norm is all rounding error,
    # of which Adam makes steps of full size, so validation differs a little between CPUs
    # (1e-5 here, 7e-5 with lr 1e-3; training losses 1e-7).
    config = tiny_config(data, lr=3e-4, batch_size=16, lam=1.0, segment_seconds=2.0)
    curve = losses(train(config, data, ignore, tmp_path))
    print("GOLDEN: Losses =", [tuple(round(loss, 7) for loss in pair) for pair in curve])
    np.testing.assert_allclose(curve, GOLDEN, rtol=1e-4)


def test_the_seed_and_nothing_else_decides(data: TrialData, tmp_path: Path) -> None:
    first = train(tiny_config(data, epochs=1), data, ignore, tmp_path / "first")
    torch.rand(3)  # what else draws from the global generator makes no difference
    again = train(tiny_config(data, epochs=1), data, ignore, tmp_path / "again")
    other = train(tiny_config(data, epochs=1, seed=1), data, ignore, tmp_path / "other")
    assert timeless(first) == timeless(again)
    assert same_weights(first, again)
    assert losses(first) != losses(other)


@pytest.fixture(scope="module")
def whole(data: TrialData, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Never interrupted; each epoch is better than the one before."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        on_cpu(patch)
        trained = train(tiny_config(data, lr=1e-3), data, ignore, tmp_path_factory.mktemp("whole"))
    assert trained.resumes == ()
    assert trained.best is not None
    assert trained.best.epoch == 3
    return trained


def resume(data: TrialData, folder: Path) -> tuple[Trained, list[int]]:
    trained: list[int] = []
    done = train(tiny_config(data, lr=1e-3), data, lambda e: trained.append(e.epoch), folder)
    return done, trained


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_same_numbers(
    data: TrialData, tmp_path: Path, whole: Trained, stopped: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(data, lr=1e-3), data, stop_after(stopped), tmp_path)
    assert not is_trained(tmp_path)
    resumed, trained = resume(data, tmp_path)
    assert trained == list(range(stopped + 1, 4))
    assert resumed.resumes == (stopped,)
    assert timeless(resumed) == timeless(whole)
    assert same_weights(resumed, whole)


@pytest.mark.parametrize("method", sorted(set(map(str, TRAINED)) - {"proposed"}))
def test_every_method_resumes_to_the_same_numbers(
    data: TrialData, tmp_path: Path, method: str
) -> None:
    config = tiny_config(data, epochs=2, batch_size=16, method=method)
    whole = train(config, data, ignore, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(1), tmp_path / "resumed")
    resumed = train(config, data, ignore, tmp_path / "resumed")
    assert resumed.resumes == (1,)
    assert timeless(resumed) == timeless(whole)
    assert same_weights(resumed, whole)
    assert whole.history[1].train_loss != whole.history[0].train_loss


def test_an_epoch_that_was_broken_off_is_trained_from_its_start(
    data: TrialData, tmp_path: Path, whole: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, total = 0, Objective.total

    def step(objective: Objective, losses: Parts) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return total(objective, losses)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "total", step)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(data, lr=1e-3), data, ignore, tmp_path)
    resumed, trained = resume(data, tmp_path)
    assert trained == [2, 3]
    assert resumed.resumes == (1,)
    assert timeless(resumed) == timeless(whole)
    assert same_weights(resumed, whole)


def test_a_checkpoint_of_another_device_leaves_the_optimiser_to_this_one(
    data: TrialData, tmp_path: Path
) -> None:
    config = tiny_config(data, lr=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(1), tmp_path)
    tensors, facts = checkpoint.load(tmp_path / "last.safetensors")
    # As a GPU or an earlier version wrote them.
    facts["groups"][0] |= {"fused": True, "foreach": False, "capturable": True}
    resumed = Learner(config, data, pretrained=False)
    before = dict(resumed.optimiser.param_groups[0])
    resumed.restore(tensors, facts)
    (group,) = resumed.optimiser.param_groups
    for name in ("fused", "foreach", "capturable", "differentiable"):
        assert group[name] == before[name]
    assert group["lr"] == facts["groups"][0]["lr"] != before["lr"]
    assert not {"fused", "foreach"} & resumed.state()[1]["groups"][0].keys()


def test_every_interruption_is_told(data: TrialData, tmp_path: Path, whole: Trained) -> None:
    for stopped in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(data, lr=1e-3), data, stop_after(stopped), tmp_path)
    resumed, _ = resume(data, tmp_path)
    assert resumed.resumes == (1, 2)
    assert timeless(resumed) == timeless(whole)


@pytest.mark.parametrize("killed", [1, 3])
def test_a_kill_between_last_and_best_loses_nothing(
    data: TrialData, tmp_path: Path, whole: Trained, killed: int
) -> None:
    best, kept = tmp_path / "best.safetensors", tmp_path / "kept"

    def report(epoch: Epoch) -> None:
        if epoch.epoch == killed - 1:
            shutil.copy(best, kept)
        if epoch.epoch == killed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(data, lr=1e-3), data, report, tmp_path)
    # `last` is of the killed epoch; `best` is still of the one before it, or not there yet.
    best.unlink()
    if killed > 1:
        kept.rename(best)
    assert not is_trained(tmp_path)
    resumed, _ = resume(data, tmp_path)
    assert timeless(resumed) == timeless(whole)
    assert same_weights(resumed, whole)


def test_a_kill_at_the_very_end_loses_nothing(
    data: TrialData, tmp_path: Path, whole: Trained
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(data, lr=1e-3), data, stop_after(3), tmp_path)
    last = tmp_path / "last.safetensors"
    kept = last.read_bytes()
    resume(data, tmp_path)
    last.write_bytes(kept)  # as if `best` had been completed and `last` not yet removed
    resumed, trained = resume(data, tmp_path)
    assert trained == []
    assert timeless(resumed) == timeless(whole)
    assert same_weights(resumed, whole)


def test_a_finished_encoder_is_loaded(data: TrialData, tmp_path: Path) -> None:
    config = tiny_config(data, epochs=1)
    first = train(config, data, ignore, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    content = (tmp_path / "best.safetensors").read_bytes()
    again = train(config, data, forbidden, tmp_path)
    assert again.history == first.history
    assert again.resumes == ()
    assert same_weights(first, again)
    assert not again.encoder.training
    assert (tmp_path / "best.safetensors").read_bytes() == content


@pytest.mark.parametrize("batch_size", [16, 14, 512])
def test_one_cycle_takes_exactly_the_steps_that_are_run(
    data: TrialData, tmp_path: Path, batch_size: int
) -> None:
    lr, clips = 3e-3, 6 * (TRAIN_CLIPS - 1)  # of an ID, one is held out
    config = tiny_config(data, lr=lr, epochs=2, batch_size=batch_size)
    rates: list[float] = []

    def report(epoch: Epoch) -> None:
        rates.append(epoch.lr)
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, report, tmp_path)
    _, facts = checkpoint.load(tmp_path / "last.safetensors")
    steps = math.ceil(clips / (batch_size // 2))
    assert facts["schedule"]["total_steps"] == facts["schedule"]["last_epoch"] == 2 * steps
    expected = one_cycle(lr, 2 * steps)
    assert rates == [expected[0], expected[steps]]
    assert facts["groups"][0]["lr"] == expected[-1]
    assert expected[-2] == pytest.approx(lr / 25 / 1e4)  # of the last step


def one_cycle(lr: float, steps: int) -> list[float]:
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=lr, total_steps=steps)
    rates = [float(schedule.get_last_lr()[0])]
    for _ in range(steps):
        optimiser.step()
        schedule.step()
        rates.append(float(schedule.get_last_lr()[0]))
    return rates


def test_the_epoch_of_least_validation_loss_is_kept(data: TrialData, tmp_path: Path) -> None:
    weights: list[dict[str, torch.Tensor]] = []
    history: list[float] = []
    kept: list[int] = []

    def report(epoch: Epoch) -> None:
        tensors, _ = checkpoint.load(tmp_path / "last.safetensors")
        weights.append(
            {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        )
        history.append(epoch.val_loss)
        best, _ = checkpoint.load(tmp_path / "best.safetensors")
        kept.append(
            next(n for n, w in enumerate(weights, 1) if all(torch.equal(w[k], best[k]) for k in w))
        )

    # So high a learning rate that the second epoch is far worse than the first.
    config = tiny_config(data, lr=3e-2, batch_size=16, lam=1.0, epochs=6)
    trained = train(config, data, report, tmp_path)
    assert history[1] > 2 * history[0]
    assert kept == [int(np.argmin(history[:n])) + 1 for n in range(1, 7)]
    assert trained.best is not None
    assert trained.best.epoch == kept[-1]
    state = trained.encoder.state_dict()
    assert all(torch.equal(state[k], v) for k, v in weights[kept[-1] - 1].items())


def test_losses_of_the_kept_epoch_follow_from_its_weights(
    data: TrialData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batches of targets only, of both and of others only: means are over samples, not batches.
    monkeypatch.setattr("raysearch.training.feed.EVALUATION_BATCH", 5)
    config = tiny_config(data, epochs=1, lam=0.5)
    trained = train(config, data, ignore, tmp_path)
    target, held_out = data.target_parts(0.1, config.seed)
    _, others = data.other_parts("own", 0.1, config.seed)
    # One clip of an ID, so all IDs have their say; as many others, of each type in turn.
    assert sorted(data.target.clips[i].id for i in held_out.clips) == list("012345")
    assert set(held_out.clips).isdisjoint(target.clips)
    rows = [(held_out, i, k) for i in held_out.clips for k in [data.products[i]]]
    rows += [(part, part.clips[turn], -1) for turn in range(3) for part in others]
    size = int(config.options.segment_seconds * 16000)
    waves = [(part.store.waveform(i)[:size] - part.mean) / part.std for part, i, _ in rows]
    with torch.inference_mode():
        spectrograms = frontend(config.options)(torch.tensor(np.array(waves), dtype=torch.float32))
        g, a = (x.double().numpy() for x in trained.encoder(spectrograms))
    machine = np.array([k >= 0 for _, _, k in rows])
    y = np.array([np.arange(6) == k for _, _, k in rows])
    of_machine = np.where(machine, np.logaddexp(0, -a), np.logaddexp(0, a)).mean()
    of_product = np.where(y, np.logaddexp(0, -g), np.logaddexp(0, g))[machine].mean()
    best = trained.best
    assert best is not None
    assert best.val_machine_loss == pytest.approx(of_machine, rel=1e-5)
    assert best.val_product_loss == pytest.approx(of_product, rel=1e-5)
    assert best.val_loss == pytest.approx(of_machine + 0.5 * of_product, rel=1e-5)
    parts = best.train_machine_loss, best.train_product_loss
    assert best.train_loss == pytest.approx((parts[0] or 0) + 0.5 * (parts[1] or 0))


@pytest.mark.parametrize("seed", [0, 1, 5])  # All three draw a factor below 0.
def test_the_target_is_outside_the_hypersphere(data: TrialData, tmp_path: Path, seed: int) -> None:
    config = tiny_config(data, epochs=6, batch_size=16, lam=0.1, seed=seed)
    encoder = train(config, data, ignore, tmp_path).encoder
    embedder = Embedder(encoder, config.options, data.ids)
    _, held_out = data.target_parts(0.1, seed)
    _, others = data.other_parts("own", 0.1, seed)

    def mean_norm(part: Part) -> float:
        rows = embedder.clips(part, part.clips.tolist()).rows
        return float(np.square(rows, dtype=np.float64).sum(axis=1).mean())

    assert mean_norm(held_out) > 1.5 * max(mean_norm(part) for part in others)


def test_the_validation_hears_the_first_segment_or_all(data: TrialData) -> None:
    learners = {
        segments: Learner(tiny_config(data, validation_segments=segments), data, pretrained=False)
        for segments in ("first", "all")
    }
    # Clips of 3 s, segments of 0.5 s; six clips of the target, and as many others.
    counts = {
        segments: sum(len(batch.products) for batch in learner.feed.validation())
        for segments, learner in learners.items()
    }
    assert counts == {"first": 12, "all": 72}
    assert learners["first"].validate() != learners["all"].validate()


@pytest.mark.parametrize("mask", ["target", "all"])
def test_both_classes_count_half_in_the_validation(data: TrialData, mask: str) -> None:
    """Two clips of another machine type are held out, and six of the target."""
    store = data.others[0]
    assert [clip.id for clip in store.clips[: 2 * TRAIN_CLIPS]] == [*"0" * 8, *"1" * 8]
    few = replace(data, others=(replace(store, clips=store.clips[: 2 * TRAIN_CLIPS]),))
    config = tiny_config(few, lam=0.5, product_mask=mask)
    learner = Learner(config, few, pretrained=False)
    (whole,) = learner.feed.validation()
    assert sorted(whole.products) == [-1, -1, *range(6)]
    means = learner.validate()
    sums: dict[str, list[list[float]]] = {name: [[], []] for name in means.parts}
    with torch.inference_mode():
        for k, product in enumerate(whole.products):
            sample = whole.select(np.array([k]))
            for name, loss in learner.losses(sample).items():
                sums[name][int(product < 0)].append(float(loss))
    for name, (of_target, of_others) in sums.items():
        expected = np.mean(of_target)
        if name not in learner.method.over_targets:
            expected = (expected + np.mean(of_others)) / 2
        assert means.parts[name] == pytest.approx(expected, rel=1e-5)


def test_the_target_is_never_among_the_others(data: TrialData) -> None:
    train_parts, held_out = data.other_parts("own", 0.1, 0)
    heard = {clip.machine for part in (*train_parts, *held_out) for clip in part.store.clips}
    assert heard == {"fan", "pump"}
    assert {clip.machine for clip in data.target.clips} == {"valve"}


def test_one_clip_an_id_is_enough_of_another_machine(demo_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for path in demo_data.rglob("*.wav"):
        relative = path.relative_to(demo_data)
        if relative.parts[1] == "valve" or (
            relative.parts[1] == "fan" and "normal_0000" in path.stem
        ):
            (root / relative).parent.mkdir(parents=True, exist_ok=True)
            (root / relative).symlink_to(path)
    data = open_valve(root)
    assert [len(store.clips) for store in data.others] == [6]
    (epoch,) = train(tiny_config(data, epochs=1), data, ignore, tmp_path / "run").history
    assert np.isfinite(epoch.val_loss)
    # Blind to the others, a fresh encoder would have the loss of half the truth: all positive.
    assert (epoch.val_machine_loss or 0) > 0.3


def test_divergence_is_a_failure_that_names_its_epoch(data: TrialData, tmp_path: Path) -> None:
    config = tiny_config(data, lr=1e30)
    for _ in range(2):
        with pytest.raises(TrialError, match=r"^the loss diverged \(not finite\) in epoch 1$"):
            train(config, data, forbidden, tmp_path)
        assert not is_trained(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_a_later_divergence_leaves_nothing_that_passes_for_finished(
    data: TrialData, tmp_path: Path
) -> None:
    config = tiny_config(data)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(1), tmp_path)
    last = tmp_path / "last.safetensors"
    tensors, facts = checkpoint.load(last)
    tensors["model/machine_head.weight"].fill_(torch.nan)
    checkpoint.save(last, tensors, facts)
    for _ in range(2):
        with pytest.raises(TrialError, match=r"not finite.* in epoch 2"):
            train(config, data, forbidden, tmp_path)
        assert not is_trained(tmp_path)


# A loss of 10,000 times the usual size, and a learning rate that no network survives.
DIVERGING: dict[str, Any] = {"lr": 1.0, "lam": 1e4, "batch_size": 16}
DIVERGED = (
    r"^the loss diverged: on the held-out clips it is [\d.]+e\+\d\d at best, "
    r"and \d{4} without a training$"
)


def test_a_finite_divergence_is_a_failure_with_both_losses(data: TrialData, tmp_path: Path) -> None:
    ended: list[Epoch] = []
    with pytest.raises(TrialError, match=DIVERGED):
        train(tiny_config(data, **DIVERGING), data, ended.append, tmp_path)
    assert len(ended) == 1  # Ended at once: more than a million times.
    # The same again, without another epoch.
    with pytest.raises(TrialError, match=DIVERGED):
        train(tiny_config(data, **DIVERGING), data, forbidden, tmp_path)
    assert not is_trained(tmp_path)


def test_a_training_that_may_recover_is_refused_at_its_end(
    data: TrialData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.training.train.HOPELESS", 1e30)
    judged: list[int] = []

    def judge(_: Encoder, epoch: int) -> float:
        judged.append(epoch)
        return 1.0

    config = tiny_config(data, **DIVERGING)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(2), tmp_path, judge, {1, 2})
    _, facts = checkpoint.load(tmp_path / "last.safetensors")
    resumed: list[Epoch] = []
    with pytest.raises(TrialError, match=DIVERGED) as caught:
        train(config, data, resumed.append, tmp_path, judge, {1, 2, 3})
    assert [epoch.epoch for epoch in resumed] == [3]
    assert f"{facts['untrained']:.4g} without" in str(caught.value)
    assert judged == []  # No other trial is pruned for the scores of a diverged one.
    assert not is_trained(tmp_path)


def test_the_loss_without_a_training_is_that_of_the_untrained_network(
    data: TrialData, tmp_path: Path, whole: Trained
) -> None:
    fresh = Learner(tiny_config(data, lr=1e-3), data, pretrained=False).validate()
    assert whole.untrained == fresh.total
    resume(data, tmp_path)
    assert load_trained(TINY, 6, tmp_path).untrained == fresh.total


def test_a_training_that_lowers_no_loss_is_remarked(data: TrialData, tmp_path: Path) -> None:
    config = tiny_config(data, epochs=1, lr=1.0, method="serial_aam")
    useless = train(config, data, ignore, tmp_path)
    assert useless.untrained is not None
    assert useless.best is not None
    assert useless.untrained < useless.best.val_loss < 10 * useless.untrained
    assert useless.remark == (
        f"the training did not lower the loss on the held-out clips: it is "
        f"{useless.best.val_loss:.4g} at best, and {useless.untrained:.4g} without a training"
    )


def test_a_checkpoint_of_an_earlier_version_has_no_loss_without_a_training(
    data: TrialData, tmp_path: Path, whole: Trained
) -> None:
    config = tiny_config(data, lr=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(1), tmp_path)
    tensors, facts = checkpoint.load(tmp_path / "last.safetensors")
    del facts["untrained"]
    checkpoint.save(tmp_path / "last.safetensors", tensors, facts)
    resumed = train(config, data, ignore, tmp_path)
    assert resumed.untrained is None
    assert resumed.remark == ""
    assert timeless(resumed) == timeless(whole)


def first_epoch(data: TrialData, folder: Path, **options: Any) -> float:
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(data, epochs=2, **options), data, stop_after(1), folder)
    _, facts = checkpoint.load(folder / "last.safetensors")
    return float(facts["history"][0]["train_loss"])


def forget_signature(path: Path) -> None:
    """Makes a checkpoint as older versions wrote it."""
    tensors, facts = checkpoint.load(path)
    del facts["signature"]
    checkpoint.save(path, tensors, facts)


def test_the_probability_of_mixup_moves_over_training(data: TrialData, tmp_path: Path) -> None:
    modes = ("constant", "rise", "decay", "off")
    first = {mode: first_epoch(data, tmp_path / mode, mixup=mode) for mode in modes}
    assert first["rise"] == first["off"]  # from 0 ...
    assert first["decay"] == first["constant"]  # from 1 ...
    assert first["off"] != first["constant"]
    # The last epoch resumes from the same weights in two modes, and is the same.
    for mode, end in (("rise", "constant"), ("decay", "off")):  # ... to 1, ... to 0
        shutil.copytree(tmp_path / end, tmp_path / f"{end} {mode}")
        forget_signature(tmp_path / f"{end} {mode}" / "last.safetensors")
        last = [
            train(tiny_config(data, epochs=2, mixup=m), data, ignore, tmp_path / folder)
            for m, folder in ((end, end), (mode, f"{end} {mode}"))
        ]
        assert losses(last[0]) == losses(last[1])


def test_other_machines_are_normalised_by_their_own_statistics_or_the_target_s(
    data: TrialData, tmp_path: Path
) -> None:
    own_parts, _ = data.other_parts("own", 0.1, 0)
    target_parts, _ = data.other_parts("target", 0.1, 0)
    assert [part.std for part in own_parts] == [store.std for store in data.others]
    assert [part.std for part in target_parts] == [data.target.std] * 2
    first_epochs = {a: first_epoch(data, tmp_path / a, amplitude=a) for a in ("own", "target")}
    assert first_epochs["own"] != first_epochs["target"]


def test_an_encoder_is_rebuilt_from_its_file_alone(data: TrialData, tmp_path: Path) -> None:
    config = tiny_config(data, epochs=1, embedding=16, divide_norm=False)
    trained = train(config, data, ignore, tmp_path / "here")
    (tmp_path / "there").mkdir()
    shutil.copy(tmp_path / "here" / "best.safetensors", tmp_path / "there")
    loaded = load_trained(config.options, 6, tmp_path / "there")
    assert same_weights(trained, loaded)
    assert loaded.encoder.norm_divisor == 1.0


@pytest.mark.parametrize("finished", [True, False])
def test_the_folder_of_another_configuration_is_refused(
    data: TrialData, tmp_path: Path, finished: bool
) -> None:
    config = tiny_config(data, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(1), tmp_path)
    if finished:
        train(config, data, ignore, tmp_path)
    name = "best.safetensors" if finished else "last.safetensors"
    other = tiny_config(data, epochs=2, seed=1)
    with pytest.raises(UserError) as caught:
        train(other, data, forbidden, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / name} is of another configuration (signature {config.signature()}, not "
        f"{other.signature()}); train in another folder, or remove it"
    )
    # Checkpoints of older versions do not tell whose they are, and are taken.
    forget_signature(tmp_path / name)
    assert len(train(other, data, ignore, tmp_path).history) == 2


def test_pretrained_weights_are_needed_only_to_begin(data: TrialData, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    source = OutlierExposureEncoder(TINY, 6, pretrained=False).backbone.state_dict()
    # Weights as they are published are for three channels.
    source["conv_stem.weight"] = source["conv_stem.weight"].repeat(1, 3, 1, 1)
    checkpoint.save(weights, source, {})
    config = tiny_config(data, epochs=2, pretrained=str(weights))
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(1), tmp_path / "run")
    weights.unlink()
    assert len(train(config, data, ignore, tmp_path / "run").history) == 2
    with pytest.raises(UserError, match="there is no file"):
        train(config, data, ignore, tmp_path / "fresh")


def test_out_of_memory_names_the_batch_size(
    data: TrialData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 "
            "GiB of which 1.25 GiB is free. Process 7 has 70.00 GiB memory in use."
        )

    monkeypatch.setattr(Objective, "total", full)
    with pytest.raises(TrialError) as caught:
        train(tiny_config(data), data, forbidden, tmp_path)
    assert str(caught.value) == (
        "out of GPU memory at batch size 32 (Tried to allocate 2.00 GiB. GPU 0 has a total "
        "capacity of 79.11 GiB of which 1.25 GiB is free); choose a smaller batch_size in the "
        "space or more GPUs a trial"
    )
    # The tensors that filled the memory would live as long as the error that holds their frames.
    assert caught.value.__context__ is None


# Rungs


Judged = tuple[Trained, list[tuple[int, dict[str, torch.Tensor]]]]
"""A training, and the number of each epoch that was judged with its weights."""


def judged(data: TrialData, folder: Path, rungs: set[int], **options: Any) -> Judged:
    """Trains, and keeps a copy of every encoder that is judged."""
    seen: list[tuple[int, dict[str, torch.Tensor]]] = []

    def judge(encoder: Encoder, epoch: int) -> float:
        assert not encoder.training
        seen.append((epoch, {k: v.clone() for k, v in encoder.state_dict().items()}))
        return epoch / 10

    config = tiny_config(data, **options)
    return train(config, data, ignore, folder, judge, rungs), seen


def test_rungs_carry_what_the_judge_says_and_change_nothing_else(
    data: TrialData, tmp_path: Path, whole: Trained
) -> None:
    trained, seen = judged(data, tmp_path, {1, 3}, lr=1e-3)
    assert [number for number, _ in seen] == [1, 3]
    assert [epoch.val_score for epoch in trained.history] == [0.1, None, 0.3]
    assert losses(trained) == losses(whole)
    assert same_weights(trained, whole)


# So high a learning rate that the second epoch is far worse than the first.
WILD: dict[str, Any] = {"lr": 3e-2, "lam": 1.0, "epochs": 6, "batch_size": 16}


@pytest.fixture(scope="module")
def wild(data: TrialData, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Judged at each of its first epochs."""
    return judged(data, tmp_path_factory.mktemp("wild"), {1, 2, 3, 4}, **WILD)


def test_the_encoder_that_is_judged_is_the_best_so_far(
    data: TrialData, tmp_path: Path, wild: Judged
) -> None:
    _, always = wild
    trained, seen = judged(data, tmp_path, {2}, **WILD)
    first, second, *_ = trained.history
    assert first.val_loss < second.val_loss, "the last epoch was the best: the test shows nothing"
    [(number, weights)] = seen
    assert number == 2
    again = dict(always)[1]
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_an_encoder_is_judged_once(wild: Judged) -> None:
    trained, seen = wild
    val_losses = [epoch.val_loss for epoch in trained.history]
    best = [1 + int(np.argmin(val_losses[: k + 1])) for k in range(4)]
    assert len(set(best)) < 4, "every epoch was the best so far: the test shows nothing"
    assert [number for number, _ in seen] == sorted(set(best))
    assert [epoch.val_score for epoch in trained.history[:4]] == [number / 10 for number in best]


def test_scores_at_rungs_outlive_an_interruption(data: TrialData, tmp_path: Path) -> None:
    config = tiny_config(data)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, stop_after(2), tmp_path, lambda *_: 0.7, {1, 2})
    trained = train(config, data, ignore, tmp_path, lambda *_: 0.9, {1, 2})
    assert [epoch.val_score for epoch in trained.history] == [0.7, 0.7, None]


def test_validation_is_computed_without_tf32(data: TrialData) -> None:
    learner = Learner(tiny_config(data), data, pretrained=False)
    flag = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = flag.fp32_precision
    seen: set[tuple[bool, str]] = set()
    learner.encoder.register_forward_hook(
        lambda encoder, *_: seen.add((encoder.training, flag.fp32_precision))
    )
    learner.train(0)
    learner.validate()
    assert seen == {(True, before), (False, "ieee")}
    # Centroids are means of embeddings.
    learner = Learner(tiny_config(data, method="ddcsad"), data, pretrained=False)
    prepared: set[str] = set()
    backbone = learner.encoder.of_product(0).get_submodule("backbone")
    backbone.register_forward_hook(lambda *_: prepared.add(flag.fp32_precision))
    learner.prepare()
    assert prepared == {"ieee"}
    assert flag.fp32_precision == before
