"""Requests that cannot work get one clear message; presets, toolchain and ready binaries."""

import platform
import stat
import subprocess
from pathlib import Path

import pytest

from llama_build import BuildError, EngineRequest, build_engine, find_engine
from llama_build.presets import configuration, load_presets
from llama_build.toolchain import build_environment, cmake_program, find_nvcc, find_toolchain, ninja_program
from llama_build.trees import NEEDLESS, copy_tree, tree_sha256


@pytest.fixture
def ready(tmp_path):
    """A folder with ready binaries, as a fork's build/bin."""
    folder = tmp_path / "build" / "bin"
    folder.mkdir(parents=True)
    for name in ("llama-server", "llama-perplexity"):
        (folder / name).write_text(f"#!/bin/sh\necho {name}\n")
        (folder / name).chmod(0o755)
    (folder / "libllama.so.0.5").write_text("library")
    (folder / "libllama.so").symlink_to("libllama.so.0.5")
    return folder


def refused(request):
    """The message, the same whether it is built or only looked for; one paragraph."""
    with pytest.raises(BuildError) as built:
        build_engine(request, progress=lambda _line: None)
    with pytest.raises(BuildError) as found:
        find_engine(request)
    assert str(built.value) == str(found.value)
    assert "\n" not in str(built.value)
    return str(built.value)


def test_ready_binaries_are_identified_by_their_content(ready):
    engine = find_engine(EngineRequest("path", path=ready))
    assert engine == build_engine(EngineRequest("path", path=ready))
    assert engine.server == ready / "llama-server"
    assert engine.perplexity == ready / "llama-perplexity"
    assert engine.bench is None
    assert engine.manifest.files.keys() == {"llama-server", "llama-perplexity", "libllama.so", "libllama.so.0.5"}
    assert engine.manifest.engine_id.startswith("path-")
    assert engine.manifest.built is None
    (ready / "libllama.so.0.5").write_text("another library")
    assert find_engine(EngineRequest("path", path=ready)).manifest.engine_id != engine.manifest.engine_id


def test_libraries_of_an_installed_engine_count_for_its_identity(ready):
    before = find_engine(EngineRequest("path", path=ready)).manifest.engine_id
    (ready.parent / "lib").mkdir()
    (ready.parent / "lib" / "libggml.so").write_text("library")
    (ready.parent / "lib" / "libother.so").write_text("of something else")
    after = find_engine(EngineRequest("path", path=ready)).manifest
    assert after.engine_id != before
    assert "../lib/libggml.so" in after.files
    assert "../lib/libother.so" not in after.files


def test_a_wrong_folder_of_ready_binaries_is_told_with_the_right_one(ready, tmp_path):
    assert f"Did you mean {ready}?" in refused(EngineRequest("path", path=ready.parent))
    assert f"did you mean {ready}?" in refused(EngineRequest("path", path=ready / "llama-server"))
    assert "holds no llama-server. Give the folder with the binaries" in refused(EngineRequest("path", path=tmp_path))
    assert "nowhere does not exist" in refused(EngineRequest("path", path=tmp_path / "nowhere"))
    assert "Recipe `path` needs a path" in refused(EngineRequest("path"))
    assert "takes ready binaries" in refused(EngineRequest("path", path=ready, options={"GGML_CUDA": "ON"}))
    (ready / "llama-server").unlink()
    (ready / "llama-server").symlink_to("gone")
    assert "is a link to gone, which is not there" in refused(EngineRequest("path", path=ready))


@pytest.mark.parametrize("name", ["llama-server", "llama-perplexity"])
def test_a_ready_binary_that_may_not_run_is_refused(ready, name):
    (ready / name).chmod(0o644)
    assert f"{ready / name} is no program that this user may run" in refused(EngineRequest("path", path=ready))


def test_a_wrong_source_tree_is_refused(tmp_path):
    assert "Recipe `source` needs a path" in refused(EngineRequest("source"))
    assert f"{tmp_path} is no source tree: it has no CMakeLists.txt" in refused(EngineRequest("source", path=tmp_path))
    assert "Recipe `pinned` takes no path" in refused(EngineRequest("pinned", path=tmp_path))
    assert "There is no recipe 'latest'" in refused(EngineRequest("latest"))
    assert "There is no patch set 'none-such'" in refused(EngineRequest("pinned", patch_set="none-such"))


def test_wrong_presets_and_options_are_refused():
    assert "no preset 'cuda'. Expected one of cpu, cuda-gb10, cuda-h100" in refused(EngineRequest("pinned", "cuda"))
    assert "'-DX' is no CMake option name" in refused(EngineRequest("pinned", options={"-DX": "ON"}))
    assert "more than one line" in refused(EngineRequest("pinned", options={"X": "ON\nOFF"}))
    assert "is fixed at $ORIGIN" in refused(EngineRequest("pinned", options={"CMAKE_INSTALL_RPATH": ""}))


def test_presets_merge_and_the_request_wins():
    plain = configuration("cuda-h100", {}).options
    assert plain["CMAKE_CUDA_ARCHITECTURES"] == "90-real"
    assert plain["CMAKE_BUILD_TYPE"] == "Release"
    assert configuration("cuda-gb10", {}).options["CMAKE_CUDA_ARCHITECTURES"] == "121a-real"
    mine = configuration("cuda-h100", {"CMAKE_CUDA_ARCHITECTURES": "80-real", "GGML_NATIVE": "off"})
    assert mine.options["CMAKE_CUDA_ARCHITECTURES"] == "80-real"
    assert mine.cuda
    assert not mine.native
    assert not configuration("cpu", {}).cuda


@pytest.mark.parametrize("preset", load_presets().presets)
def test_no_preset_reaches_for_the_network_or_builds_more_than_it_must(preset):
    options = configuration(preset, {}).options
    off = {"LLAMA_OPENSSL", "LLAMA_CURL", "LLAMA_USE_PREBUILT_UI", "LLAMA_LLGUIDANCE", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES"}
    assert {name: options[name] for name in off} == dict.fromkeys(off, "OFF")


def test_cmake_and_ninja_come_from_this_environment(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for program in (cmake_program(), ninja_program()):
        assert Path(program).stat().st_mode & stat.S_IXUSR


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-cc")
    assert "CC names no-such-cc, which is no program" in refused(EngineRequest("pinned"))
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "none of cc, gcc, clang is on PATH" in refused(EngineRequest("pinned"))


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=r"file/engines: Not a directory\. Expected .* a cache folder to write to"):
        build_engine(EngineRequest("pinned"), cache=tmp_path / "file", progress=lambda _line: None)
    assert find_engine(EngineRequest("pinned"), cache=tmp_path / "file") is None


def test_the_environment_of_a_build_is_listed(monkeypatch):
    for name in ("CFLAGS", "CXXFLAGS", "LDFLAGS", "SOURCE_DATE_EPOCH", "GIT_DIR", "HF_TOKEN", "CMAKE_BUILD_TYPE"):
        monkeypatch.setenv(name, "1")
    assert build_environment().keys() <= {
        "LC_ALL",
        "PATH",
        "HOME",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "CUDAHOSTCXX",
        "CCACHE_DIR",
        "CCACHE_MAXSIZE",
    }


def write_nvcc(root, architectures):
    nvcc = root / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(
        f'#!/bin/sh\ncase "$1" in --list-gpu-code) echo {architectures};; --dryrun) echo "#$ _HERE_=$(dirname "$0")";;'
        " *) echo a; echo release 13.0; echo build 13.0.1;; esac\n"
    )
    nvcc.chmod(0o755)
    return nvcc


def test_nvcc_is_found_off_path_and_its_absence_is_told(tmp_path):
    nvcc = write_nvcc(tmp_path / "cuda", "sm_90")
    other = write_nvcc(tmp_path / "other", "sm_90")
    empty = {"PATH": str(tmp_path)}
    assert find_nvcc(None, empty, [tmp_path / "none", tmp_path / "cuda"]) == str(nvcc)
    assert find_nvcc(None, empty | {"CUDA_HOME": str(tmp_path / "other")}, [tmp_path / "cuda"]) == str(other)
    assert find_nvcc(None, {"PATH": str(other.parent)}, [tmp_path / "cuda"]) == str(other)
    assert find_nvcc(None, {"PATH": str(other.parent), "CUDACXX": str(nvcc)}, []) == str(nvcc)
    with pytest.raises(
        BuildError, match=f"not on PATH, nor in {tmp_path}/none/bin. Install the CUDA toolkit, or give the path of nvcc in CUDACXX"
    ):
        find_nvcc(None, empty, [tmp_path / "none"])
    with pytest.raises(BuildError, match="CUDACXX names /gone/nvcc"):
        find_nvcc(None, empty | {"CUDACXX": "/gone/nvcc"}, [tmp_path / "cuda"])


def test_the_toolkit_must_know_the_gpu_and_is_part_of_the_identity(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDACXX", str(write_nvcc(tmp_path / "new", "sm_90 sm_121")))
    tools = find_toolchain(configuration("cuda-gb10", {}))
    assert tools.names.cuda == "release 13.0 build 13.0.1"
    assert tools.options()["CUDAToolkit_ROOT"] == str(tmp_path / "new")
    monkeypatch.setenv("CUDACXX", str(write_nvcc(tmp_path / "old", "sm_80 sm_90")))
    assert "cannot build for sm_121: it knows sm_80, sm_90" in refused(EngineRequest("pinned", "cuda-gb10"))


def test_cpu_features_count_only_where_the_code_is_native():
    assert find_toolchain(configuration("cpu", {})).cpu_features
    assert find_toolchain(configuration("cpu", {"GGML_NATIVE": "OFF"})).cpu_features == ()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AMX is x86's")
@pytest.mark.parametrize("preset", load_presets().presets)
def test_no_preset_builds_for_amx_whatever_the_cpu_has(tmp_path, preset):
    config = configuration(preset, {})
    source = tmp_path / "as_ggml_asks.cpp"
    source.write_text("#if defined(__AMX_INT8__)\n#error AMX\n#endif\n")
    compiler = find_toolchain(configuration("cpu", {})).cxx
    for flags, built in (([], False), ([config.options["CMAKE_CXX_FLAGS"]], True), ([config.options["CMAKE_C_FLAGS"]], True)):
        argv = [compiler, *flags, "-march=sapphirerapids", "-fsyntax-only", str(source)]  # ggml's own flags come after CMake's
        assert (subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60).returncode == 0) is built


def test_only_what_a_build_reads_counts_as_source(tmp_path):
    tree = tmp_path / "tree"
    (tree / "src" / "models").mkdir(parents=True)
    (tree / "src" / "models" / "gemma.cpp").write_text("code")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "link").symlink_to("run.sh")
    before = tree_sha256(tree)
    for folder in (*NEEDLESS, ".git", "my-build"):
        (tree / folder).mkdir()
        (tree / folder / "file").write_text("x")
    (tree / "my-build" / "CMakeCache.txt").touch()
    (tree / "model.gguf").write_text("x")
    assert tree_sha256(tree) == before
    copy_tree(tree, tmp_path / "copy")
    assert tree_sha256(tmp_path / "copy") == before
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["link", "run.sh", "src"]
    (tree / "run.sh").chmod(0o755)
    executable = tree_sha256(tree)
    (tree / "src" / "models" / "gemma.cpp").write_text("edit")
    assert len({before, executable, tree_sha256(tree)}) == 3
