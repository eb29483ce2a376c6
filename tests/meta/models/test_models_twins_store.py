"""Where twins are kept: written once, checked, written again where damaged."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.places import ROOT

from fixtures.models.artefacts import ArtefactError, check_gguf
from fixtures.models.drafting import drafter_mismatch
from fixtures.models.twins import TWINS, ensure_twin, store
from fixtures.models.twins.scripts import Script


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "twins"))


def script(answer, trigger="", **more):
    return Script.model_validate({"id": "any" if trigger else "default", "trigger": trigger, "answer": answer, **more})


@pytest.mark.parametrize("name", sorted(TWINS))
def test_drafters_belong_to_their_targets(name):
    twin = ensure_twin(name, "geometry")
    target = check_gguf(twin.target)
    assert target.block_count - target.nextn_layers == int(name.removeprefix("twin"))
    assert target.file_type == "Q8_0"
    if twin.drafter is None:
        assert target.nextn_layers == 1
    else:
        assert drafter_mismatch("mtp", target, check_gguf(twin.drafter)) == ""


def test_a_drafter_of_another_width_does_not_match():
    geometry, scripted = ensure_twin("twin35", "geometry"), ensure_twin("twin35", "scripted")
    assert scripted.drafter
    assert "belongs to another model" in drafter_mismatch("mtp", check_gguf(geometry.target), check_gguf(scripted.drafter))


def test_written_once():
    reports = []
    first = ensure_twin("twin35", "geometry")
    stamp = first.target.stat().st_mtime_ns
    assert ensure_twin("twin35", "geometry", progress=lambda what, *_: reports.append(what)) == first
    assert (first.target.stat().st_mtime_ns, reports) == (stamp, [])


def test_another_description_is_another_twin():
    default = ensure_twin("twin35", "scripted").target
    others = [
        ensure_twin("twin35", "scripted", acceptance=0.5).target,
        ensure_twin("twin35", "scripted", acceptance=0.5, draft_tokens=3).target,
        ensure_twin("twin35", "scripted", scripts=(script("換一句話說。"),)).target,
    ]
    assert len({default, *others}) == 4


def test_a_damaged_twin_is_written_again():
    twin = ensure_twin("twin35", "geometry")
    os.truncate(twin.target, 1000)
    leftover = twin.target.parents[1] / f".{twin.target.parent.name}.tmp"
    leftover.mkdir()
    (leftover / "target.gguf").write_bytes(b"of a killed process")
    assert check_gguf(ensure_twin("twin35", "geometry").target).block_count == 35
    assert not leftover.exists()


def test_twins_of_another_writer_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, other = ensure_twin("twin35", "geometry"), ensure_twin("twin42", "geometry")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_writer_sha256", lambda: "another")
        outdated = ensure_twin("twin35", "scripted", acceptance=0.5)
        unused = ensure_twin("twin35", "scripted", acceptance=0.75)
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(unused.target.with_name("twin.json"), (long_ago, long_ago))
    spoken = ensure_twin("twin35", "scripted")
    assert not unused.target.exists()
    assert outdated.target.exists(), "another checkout may be serving it"
    assert all(path.exists() for path in (kept.target, other.target, spoken.target))
    ensure_twin("twin35", "scripted", acceptance=0.5)
    assert spoken.target.exists()


def test_unknown_twin_lists_the_known():
    with pytest.raises(ArtefactError, match="twin30, twin35, twin42"):
        ensure_twin("twin99", "geometry")


@pytest.mark.runtime
def test_processes_at_once_write_once(tmp_path):
    code = (
        "from fixtures.models.twins import ensure_twin\n"
        "seen = []\n"
        "print(ensure_twin('twin42', 'scripted', progress=lambda what, *_: seen.append(what)).target)\n"
        "print(sum(what.startswith('writing') for what in seen))\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0].split() for process in running]
    assert len({target for target, _ in outputs}) == 1
    assert sum(int(writes) for _, writes in outputs) == 1
    assert check_gguf(Path(outputs[0][0])).architecture == "gemma4"
