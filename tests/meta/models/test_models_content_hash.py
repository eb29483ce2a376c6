"""The sha256 of a model file is computed once for each content."""

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from fixtures.models.artefacts import ArtefactError, content_sha256
from fixtures.models.cache import cache_root

pytestmark = pytest.mark.usefixtures("own_cache")
CONTENT = bytes(range(256)) * 80_000  # 20 MB: more than two chunks


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    return path


def read_calls(path):
    """The progress calls of one more look; none when the hash was remembered."""
    calls = []
    content_sha256(path, lambda *call: calls.append(call))
    return calls


def test_is_the_sha256(model):
    assert content_sha256(model) == hashlib.sha256(CONTENT).hexdigest()


def test_progress_ends_at_the_total(model):
    calls = read_calls(model)
    assert len(calls) == 3
    assert calls[-1] == ("sha256 of model.gguf", len(CONTENT), len(CONTENT))


def test_remembered_through_any_link(model, tmp_path):
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    content_sha256(model)
    assert read_calls(link) == []


def test_another_content_is_read_again(model):
    before = content_sha256(model)
    model.write_bytes(CONTENT[:-1] + b"x")  # same size, same inode
    os.utime(model, ns=(1, 2))
    assert read_calls(model) != []
    assert content_sha256(model) != before


def test_a_replaced_file_of_same_size_and_time_is_read_again(model, tmp_path):
    content_sha256(model)
    other = tmp_path / "other.gguf"
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(model.stat().st_atime_ns, model.stat().st_mtime_ns))
    other.replace(model)
    assert content_sha256(model) == hashlib.sha256(CONTENT[::-1]).hexdigest()


@pytest.mark.parametrize("store", [b"", b"{", b"[]", b'{"a": {"size": "many"}}', b"\xff\xfe"])
def test_a_damaged_store_is_started_anew(model, store):
    cache_root().mkdir(parents=True)
    (cache_root() / "content-hashes.json").write_bytes(store)
    assert content_sha256(model) == hashlib.sha256(CONTENT).hexdigest()
    assert read_calls(model) == []


def test_a_file_that_changes_meanwhile_is_refused(model):
    def grow(_what, done, total):
        if done < total:
            with model.open("ab") as handle:
                handle.write(b"more")

    with pytest.raises(ArtefactError, match="changed while"):
        content_sha256(model, grow)


def test_missing_file(tmp_path):
    with pytest.raises(ArtefactError, match="does not exist"):
        content_sha256(tmp_path / "nowhere.gguf")


def test_processes_do_not_lose_each_others_entries(tmp_path):
    paths = [tmp_path / f"{i}.gguf" for i in range(6)]
    for path in paths:
        path.write_bytes(path.name.encode())
    workers = [multiprocessing.get_context("spawn").Process(target=content_sha256, args=(path,)) for path in paths]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    store = json.loads((cache_root() / "content-hashes.json").read_text())
    assert {Path(path).name: entry["sha256"] for path, entry in store.items()} == {
        path.name: hashlib.sha256(path.name.encode()).hexdigest() for path in paths
    }


def test_relative_cache_home_is_ignored(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == Path.home() / ".cache" / "llama-readiness"


def exchanged_in_place(model):
    with model.open("r+b") as handle:
        handle.write(b"other")


def exchanged_by_rename(model):
    other = model.with_suffix(".new")
    other.write_bytes(CONTENT[::-1])
    other.replace(model)


def exchanged_behind_a_copy(model):
    shutil.copyfile(model, model.with_suffix(".bak"))
    model.write_bytes(CONTENT[::-1])


@pytest.mark.parametrize("exchange", [exchanged_in_place, exchanged_by_rename, exchanged_behind_a_copy])
def test_an_exchanged_file_whose_time_was_put_back_is_read_again(model, exchange):
    before, was = content_sha256(model), model.stat()
    exchange(model)
    os.utime(model, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (model.stat().st_size, model.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    assert content_sha256(model) == hashlib.sha256(model.read_bytes()).hexdigest() != before


def test_what_was_computed_before_a_given_time_is_computed_once_more(model):
    content_sha256(model)
    since, calls = time.time_ns(), []
    for _ in range(2):
        content_sha256(model, lambda *call: calls.append(call), since_ns=since)
    assert len(calls) == 3, "one reading of the file"


def test_only_the_youngest_hashes_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("fixtures.models.content_hash._KEPT", 2)
    paths = [tmp_path / f"{number}.gguf" for number in range(3)]
    for path in paths:
        path.write_bytes(b"x")
        content_sha256(path)
    assert [read_calls(path) == [] for path in paths[1:]] == [True, True]
    assert read_calls(paths[0]) != []


def test_what_another_process_has_remembered_meanwhile_counts(model):
    content_sha256(model)
    store = cache_root() / "content-hashes.json"
    entries = json.loads(store.read_text())
    store.write_text(json.dumps({path: entry | {"sha256": "a" * 64} for path, entry in entries.items()}))
    assert content_sha256(model) == "a" * 64
