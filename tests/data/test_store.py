"""Decoding of all kinds of audio files, and stores that are built once and atomically."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from raysearch.data.decode import DECODER, decode, level_remarks
from raysearch.data.index import Clip
from raysearch.data.store import Store, open_store, remarks
from raysearch.errors import DataError
from tests.detectors import make_detector

RATE = 16000


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(
    path: Path,
    samples: NDArray[np.float64],
    rate: int = RATE,
    *,
    subtype: str = "PCM_16",
    format: str | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype, format=format)
    return path


def clip(path: Path, number: int = 0, **changes: object) -> Clip:
    return replace(
        Clip("fan", str(number % 3), "train", "source", 0, path),
        **changes,  # type: ignore[arg-type]
    )


def path_of(clip: Clip) -> Path:
    assert isinstance(clip.path, Path)
    return clip.path


def some_clips(folder: Path, count: int = 6) -> list[Clip]:
    """Write clips of different lengths and levels."""
    rng = np.random.default_rng(0)
    return [
        clip(write(folder / f"{n:03d}.wav", rng.uniform(-0.9, 0.9, 400 + 37 * n)), n)
        for n in range(count)
    ]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# Decoding


def test_int16_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    pcm = np.array([-32768, -1, 0, 1, 32767], np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, RATE)
    assert decode(tmp_path / "a.wav", rate=RATE).tolist() == pcm.tolist()


@pytest.mark.parametrize(
    ("name", "subtype", "format"),
    [
        ("a.wav", "PCM_24", None),
        ("a.wav", "PCM_32", None),
        ("a.wav", "FLOAT", None),
        ("a.wav", "DOUBLE", None),
        ("a.wav", "PCM_16", "WAVEX"),
        ("a.flac", "PCM_16", None),
        ("a.flac", "PCM_24", None),
    ],
)
def test_every_format_gives_the_same_samples(
    tmp_path: Path, name: str, subtype: str, format: str | None
) -> None:
    wave = tone()
    file = write(tmp_path / name, wave, subtype=subtype, format=format)
    samples = decode(file, rate=RATE)
    assert samples.dtype == np.int16
    np.testing.assert_allclose(samples, wave * 32768, atol=1)


def overshooting(peak: float, count: int) -> NDArray[np.float64]:
    """Make 10,000 samples of which some are as high as the peak."""
    wave = 0.1 * tone(10000 / RATE)
    wave[100 : 100 + count] = peak
    return wave


@pytest.mark.parametrize(("peak", "count"), [(1.0, 9000), (1.2, 10), (2.0, 1), (-2.0, 1)])
def test_a_small_overshoot_is_clipped(tmp_path: Path, peak: float, count: int) -> None:
    path = write(tmp_path / "a.wav", overshooting(peak, count), subtype="FLOAT")
    pcm = decode(path, rate=RATE)
    assert set(pcm[100 : 100 + count].tolist()) == {32767 if peak > 0 else -32768}
    assert np.abs(pcm[100 + count :].astype(int)).max() <= 1639


@pytest.mark.parametrize(
    ("peak", "count", "named"),
    [
        (22838.0, 10000, "samples up to 22838, 9"),
        (-2.1, 1, "samples up to 2.1, 0.0% of them beyond ±1; scale them to ±1, or write them as"),
        (1.2, 11, "samples up to 1.2, 0.1% of them beyond"),
    ],
)
def test_samples_beyond_full_scale_are_a_defect_with_its_peak(
    tmp_path: Path, peak: float, count: int, named: str
) -> None:
    path = write(tmp_path / "a.wav", overshooting(peak, count), subtype="FLOAT")
    with pytest.raises(DataError) as caught:
        decode(path, rate=RATE)
    assert named in str(caught.value)


def test_an_unscaled_recording_is_left_out_and_not_made_a_square_wave(
    tmp_path: Path, cache: Path
) -> None:
    clips = some_clips(tmp_path)
    pcm = decode(clips[1].path, rate=RATE)
    # As scipy.io.wavfile writes an array of floats that holds int16 samples.
    soundfile.write(path_of(clips[1]), pcm.astype(np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=r"1 of 6 files .*001\.wav: samples up to \d{5},"):
        open_store(clips, cache=cache)
    assert len(open_store(clips, cache=cache, allow_defects=True).clips) == 5


def test_a_detector_refuses_an_unscaled_recording(tmp_path: Path) -> None:
    detector = make_detector()
    unscaled = tone(1.0) * 32767
    path = write(tmp_path / "a.wav", unscaled, subtype="FLOAT")
    with pytest.raises(DataError, match=r"a\.wav: samples up to 163"):
        detector.score_file(path, "0")
    with pytest.raises(DataError, match="samples up to 163"):
        detector.score([unscaled], id="0", rate=RATE)
    soundfile.write(path, unscaled.astype(np.int16), RATE)
    assert np.isfinite(detector.score_file(path, "0")[0])


def test_a_store_of_an_earlier_decoder_is_decoded_anew(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path)
    open_store(clips, cache=cache)
    (index,) = cache.glob("*/index.json")
    content = json.loads(index.read_text())
    assert content.pop("decoder") == DECODER
    index.write_text(json.dumps(content | {"decoder": 1, "mean": 1e6}))
    assert open_store(clips, cache=cache).mean < 1e3
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [index.parent.name]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.0, []),
        (2.0, []),  # touches full scale, as a tone that was normalised does
        (2 * np.sqrt(2), ["clipped: 5"]),  # half of every wave
        (0.001, ["very quiet: its peak is 16 of 32768 steps"]),
    ],
)
def test_a_level_at_either_end_is_remarked_on(factor: float, said: list[str]) -> None:
    scaled = np.rint(tone(1.0, hertz=100.0) * factor * 32767)
    texts = level_remarks(np.clip(scaled, -32768, 32767).astype(np.int16))
    assert len(texts) == len(said)
    assert all(text.startswith(start) for text, start in zip(texts, said, strict=True))


def test_clipped_samples_are_counted_in_runs_of_three() -> None:
    pcm = np.full(10000, 100, np.int16)
    pcm[:3], pcm[10:12], pcm[20:27] = 32767, 32767, -32768
    assert level_remarks(pcm) == ["clipped: 0.10% of its samples stand at full scale"]


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    stereo = np.stack([tone(6.0, 8000), tone(6.0, 8000)], axis=1)
    samples = decode(write(tmp_path / "a.wav", stereo, 8000), rate=RATE)
    assert samples.size == 6 * RATE
    middle = slice(RATE, -RATE)  # the filter has nothing to look at beyond the ends
    np.testing.assert_allclose(samples[middle], tone(6.0)[middle] * 32768, atol=40)


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    eight = np.stack([np.full(100, level / 16) for level in range(8)], axis=1)
    path = write(tmp_path / "a.wav", eight)
    assert set(decode(path, rate=RATE).tolist()) == {7168}  # 3.5 / 16
    assert set(decode(path, rate=RATE, channel=5).tolist()) == {10240}
    with pytest.raises(DataError, match="no channel 8: has 8"):
        decode(path, rate=RATE, channel=8)


def spoil_text(path: Path) -> None:
    path.write_text("not a recording")


def spoil_nothing(path: Path) -> None:
    path.write_bytes(b"")


def spoil_empty(path: Path) -> None:
    write(path, np.zeros(0))


def spoil_silent(path: Path) -> None:
    write(path, np.zeros(1000))


def spoil_nan(path: Path) -> None:
    write(path, np.array([0.1, np.nan, 0.2]), subtype="FLOAT")


def spoil_infinite(path: Path) -> None:
    write(path, np.array([0.1, np.inf, 0.2]), subtype="FLOAT")


SPOILERS = {
    "unreadable": (spoil_text, spoil_nothing),
    "empty": (spoil_empty,),
    "silent": (spoil_silent,),
    "NaN": (spoil_nan, spoil_infinite),
}


@pytest.mark.parametrize(
    ("reason", "spoil"), [(reason, spoil) for reason, all_ in SPOILERS.items() for spoil in all_]
)
def test_a_defective_file_is_left_out_with_its_reason(
    tmp_path: Path, cache: Path, reason: str, spoil: Callable[[Path], None]
) -> None:
    clips = some_clips(tmp_path)
    whole = open_store([*clips[:2], *clips[3:]], cache=cache)
    spoil(path_of(clips[2]))
    with pytest.raises(DataError, match=reason):
        decode(clips[2].path, rate=RATE)
    store = open_store(clips, allow_defects=True, cache=cache)
    assert [c.name for c in store.clips] == ["000.wav", "001.wav", "003.wav", "004.wav", "005.wav"]
    assert [defect.path for defect in store.defects] == [str(clips[2].path)]
    assert reason in store.defects[0].reason
    assert (store.fingerprint, store.mean, store.std) == (
        (whole.fingerprint, whole.mean, whole.std)
    )
    np.testing.assert_array_equal(store.samples, whole.samples)


def test_a_silent_chosen_channel_is_a_defect(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([tone(), 0 * tone()], axis=1))
    assert decode(path, rate=RATE, channel=0).any()
    with pytest.raises(DataError, match="silent"):
        decode(path, rate=RATE, channel=1)


@pytest.mark.parametrize(("total", "stops"), [(99, True), (100, False), (200, False)])
def test_more_than_a_hundredth_of_defective_files_stops(
    tmp_path: Path, cache: Path, total: int, stops: bool
) -> None:
    clips = some_clips(tmp_path, total)
    spoil_silent(path_of(clips[7]))
    if stops:
        with pytest.raises(DataError, match=r"1 of 99 files .*007\.wav: silent;.*--allow-defects"):
            open_store(clips, cache=cache)
    store = open_store(clips, cache=cache, allow_defects=stops)
    assert len(store.clips) == total - 1


def test_nothing_but_defective_files_stops_whatever_is_allowed(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path, 2)
    for defective in clips:
        spoil_silent(path_of(defective))
    with pytest.raises(DataError, match="no clip is left"):
        open_store(clips, cache=cache, allow_defects=True)


def test_remarks_name_what_is_unusual(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1.0, 8000), 8000)
    rate, short = remarks(path, rate=RATE, segment=2 * RATE)
    assert "8000 Hz" in rate
    assert "1.00 s" in short
    assert remarks(write(path, tone(2.0)), rate=RATE, segment=2 * RATE) == []


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.aiff", "PCM_16")]
)
def test_a_truncated_file_is_remarked_on(tmp_path: Path, name: str, subtype: str) -> None:
    path = write(tmp_path / name, tone(4.0), subtype=subtype)
    assert remarks(path, rate=RATE, segment=RATE) == []
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert decode(path, rate=RATE).size == pytest.approx(3 * RATE, abs=100)
    (text,) = remarks(path, rate=RATE, segment=RATE)
    assert text == "truncated: 25% of what its header announces is missing"


def test_a_recording_of_a_pipe_is_not_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(4.0))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"data" + content[40:44], b"data\xff\xff\xff\xff"))
    assert remarks(path, rate=RATE, segment=RATE) == []


# Stores


def test_a_store_holds_every_clip_at_its_length(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path)
    store = open_store(clips, cache=cache)
    assert store.clips == tuple(clips)
    for n, written in enumerate(clips):
        expected, _ = soundfile.read(path_of(written), dtype="int16")
        np.testing.assert_array_equal(store.waveform(n), expected)
    assert isinstance(store.samples, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.waveform(0)[0] = 1


def test_mean_and_deviation_are_those_of_all_samples(tmp_path: Path, cache: Path) -> None:
    rng = np.random.default_rng(1)
    clips = [
        clip(write(tmp_path / f"{n}.wav", 0.9 + rng.uniform(-0.001, 0.001, 5000))) for n in range(4)
    ]
    store = open_store(clips, cache=cache)
    exact = store.samples.astype(np.longdouble)
    assert store.mean == pytest.approx(float(exact.mean()), rel=1e-15)
    assert store.std == pytest.approx(float(exact.std()), rel=1e-12)


@pytest.mark.parametrize("level", [1, 3, 12345, -32768])
def test_a_constant_recording_has_no_deviation(tmp_path: Path, cache: Path, level: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(12347, level, np.int16), RATE)
    store = open_store([clip(path)], cache=cache)
    assert (store.mean, store.std) == (level, 0.0)


def test_a_store_is_built_once(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path)
    decoded: list[int] = []
    first = open_store(clips, cache=cache, on_clips=decoded.append)
    assert sum(decoded) == len(clips)
    again = open_store(clips, cache=cache, on_clips=decoded.append)
    assert sum(decoded) == len(clips)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.samples, first.samples)


def test_many_clips_keep_their_order(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path, 300)  # more than are decoded at a time
    decoded: list[int] = []
    store = open_store(clips, cache=cache, on_clips=decoded.append)
    assert store.clips == tuple(clips)
    assert sum(decoded) == 300
    assert len(decoded) > 1
    assert [store.waveform(n).size for n in range(300)] == [400 + 37 * n for n in range(300)]


def test_a_changed_file_rebuilds(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path)
    before = open_store(clips, cache=cache)
    write(path_of(clips[3]), tone())
    after = open_store(clips, cache=cache)
    np.testing.assert_allclose(after.waveform(3), tone() * 32768, atol=1)
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(("rate", "channel"), [(8000, None), (RATE, 0)])
def test_every_way_of_reading_has_a_store_of_its_own(
    tmp_path: Path, cache: Path, rate: int, channel: int | None
) -> None:
    stereo = np.stack([tone(), 0.5 * tone()], axis=1)
    clips = [clip(write(tmp_path / "a.wav", stereo))]
    plain = open_store(clips, cache=cache)
    other = open_store(clips, rate=rate, channel=channel, cache=cache)
    assert other.fingerprint != plain.fingerprint


def test_the_fingerprint_is_free_of_paths_and_times(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path / "here")
    moved = shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    for path in moved.iterdir():
        os.utime(path, (1e9, 1e9))
    copies = [replace(c, path=moved / c.name) for c in clips]
    decoded: list[int] = []
    here = open_store(clips, cache=cache)
    there = open_store(copies, cache=cache, on_clips=decoded.append)
    assert decoded  # a store of its own, not the first one
    assert there.fingerprint == here.fingerprint


@pytest.mark.parametrize("change", [{"id": "9"}, {"label": 1}, {"split": "test"}, {"machine": "x"}])
def test_the_fingerprint_tells_what_the_clips_are(
    tmp_path: Path, cache: Path, change: dict[str, object]
) -> None:
    path = write(tmp_path / "a.wav", tone())
    plain = open_store([clip(path)], cache=cache)
    other = open_store([clip(path, 0, **change)], cache=cache)
    assert other.fingerprint != plain.fingerprint


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    clips = some_clips(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        open_store(clips, cache=cache, on_clips=interrupt)
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    assert len(open_store(clips, cache=cache).clips) == len(clips)


BUILD = """
import sys, time
from pathlib import Path
from raysearch.data.index import Clip
from raysearch.data.store import open_store

folder, cache, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
clips = [Clip("fan", "0", "train", "source", 0, path) for path in sorted(folder.glob("*.wav"))]

def built(count):
    print("built", count, flush=True)
    if mode == "hang":
        time.sleep(60)

print("ready", flush=True)
sys.stdin.readline()
store = open_store(clips, cache=cache, on_clips=built)
print(store.fingerprint, len(store.clips), store.samples.size, flush=True)
"""


def start(folder: Path, cache: Path, mode: str = "") -> subprocess.Popen[str]:
    """Start a process that opens the store after a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder), str(cache), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[list[str]]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def test_processes_that_start_together_build_once(tmp_path: Path, cache: Path) -> None:
    some_clips(tmp_path / "data", 150)
    outputs = finish([start(tmp_path / "data", cache) for _ in range(3)])
    builders = [lines for lines in outputs if any(line.startswith("built") for line in lines)]
    assert len(builders) == 1
    assert len({lines[-1] for lines in outputs}) == 1
    assert outputs[0][-1].split()[1] == "150"


def test_a_killed_build_is_done_again_and_cleared_away(tmp_path: Path, cache: Path) -> None:
    some_clips(tmp_path / "data", 150)
    killed = start(tmp_path / "data", cache, "hang")
    assert killed.stdin is not None
    assert killed.stdout is not None
    killed.stdin.write("go\n")
    killed.stdin.flush()
    assert killed.stdout.readline().startswith("built")
    partial = [path.name for path in cache.iterdir() if path.is_dir()]
    assert len(partial) == 1
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (output,) = finish([start(tmp_path / "data", cache)])
    assert output[-1].split()[1] == "150"
    folders = [path.name for path in cache.iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert not folders[0].endswith("partial")


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "elsewhere"))
    store: Store = open_store(some_clips(tmp_path, 1))
    assert len(store.clips) == 1
    assert list((tmp_path / "elsewhere").glob("fan-train-*/samples.i16"))
