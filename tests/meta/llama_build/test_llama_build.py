"""Real builds of a tiny source tree: identity, cache, failure, relocation, recipes. Processes: test_llama_build_processes.py."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.tiny_tree import CMAKE, LIBRARY, quiet, says, source, write_tree

import llama_build.patches
import llama_build.preflight
import llama_build.source
from llama_build import BuildError, EngineRequest, build_engine, find_engine
from llama_build.types import TARGETS

pytestmark = pytest.mark.runtime


def test_a_build_is_found_again_and_not_repeated(tree, cache):
    assert find_engine(source(tree), cache) is None
    lines = []
    engine = build_engine(source(tree), cache=cache, progress=lines.append)
    stages = list(dict.fromkeys(line.partition(":")[0] for line in lines))
    assert stages == ["unpack", "configure", "compile", "check", "done"]
    again = []
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
    lines = []
    with pytest.raises(BuildError) as caught:
        build_engine(source(tree), cache=cache, progress=lines.append)
    head, *tail = str(caught.value).splitlines()
    log = Path(head.removesuffix(":").rpartition(" of ")[2])
    assert head.startswith("compile failed with status 1 after ")
    assert len(tail) == 40
    assert tail == log.read_text().rstrip().splitlines()[-40:]
    assert "broken" in log.read_text()
    assert "undeclared" in log.read_text()
    assert re.fullmatch(r"failed: after 00:\d\d; what was compiled is kept in .*\.part", lines[-1])
    assert {path.suffix for path in (cache / "engines").iterdir()} == {".lock", ".part", ""}  # "" is logs/
    assert find_engine(source(tree), cache) is None


def test_an_engine_that_does_not_run_is_no_engine(tmp_path, cache):
    tree = write_tree(tmp_path / "tree", main="int main(void) { return 3; }\n")
    with pytest.raises(BuildError, match="does not run: `--version` ended with status 3"):
        build_engine(source(tree), cache=cache, progress=quiet)
    assert find_engine(source(tree), cache) is None


def test_a_build_whose_last_check_fails_keeps_its_objects(tmp_path, cache):
    """The check asks for a library that is put on the loader's path afterwards: nothing is compiled a second time."""
    there = tmp_path / "there"
    tree = write_tree(tmp_path / "tree", main=f'#include <unistd.h>\nint main(void) {{ return access("{there}", F_OK) ? 3 : 0; }}\n')
    with pytest.raises(BuildError, match="ended with status 3"):
        build_engine(source(tree), cache=cache, progress=quiet)
    [part] = (cache / "engines").glob("*.part")
    there.touch()
    lines = []
    engine = build_engine(source(tree), cache=cache, progress=lines.append)
    assert lines[0] == f"resume: {part} holds what was compiled before"
    assert "ninja: no work to do" in (engine.folder / "build.log").read_text()
    assert not part.exists()
    assert find_engine(source(tree), cache) == engine


def test_a_build_that_was_broken_off_waits_a_week_for_its_next_call(tmp_path, cache, tree):
    broken = write_tree(tmp_path / "broken", main="int main(void) { return 3; }\n")
    with pytest.raises(BuildError):
        build_engine(source(broken), cache=cache, progress=quiet)
    [part] = (cache / "engines").glob("*.part")
    build_engine(source(tree), cache=cache, progress=quiet)
    assert part.exists(), "another engine's build leaves it alone"
    os.utime(part, (0, 0))
    build_engine(source(tree, TINY_LOUD="ON"), cache=cache, progress=quiet)
    assert not part.exists()


def test_a_disk_without_room_is_told_before_anything_is_done(tree, cache, monkeypatch):
    monkeypatch.setattr(llama_build.preflight.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=499_000_000))
    lines = []
    with pytest.raises(BuildError, match=r"has 499 MB free, and the build takes up to 500 MB\. Make room there"):
        build_engine(source(tree), cache=cache, progress=lines.append)
    assert len(lines) == 1, "nothing was unpacked or configured"
    assert not list((cache / "engines").glob("*.part"))


def test_a_toolkit_that_cannot_link_is_told_before_anything_is_compiled(tree, cache, tmp_path, monkeypatch):
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(
        '#!/bin/sh\ncase "$1" in --list-gpu-code) echo sm_90;; --dryrun) echo "#$ _HERE_=$(dirname "$0")";; *) echo a; echo b;; esac\n'
    )
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDACXX", str(nvcc))
    lines = []
    with pytest.raises(BuildError, match=r"The CUDA toolkit here cannot give the engine what it needs: .* toolkit failed"):
        build_engine(EngineRequest("source", "cuda-h100", path=tree), cache=cache, progress=lines.append)
    assert not any(line.startswith(("unpack", "configure", "compile")) for line in lines)
    assert not list((cache / "engines").glob("*.part"))


def test_a_tree_that_makes_no_server_is_refused(tmp_path, cache):
    tree = write_tree(tmp_path / "tree", cmake=CMAKE.replace("foreach(program llama-server ", "foreach(program "))
    with pytest.raises(BuildError, match="unknown target 'llama-server'"):
        build_engine(source(tree), cache=cache, progress=quiet)


def test_an_option_that_the_source_does_not_read_is_an_error(tree, cache):
    with pytest.raises(BuildError, match="reads no option TINY_LUOD"):
        build_engine(source(tree, TINY_LUOD="ON"), cache=cache, progress=quiet)
    assert find_engine(source(tree, TINY_LUOD="ON"), cache) is None


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


def test_the_command_line_builds_prints_the_folder_and_finds_it(tree, tmp_path):
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg")}

    def run(*args):
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
