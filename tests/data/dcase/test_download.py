"""`download` against an HTTP server on loopback that imitates Zenodo with small zips."""

import hashlib
import io
import json
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from filelock import FileLock

from raysearch.config import MACHINES
from raysearch.data.dcase import zenodo
from raysearch.data.dcase.download import (
    ADDITIONAL_TRAINING,
    DEVELOPMENT,
    EVALUATION_TEST,
    GROUND_TRUTH,
    download,
)
from raysearch.errors import DataError, UserError

LABELS = b"section_03_source_test_0000.wav,1\n"


@dataclass
class FakeZenodo:
    """A fake Zenodo: its records, its faults and the requests that it received."""

    url: str = ""
    records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    ranges: bool = True
    form: str = "key"  # how entries of a list look: "key" or "filename"
    cuts: list[int] = field(default_factory=list)  # bytes after which the next transfers break
    status: dict[str, int] = field(default_factory=dict)  # answers other than 200, by file
    md5: dict[str, str] = field(default_factory=dict)  # wrong checksums, by file
    size: dict[str, int] = field(default_factory=dict)  # wrong sizes, by file
    requests: list[tuple[str, str]] = field(default_factory=list)  # file and its Range header

    def requested_files(self) -> list[str]:
        return [name for name, _ in self.requests]

    def listing(self, number: int) -> bytes:
        return json.dumps(
            {"files": [self.entry(number, *item) for item in self.records[number].items()]}
        ).encode()

    def entry(self, number: int, key: str, content: bytes) -> dict[str, object]:
        address = f"{self.url}/api/records/{number}/files/{key}"
        size = self.size.get(key, len(content))
        md5 = self.md5.get(key, hashlib.md5(content).hexdigest())
        if self.form == "filename":
            links = {"self": f"{self.url}/nothing-to-download"}
            return {"filename": key, "filesize": size, "checksum": md5, "links": links}
        links = {"self": f"{address}/content"}
        return {"key": key, "size": size, "checksum": f"md5:{md5}", "links": links}


class Handler(BaseHTTPRequestHandler):
    def __init__(self, *args: object, fake: FakeZenodo) -> None:
        self.fake = fake
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        parts = unquote(self.path).split("/", 5)
        if len(parts) == 4:
            return self.answer(200, self.fake.listing(int(parts[3])))
        if len(parts) < 6:
            return self.answer(404, b"")
        key, wanted = parts[5].removesuffix("/content"), self.headers.get("Range", "")
        self.fake.requests.append((key, wanted))
        if key in self.fake.status:
            return self.answer(self.fake.status[key], b"")
        content = self.fake.records[int(parts[3])][key]
        if not (wanted and self.fake.ranges):
            return self.answer(200, content, cut=True)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206, content[start:], cut=True, **{"Content-Range": content_range})

    def answer(self, status: int, body: bytes, *, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: self.fake.cuts.pop(0)] if cut and self.fake.cuts else body)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeZenodo]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = FakeZenodo(records=records())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, fake=content))
    content.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield content
    server.shutdown()
    server.server_close()
    thread.join()


def clip(name: str) -> bytes:
    """Return 300 kB that do not compress, so that a transfer takes several packets."""
    return random.Random(name).randbytes(300_000)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def clips(*names: str, within: str = "") -> bytes:
    return zipped({f"{within}{name}": clip(name) for name in names})


def records() -> dict[int, dict[str, bytes]]:
    """Return all four records; zips are named and nested in several ways, as the real ones are."""
    return {
        DEVELOPMENT.number: {
            f"dev_data_{m}.zip": zipped(
                {
                    f"{m}/train/section_00_source_train_normal_0000_x.wav": clip(f"{m} train"),
                    f"{m}/source_test/section_00_source_test_anomaly_0000.wav": b"source",
                    f"{m}/target_test/section_00_target_test_normal_0000.wav": b"target",
                    f"__MACOSX/{m}/train/._section_00_source_train_normal_0000_x.wav": b"fork",
                    f"{m}/README.md": b"read me",
                }
            )
            for m in MACHINES
        },
        ADDITIONAL_TRAINING.number: {
            "README.md": b"read me",
            **{
                f"eval_data_{m}_train.zip" if m < "g" else f"eval_data_train_{m}.zip": zipped(
                    {f"eval_data/{m}/train/section_03_source_train_normal_0000.wav": b"train"}
                )
                for m in MACHINES
            },
        },
        EVALUATION_TEST.number: {
            f"eval_data_{m}_test.zip": zipped(
                {f"{m}/source_test/section_03_source_test_0000.wav": b"evaluation"}
            )
            for m in MACHINES
        },
        GROUND_TRUTH.number: {
            "somebody/evaluator-v1.0.zip": zipped(
                {
                    "evaluator-1/README.md": b"read me",
                    **{
                        f"evaluator-1/data/ground_truth_{m}_section_03_source_test.csv": LABELS
                        for m in MACHINES
                    },
                }
            )
        },
    }


def fan_files() -> set[str]:
    return {
        "dev_data/fan/train/section_00_source_train_normal_0000_x.wav",
        "dev_data/fan/source_test/section_00_source_test_anomaly_0000.wav",
        "dev_data/fan/target_test/section_00_target_test_normal_0000.wav",
        "eval_data/fan/train/section_03_source_train_normal_0000.wav",
        "eval_data/fan/source_test/section_03_source_test_0000.wav",
    }


def label_files() -> set[str]:
    return {f"eval_data/ground_truth/ground_truth_{m}_section_03_source_test.csv" for m in MACHINES}


def tree(root: Path) -> set[str]:
    """List the data set's files, without the state of the download."""
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {file.as_posix() for file in files if file.parts[0] != ".download"}


def leftovers(root: Path) -> list[str]:
    kept = (".done", "lock")
    return [p.name for p in (root / ".download").rglob("*") if not p.name.endswith(kept)]


def get(fake: FakeZenodo, root: Path, *machines: str, **options: object) -> tuple[str, ...]:
    call: Callable[..., tuple[str, ...]] = download
    return call(root, machines or None, base_url=fake.url, backoff=0.0, **options)


def test_the_whole_data_set(fake: FakeZenodo, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    names = get(fake, tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    fan = fan_files()
    assert tree(tmp_path) == label_files() | {
        file.replace("/fan/", f"/{machine}/") for machine in MACHINES for file in fan
    }
    train = tmp_path / "dev_data/ToyCar/train/section_00_source_train_normal_0000_x.wav"
    assert train.read_bytes() == clip("ToyCar train")
    labels = tmp_path / "eval_data/ground_truth/ground_truth_fan_section_03_source_test.csv"
    assert labels.read_bytes() == LABELS
    assert len(names) == 3 * len(MACHINES) + 1
    assert leftovers(tmp_path) == []
    total = sum(len(c) for r in fake.records.values() for k, c in r.items() if k != "README.md")
    assert {t for _, t in seen} == {total}
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


@pytest.mark.parametrize("form", ["key", "filename"])
def test_some_machines(fake: FakeZenodo, tmp_path: Path, form: str) -> None:
    fake.form = form
    names = get(fake, tmp_path, "fan", "fan")
    assert names == (
        "dev_data_fan.zip",
        "eval_data_fan_train.zip",
        "eval_data_fan_test.zip",
        "evaluator-v1.0.zip",
    )
    assert tree(tmp_path) == fan_files() | label_files()
    assert len(fake.requests) == 4


def test_ground_truth_without_a_zip(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.records[GROUND_TRUTH.number] = {Path(name).name: LABELS for name in label_files()}
    get(fake, tmp_path, "fan")
    assert tree(tmp_path) == fan_files() | label_files()
    assert get(fake, tmp_path, "fan") == ()


def test_a_broken_transfer_resumes(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.cuts = [200_000, 50, 90_000]
    get(fake, tmp_path, "fan")
    requests = [wanted for name, wanted in fake.requests if name == "dev_data_fan.zip"]
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in requests[1:]]
    assert requests[0] == ""
    assert len(starts) == 3
    assert 0 < starts[0] <= starts[1] < starts[2] < 300_000
    train = tmp_path / "dev_data/fan/train/section_00_source_train_normal_0000_x.wav"
    assert train.read_bytes() == clip("fan train")


def test_a_later_call_resumes(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.cuts = [200_000] + [0] * zenodo.RETRIES
    with pytest.raises(UserError, match=r"record 4562016 .* by hand"):
        get(fake, tmp_path, "fan")
    assert leftovers(tmp_path) == ["dev_data_fan.zip.part"]
    fake.requests.clear()
    get(fake, tmp_path, "fan")
    assert fake.requests[0][0] == "dev_data_fan.zip"
    assert fake.requests[0][1] not in ("", "bytes=0-")
    assert tree(tmp_path) == fan_files() | label_files()


def test_a_server_without_ranges_sends_all_again(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.ranges, fake.cuts = False, [200_000]
    get(fake, tmp_path, "fan")
    assert fake.requested_files()[:3] == ["dev_data_fan.zip"] * 2 + ["eval_data_fan_train.zip"]
    train = tmp_path / "dev_data/fan/train/section_00_source_train_normal_0000_x.wav"
    assert train.read_bytes() == clip("fan train")


def test_a_part_that_is_too_long_is_dropped(fake: FakeZenodo, tmp_path: Path) -> None:
    part = tmp_path / ".download/dev_data_fan.zip.part"
    part.parent.mkdir()
    part.write_bytes(bytes(400_000))
    get(fake, tmp_path, "fan")
    assert fake.requests[0] == ("dev_data_fan.zip", "")
    assert tree(tmp_path) == fan_files() | label_files()


def test_a_wrong_checksum_leaves_nothing(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.md5["dev_data_fan.zip"] = "0" * 32
    with pytest.raises(DataError, match=r"^dev_data_fan\.zip arrived with checksum .*0{32}"):
        get(fake, tmp_path, "fan")
    assert tree(tmp_path) == set()
    assert leftovers(tmp_path) == []
    fake.md5.clear()
    get(fake, tmp_path, "fan")
    assert tree(tmp_path) == fan_files() | label_files()


def test_a_second_call_downloads_nothing(fake: FakeZenodo, tmp_path: Path) -> None:
    get(fake, tmp_path, "fan")
    fake.requests.clear()
    assert get(fake, tmp_path, "fan") == ()
    assert get(fake, tmp_path, "fan", "pump") == (
        "dev_data_pump.zip",
        "eval_data_train_pump.zip",
        "eval_data_pump_test.zip",
    )
    assert not any("fan" in name for name in fake.requested_files())


def test_what_was_removed_comes_back(fake: FakeZenodo, tmp_path: Path) -> None:
    get(fake, tmp_path, "fan")
    gone = tmp_path / "eval_data/fan/source_test"
    (gone / "section_03_source_test_0000.wav").unlink()
    gone.rmdir()
    assert get(fake, tmp_path, "fan") == ("eval_data_fan_test.zip",)
    assert tree(tmp_path) == fan_files() | label_files()


def test_files_of_others_stay(fake: FakeZenodo, tmp_path: Path) -> None:
    user_file = tmp_path / "dev_data/fan/train/own.wav"
    user_file.parent.mkdir(parents=True)
    user_file.write_bytes(b"mine")
    get(fake, tmp_path, "fan")
    assert tree(tmp_path) == fan_files() | label_files() | {"dev_data/fan/train/own.wav"}
    assert user_file.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["../../evil.wav", "/evil.wav", "fan/train/..\\evil.wav"])
def test_names_that_lead_out_are_refused(fake: FakeZenodo, tmp_path: Path, name: str) -> None:
    fake.records[DEVELOPMENT.number]["dev_data_fan.zip"] = clips("fan/train/section_00.wav", name)
    root = tmp_path / "deep/data"
    with pytest.raises(DataError, match=r"dev_data_fan\.zip is refused"):
        get(fake, root, "fan")
    assert tree(root) == set()
    assert list(tmp_path.rglob("*evil*")) == []
    assert not (root / ".download/unpack").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no zip", "no zip file"), (clips("section_00.wav", within="music/"), "holds none")],
)
def test_an_unfit_archive(fake: FakeZenodo, tmp_path: Path, content: bytes, message: str) -> None:
    fake.records[DEVELOPMENT.number]["dev_data_fan.zip"] = content
    with pytest.raises(DataError, match=message):
        get(fake, tmp_path, "fan")
    assert tree(tmp_path) == set()


def test_what_the_site_refuses_is_asked_once(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.status["dev_data_fan.zip"] = 404
    with pytest.raises(UserError, match=r"status 404; .* unpack it into .*/dev_data"):
        get(fake, tmp_path, "fan")
    assert fake.requested_files() == ["dev_data_fan.zip"]


def test_a_passing_fault_of_the_site_is_tried_again(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.status["dev_data_fan.zip"] = 503
    with pytest.raises(UserError, match="status 503"):
        get(fake, tmp_path, "fan")
    assert len(fake.requests) == zenodo.RETRIES + 1


def test_no_connection(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.url = "http://127.0.0.1:9"
    with pytest.raises(UserError) as caught:
        get(fake, tmp_path)
    message = str(caught.value)
    assert "4562016" in message
    assert f"{fake.url}/records/4562016" in message
    assert str(tmp_path / "dev_data") in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("machine", "hint"),
    [("toycar", "did you mean ToyCar?"), ("valv", "did you mean valve?"), ("lathe9", "one of fan")],
)
def test_an_unknown_machine(fake: FakeZenodo, tmp_path: Path, machine: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        get(fake, tmp_path / "data", machine)
    assert hint in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_record_that_lacks_a_machine(fake: FakeZenodo, tmp_path: Path) -> None:
    del fake.records[EVALUATION_TEST.number]["eval_data_fan_test.zip"]
    with pytest.raises(DataError, match=r"4884786 \(evaluation test clips\) has no fan zip"):
        get(fake, tmp_path, "fan")
    assert fake.requests == []


def test_a_small_disk(fake: FakeZenodo, tmp_path: Path) -> None:
    fake.size["dev_data_fan.zip"] = 10**18
    with pytest.raises(UserError, match="not enough disk space"):
        get(fake, tmp_path, "fan")
    assert fake.requests == []


def test_one_download_at_a_time(fake: FakeZenodo, tmp_path: Path) -> None:
    (tmp_path / ".download").mkdir()
    with FileLock(tmp_path / ".download/lock"), pytest.raises(UserError, match="under way"):
        get(fake, tmp_path, "fan")


def test_a_root_that_is_a_file(fake: FakeZenodo, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match="cannot write into"):
        get(fake, tmp_path / "data", "fan")
