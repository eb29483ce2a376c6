"""Real builds of a tiny source tree: identity, cache, failure, relocation, recipes. Processes: test_llama_build_processes.py."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import llama_build.patches
import llama_build.source
from llama_build import BuildError, EngineRequest, build_engine, find_engine
from llama_build.pinned import Pin
from llama_build.types import TARGETS

pytestmark = pytest.mark.runtime

CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(tiny C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
option(TINY_LOUD "another version text" OFF)
option(GGML_NATIVE "as llama.cpp has it" ON)
add_library(tiny SHARED tiny.c)
target_compile_definitions(tiny PRIVATE COMMIT="${LLAMA_BUILD_COMMIT}" LOUD=$<BOOL:${TINY_LOUD}>)
foreach(program llama-server llama-perplexity llama-bench)
  add_executable(${program} main.c)
  target_link_libraries(${program} PRIVATE tiny)
endforeach()
"""
MAIN = "#include <stdio.h>\nconst char *tiny(void);\nint main(void) { puts(tiny()); return 0; }\n"
LIBRARY = 'const char *tiny(void) { return LOUD ? "TINY " COMMIT : "tiny " COMMIT; }\n'


def write_tree(folder: Path, cmake: str = CMAKE, main: str = MAIN) -> Path:
    folder.mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text(cmake)
    (folder / "main.c").write_text(main)
    (folder / "tiny.c").write_text(LIBRARY)
    return folder


def quiet(_line: str) -> None:
    pass


def says(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def source(tree: Path, **options: str) -> EngineRequest:
    return EngineRequest("source", path=tree, options=options)


def test_a_build_is_found_again_and_not_repeated(tree, cache):
    assert find_engine(source(tree), cache) is None
    lines: list[str] = []
    engine = build_engine(source(tree), cache=cache, progress=lines.append)
    stages = list(dict.fromkeys(line.partition(":")[0] for line in lines))
    assert stages == ["unpack", "configure", "compile", "check", "done"]
    again: list[str] = []
    assert build_engine(source(tree), cache=cache, progress=again.append) == find_engine(source(tree), cache) == engine
    assert again == []


def test_the_manifest_says_what_the_engine_is(tree, cache):
    engine = build_engine(source(tree, TINY_LOUD="ON"), cache=cache, progress=quiet)
    manifest = engine.manifest
    assert says(engine.server) == manifest.version == f"TINY {manifest.engine_id}"
    assert manifest.engine_id == f"tree-{manifest.source_sha256[:12]}"
    assert set(manifest.files) == {*TARGETS, "libtiny.so"}
    assert manifest.options["TINY_LOUD"] == "ON"
    assert manifest.options["LLAMA_OPENSSL"] == "OFF"
    assert manifest.compiler.cxx
    assert manifest.cpu_features
    assert manifest.preset == "cpu"
    assert "libtiny.so" in (engine.folder / "build.log").read_text()


def test_the_finished_folder_can_be_moved(tree, cache, tmp_path):
    engine = build_engine(source(tree), cache=cache, progress=quiet)
    moved = tmp_path / "elsewhere"
    engine.folder.rename(moved)
    shutil.rmtree(cache)
    assert says(moved / "llama-server") == engine.manifest.version


def test_options_compiler_and_source_each_make_another_entry(tree, cache, tmp_path, monkeypatch):
    requests = [source(tree), source(tree, GGML_NATIVE="OFF")]
    folders = [build_engine(request, cache=cache, progress=quiet).folder for request in requests]
    monkeypatch.setenv("CFLAGS", "-O1")  # not in the listed environment: neither the build nor the key sees it
    assert find_engine(source(tree), cache).folder == folders[0]
    compiler = tmp_path / "othercc"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "othercc 9.9" && exit\nexec cc "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert find_engine(source(tree), cache) is None
    folders.append(build_engine(source(tree), cache=cache, progress=quiet).folder)
    monkeypatch.delenv("CC")
    (tree / "tiny.c").write_text(LIBRARY.replace("tiny ", "edited "))
    assert find_engine(source(tree), cache) is None
    folders.append(build_engine(source(tree), cache=cache, progress=quiet).folder)
    assert len(set(folders)) == 4
    assert says(folders[0] / "llama-server").startswith("tiny")
    assert says(folders[3] / "llama-server").startswith("edited")


def test_a_damaged_entry_is_not_found_and_built_again(tree, cache, tmp_path):
    engine = build_engine(source(tree), cache=cache, progress=quiet)
    sound = shutil.copytree(engine.folder, tmp_path / "sound")
    library = engine.folder / "libtiny.so"
    damages = {
        "binary gone": engine.bench.unlink,
        "library cut": lambda: os.truncate(library, 100),
        "library changed": lambda: library.write_bytes(library.read_bytes()[:-1] + b"x"),
        "library added": lambda: shutil.copy(library, engine.folder / "libother.so"),
        "manifest gone": (engine.folder / "manifest.json").unlink,
        "manifest cut": lambda: os.truncate(engine.folder / "manifest.json", 100),
    }
    for name, damage in damages.items():
        damage()
        assert find_engine(source(tree), cache) is None, name
        shutil.rmtree(engine.folder)
        shutil.copytree(sound, engine.folder)
        assert find_engine(source(tree), cache) == engine
    engine.server.unlink()
    again = build_engine(source(tree), cache=cache, progress=quiet)
    assert again.manifest.files == engine.manifest.files
    assert says(again.server) == engine.manifest.version


def test_a_failed_build_shows_the_last_40_lines_and_leaves_no_engine(tmp_path, cache):
    noise = "".join(f'#pragma message("line {n}")\n' for n in range(60))
    tree = write_tree(tmp_path / "tree", main=noise + "int main(void) { return broken; }\n")
    lines: list[str] = []
    with pytest.raises(BuildError) as caught:
        build_engine(source(tree), cache=cache, progress=lines.append)
    head, *tail = str(caught.value).splitlines()
    log = Path(head.removesuffix(":").rpartition(" of ")[2])
    assert head.startswith("compile failed with status 1 after ")
    assert len(tail) == 40
    assert tail == log.read_text().rstrip().splitlines()[-40:]
    assert "broken" in log.read_text()
    assert "undeclared" in log.read_text()
    assert lines[-1].startswith("failed: after ")
    assert {path.suffix for path in (cache / "engines").iterdir()} == {".lock", ""}  # "" is logs/
    assert find_engine(source(tree), cache) is None


def test_an_engine_that_does_not_run_is_no_engine(tmp_path, cache):
    tree = write_tree(tmp_path / "tree", main="int main(void) { return 3; }\n")
    with pytest.raises(BuildError, match="does not run: `--version` ended with status 3"):
        build_engine(source(tree), cache=cache, progress=quiet)
    assert find_engine(source(tree), cache) is None


def test_a_tree_that_makes_no_server_is_refused(tmp_path, cache):
    tree = write_tree(tmp_path / "tree", cmake=CMAKE.replace("foreach(program llama-server ", "foreach(program "))
    with pytest.raises(BuildError, match="unknown target 'llama-server'"):
        build_engine(source(tree), cache=cache, progress=quiet)


def test_an_option_that_the_source_does_not_read_is_an_error(tree, cache):
    with pytest.raises(BuildError, match="reads no option TINY_LUOD"):
        build_engine(source(tree, TINY_LUOD="ON"), cache=cache, progress=quiet)
    assert find_engine(source(tree, TINY_LUOD="ON"), cache) is None


def test_a_tree_that_changes_while_it_is_copied_is_refused(tree, tmp_path):
    found = llama_build.source.find_source(source(tree))
    (tree / "tiny.c").write_text("// edited after it was hashed\n")
    with pytest.raises(BuildError, match="changed while it was copied"):
        found.place(tmp_path / "copy", tmp_path, quiet)


PATCH = """--- a/tiny.c
+++ b/tiny.c
@@ -1 +1 @@
-const char *tiny(void) { return LOUD ? "TINY " COMMIT : "tiny " COMMIT; }
+const char *tiny(void) { return LOUD ? "TINY " COMMIT : "patched " COMMIT; }
"""


def test_a_patch_set_is_applied_and_named_in_the_id(tree, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(llama_build.patches, "PATCHES", tmp_path / "patches")
    (tmp_path / "patches" / "tbq").mkdir(parents=True)
    (tmp_path / "patches" / "tbq" / "0001-say-patched.patch").write_text(PATCH)
    request = EngineRequest("source", path=tree, patch_set="tbq")
    engine = build_engine(request, cache=cache, progress=quiet)
    assert engine.manifest.engine_id.endswith("+tbq")
    assert says(engine.server) == f"patched {engine.manifest.engine_id}"
    assert list(engine.manifest.patches) == ["0001-say-patched.patch"]
    assert find_engine(source(tree), cache) is None
    (tmp_path / "patches" / "tbq" / "0002-twice.patch").write_text(PATCH)
    with pytest.raises(BuildError, match=r"Patch tbq/0002-twice\.patch does not fit this source: .*tiny\.c"):
        build_engine(request, cache=cache, progress=quiet)
    with pytest.raises(BuildError, match=r"no patch set 'tqb'\. Expected one of: tbq"):
        find_engine(EngineRequest("source", path=tree, patch_set="tqb"), cache)


def git(folder: Path, *args: str) -> None:
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
    lines: list[str] = []
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


def test_the_command_line_builds_prints_the_folder_and_finds_it(tree, tmp_path):
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg")}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "llama_build", *args, "--recipe", "source", "--path", str(tree), "--option", "TINY_LOUD=ON"]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    missing = run("where")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "not built" in missing.stderr
    built = run()
    assert built.returncode == 0
    folder = Path(built.stdout.strip())
    assert folder.parent == tmp_path / "xdg" / "llama-readiness" / "engines"
    assert says(folder / "llama-server").startswith("TINY")
    assert run("where").stdout == built.stdout
