"""Where a source comes from: the pinned archive, a checkout, a tree that is edited meanwhile."""

import shutil
import subprocess
import tarfile

import pytest
from support.tiny_tree import quiet, says, source, write_tree

import llama_build.patches
import llama_build.source
from llama_build import BuildError, EngineRequest, build_engine, find_engine
from llama_build.pinned import Pin, load_pin, pack
from llama_build.store import default_cache
from llama_build.trees import tree_sha256

pytestmark = pytest.mark.runtime


def test_a_tree_that_changes_while_it_is_copied_is_refused(tree, tmp_path):
    found = llama_build.source.find_source(source(tree))
    (tree / "tiny.c").write_text("// edited after it was hashed\n")
    with pytest.raises(BuildError, match="changed while it was copied"):
        found.place(tmp_path / "copy", tmp_path, quiet)


def git(folder, *args):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", folder, *identity, *args], check=True, capture_output=True)


def test_a_checkout_is_named_by_its_commit(tree):
    git(tree.parent, "init", "-q")
    assert llama_build.source.find_source(source(tree)).id.startswith("tree-"), "the commit of a checkout around the tree is not its own"
    shutil.rmtree(tree.parent / ".git")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "first")
    clean = llama_build.source.find_source(source(tree))
    assert len(clean.id) == 12
    assert clean.build_number == 1
    (tree / "new.c").write_text("int new_file;\n")
    changed = llama_build.source.find_source(source(tree))
    assert changed.id == f"{clean.id}-{changed.sha256[:8]}"
    assert changed.sha256 != clean.sha256


SETUP = """
from pathlib import Path
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder, "tiny_llama-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-llama\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **kwargs):
    raise SystemExit("nothing to build")
"""


@pytest.fixture
def pin(tmp_path, monkeypatch):
    """A small sdist that real pip finds in a folder, without network, as the pinned source."""
    top = tmp_path / "tiny_llama-1.0"
    write_tree(top / "vendor" / "llama.cpp")
    (top / "vendor" / "llama.cpp" / "models").mkdir()
    (top / "vendor" / "llama.cpp" / "models" / "big.txt").write_text("not needed")
    (top / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n')
    (top / "backend.py").write_text(SETUP)
    (top / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\n")
    index = tmp_path / "index"
    index.mkdir()
    with tarfile.open(index / "tiny_llama-1.0.tar.gz", "w:gz") as tar:
        tar.add(top, "tiny_llama-1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    sha256 = subprocess.run(["sha256sum", index / "tiny_llama-1.0.tar.gz"], capture_output=True, text=True, check=True).stdout.split()[0]
    made = Pin(
        distribution="tiny-llama",
        version="1.0",
        archive="tiny_llama-1.0.tar.gz",
        sha256=sha256,
        size_mb=1,
        tree="tiny_llama-1.0/vendor/llama.cpp",
        commit="0123456789abcdef0123456789abcdef01234567",
        tree_sha256=tree_sha256(top / "vendor" / "llama.cpp"),
    )
    monkeypatch.setattr(llama_build.source, "load_pin", lambda: made)
    return made


def test_the_pinned_source_is_fetched_checked_and_built(pin, cache):
    engine = build_engine(EngineRequest("pinned"), cache=cache, progress=quiet)
    assert engine.manifest.engine_id == "0123456789ab"
    assert engine.manifest.source_sha256 == pin.sha256
    assert says(engine.server) == "tiny 0123456789ab"
    archive = cache / "sources" / pin.archive
    archive.write_bytes(b"tampered with")
    lines = []
    build_engine(EngineRequest("pinned", options={"TINY_LOUD": "ON"}), cache=cache, progress=lines.append)
    assert any(line.startswith("fetch:") for line in lines), "an archive with another hash is fetched again"
    lines.clear()
    build_engine(EngineRequest("pinned", options={"GGML_NATIVE": "OFF"}), cache=cache, progress=lines.append)
    assert not any(line.startswith("fetch:") for line in lines), "a good archive is used again"


def test_a_pinned_source_with_another_hash_is_refused(pin, cache, monkeypatch):
    monkeypatch.setattr(llama_build.source, "load_pin", lambda: pin.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(BuildError, match=r"(?s)cannot be fetched\. Expected pip to deliver .* with sha256 0000.*DO NOT MATCH THE HASHES"):
        build_engine(EngineRequest("pinned"), cache=cache, progress=quiet)
    assert not (cache / "sources" / pin.archive).exists()
    assert not (cache / "sources" / "download.part").exists()
    assert find_engine(EngineRequest("pinned"), cache) is None


def test_the_pinned_source_unpacks_without_what_no_build_reads(pin, tmp_path, cache):
    llama_build.source.find_source(EngineRequest("pinned")).place(tmp_path / "out", cache / "sources", quiet)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["CMakeLists.txt", "main.c", "tiny.c"]


def test_a_source_that_was_brought_along_is_built_without_a_fetch(pin, tmp_path, cache, monkeypatch):
    sources = cache / "sources"
    sources.mkdir(parents=True)
    packed = pack(pin, tmp_path / "index" / pin.archive, sources)
    assert packed == sources / "llama.cpp-0123456789ab.tar"
    monkeypatch.delenv("PIP_FIND_LINKS")
    lines = []
    engine = build_engine(EngineRequest("pinned"), cache=cache, progress=lines.append)
    assert says(engine.server) == "tiny 0123456789ab"
    assert lines[0] == "unpack: llama.cpp-0123456789ab.tar"
    assert not any(line.startswith("fetch:") for line in lines)
    assert list(sources.iterdir()) == [packed]


def test_a_packed_source_is_the_pinned_one_to_the_byte(pin, tmp_path, cache):
    sources = cache / "sources"
    sources.mkdir(parents=True)
    packed = pack(pin, tmp_path / "index" / pin.archive, sources)
    packed.write_bytes(packed.read_bytes().replace(b"tiny ", b"tinY "))
    with pytest.raises(BuildError, match=r"llama\.cpp-0123456789ab\.tar holds a source with hash .* Expected .*, the pinned one"):
        build_engine(EngineRequest("pinned"), cache=cache, progress=quiet)
    packed.write_bytes(b"no archive")
    with pytest.raises(BuildError, match=r"cannot be unpacked: it is no whole archive\. Delete it"):
        build_engine(EngineRequest("pinned"), cache=cache, progress=quiet)
    with pytest.raises(BuildError, match="holds a source with hash"):
        pack(pin.model_copy(update={"tree_sha256": "0" * 64}), tmp_path / "index" / pin.archive, sources)


def test_the_shipped_pin_knows_its_tree(tmp_path):
    pin = load_pin()
    llama_build.source.PinnedSource(pin).place(tmp_path / "out", default_cache() / "sources", quiet)
    assert tree_sha256(tmp_path / "out") == pin.tree_sha256
