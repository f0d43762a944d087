"""A detector in a folder: the same scores anywhere, and a clear word where it is damaged."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import soundfile
import timm
import torch
from timm.models import save_for_hf
from upath import UPath

from raysearch.data.decode import decode
from raysearch.detector import Detector
from raysearch.errors import DataError, UserError
from raysearch.scoring.inlier import INLIERS, InlierModel
from raysearch.scoring.metrics import Floats
from raysearch.study.bundle import NORMAL_SCORES, load_detector, replace_detector, save_detector
from raysearch.training import checkpoint
from tests.detectors import IDS, count_embedded, embed, make_detector

RATE = 16000


@pytest.fixture(autouse=True)
def _cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bit for bit the same is promised for a CPU.
    monkeypatch.setattr("raysearch.study.bundle.best_device", lambda: torch.device("cpu"))


@pytest.fixture
def local(tmp_path: Path) -> UPath:
    return UPath(tmp_path)


def record(path: Path, seconds: float = 3.0, rate: int = RATE, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).normal(0, 0.1, (round(seconds * rate), channels))
    soundfile.write(path, noise, rate)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        record(tmp_path / "section_00_source_test_0000.wav"),
        record(tmp_path / "section_03_source_test_normal_0001.wav", 2.5),
        record(tmp_path / "section_10_0001.wav", 0.7),
    ]


def score_files(
    detector: Detector, files: list[Path], identity: str | None
) -> list[tuple[Path, str, float, bool]]:
    scores = detector.score(files, id=identity)
    assert [s.threshold for s in scores] == [detector.thresholds[s.id] for s in scores]
    return [(Path(s.file), s.id, s.score, s.anomalous) for s in scores]


NORMAL = {identity: (float(n), n + 0.5) for n, identity in enumerate(IDS)}
EXTRA = ("normal", "recorded_rate")
EXAMPLES: dict[str, float | None] = {
    **dict.fromkeys(("gmm", "gmm_diag", "gmm_tied"), 2),
    **dict.fromkeys(("lof", "knn", "knn_cosine", "knn_local"), 5),
    **{"mahalanobis": 0.1, "pca": 0.9, "ocsvm": 0.1, "kde": 1.5, "none": None},
}


@pytest.mark.parametrize("inlier", INLIERS)
def test_a_loaded_detector_gives_the_same_scores(
    tmp_path: Path, files: list[Path], inlier: str
) -> None:
    detector = replace(make_detector(inlier, EXAMPLES[inlier]), recorded_rate=22050, normal=NORMAL)
    save_detector(detector, UPath(tmp_path / "a" / "detector"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    loaded = load_detector(UPath(tmp_path / "b" / "detector"))
    scores, expected = score_files(loaded, files, None), score_files(detector, files, None)
    assert scores == expected
    assert [identity for _, identity, _, _ in scores] == list(IDS)
    assert len({score for _, _, score, _ in scores}) == 3
    for field in ("machine", "options", "mean", "std", "spec", "thresholds", "ids", *EXTRA):
        assert getattr(loaded, field) == getattr(detector, field)


@pytest.mark.parametrize("inlier", ["gmm", "knn"])
def test_a_detector_has_its_options_aggregator(
    local: UPath, files: list[Path], inlier: str
) -> None:
    segments = make_detector(inlier, 2, segments=10)
    expected: dict[str, Callable[[Floats], float]] = {
        "max": lambda scores: scores.max(),
        "mean": lambda scores: scores.mean(),
        "above_median": lambda scores: np.sort(scores)[5:].mean(),
    }
    embeddings = embed(segments, decode(files[0], rate=RATE), "0")
    scores = segments.models["0"].score(embeddings)
    assert len(set(scores)) == 10
    for how, value in expected.items():
        detector = make_detector(inlier, 2, segments=10, aggregator={inlier: how})
        save_detector(detector, local / how)
        for scorer in (detector, load_detector(local / how)):
            assert scorer.score_file(files[0], "0")[0] == pytest.approx(value(scores), rel=1e-12)


def test_a_detector_is_saved_over_another(folder: UPath, files: list[Path]) -> None:
    save_detector(make_detector("gmm", 2), folder)
    save_detector(make_detector("lof", 5, ids=("0", "1", "2", "3")), folder)
    loaded = load_detector(folder)
    assert loaded.ids == ["0", "1", "2", "3"]
    assert score_files(loaded, files[:1], None) == score_files(
        make_detector("lof", 5, ids=("0", "1", "2", "3")), files[:1], None
    )


def test_a_detector_takes_the_place_of_another(folder: UPath, files: list[Path]) -> None:
    new, expected = make_detector("knn", 5), score_files(make_detector("knn", 5), files, None)
    normal = dict.fromkeys(IDS, (0.5,))
    replace_detector(replace(make_detector(), normal_scores=normal), folder)
    assert (folder / NORMAL_SCORES).is_file()
    # A process that was killed may have left these on a disk.
    if isinstance(folder, Path):
        for kind in ("new", "old"):
            save_detector(make_detector(), folder.with_name(f".{folder.name}.{kind}"))
    replace_detector(new, folder)
    assert score_files(load_detector(folder), files, None) == expected
    assert not (folder / NORMAL_SCORES).exists()
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def test_a_detector_is_weights_arrays_and_json(tmp_path: Path) -> None:
    save_detector(make_detector(), UPath(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {
        "detector.json",
        "encoder.safetensors",
        "inlier.safetensors",
    }
    facts = json.loads((tmp_path / "detector.json").read_text())
    assert (facts["ids"], facts["inlier"], facts["p"]) == (list(IDS), "gmm", 2)


def test_a_detector_of_an_earlier_version_scores_as_before(
    tmp_path: Path, files: list[Path]
) -> None:
    detector, folder = make_detector(), tmp_path / "detector"
    save_detector(detector, UPath(folder))
    write_facts(folder, {k: v for k, v in facts_of(folder).items() if k not in EXTRA})
    assert load_detector(UPath(folder)).score(files) == detector.score(files)


def test_a_score_does_not_depend_on_the_files_beside_it(files: list[Path]) -> None:
    detector = make_detector()
    alone = [score_files(detector, [path], None)[0] for path in files]
    assert alone == score_files(detector, files, None)
    assert alone[::-1] == score_files(detector, files[::-1], None)


def test_the_decision_is_whether_the_score_lies_above_the_threshold(files: list[Path]) -> None:
    detector = make_detector()
    ((_, _, score, _),) = score_files(detector, files[:1], "0")
    for threshold, decision in ((score, False), (np.nextafter(score, -np.inf), True)):
        changed = replace(detector, thresholds={"0": float(threshold)})
        assert score_files(changed, files[:1], "0") == [(files[0], "0", score, decision)]


def test_each_id_has_a_model_of_its_own(files: list[Path]) -> None:
    detector = make_detector()
    scores = {detector.score_file(files[0], identity)[0] for identity in IDS}
    assert len(scores) == 3


def test_recordings_are_read_as_the_options_say(tmp_path: Path) -> None:
    stereo = record(tmp_path / "a.wav", channels=2)
    samples, _ = soundfile.read(stereo)
    soundfile.write(tmp_path / "right.wav", samples[:, 1], RATE)
    right, plain = make_detector(channel=1), make_detector()
    assert right.score_file(stereo, "0") == plain.score_file(tmp_path / "right.wav", "0")
    assert plain.score_file(stereo, "0") != plain.score_file(tmp_path / "right.wav", "0")
    slow = record(tmp_path / "slow.wav", rate=8000)
    assert plain.windows(slow, id="0", any_rate=True)[-1].end == 3.0


# Which product ID judges


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("section_03_source_test_0000.wav", "3"),
        ("anything/at/all/section_10_target_test_anomaly_0001_strength_1.wav", "10"),
        ("section_03_0000.wav", "3"),
        ("normal_id_00_00000000.wav", "0"),
        ("id_03_00000000.flac", "3"),
        ("0dB/valve/id_10/normal/00000000.wav", "10"),
        ("valve/id_03/abnormal/00000000.wav", "3"),
    ],
)
def test_a_name_tells_the_id(name: str, identity: str) -> None:
    assert make_detector().identity_of(Path(name), None) == identity


@pytest.mark.parametrize(("text", "identity"), [("3", "3"), ("03", "3"), ("10", "10")])
def test_an_id_of_the_user_goes_before_the_name(text: str, identity: str) -> None:
    detector = make_detector()
    assert detector.identity_of(Path("section_00_source_test_0000.wav"), text) == identity
    assert detector.identity_of(Path("my recording.wav"), text) == identity


def test_a_detector_of_one_id_needs_no_word_on_it() -> None:
    detector = make_detector(ids=("7",))
    assert detector.identity_of(Path("my recording.wav"), None) == "7"
    with pytest.raises(UserError, match="ID 8 is not one of 7"):
        detector.identity_of(Path("my recording.wav"), "8")


@pytest.mark.parametrize(
    ("name", "identity", "problem"),
    [
        (
            "my recording.wav",
            None,
            "cannot read a product ID from the file name; pass --id (one of 0, 3, 10)",
        ),
        ("section_04_source_test_0000.wav", None, "ID 4 is not one of 0, 3, 10"),
        ("section_03_source_test_0000.wav", "left", "ID left is not one of 0, 3, 10"),
    ],
)
def test_an_unknown_id_is_refused(name: str, identity: str | None, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        make_detector().identity_of(Path(name), identity)
    assert problem in str(caught.value)
    assert name in str(caught.value)


def test_wrong_ids_show_before_anything_is_scored(files: list[Path]) -> None:
    files[0].write_text("garbage")
    with pytest.raises(UserError, match="ID 4 is not one of"):
        score_files(make_detector(), [files[0], record(files[0].with_name("id_04_01.wav"))], None)


def test_a_file_that_is_missing_or_unusable_is_named(files: list[Path]) -> None:
    detector = make_detector()
    with pytest.raises(UserError, match=r"there is no file .*gone\.wav"):
        score_files(detector, [*files, files[0].with_name("gone.wav")], "0")
    files[1].write_text("garbage")
    with pytest.raises(UserError, match=r"section_03_source_test_normal_0001\.wav: unreadable"):
        score_files(detector, files, None)


def test_any_is_the_id_by_which_a_recording_is_the_least_anomalous(files: list[Path]) -> None:
    """Scores of the IDs are shifted and scaled apart, which the comparison must not see."""
    base = make_detector()
    scores = {i: [s.score for s in base.score(files, id=i)] for i in IDS}
    normal = {i: (float(np.mean(scores[i])), float(np.std(scores[i]))) for i in IDS}
    detector = replace(base, normal=normal)
    standardised = np.array([(np.array(scores[i]) - normal[i][0]) / normal[i][1] for i in IDS])
    results = detector.score(files, id="any")
    assert [s.score for s in results] == standardised.min(axis=0).tolist()
    assert [s.id for s in results] == [IDS[k] for k in standardised.argmin(axis=0)]
    for result, path in zip(results, files, strict=True):
        [alone] = base.score(path, id=result.id)
        mean, std = normal[result.id]
        assert result.threshold == pytest.approx((alone.threshold - mean) / std)
        assert result.anomalous == alone.anomalous
    # An ID whose scores are higher by a constant is no less likely for it.
    shifted = {i: (mean - 1000 * (i == "3"), std) for i, (mean, std) in normal.items()}
    assert "3" not in {s.id for s in replace(base, normal=shifted).score(files, id="any")}


def test_any_embeds_a_recording_once_by_each_network(files: list[Path]) -> None:
    for method, expected in (("proposed", [1]), ("ddcsad", [1, 1, 1])):
        detector = replace(make_detector(method=method), normal=NORMAL)
        networks = [detector.encoder.of_product(k) for k in range(len(expected))]
        with count_embedded(networks) as counts:
            [least] = detector.score(files[0], id="any")
        assert counts == expected
        alone = [s for i in IDS for s in detector.score(files[0], id=i)]
        assert least in [score.standardise(NORMAL) for score in alone]
        with count_embedded(networks) as counts:
            detector.score(files[0], id="3")
        assert sum(counts) == 1


def test_any_needs_the_scores_of_normal_clips(files: list[Path]) -> None:
    with pytest.raises(UserError, match="delete its folder and repeat the command of its run"):
        make_detector().score(files, id="any")
    alike = {identity: (0.0, float(identity != "3")) for identity in IDS}
    with pytest.raises(UserError, match="all normal clips of ID 3 have the same score"):
        replace(make_detector(), normal=alike).score(files, id="any")
    [score] = make_detector(ids=("0", "any")).score(files[:1], id="any")
    assert score.id == "any"  # a product of that name


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(0.3, [0]), (0.5, [0]), (1.0, [0, 0.25, 0.5]), (3.0, [0, 0.5, 1.0, 1.5, 2.0, 2.5])],
)
def test_the_segments_of_a_recording_have_scores_and_times(
    tmp_path: Path, seconds: float, starts: list[float]
) -> None:
    detector = make_detector("knn", 2)
    path = record(tmp_path / "section_03_1.wav", seconds)
    windows = detector.windows(path)
    assert [window.start for window in windows] == starts
    assert [window.end for window in windows] == [min(s + 0.5, seconds) for s in starts]
    assert {(window.file, window.id) for window in windows} == {(str(path), "3")}
    [whole] = detector.score(path)
    assert np.mean([window.score for window in windows]) == pytest.approx(whole.score, rel=1e-12)
    samples, rate = soundfile.read(path)
    by_samples = detector.windows(samples, id="3", rate=rate)
    assert [window.score for window in by_samples] == [window.score for window in windows]


def test_a_burst_is_in_its_segments_alone(tmp_path: Path) -> None:
    path = record(tmp_path / "section_03_1.wav", 60)
    samples, _ = soundfile.read(path)
    samples[round(40.1 * RATE) : round(40.4 * RATE)] *= 5
    detector = make_detector("knn", 2)
    quiet, loud = detector.windows(path), detector.windows(samples, id="3", rate=RATE)
    assert len(loud) == 120
    changed = [b for a, b in zip(quiet, loud, strict=True) if abs(a.score - b.score) > 1e-9]
    assert [(window.start, window.end) for window in changed] == [(40.0, 40.5)]


def test_segments_are_of_one_id(files: list[Path]) -> None:
    with pytest.raises(UserError, match="name one of 0, 3, 10"):
        replace(make_detector(), normal=NORMAL).windows(files[0], id="any")


@pytest.mark.parametrize(
    ("rate", "options", "recorded", "is_heard"),
    [
        (16000, {}, None, True),
        (48000, {}, 16000, True),
        (8000, {}, None, False),
        (8000, {}, 16000, False),
        (11025, {}, 48000, False),
        (8000, {}, 8000, True),  # the training recordings had no more
        (8000, {"f_max": 3500.0}, 16000, True),  # the detector hears no more
        (6000, {"f_max": 3500.0}, 16000, False),
    ],
)
def test_a_recording_without_the_band_that_the_detector_hears_is_refused(
    tmp_path: Path, rate: int, options: dict[str, Any], recorded: int | None, is_heard: bool
) -> None:
    detector = replace(make_detector(**options), recorded_rate=recorded)
    path = record(tmp_path / "section_00_1.wav", rate=rate)
    samples, _ = soundfile.read(path)
    [anyway] = detector.score(path, any_rate=True)
    assert anyway.score == detector.score_file(path, "0")[0]
    if is_heard:
        assert detector.score(path) == [anyway]
        assert detector.score(samples, id="0", rate=rate)[0].score == anyway.score
        return
    with pytest.raises(DataError, match=rf"section_00_1\.wav: recorded at {rate} Hz, .*--any-rate"):
        detector.score(path)
    with pytest.raises(DataError, match=rf"^recorded at {rate} Hz"):
        detector.score(samples, id="0", rate=rate)


# Damage


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "detector.json").read_text())
    return facts


def write_facts(folder: Path, facts: object) -> None:
    (folder / "detector.json").write_text(json.dumps(facts))


def truncate(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    damage.__name__ = f"truncate {name}"
    return damage


def lose(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()

    damage.__name__ = f"lose {name}"
    return damage


def without(fact: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        write_facts(folder, {k: v for k, v in facts_of(folder).items() if k != fact})

    damage.__name__ = f"without {fact}"
    return damage


def with_fact(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        write_facts(folder, facts_of(folder) | changes)

    damage.__name__ = f"with {changes}"
    return damage


def swap(folder: Path) -> None:
    shutil.copy(folder / "inlier.safetensors", folder / "encoder.safetensors")


def exchange(folder: Path) -> None:
    shutil.copy(folder / "encoder.safetensors", folder / "inlier.safetensors")


def a_list(folder: Path) -> None:
    write_facts(folder, [1, 2])


def no_text(folder: Path) -> None:
    (folder / "detector.json").write_bytes(b"\xff\xfe\x81")


def with_option(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        facts = facts_of(folder)
        write_facts(folder, facts | {"options": {**facts["options"], **values}})

    change.__name__ = f"with_option {values}"
    return change


def poison(name: str, value: float) -> Callable[[Path], None]:
    """Return a damage by which a tensor of a file holds NaN or infinity."""

    def change(folder: Path) -> None:
        tensors, facts = checkpoint.load(UPath(folder / name))
        first = sorted(key for key, tensor in tensors.items() if tensor.is_floating_point())[0]
        tensors[first].view(-1)[-1] = value
        checkpoint.save(UPath(folder / name), tensors, facts)

    change.__name__ = f"poison {name} {value}"
    return change


def shrink(folder: Path) -> None:
    """Take a dimension from every array."""
    tensors, facts = checkpoint.load(UPath(folder / "inlier.safetensors"))
    smaller = {name: tensor[..., :-1] for name, tensor in tensors.items()}
    checkpoint.save(UPath(folder / "inlier.safetensors"), smaller, facts)


def nest(folder: Path) -> None:
    (folder / "detector.json").write_text("[" * 200_000)


def zeros_of_a_device(folder: Path) -> None:
    (folder / "encoder.safetensors").unlink()
    (folder / "encoder.safetensors").symlink_to("/dev/zero")


class Command:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.system, (f"touch {self.target}",)


def pickled(folder: Path) -> None:
    torch.save(Command(folder / "executed"), folder / "encoder.safetensors")


FILES = ("detector.json", "encoder.safetensors", "inlier.safetensors")
FACTS = ("machine", "ids", "products", "inlier", "p", "mean", "std", "thresholds", "options")
DAMAGES = [
    *map(truncate, FILES),
    *map(lose, FILES),
    *map(without, FACTS),
    with_fact(ids=["0", "3", "10", "11"]),
    with_fact(products=7),
    with_fact(inlier="knn"),
    with_fact(inlier="lof"),
    with_fact(options={"colour": 1}),
    with_fact(thresholds={"0": 1.0}),
    with_fact(std=0.0),
    with_fact(std=float("nan")),
    with_fact(mean=float("inf")),
    with_fact(mean="1"),
    with_fact(thresholds={"0": float("nan"), "3": 1.0, "10": 2.0}),
    with_fact(thresholds={"0": None, "3": 1.0, "10": 2.0}),
    with_fact(normal={"0": [1.0]}),
    with_fact(normal={"0": [1.0, float("nan")]}),
    with_fact(recorded_rate=-1),
    with_fact(products=10**9),
    with_fact(ids=[]),
    with_fact(members=[]),
    *(
        with_option(**{name: value})
        for name, value in (
            *(("rate", 10**9), ("segments", 10**9), ("n_fft", 10**9), ("n_mels", 10**9)),
            *(("segment_seconds", 1e9), ("embedding", 10**9), ("hop", -1), ("rate", float("nan"))),
        )
    ),
    *(poison(name, value) for name in FILES[1:] for value in (float("nan"), float("inf"))),
    shrink,
    nest,
    zeros_of_a_device,
    pickled,
    swap,
    exchange,
    a_list,
    no_text,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_detector_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "detector"
    save_detector(make_detector(), UPath(folder))
    damage(folder)
    with pytest.raises(UserError) as caught:
        load_detector(UPath(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("name", ["encoder.safetensors", "inlier.safetensors", "detector.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    save_detector(make_detector(), UPath(tmp_path))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"no plain file|holds no detector"):
        load_detector(UPath(tmp_path))


@pytest.mark.parametrize("content", ["{", "[1]", '{"0": [NaN]}', '{"0": 1}', '{"0": ["x"]}'])
def test_damaged_normal_scores_are_named(tmp_path: Path, content: str) -> None:
    save_detector(make_detector(), UPath(tmp_path))
    (tmp_path / "normal_scores.json").write_text(content)
    with pytest.raises(UserError, match=r"normal_scores\.json: damaged"):
        load_detector(UPath(tmp_path))


def test_a_file_larger_than_any_detector_is_not_read(tmp_path: Path) -> None:
    save_detector(make_detector(), UPath(tmp_path))
    with (tmp_path / "encoder.safetensors").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"has 1099511627776 bytes, more than any detector"):
        load_detector(UPath(tmp_path))


def test_a_folder_without_a_detector_is_refused(local: UPath) -> None:
    with pytest.raises(UserError, match="holds no detector"):
        load_detector(local)


def test_a_save_that_is_cut_short_leaves_no_detector(local: UPath) -> None:
    class Torn(dict[str, InlierModel]):
        def items(self) -> NoReturn:
            raise KeyboardInterrupt

    save_detector(make_detector(), local)
    with pytest.raises(KeyboardInterrupt):
        save_detector(replace(make_detector(), models=Torn()), local)
    with pytest.raises(UserError, match="holds no detector"):
        load_detector(local)


def test_samples_have_the_score_of_their_file(files: list[Path], tmp_path: Path) -> None:
    detector = make_detector()
    stereo = record(tmp_path / "section_03_0002.wav", rate=44100, channels=2)
    for path in (files[1], stereo):
        samples, rate = soundfile.read(path, dtype="float32")
        [expected] = detector.score(path, id="3")
        [score] = detector.score(samples, id="3", rate=rate)
        assert (score.file, expected.file) == ("", str(path))
        assert replace(score, file=expected.file) == expected
    mono, rate = soundfile.read(files[1], dtype="float32")
    [wide] = detector.score(mono.astype(np.float64), id="3", rate=rate)
    assert [wide] == detector.score([mono], id="3", rate=rate)


def test_samples_need_a_rate_and_an_id(files: list[Path]) -> None:
    samples, rate = soundfile.read(files[1], dtype="float32")
    with pytest.raises(UserError, match="samples need their sampling rate; pass rate=HZ"):
        make_detector().score(samples, id="3")
    with pytest.raises(
        UserError, match=r"samples have no product ID; pass id= \(one of 0, 3, 10\)"
    ):
        make_detector().score(samples, rate=rate)
    with pytest.raises(UserError, match="samples: ID 4 is not one of 0, 3, 10"):
        make_detector().score(samples, id="4", rate=rate)
    [only] = make_detector(ids=("7",)).score(samples, rate=rate)
    assert only.id == "7"


def test_a_detector_of_a_folders_network_does_without_the_folder(
    local: UPath, tmp_path: Path, files: list[Path]
) -> None:
    network = tmp_path / "network"
    model = timm.create_model("test_vit", in_chans=1, num_classes=2, img_size=(32, 32))
    arguments = {"img_size": [32, 32], "in_chans": 1, "num_classes": 2}
    save_for_hf(model, str(network), model_args=arguments, safe_serialization=True)
    detector = make_detector(
        "knn", 1, ids=IDS, method="frozen", backbone=f"local-dir:{network}", embedding=64
    )
    save_detector(detector, local / "detector")
    expected = detector.score(files)
    shutil.rmtree(network)
    assert load_detector(local / "detector").score(files) == expected


def test_no_score_of_ddcsad_uses_the_network_of_another_id(files: list[Path]) -> None:
    detector = make_detector("none", None, method="ddcsad")
    networks = [detector.encoder.of_product(number) for number in range(len(IDS))]
    assert len({id(network) for network in networks}) == len(IDS)
    before = {identity: detector.score(files, id=identity) for identity in IDS}
    with torch.no_grad():
        for weight in networks[1].parameters():
            weight.mul_(1.5)
    after = {identity: detector.score(files, id=identity) for identity in IDS}
    assert [identity for identity in IDS if after[identity] != before[identity]] == [IDS[1]]
