"""The synthetic data set: its layout, its determinism, and the sounds of its faults."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from raysearch.config import MACHINES
from raysearch.data.synthetic.demo import DemoSize, Kind, plan, synthesise, write_demo
from raysearch.data.synthetic.plant import FAULTS, HEALTHY, Conditions, Fault, product
from raysearch.data.synthetic.sounds import SAMPLE_RATE, record
from raysearch.errors import UserError

TRAIN, TEST, SECONDS = 2, 3, 0.5
SIZE = DemoSize(TRAIN, TEST, SECONDS)
LEAST = DemoSize(1, 1, 0.1)


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "data"
    count = write_demo(root, SIZE, machines=("valve", "fan"))
    assert count == 2 * 6 * (TRAIN + 3 + 2 * TEST)
    return root


def expected_names(machine: str) -> set[str]:
    names = set()
    for product_id in range(6):
        split = "dev_data" if product_id < 3 else "eval_data"
        train = f"{split}/{machine}/train/section_{product_id:02d}"
        names |= {
            f"{train}_source_train_normal_{n:04d}_load_{n % 3}_ambient.wav" for n in range(TRAIN)
        }
        names |= {f"{train}_target_train_normal_{n:04d}_load_3_hall.wav" for n in range(3)}
        test = f"{split}/{machine}/source_test/section_{product_id:02d}_source_test"
        if product_id < 3:
            names |= {
                f"{test}_{label}_{n:04d}.wav"
                for label in ("normal", "anomaly")
                for n in range(TEST)
            }
        else:
            names |= {f"{test}_{n:04d}.wav" for n in range(2 * TEST)}
            names.add(
                "eval_data/ground_truth/"
                f"ground_truth_{machine}_section_{product_id:02d}_source_test.csv"
            )
    return names


def test_layout_is_that_of_dcase_2021(small: Path) -> None:
    assert set(files(small)) == expected_names("valve") | expected_names("fan")
    assert {path.name for path in small.iterdir()} == {"dev_data", "eval_data"}


def test_ground_truth_names_every_unlabelled_clip_once(small: Path) -> None:
    orders = set()
    for machine in ("valve", "fan"):
        for product_id in (3, 4, 5):
            stem = f"section_{product_id:02d}_source_test"
            table = small / "eval_data" / "ground_truth" / f"ground_truth_{machine}_{stem}.csv"
            rows = [line.split(",") for line in table.read_bytes().decode().splitlines()]
            assert [name for name, _ in rows] == [f"{stem}_{n:04d}.wav" for n in range(2 * TEST)]
            labels = tuple(label for _, label in rows)
            assert labels.count("1") == labels.count("0") == TEST
            orders.add(labels)
    assert len(orders) > 1  # shuffled, not the same pattern for everyone


def test_clips_are_16_khz_mono_int16_audible_and_not_clipped(small: Path) -> None:
    for path in small.rglob("*.wav"):
        info = soundfile.info(path)
        form = (info.format, info.samplerate, info.channels, info.subtype, info.frames)
        assert form == ("WAV", SAMPLE_RATE, 1, "PCM_16", round(SECONDS * SAMPLE_RATE))
        samples = soundfile.read(path, dtype="int16")[0].astype(int)
        assert np.abs(samples).max() < 32767
        assert 100 < samples.std() < 4000, path
        assert abs(samples.mean()) < 1


def test_same_seed_gives_the_same_bytes_and_another_seed_others(
    small: Path, tmp_path: Path
) -> None:
    write_demo(tmp_path / "same", SIZE, machines=("valve",))
    write_demo(tmp_path / "other", SIZE, machines=("valve",), seed=1)
    valve = {name: data for name, data in files(small).items() if "valve" in name}
    same, other = files(tmp_path / "same"), files(tmp_path / "other")
    assert same == valve
    assert set(other) == set(same)
    assert not any(other[name] == same[name] for name in same if name.endswith(".wav"))
    assert len({*same.values(), *other.values()}) >= 2 * 6 * (TRAIN + 3 + 2 * TEST)


def test_a_larger_set_holds_the_clips_of_a_smaller_one(small: Path, tmp_path: Path) -> None:
    write_demo(tmp_path, DemoSize(1 + TRAIN, 1 + TEST, SECONDS), machines=("valve",))
    larger = files(tmp_path)
    for name, data in files(small).items():
        if "/valve/" in name:
            assert larger[name] == data
        elif "ground_truth_valve" in name:
            assert larger[name].startswith(data)


def test_progress_counts_every_clip(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    count = write_demo(
        tmp_path,
        LEAST,
        machines=("pump",),
        on_clip=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(n, count) for n in range(1, count + 1)]


def test_an_interrupted_call_leaves_no_data_set_and_can_be_repeated(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path, DemoSize(1, 20, 0.1), machines=("fan",), on_clip=interrupt)
    assert not (tmp_path / "dev_data").exists()
    write_demo(tmp_path, LEAST, machines=("fan",))
    assert len(list(tmp_path.rglob("*.wav"))) == 6 * (1 + 3 + 2)
    assert {path.name for path in tmp_path.iterdir()} == {"dev_data", "eval_data"}


def test_a_folder_in_use_is_left_alone_but_takes_another_machine(tmp_path: Path) -> None:
    kept = tmp_path / "dev_data" / "fan" / "train" / "real.wav"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a real recording")
    with pytest.raises(UserError, match="exists already"):
        write_demo(tmp_path, LEAST, machines=("valve", "fan"))
    assert files(tmp_path) == {"dev_data/fan/train/real.wav": b"a real recording"}
    write_demo(tmp_path, LEAST, machines=("valve",))
    assert kept.read_bytes() == b"a real recording"


@pytest.mark.parametrize("machine", ["Fan", "lathe"])
def test_an_unknown_machine_is_refused_with_the_known_ones(tmp_path: Path, machine: str) -> None:
    with pytest.raises(UserError, match=f"'{machine}'.*known: {', '.join(MACHINES)}"):
        write_demo(tmp_path / "new", machines=(machine,))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("train_clips", DemoSize(train_clips=0)),
        ("test_clips", DemoSize(test_clips=-1)),
        ("seconds", DemoSize(seconds=0.0)),
        ("seconds", DemoSize(seconds=float("nan"))),
    ],
)
def test_wrong_sizes_are_named_before_anything_is_written(
    tmp_path: Path, name: str, size: DemoSize
) -> None:
    with pytest.raises(UserError, match=name):
        write_demo(tmp_path / "new", size)
    assert not (tmp_path / "new").exists()


WRONG: list[dict[str, object]] = [{"machines": ()}, {"snr_db": float("inf")}, {"seed": -1}]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_values_are_named_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        write_demo(tmp_path / "new", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match="data: is a file"):
        write_demo(tmp_path / "data")


def power(clip: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the power spectrum of a clip of at least 1 s, in steps of 1 Hz, of sum 1."""
    blocks = clip[: len(clip) // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)
    spectrum = np.square(np.abs(np.fft.rfft(blocks * np.hanning(SAMPLE_RATE)))).mean(0)
    shares: NDArray[np.float64] = spectrum / spectrum.sum()
    return shares


def record_many(
    machine: str, fault: Fault, *, count: int = 6, product_id: int = 0, snr_db: float = 20.0
) -> list[NDArray[np.int16]]:
    return [
        record(
            machine,
            product(machine, product_id),
            fault,
            Conditions(load=1.0, snr_db=snr_db),
            size=2 * SAMPLE_RATE,
            rng=np.random.default_rng([product_id, n]),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("machine", MACHINES)
def test_ids_are_built_and_sound_differently(machine: str) -> None:
    products = [product(machine, product_id) for product_id in range(6)]
    for left, right in combinations(products, 2):
        apart = np.abs(np.divide(left.modes, right.modes) - 1) > 0.03
        assert apart.sum() + (abs(left.rate / right.rate - 1) > 0.03) >= 3
    shapes = np.array(
        [[_shape(c) for c in record_many(machine, HEALTHY, count=8, product_id=p)] for p in (0, 3)]
    )  # (ID, clip, band)
    centres = shapes[:, :4].mean(1)
    nearest = np.linalg.norm(shapes[:, 4:, None] - centres, axis=-1).argmin(-1)
    assert (nearest == [[0], [1]]).sum() >= 7  # of 8


def _shape(clip: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return steps between levels of 20 Hz bands, which cancel the microphone's response."""
    levels = np.log(power(clip)[60:6060].reshape(-1, 20).sum(1))
    steps: NDArray[np.float64] = np.diff(levels)
    return steps


def modulation(clip: NDArray[np.int16], hertz: float) -> float:
    """Return the modulation depth of a 2 s clip's envelope within 1 Hz of a rate."""
    envelope = np.abs(clip.astype(float)).reshape(-1, 32).mean(1)
    lines = np.abs(np.fft.rfft(envelope)) / envelope.sum()
    return float(lines[int(2 * hertz) - 2 : int(2 * hertz) + 3].max())


def test_imbalance_of_a_fan_swings_at_the_rate_of_its_shaft() -> None:
    rate = product("fan", 0).rate
    healthy = [modulation(c, rate) for c in record_many("fan", HEALTHY)]
    faulty = [modulation(c, rate) for c in record_many("fan", Fault(swing=0.5))]
    assert np.mean(faulty) > 2 * np.mean(healthy)


def test_leak_of_a_pump_hisses() -> None:
    hiss = [power(c)[2000:6000].sum() for c in record_many("pump", Fault(hiss=0.4))]
    quiet = [power(c)[2000:6000].sum() for c in record_many("pump", HEALTHY)]
    assert all(loud > 1.02 * calm for loud, calm in zip(hiss, quiet, strict=True))


def test_slipping_gearbox_meshes_at_a_lower_pitch() -> None:
    built = product("gearbox", 0)
    mesh = built.rate * built.count

    def pitch(clip: NDArray[np.int16]) -> int:
        low, high = int(0.85 * mesh), int(1.1 * mesh)
        return low + int(power(clip)[low:high].argmax())

    healthy = np.median([pitch(c) for c in record_many("gearbox", HEALTHY)])
    slipping = np.median([pitch(c) for c in record_many("gearbox", Fault(rate=-0.07))])
    assert healthy == pytest.approx(mesh, rel=0.02)
    assert slipping == pytest.approx(0.93 * mesh, rel=0.02)


def test_valve_that_misses_strokes_clicks_less_often() -> None:
    def clicks(clip: NDArray[np.int16]) -> int:
        envelope = np.abs(clip.astype(float)).reshape(-1, 400).max(1)
        loud = envelope > 0.25 * envelope.max()
        return int(np.count_nonzero(loud[1:] & ~loud[:-1]))

    healthy = sum(clicks(c) for c in record_many("valve", HEALTHY))
    missing = sum(clicks(c) for c in record_many("valve", Fault(missing=0.5)))
    assert 0 < missing < 0.8 * healthy


@pytest.mark.parametrize(
    ("machine", "name"), [(machine, name) for machine in MACHINES for name in FAULTS[machine]]
)
def test_every_fault_is_heard_and_its_absence_is_not(machine: str, name: str) -> None:
    def clip(strength: float) -> NDArray[np.float64]:
        fault = FAULTS[machine][name].scaled(strength)
        samples: NDArray[np.float64] = record_many(machine, fault, count=1)[0] / 1.0
        return samples / np.float64(samples.std())

    healthy = clip(0.0)
    assert np.array_equal(healthy, clip(0.0))
    assert 0.1 < np.std(clip(1.0) - healthy) < 2.0


def test_anomalies_take_turns_through_the_faults_and_differ_from_normals() -> None:
    clips = plan("slider", train_clips=1, test_clips=8, seed=0)
    kinds = [clip.kind for clip in clips if clip.product_id == 4]
    assert kinds.count(Kind.NORMAL) == kinds.count(Kind.ANOMALY) == 8
    heard = {clip.path: synthesise(clip, size=1600, snr_db=6.0, seed=0).tobytes() for clip in clips}
    assert len(set(heard.values())) == len(clips)


def test_factory_noise_is_mixed_at_the_stated_snr() -> None:
    """The sharp lines of a gearbox fade as the factory becomes louder."""

    def flatness(snr_db: float) -> float:
        spectra = [power(c)[200:4000] for c in record_many("gearbox", HEALTHY, snr_db=snr_db)]
        return float(np.mean([np.exp(np.log(s).mean()) / s.mean() for s in spectra]))

    assert flatness(20.0) < flatness(0.0) < flatness(-20.0)
