"""bench.py: its arithmetic, its plain recipe against raysearch, and the program at tiny sizes."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from bench_parts import training
from bench_parts.chart import write_chart
from bench_parts.devices import check_gpu, forward_flops, packing_figures
from bench_parts.duel import CannotRunError, Duel, Timing, in_turns, measure
from bench_parts.parts import ON_CPU, PARTS, run_part
from bench_parts.plan import CPU, GPU, SMALL, Bench
from bench_parts.recipe import Trainer, new_loader
from bench_parts.recipe_scoring import cut, embed_clips, score_models
from bench_parts.rows import Figure, left_out, row_of, table, write_csv
from bench_parts.trials import seconds_until
from gpu.outcome import Section
from gpu.packing import TITLE
from gpu.plan import open_recordings, write_recordings

from raysearch.config import Options
from raysearch.data.batches import segment_starts
from raysearch.methods.method import Labels
from raysearch.training.embedding import Embedder
from raysearch.training.learner import Learner

PROGRAM = Path(__file__).parents[2] / "analysis" / "bench.py"

WITHOUT_RAY = """
import runpy, sys
sys.modules["ray"] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Run of a program on a machine that has no Ray."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Open the tiny recordings."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSEARCH_CACHE", str(folder / "cache"))
        write_recordings(SMALL.sizes, folder / "data")
        data = open_recordings(SMALL.sizes, folder / "data")
    plan = replace(SMALL, workers=0, repeats=1, apart=False)
    return Bench(plan, plan.sizes.options, data, folder)


@pytest.fixture
def trainer(bench: Bench) -> Trainer:
    return Trainer(bench.setting(16))


def logged(name: str, calls: list[str]) -> Callable[[], None]:
    def work() -> None:
        calls.append(name)
        time.sleep(0.001)

    return work


def test_both_sides_run_in_turns_after_a_first_call_that_is_not_timed() -> None:
    calls: list[str] = []
    duel = Duel("epoch", "clips", 10, logged("plain", calls), logged("raysearch", calls))
    timing = measure(duel, 2)
    assert calls == ["plain", "raysearch"] * 3
    assert len(timing.plain) == len(timing.raysearch) == 2
    assert min(*timing.plain, *timing.raysearch) >= 0.001


def test_a_cold_duel_has_the_seconds_that_its_works_return() -> None:
    duel = Duel("start", "starts", 1, lambda: 6.0, lambda: 2.0, is_cold=True)
    timing = measure(duel, 2)
    assert (timing.plain, timing.raysearch, timing.ratio) == ((6.0, 6.0), (2.0, 2.0), 3.0)


def test_rates_and_ratios_are_of_medians() -> None:
    duel = Duel("epoch", "clips", 10, time.time, time.time, "10 clips")
    row = row_of(Timing(duel, (4.0, 5.0, 90.0), (1.0, 2.0, 2.5)))
    assert (row.plain_rate, row.raysearch_rate, row.ratio) == (2.0, 5.0, 2.5)
    assert (row.plain_s, row.raysearch_s) == ("4;5;90", "1;2;2.5")


def test_several_works_are_timed_in_turns() -> None:
    calls: list[str] = []
    seconds = in_turns([logged(name, calls) for name in "abc"], 2)
    assert calls == [*"abcabcabc"]
    assert [len(times) for times in seconds] == [2, 2, 2]


@pytest.mark.parametrize(
    ("value", "least", "most", "passed"),
    [(0.98, 0.97, None, True), (0.96, 0.97, None, False), (0.2, None, 0.1, False),
     (0.1, None, 0.1, True), (5.0, None, None, None)],
)  # fmt: skip
def test_a_figure_passes_within_its_bounds(
    value: float, least: float | None, most: float | None, passed: bool | None
) -> None:
    row = row_of(Figure("real data", "of a constant batch", value, least, "remark", most))
    assert (row.value, row.passed, row.ratio) == (value, passed, None)


def test_rows_are_read_back_and_shown(tmp_path: Path) -> None:
    timing = Timing(Duel("epoch", "clips", 10, time.time, time.time), (4.0,), (1.0,))
    rows = [row_of(timing), row_of(Figure("FLOP use", "of bf16", 0.02)), left_out("x", "no GPU")]
    write_csv(tmp_path / "bench.csv", rows)
    with (tmp_path / "bench.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["kind"] for row in read] == ["duel", "figure", "left out"]
    assert [row["ratio"] for row in read] == ["4.0", "", ""]
    assert read[2]["remark"] == "no GPU"
    lines = table(rows).splitlines()
    assert lines[2].split() == ["epoch", "clips", "2.5", "10", "4"]
    assert lines[-1].split() == ["x", "no", "GPU"]


def test_bars_begin_at_one_and_grow_with_the_ratio(tmp_path: Path) -> None:
    def row(name: str, seconds: float) -> Timing:
        return Timing(Duel(name, "clips", 1, time.time, time.time), (seconds,), (1.0,))

    rows = [row_of(row(name, ratio)) for name, ratio in (("a", 2), ("<b>", 0.5), ("c", 16))]
    write_chart(tmp_path / "bench.svg", [*rows, left_out("x", "")], "1 & 2")
    root = ElementTree.parse(tmp_path / "bench.svg").getroot()
    shapes = root.findall("{*}rect")[1:]
    starts = [float(shape.attrib["x"]) for shape in shapes]
    widths = [float(shape.attrib["width"]) for shape in shapes]
    assert starts[0] == starts[2] == pytest.approx(starts[1] + widths[1])
    assert widths == pytest.approx([widths[0], widths[0], 4 * widths[0]], abs=0.3)
    assert [text.text for text in root.findall("{*}text")[1:-1:2]] == ["a", "<b>", "c"]


def test_every_batch_is_full() -> None:
    for plan in (CPU, GPU):
        held_out = round(plan.sizes.options.validation_share * plan.sizes.train_clips)
        targets = 6 * (plan.sizes.train_clips - held_out)
        assert [2 * targets % size for size in plan.sizes.batch_sizes] == [0] * len(
            plan.sizes.batch_sizes
        )
    assert GPU.sizes.total <= 300
    assert CPU.sizes.total <= 1800


def test_the_recipe_reads_the_same_clips(bench: Bench) -> None:
    assert len(bench.files()) == bench.clips // 2 + sum(file.product < 0 for file in bench.files())
    file = bench.files()[0]
    target, _ = bench.data.target_parts(bench.options.validation_share, 0)
    index = int(target.clips[0])
    wave = file.read()
    normalised = (target.store.waveform(index) - target.mean) / target.std
    assert np.allclose(wave, normalised, atol=1e-4)
    assert file.product == bench.data.products[index]


def test_an_epoch_of_the_recipe_shows_each_target_once_and_as_many_others(bench: Bench) -> None:
    batches = list(new_loader(bench.files(), bench.setting(16)))
    assert [len(waves) for waves, _ in batches] == [16] * 6 + [12]
    products = torch.cat([products for _, products in batches])
    assert int((products >= 0).sum()) == int((products < 0).sum()) == bench.clips // 2


def test_network_and_loss_are_those_of_raysearch(bench: Bench, trainer: Trainer) -> None:
    learner = Learner(bench.config(16), bench.data, pretrained=False)
    trainer.network.load_state_dict(learner.encoder.state_dict())
    trainer.network.eval()
    learner.encoder.eval()
    waves, products = next(iter(new_loader(bench.files(), bench.setting(16))))
    spectrograms = learner.objective.frontend(waves)
    assert torch.allclose(trainer.features(waves), spectrograms, atol=1e-4)
    with torch.no_grad():
        outputs = learner.encoder(spectrograms)
        machine = (products >= 0).float()
        targets = torch.nn.functional.one_hot(products.clamp(min=0), 6) * machine[:, None]
        losses = learner.method.losses(outputs, Labels(targets, machine, 16, machine.sum()))
        loss = trainer.loss(waves, products, mixes=False)
    assert float(loss) == pytest.approx(float(sum(losses.values())), rel=1e-4)


def test_the_recipe_learns(bench: Bench, trainer: Trainer) -> None:
    loader = new_loader(bench.files(), bench.setting(16))
    batch = next(iter(loader))
    before = trainer.validate([batch])
    for group in trainer.optimiser.param_groups:
        group["lr"] = 1e-3
    trainer.schedule.step = lambda *_: None  # type: ignore[method-assign]
    trainer.train([batch] * 20)
    assert trainer.train([batch]) < before


def test_embeddings_of_clips_are_those_of_raysearch(bench: Bench, trainer: Trainer) -> None:
    encoder = Learner(bench.config(16), bench.data, pretrained=False).encoder.eval()
    trainer.network.load_state_dict(encoder.state_dict())
    part = bench.test_part
    embedder = Embedder(encoder, bench.options, bench.data.ids)
    raysearch = embedder.clips(part, part.clips.tolist()).split()
    plain = embed_clips(bench.test_files(), trainer, bench.options.segments)
    assert len(plain) == len(raysearch) == 18
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(plain, raysearch, strict=True))


def test_segments_are_cut_as_the_paper_says() -> None:
    wave = np.arange(1000, dtype=np.float32)
    assert cut(wave, 300, 10)[:, 0].tolist() == segment_starts(1000, 300, 10).tolist()


def test_inlier_models_of_the_recipe_tell_outliers() -> None:
    rng = np.random.default_rng(0)
    fits = [rng.normal(size=(60, 4)).astype(np.float32) for _ in range(2)]
    normal = [rng.normal(size=(5, 4)).astype(np.float32) for _ in range(6)]
    outliers = [clip + 8 for clip in normal]
    tests = {1: ([*normal, *outliers], [0] * 6 + [1] * 6)}
    scores = score_models(fits, tests, {"gmm": (1, 2), "lof": (4,)})
    assert scores == {"gmm 1": 1.0, "gmm 2": 1.0, "lof 4": 1.0}


def test_a_constant_batch_takes_the_place_of_the_recordings(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray] = []
    of_feed = training.ConstantFeed.training

    def noted(self: training.ConstantFeed, epoch: int) -> object:
        for batch in of_feed(self, epoch):
            shown.append(batch.waveforms)
            yield batch

    monkeypatch.setattr(training.ConstantFeed, "training", noted)
    training.raysearch_training(bench, 16, 3)()
    assert len(shown) == 3
    assert shown[0] is shown[2]


def test_a_training_that_ignores_its_feed_is_seen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = training.raysearch_training(bench, 16, 3)
    monkeypatch.setattr(Learner, "train", lambda *_: None)
    with pytest.raises(CannotRunError, match="elsewhere than its feed"):
        train()


def test_flops_of_a_forward_pass_are_counted() -> None:
    options = Options(pretrained=False)
    # 0.39 G multiplications and additions at 224 x 224 x 3, less in the stem and 126 / 224 of them.
    assert 0.35e9 < forward_flops(options) < 0.5e9


def test_trials_at_once_become_figures() -> None:
    good = {"trials": 2, "clips_per_s": 900.0, "speed_up": 1.5, "error": ""}
    bad = {"trials": 4, "clips_per_s": None, "speed_up": None, "error": "out of GPU memory"}
    figure, missing = packing_figures(Section({TITLE: [good, bad]}), 32)
    assert isinstance(figure, Figure)
    assert (figure.part, figure.value) == ("packing, batch 32, 2 at once", 900.0)
    assert figure.remark == "1.50 times one; MPS off"
    assert missing == left_out("packing, batch 32, 4 at once", "out of GPU memory")


def test_a_part_that_fails_is_a_row_and_no_part_hides_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> list[Figure]:
        raise RuntimeError("no such\nkernel")

    monkeypatch.setitem(PARTS, "step", broken)
    rows, succeeded = run_part("step", bench)
    assert (rows, succeeded) == ([left_out("step", "RuntimeError: no such kernel")], False)
    rows, succeeded = run_part("precision", bench)
    assert succeeded
    assert rows[0].remark.startswith("val_score of bf16 and fp32: gpu_check.py")


def test_a_part_without_time_is_left_out(bench: Bench) -> None:
    hurried = replace(bench, plan=replace(SMALL, sizes=replace(SMALL.sizes, total=0.0)))
    rows, succeeded = run_part("scoring", hurried)
    assert succeeded
    assert rows[-1].remark.startswith("no time left")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_parts_of_a_gpu_need_one() -> None:
    with pytest.raises(CannotRunError, match="needs a GPU"):
        check_gpu()


def test_a_command_that_ends_early_is_an_error(tmp_path: Path) -> None:
    write = "open('first', 'w'); import time; time.sleep(60)"
    assert seconds_until("first", [sys.executable, "-c", write], tmp_path) > 0
    with pytest.raises(RuntimeError, match="ended early: for this reason"):
        seconds_until("second", [sys.executable, "-c", "print('for this reason')"], tmp_path)


def run_program(folder: Path, *arguments: str) -> tuple[str, list[dict[str, str]]]:
    """Run the program without Ray; return its output and the rows of bench.csv."""
    program = WITHOUT_RAY.format(folder=str(PROGRAM.parent))
    done = subprocess.run(
        [sys.executable, "-c", program, str(PROGRAM), "--out", str(folder), "--tiny", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[1]), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (folder / "bench.csv").open(newline="") as file:
        return done.stdout, list(csv.DictReader(file))


# Only the real program shows that its parts fit together.
@pytest.mark.slow
def test_the_tiny_program_runs_without_ray(tmp_path: Path) -> None:
    names = [f"--part={name}" for name in PARTS]
    output, rows = run_program(tmp_path, *names, "--repeats", "1")
    kinds = {row["part"]: row["kind"] for row in rows}
    duels = [f"{name}, batch 16" for name in ("epoch", "step", "feeding", "front end", "trial")]
    assert {name for name, kind in kinds.items() if kind == "duel"} == {
        *duels, "scoring", "inlier sweep",
    }  # fmt: skip
    assert all(float(row["ratio"]) > 0 for row in rows if row["kind"] == "duel")
    assert float(rows[1]["value"]) > 0
    reasons = {row["part"]: row["remark"] for row in rows if row["kind"] == "left out"}
    assert reasons["whole trial"] == reasons["trial start"] == "not installed: ray"
    assert reasons["packing"] == reasons["flop use"] == "needs a GPU, and --gpu"
    assert "gpu_check.py" in reasons["precision"]
    assert "whole trial" in output
    assert ElementTree.parse(tmp_path / "bench.svg").getroot().tag.endswith("svg")


# Both sides start Ray.
@pytest.mark.slow
def test_the_commands_are_measured(tmp_path: Path) -> None:
    parts = ["--part=trial start", "--part=whole trial"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--out", str(tmp_path), "--tiny", "--repeats=1", *parts],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == ["trial start", "whole trial"]
    assert all(float(row["ratio"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu"], "bench.py: this machine has no GPU; leave --gpu out"),
        (["--fixed", "epoch=3"], "bench.py: --fixed epoch=3: Extra inputs are not permitted"),
    ],
)
@pytest.mark.slow
def test_wrong_arguments_are_a_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--out", str(tmp_path / "out"), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[1]), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.stderr.splitlines()[-1] == message
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


def test_parts_of_a_cpu_are_all_but_the_trial_in_this_process() -> None:
    assert {*PARTS} - {*ON_CPU} == {"trial"}
