"""One trial on several workers: what they compute is what one computes."""

import copy
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.multiprocessing.spawn import start_processes

from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.errors import UserError
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import InlierSpec
from raysearch.training import checkpoint, feed, learner, train
from raysearch.training.conditions import TRAINED
from raysearch.training.distributed import (
    LOOPBACK,
    all_gather,
    all_reduce_sum,
    broadcast,
    join_group,
    leave_group,
    open_store,
    rank,
    shard,
    world_size,
)
from raysearch.training.embedding import Embedder
from raysearch.training.network import new_encoder
from raysearch.training.outcome import Epoch, TrialResult
from raysearch.training.sync_layers import GlobalBatchNorm, synchronise, wrap_encoder
from raysearch.training.trial import run_trial
from tests.doors import listening
from tests.tiny import TEN, open_valve, tiny_config

SPECS = (
    InlierSpec("gmm", 1),
    InlierSpec("gmm", 64),
    InlierSpec("lof", 3),
    InlierSpec("none", None),
)
# Batches of 12 and 14 samples. The low learning rate keeps Adam from making full steps of what is
# but rounding error, as in the golden curve.
CURVE: dict[str, Any] = {
    "lr": 3e-4,
    "batch_size": 14,
    "lam": 1.0,
    "epochs": 2,
    "segment_seconds": 2.0,
}
CLIPS = [7, 2, 30, 11, 5]
METHODS = sorted(set(map(str, TRAINED)) - {"proposed"})


# What the workers do. Each function runs on every worker and returns what the tests look at.


def launch(
    count: int, scenario: Callable[..., dict[str, Any]], folder: Path, root: Path
) -> list[SimpleNamespace]:
    """Run a scenario on some workers and return the result of each."""
    # Workers are forked from a process that has imported everything, and has not run anything.
    multiprocessing.set_forkserver_preload(["raysearch.training.trial", "pytest"])
    arguments = (count, scenario, folder, root)
    start_processes(_worker, arguments, count, start_method="forkserver")  # type: ignore[no-untyped-call]
    return [
        SimpleNamespace(**pickle.loads((folder / f"{number}.pickle").read_bytes()))
        for number in range(count)
    ]


def _worker(
    number: int, count: int, scenario: Callable[..., Any], folder: Path, root: Path
) -> None:
    warnings.simplefilter("error")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    compute_on_cpu(SimpleNamespace(setattr=setattr))
    dist.init_process_group(
        "gloo", f"file://{folder}/group", timedelta(seconds=100), count, rank=number
    )
    # Only the first worker has the folder: the others would find nothing, and write in vain.
    visible = folder if number == 0 else folder / f"absent-{number}"
    result = scenario(open_valve(root), visible)
    (folder / f"{number}.pickle").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()


def compute_on_cpu(patch: Any) -> None:
    for module in (train, learner):
        patch.setattr(module, "best_device", lambda: torch.device("cpu"))


def pair(data: TrialData, folder: Path) -> dict[str, Any]:
    """Run the work of each of two workers."""
    epochs: list[Epoch] = []
    result = run_trial(tiny_config(data, **CURVE), data, SPECS, epochs.append, folder / "dropout")
    return {
        **dropped(),
        "who": (rank(), world_size()),
        "norms": {name: norm_of_shards(name, [5, 3]) for name in NORMS},
        "failure": failure(lambda: broadcast(fail)),
        "strange": failure(lambda: broadcast(fail_strangely)),
        "first": broadcast(rank),
        "total": all_reduce_sum(torch.tensor([1.0, rank()])).tolist(),
        "gathered": all_gather([f"{rank()}"] * (3 if rank() == 0 else 2), 5),
        "plain": history(data, folder / "plain", dropout=0.0),
        "result": result,
        "reported": epochs,
        "embeddings": embeddings(data, new_encoder_of_seed(), CLIPS),
        "begun": interrupted(data, folder / "begun"),
        "moments": broadcast(lambda: moments(folder / "begun")),
        "methods": {name: of_method(data, folder / name, name) for name in METHODS},
        "diverged": failure(lambda: history(data, folder / "diverged", lr=1e30)),
        "blown": failure(lambda: history(data, folder / "blown", lr=1.0, lam=1e4)),
        "foreign": failure(lambda: history(data, folder / "plain", dropout=0.0, seed=1)),
        "wrapped": sorted(wrapped_state()),
    }


def three(data: TrialData, folder: Path) -> dict[str, Any]:
    """Run the work of each of three workers."""
    feed.EVALUATION_BATCH = 5  # of twelve clips two are left for the last batch
    return {
        **dropped(),
        "norms": {name: norm_of_shards(name, [1, 5, 2]) for name in NORMS},
        "plain": history(data, folder / "plain", dropout=0.0),
        "embeddings": embeddings(data, new_encoder_of_seed(), CLIPS[:2]),
        "narrow": failure(lambda: history(data, folder / "narrow", batch_size=2)),
        "shares": all_gather(list(range(8))[shard()], 8),
    }


def failure(do: Callable[[], object]) -> tuple[str, str]:
    try:
        do()
    except Exception as error:
        return type(error).__name__, str(error)
    raise AssertionError("nothing was raised")


def fail() -> None:
    raise UserError("no such thing")


def fail_strangely() -> None:
    class LocalError(Exception):
        """Cannot be sent to another process, since that could not import it."""

    raise LocalError("here only")


def ignore(_: Epoch) -> None:
    pass


def history(data: TrialData, folder: Path, **settings: Any) -> tuple[Epoch, ...]:
    return train.train(tiny_config(data, **CURVE | settings), data, ignore, folder).history


def of_method(data: TrialData, folder: Path, method: str) -> list[tuple[float, float]]:
    """Return training and validation losses of another method than the proposed one."""
    epochs = history(data, folder, dropout=0.0, method=method, batch_size=16, segment_seconds=0.5)
    return [(epoch.train_loss, epoch.val_loss) for epoch in epochs]


def interrupted(data: TrialData, folder: Path) -> list[int]:
    """Trains with two workers until the end of the first of two epochs."""
    epochs: list[int] = []

    def report(epoch: Epoch) -> None:
        epochs.append(epoch.epoch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(tiny_config(data, **CURVE, dropout=0.0), data, report, folder)
    return epochs


def moments(folder: Path) -> dict[str, torch.Tensor]:
    """Running means of squared gradients, by parameter, of an interrupted training."""
    tensors, _ = checkpoint.load(folder / "last.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.endswith("/exp_avg_sq")}


def new_encoder_of_seed() -> Encoder:
    torch.manual_seed(0)
    return new_encoder(TEN, 6, pretrained=False).eval()


def embeddings(data: TrialData, encoder: Encoder, clips: list[int]) -> np.ndarray:
    store = data.target
    part = Part(store, np.arange(len(store.clips)), store.mean, store.std)
    return Embedder(encoder, TEN).clips(part, clips).rows


def whole_batch() -> torch.Tensor:
    return torch.arange(1.0, 36.0).reshape(5, 7)


def dropped() -> dict[str, torch.Tensor]:
    layer = nn.Sequential(nn.Dropout(0.3))
    synchronise(layer)
    torch.manual_seed(3)
    share = whole_batch()[shard()]
    return {"dropped": layer(share), "kept": layer.eval()(share)}


def wrapped_state() -> dict[str, Any]:
    encoder = new_encoder_of_seed()
    wrap_encoder(encoder)
    assert any(isinstance(module, GlobalBatchNorm) for module in encoder.modules())
    return encoder.state_dict()


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], torch.dtype]] = {
    "2d": (lambda: nn.BatchNorm2d(3), (8, 3, 4, 5), torch.float64),
    "1d": (lambda: nn.BatchNorm1d(3), (8, 3), torch.float64),
    "timm": (lambda: BatchNormAct2d(3, act_layer=nn.SiLU), (8, 3, 4, 5), torch.float64),
    "plain": (lambda: nn.BatchNorm2d(3, affine=False, momentum=None), (8, 3, 2, 2), torch.float64),
    "float32": (lambda: BatchNormAct2d(3, act_layer=nn.PReLU), (8, 3, 4, 5), torch.float32),
}
NORM_STEPS = 3


def norm_and_batches(name: str) -> tuple[nn.Module, list[torch.Tensor], torch.Tensor]:
    make, shape, dtype = NORMS[name]
    generator = torch.Generator().manual_seed(1)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    norm = nn.Sequential(make()).to(dtype)
    for parameter in norm.parameters():
        parameter.data = draw(*parameter.shape)
    # Far from zero, where sums of squares would lose the variance; samples differ in their mean.
    batches = [
        (100 + 3 * draw(*shape) + 2 * draw(8, *[1] * (len(shape) - 1))).contiguous(
            memory_format=torch.channels_last if len(shape) == 4 else torch.contiguous_format
        )
        for _ in range(NORM_STEPS)
    ]
    return norm, batches, draw(*shape)


NormRun = tuple[
    list[torch.Tensor],
    list[torch.Tensor],
    dict[str, torch.Tensor],
    dict[str, torch.Tensor],
    torch.Tensor,
]
"""Outputs and input gradients by step, gradients by parameter, final state, evaluated output."""


def run_norm(norm: nn.Module, batches: list[torch.Tensor], weights: torch.Tensor) -> NormRun:
    """Run some steps in training and one in evaluation."""
    outputs, inner = [], []
    for batch in batches:
        x = batch.clone().requires_grad_()
        y = norm(x)
        (y * weights).sum().backward()
        outputs.append(y.detach())
        assert x.grad is not None
        inner.append(x.grad)
    evaluated = copy.deepcopy(norm).eval()(batches[0])
    gradients = {}
    for name, parameter in norm.named_parameters():
        assert parameter.grad is not None
        gradients[name] = parameter.grad
    return outputs, inner, gradients, norm.state_dict(), evaluated.detach()


def norm_of_shards(name: str, sizes: list[int]) -> NormRun:
    norm, batches, weights = norm_and_batches(name)
    synchronise(norm)
    start = sum(sizes[: rank()])
    share = slice(start, start + sizes[rank()])
    return run_norm(norm, [batch[share] for batch in batches], weights[share])


# What the tests compare it with.


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture(autouse=True, scope="module")
def _cpu_and_one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        compute_on_cpu(patch)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(data: TrialData, demo_data: Path, folder: Path) -> list[SimpleNamespace]:
    return launch(2, pair, folder, demo_data)


@pytest.fixture(scope="module")
def trio(
    data: TrialData, demo_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[SimpleNamespace]:
    return launch(3, three, tmp_path_factory.mktemp("three"), demo_data)


@pytest.fixture(scope="module")
def plain(data: TrialData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Epoch, ...]:
    return history(data, tmp_path_factory.mktemp("plain"), dropout=0.0)


Alone = tuple[TrialResult, Path]
"""Result of one worker and the folder of its checkpoints."""


@pytest.fixture(scope="module")
def alone(data: TrialData, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    folder = tmp_path_factory.mktemp("alone")
    return run_trial(tiny_config(data, **CURVE), data, SPECS, ignore, folder), folder


LOSSES = [
    f"{part}_{kind}"
    for part in ("train", "val")
    for kind in ("loss", "machine_loss", "product_loss")
]


def losses(history: tuple[Epoch, ...]) -> np.ndarray:
    return np.array([[getattr(epoch, name) for name in LOSSES] for epoch in history])


def test_one_process_is_its_only_worker() -> None:
    assert (rank(), world_size()) == (0, 1)
    assert broadcast(lambda: 3) == 3
    with pytest.raises(UserError, match="no such thing"):
        broadcast(fail)
    assert all_gather([1, 2], 2) == [1, 2]
    assert list("abc")[shard()] == list("abc")
    encoder = new_encoder_of_seed()
    assert wrap_encoder(encoder) is encoder
    assert not any(isinstance(module, GlobalBatchNorm) for module in encoder.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_batch_norm_of_shards_is_that_of_the_whole(
    request: pytest.FixtureRequest, name: str, count: int
) -> None:
    norm, batches, weights = norm_and_batches(name)
    outputs, inner, gradients, state, evaluated = run_norm(norm, batches, weights)
    if count == 1:
        norm, batches, weights = norm_and_batches(name)
        synchronise(norm)
        shards = [run_norm(norm, batches, weights)]
    else:
        shards = [w.norms[name] for w in request.getfixturevalue({2: "two", 3: "trio"}[count])]
    single = NORMS[name][2] == torch.float32
    rtol, atol = (1e-3, 1e-4) if single else (1e-10, 1e-11)
    for step in range(NORM_STEPS):
        together = torch.cat([part[0][step] for part in shards])
        torch.testing.assert_close(together, outputs[step], rtol=rtol, atol=atol)
        together = torch.cat([part[1][step] for part in shards])
        torch.testing.assert_close(together, inner[step], rtol=rtol, atol=atol)
    for key, gradient in gradients.items():
        summed = sum(part[2][key] for part in shards)
        torch.testing.assert_close(summed, gradient, rtol=rtol, atol=atol)
    for part in shards:
        assert list(part[3]) == list(state)
        for key, value in state.items():
            torch.testing.assert_close(part[3][key], value, rtol=rtol, atol=atol)
    together = torch.cat([part[4] for part in shards])
    first = evaluated if count == 1 else torch.cat([evaluated])
    torch.testing.assert_close(together, first, rtol=rtol, atol=atol)


def test_batch_norm_of_half_precision_computes_in_full() -> None:
    norm, (batch, *_), weights = norm_and_batches("2d")
    norms = [norm.float(), copy.deepcopy(norm).float()]
    synchronise(norms[1])
    expected, actual = (run_norm(n, [(batch / 10).bfloat16()], weights) for n in norms)
    assert actual[0][0].dtype == actual[1][0].dtype == torch.bfloat16
    for steps, expected_steps in zip(actual[:2], expected[:2], strict=True):
        torch.testing.assert_close(steps[0], expected_steps[0], rtol=0.02, atol=0.02)
    for key, gradient in expected[2].items():
        torch.testing.assert_close(actual[2][key], gradient, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(actual[3], expected[3], rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_the_first_worker_speaks_for_all(two: list[SimpleNamespace]) -> None:
    assert [w.who for w in two] == [(0, 2), (1, 2)]
    for worker in two:
        assert worker.first == 0
        assert worker.failure == ("UserError", "no such thing")
    assert two[0].strange == ("LocalError", "here only")
    assert two[1].strange == ("RuntimeError", "LocalError: here only")


@pytest.mark.slow
def test_sums_and_rows_of_all_workers(
    two: list[SimpleNamespace], trio: list[SimpleNamespace]
) -> None:
    for worker in two:
        assert worker.total == [2.0, 1.0]
        assert worker.gathered == ["0", "1", "0", "1", "0"]
    assert [worker.shares for worker in trio] == [list(range(8))] * 3


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_the_loss_curve_does_not_depend_on_the_workers(
    request: pytest.FixtureRequest, plain: tuple[Epoch, ...], count: int
) -> None:
    workers = request.getfixturevalue({2: "two", 3: "trio"}[count])
    np.testing.assert_allclose(losses(workers[0].plain), losses(plain), rtol=3e-4)
    assert [e.lr for e in workers[0].plain] == [e.lr for e in plain]
    for worker in workers[1:]:  # to the last bit, and the second
        assert worker.plain == workers[0].plain


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_method_depends_on_the_workers(
    two: list[SimpleNamespace], data: TrialData, tmp_path: Path, method: str
) -> None:
    expected = of_method(data, tmp_path, method)
    for worker in two:
        np.testing.assert_allclose(worker.methods[method], expected, rtol=1e-3)


@pytest.mark.slow
def test_gradients_are_those_of_the_whole_batch(
    two: list[SimpleNamespace], data: TrialData, tmp_path: Path
) -> None:
    # Losses tell nothing of their scale, to which Adam is blind.
    interrupted(data, tmp_path)
    expected = moments(tmp_path)
    assert two[1].moments.keys() == expected.keys()
    for name, square in expected.items():
        least = 1e-9  # smaller ones are rounding errors, of the bias before a batch norm
        torch.testing.assert_close(two[1].moments[name], square, rtol=0.05, atol=least)
    assert max(float(square.max()) for square in expected.values()) > 1e-4


@pytest.mark.slow
def test_dropout_does_not_depend_on_the_workers(
    two: list[SimpleNamespace], alone: Alone, plain: tuple[Epoch, ...]
) -> None:
    result, _ = alone
    actual, expected = losses(two[0].result.history), losses(result.history)
    np.testing.assert_allclose(actual, expected, rtol=3e-4)
    assert abs(losses(plain) / expected - 1).max() > 1e-3  # without it all is different


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_dropout_of_shards_is_that_of_the_whole(request: pytest.FixtureRequest, count: int) -> None:
    workers = request.getfixturevalue({2: "two", 3: "trio"}[count])
    torch.manual_seed(3)
    whole = nn.Dropout(0.3)(whole_batch())
    for number, worker in enumerate(workers):
        assert torch.equal(worker.dropped, whole[number::count])
        assert torch.equal(worker.kept, whole_batch()[number::count])


@pytest.mark.slow
def test_all_workers_have_the_same_result(two: list[SimpleNamespace]) -> None:
    first, second = two
    assert first.result == second.result
    assert first.reported == second.reported == list(first.result.history)
    assert [(row.inlier, row.p) for row in first.result.rows] == [(s.name, s.p) for s in SPECS]


@pytest.mark.slow
def test_the_result_is_that_of_one_worker(
    two: list[SimpleNamespace], data: TrialData, folder: Path, alone: Alone
) -> None:
    def forbidden(epoch: Epoch) -> None:
        raise AssertionError(f"epoch {epoch.epoch} was trained")

    result = two[0].result
    # Judged alone, the encoder that two workers trained has the same rows.
    config = tiny_config(data, **CURVE)
    again = run_trial(config, data, SPECS, forbidden, folder / "dropout")
    assert again.history == result.history
    for row, expected in zip(result.rows, again.rows, strict=True):
        assert (row.error, row.remark) == (expected.error, expected.remark)
        assert row.auc == pytest.approx(expected.auc, abs=1e-9)
        assert row.pauc == pytest.approx(expected.pauc, abs=1e-9)
    # Trained alone, an encoder has nearly the same score.
    for row, expected in zip(result.rows, alone[0].rows, strict=True):
        assert row.val_score == pytest.approx(expected.val_score, abs=0.01)
        assert row.error == expected.error


@pytest.mark.slow
def test_checkpoints_do_not_tell_how_many_workers_wrote_them(
    two: list[SimpleNamespace], folder: Path, alone: Alone
) -> None:
    files = [sorted(p.name for p in f.iterdir()) for f in (folder / "dropout", alone[1])]
    assert files == [["best.safetensors"]] * 2
    tensors, facts = checkpoint.load(folder / "dropout" / "best.safetensors")
    expected, known = checkpoint.load(alone[1] / "best.safetensors")
    assert {k: v.shape for k, v in tensors.items()} == {k: v.shape for k, v in expected.items()}
    assert facts.keys() == known.keys()
    assert facts["signature"] == known["signature"]
    assert two[0].wrapped == sorted(new_encoder_of_seed().state_dict())
    # The second worker looked for its files elsewhere, and left none.
    assert not (folder / "absent-1").exists()


@pytest.mark.slow
def test_one_worker_resumes_where_two_were_interrupted(
    two: list[SimpleNamespace], data: TrialData, folder: Path, plain: tuple[Epoch, ...]
) -> None:
    assert [worker.begun for worker in two] == [[1], [1]]
    resumed = train.train(tiny_config(data, **CURVE, dropout=0.0), data, ignore, folder / "begun")
    assert resumed.resumes == (1,)
    assert replace(resumed.history[0], seconds=0) == replace(two[0].plain[0], seconds=0)
    np.testing.assert_allclose(losses(resumed.history), losses(plain), rtol=3e-4)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_each_clip_is_embedded_once_and_in_its_place(
    request: pytest.FixtureRequest, data: TrialData, count: int
) -> None:
    workers = request.getfixturevalue({2: "two", 3: "trio"}[count])
    clips = CLIPS if count == 2 else CLIPS[:2]  # fewer clips than workers
    expected = embeddings(data, new_encoder_of_seed(), clips)
    for worker in workers:
        assert worker.embeddings.shape == (len(clips) * TEN.segments, 128)
        np.testing.assert_allclose(worker.embeddings, expected, rtol=1e-3, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3  # clips differ by more than that


@pytest.mark.slow
def test_what_fails_fails_on_every_worker(two: list[SimpleNamespace]) -> None:
    assert len({worker.blown for worker in two}) == 1
    for worker in two:
        assert worker.diverged == ("TrialError", "the loss diverged (not finite) in epoch 1")
        name, message = worker.blown
        assert name == "TrialError"
        assert message.startswith("the loss diverged: on the held-out clips it is ")
        name, message = worker.foreign
        assert name == "UserError"
        assert "best.safetensors is of another configuration" in message


@pytest.mark.slow
def test_more_workers_than_samples_of_a_batch(trio: list[SimpleNamespace]) -> None:
    for worker in trio:
        assert worker.narrow == (
            "TrialError",
            "batch_size 2: 3 workers cannot share a batch of 2 samples; choose a larger "
            "batch_size or fewer workers a trial",
        )


def test_a_group_listens_on_the_loopback_alone_and_closes_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    before = listening([os.getpid()])
    port = open_store(LOOPBACK, 1)
    assert (LOOPBACK, port) in listening([os.getpid()])
    join_group((LOOPBACK, port), 0, 1, "gloo", 60.0)
    try:
        assert dist.is_initialized()
        assert all_reduce_sum(torch.ones(2)).tolist() == [1, 1]
        opened = listening([os.getpid()]) - before
        assert {address for address, _ in opened} == {LOOPBACK}
    finally:
        leave_group()
    assert not dist.is_initialized()
    assert (LOOPBACK, port) not in listening([os.getpid()])
    assert os.environ.pop("GLOO_SOCKET_IFNAME") == "lo"
