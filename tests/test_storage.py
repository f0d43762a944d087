"""The same files on a local disk and on a real S3 server: atomic, created once, without secrets."""

import os
import pickle
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from upath import UPath

from raysearch import storage
from raysearch.errors import UserError
from tests.files import put
from tests.s3 import BUCKET, S3
from tests.syscalls import NO_LINKS, run_without


def test_a_file_is_written_and_replaced(folder: UPath) -> None:
    path = folder / "a" / "b.txt"
    storage.make_folder(path.parent)
    for text in ("one\nλ", "two"):
        storage.write_text(path, text)
        assert path.read_bytes().decode() == text
        assert path.is_file()
    assert [p.name for p in storage.children(folder / "a")] == ["b.txt"]
    with pytest.raises(UnicodeEncodeError):
        storage.write_text(path, "\ud800")
    assert path.read_text() == "two"


def test_bytes_of_any_size_come_back(folder: UPath) -> None:
    storage.make_folder(folder)
    for size in (0, 1, 3_000_000):
        content = os.urandom(size)
        storage.write_bytes(folder / "bytes", content)
        assert (folder / "bytes").read_bytes() == content


def test_a_part_is_read(folder: UPath) -> None:
    storage.make_folder(folder)
    storage.write_bytes(folder / "a", bytes(range(100)))
    assert storage.read_part(folder / "a", 0, 8) == bytes(range(8))
    assert storage.read_part(folder / "a", 95, 50) == bytes(range(95, 100))
    with pytest.raises(FileNotFoundError):
        storage.read_part(folder / "none", 0, 8)


def test_only_the_first_creates_a_file(folder: UPath) -> None:
    path = folder / "new" / "0001.json"
    storage.make_folder(path.parent)
    assert storage.create_once(path, b"first")
    assert not storage.create_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert [p.name for p in storage.children(path.parent)] == ["0001.json"]


def test_of_many_who_create_a_file_one_does(folder: UPath, tmp_path: Path) -> None:
    code = (
        "import sys; from raysearch.storage import create_once, to_path;"
        "print(create_once(to_path(sys.argv[1]) / 'x', sys.argv[2].encode()))"
    )
    storage.make_folder(folder)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    outputs = [process.communicate()[0].strip() for process in started]
    assert sorted(outputs) == ["False", "False", "False", "True"]
    assert (folder / "x").read_text() == str(outputs.index("True"))


def test_children_are_sorted_and_nothing_is_hidden_or_made_up(folder: UPath) -> None:
    assert storage.children(folder) == []
    for name in ("b", "10", ".hidden", "2"):
        put(folder / name, name)
    put(folder / "sub" / "deep", "x")
    entries = storage.children(folder)
    assert [path.name for path in entries] == [".hidden", "10", "2", "b", "sub"]
    assert [path.is_dir() for path in entries] == [False] * 4 + [True]
    assert storage.children(folder / "b") == []


def test_many_texts_are_read_in_order(folder: UPath) -> None:
    assert storage.read_files([]) == []
    paths = [folder / f"{number}.txt" for number in (3, 1, 2)]
    for path in paths:
        put(path, f"λ {path.name}")
    assert storage.read_files(paths) == [
        name.encode() for name in ("λ 3.txt", "λ 1.txt", "λ 2.txt")
    ]
    with pytest.raises(FileNotFoundError):
        storage.read_files([*paths, folder / "none"])


def test_what_another_process_writes_is_seen_at_once(folder: UPath) -> None:
    put(folder / "1", "")
    assert [path.name for path in storage.children(folder)] == ["1"]
    assert not (folder / "2").exists()
    code = (
        "import sys; from raysearch.storage import *; write_text(to_path(sys.argv[1]) / '2', 'x')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    assert [path.name for path in storage.children(folder)] == ["1", "2"]
    assert (folder / "2").exists()
    assert (folder / "2").read_text() == "x"


def test_a_tree_is_removed(folder: UPath) -> None:
    storage.remove_tree(folder)
    for name in ("a", "sub/b", "sub/deep/c"):
        put(folder / name, name)
    beside = folder.with_name(f"{folder.name}-beside") / "d"
    put(beside, "stays")
    storage.remove_tree(folder)
    assert not folder.exists()
    assert storage.children(folder) == []
    assert beside.read_text() == "stays"


def test_a_path_travels_with_its_options(folder: UPath) -> None:
    put(folder / "a", "here")
    path = pickle.loads(pickle.dumps(folder))
    assert path == folder
    assert (path / "a").read_text() == "here"
    assert str(path.absolute()) == str(folder)


def test_a_folder_is_made_below_one_that_is_there(tmp_path: Path) -> None:
    home = tmp_path / "run"
    for folder in (home / "a", home):
        with pytest.raises(FileNotFoundError):
            storage.make_folder(folder / "b", below=home)
    assert list(tmp_path.iterdir()) == []
    home.mkdir()
    for _ in range(2):
        storage.make_folder(home / "a" / "b", below=home)
        storage.make_folder(home, below=home)
    assert [path.relative_to(home) for path in home.rglob("*")] == [Path("a"), Path("a/b")]


def test_a_file_makes_no_folder_anew(tmp_path: Path) -> None:
    path = tmp_path / "unmounted" / "x"
    for write in (storage.write_bytes, storage.create_once):
        with pytest.raises(FileNotFoundError):
            write(path, b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_writable_folder_is_left_as_it_was(folder: UPath) -> None:
    storage.check_writable(folder)
    assert storage.children(folder) == []


def test_a_file_is_created_once_without_hard_links(tmp_path: Path) -> None:
    code = (
        "import sys; from raysearch.storage import create_once, to_path;"
        "path = to_path(sys.argv[1]) / 'x';"
        "print(create_once(path, b'first'), create_once(path, b'second'))"
    )
    result = run_without(NO_LINKS, code, str(tmp_path))
    assert result.stdout.split() == ["True", "False"], result.stderr
    assert (tmp_path / "x").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_local_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    storage.write_text(path, "old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        storage.write_text(tmp_path / "folder", "text")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a", "folder"]
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR


def test_local_paths_stay_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("runs", str(tmp_path), "a:b/c", "odd ?x=1&y#z", tmp_path / "x"):
        path = storage.to_path(text)
        assert isinstance(path, Path)
        assert str(path) == str(text)
        assert not storage.is_remote(path)
    assert not storage.is_remote(tmp_path)


@pytest.fixture
def endpoint_in_the_address(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 server of which the environment holds the login alone."""
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    return s3


def test_an_address_may_hold_everything_but_the_login(endpoint_in_the_address: S3) -> None:
    path = storage.to_path(endpoint_in_the_address.address("runs/valve/"))
    assert storage.is_remote(path)
    assert str(path / "a") == f"s3://{BUCKET}/runs/valve/a"
    assert "unspoken" not in f"{path} {path!r} {path.as_uri()} {path.parent}"
    storage.write_text(path / "own" / "a", "here")
    pickled = pickle.dumps(path)
    assert b"unspoken" not in pickled
    assert (pickle.loads(pickled) / "own" / "a").read_text() == "here"


def test_an_endpoint_without_scheme_takes_the_one_of_pyarrow(endpoint_in_the_address: S3) -> None:
    s3_server = endpoint_in_the_address
    host = s3_server.endpoint.removeprefix("http://")
    path = storage.to_path(f"s3://{BUCKET}/x?endpoint_override={host}&scheme=http")
    assert path.storage_options["endpoint_url"] == s3_server.endpoint


LOGIN = "a login in an address ends up in files"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://host/runs", "expected a local path, s3://... or gs://..."),
        ("file:///runs", "expected a local path"),
        ("gs://bucket/runs", r"pip install 'raysearch\[gs\]'"),
        ("s3:///runs", "expected s3://BUCKET/PATH"),
        ("s3://", "expected s3://BUCKET/PATH"),
        ("s3://k:unspoken@/runs", LOGIN),
        (
            "s3://k:unspoken@bucket/runs",
            "set AWS_ACCESS_KEY_ID, .*, or a profile, and write s3://B",
        ),
        ("s3://unspoken@bucket/runs", LOGIN),
        ("s3://k:un/spoken@bucket/runs", LOGIN),
        ("s3://k:@unspoken@bucket/runs", LOGIN),
        ("s3://k:u?unspoken@bucket/runs", LOGIN),
        (
            "s3://b/r?endpoint_override=http://k:unspoken@h",
            LOGIN,
        ),
        (
            "s3://b/r?secret_key=unspoken",
            r"s3://b/r\?...: only endpoint_override",
        ),
        ("s3://[b/r", "expected s3://BUCKET/PATH"),
        ("s3://bucket/runs*", r"s3://bucket/runs\*: no name on an object store may hold \*"),
        ("s3://b/runs?acl=public", "only endpoint_override, region and scheme"),
    ],
)
def test_a_wrong_address_is_explained(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        storage.to_path(text)
    assert "unspoken" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_bucket_is_named(s3: S3) -> None:
    with pytest.raises(UserError, match=r"s3://nowhere/runs: there is no bucket of that name"):
        storage.to_path("s3://nowhere/runs")


def test_a_refused_access_says_what_to_set(s3: S3) -> None:
    path = storage.to_path(f"s3://{BUCKET}/runs")
    s3.refuse_everybody()
    try:
        for attempt in (lambda: storage.to_path(str(path)), lambda: storage.check_writable(path)):
            with pytest.raises(UserError, match=r"AWS_ACCESS_KEY_ID") as caught:
                attempt()
            assert "\n" not in str(caught.value)
    finally:
        s3.accept_everybody()
    assert storage.to_path(str(path)) == path


def test_missing_credentials_say_what_to_set(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    path = UPath(f"s3://{BUCKET}/runs", skip_instance_cache=True)
    with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID"):
        storage.check_writable(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write to"):
        storage.check_writable(tmp_path / "runs")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}/runs"):
        storage.check_writable(tmp_path / "runs")


def test_threads_share_an_object_store(s3: S3) -> None:
    folder = storage.to_path(f"s3://{BUCKET}/threads")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: storage.write_text(folder / str(n), str(n)), range(40)))
    assert len(storage.children(folder)) == 40


def test_uris() -> None:
    assert storage.is_uri("s3://bucket/runs")
    assert storage.is_uri("gs://bucket")
    assert not storage.is_uri("/mnt/runs")
    assert not storage.is_uri("C:/runs")
