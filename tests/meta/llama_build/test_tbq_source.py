"""Patch set tbq as code: the series applies, its kernels are right on x86 and Arm, upstream's own tests pass on the built engine."""

import re
import shutil
import subprocess

import pytest
from support.places import DATA
from support.tbq_source import REQUEST, patched, series, unpatched

from fixtures.catalog.load import load_host
from llama_build import build_engine
from llama_build.__main__ import DEFAULT_RECIPE

HARNESS = DATA / "tbq_kernels.c"
KERNELS = "ggml/src/ggml-cpu/tbq.c"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-function")  # upstream's headers hold static functions
ARM_COMPILER, ARM_RUNNER = "aarch64-linux-gnu-gcc", "qemu-aarch64"
ARM = pytest.mark.skipif(
    not (shutil.which(ARM_COMPILER) and shutil.which(ARM_RUNNER)),
    reason=f"needs {ARM_COMPILER} and {ARM_RUNNER} (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)",
)


def done(*argv, cwd=None, timeout=600):
    return subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return patched(tmp_path_factory.mktemp("tbq") / "source")


def test_the_local_host_is_what_make_engine_builds():
    assert load_host("local").engine.recipe == DEFAULT_RECIPE == "pinned+tbq"


def test_the_series_is_numbered_and_commented():
    files = series().files
    for number, file in enumerate(files, 1):
        text = file.read_text()
        head, _, diff = text.partition("\ndiff --git ")
        assert file.name.startswith(f"{number:04}-")
        assert head.startswith(f"[PATCH {number}/{len(files)}] ")
        assert len(head.split("\n---\n")[0].splitlines()) > 5, f"{file.name} does not say why"
        assert diff
    assert (files[0].parent / "README.md").is_file()


@pytest.mark.long
@pytest.mark.runtime
def test_the_series_also_applies_with_patch_and_no_fuzz(tmp_path, source):
    if not shutil.which("patch"):
        pytest.skip("needs `patch` on PATH")
    tree = unpatched(tmp_path / "source")
    for file in series().files:
        applied = done("patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-s", "-i", file, cwd=tree)
        assert (applied.returncode, applied.stdout + applied.stderr) == (0, "")
    assert done("diff", "-r", tree, source).stdout == ""


# -- kernels against the reference


def kernels(compiler, source, binary, *flags, kernel_file=KERNELS):
    """Compile the harness with the series' kernels and upstream's quantisation file."""
    includes = [f"-I{source / folder}" for folder in ("ggml/include", "ggml/src", "ggml/src/ggml-cpu")]
    common = ["-O2", "-D_GNU_SOURCE", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", *includes, *flags]
    objects = []
    for file, strict in ((source / kernel_file, WARNINGS), (HARNESS, WARNINGS), (source / "ggml/src/ggml-quants.c", ())):
        objects.append(binary.with_suffix(f".{file.stem}.o"))
        made = done(compiler, *common, *strict, "-c", file, "-o", objects[-1])
        assert made.returncode == 0, made.stderr
    made = done(compiler, *common, *objects, "-lm", "-o", binary)
    assert made.returncode == 0, made.stderr
    return binary


@pytest.mark.long
@pytest.mark.runtime
@pytest.mark.parametrize("flags", [("-march=native",), ()], ids=["native", "plain"])
def test_kernels_equal_the_reference_here(source, tmp_path, flags):
    assert done(kernels("cc", source, tmp_path / "check", *flags)).stdout == "ok\n"


@ARM
@pytest.mark.long
@pytest.mark.runtime
def test_neon_kernels_equal_the_reference_under_qemu(source, tmp_path):
    binary = kernels(ARM_COMPILER, source, tmp_path / "check", "-static")
    assert done(ARM_RUNNER, binary).stdout == "ok\n"
    disassembly = done("aarch64-linux-gnu-objdump", "-d", tmp_path / "check.tbq.o").stdout
    assert re.search(r"\btbl\b", disassembly), "the NEON branch was not compiled"


@ARM
@pytest.mark.long
@pytest.mark.runtime
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("{ 31, 30, 29, 28 }", "{ 31, 30, 29, 27 }", "tbq3_0: to_float differs"),
        ("{ 0, -4, -8, -12 }", "{ 0, -4, -8, -13 }", "tbq4_0: to_float differs"),
        ("a1 = vfmaq_f32(a1,", "a1 = vfmaq_f32(a0,", "tbq4_0: vec_dot of 128"),
    ],
)
def test_a_wrong_neon_kernel_is_seen(source, tmp_path, right, wrong, said):
    text = (source / KERNELS).read_text()
    assert right in text
    bad = source / "ggml/src/ggml-cpu/tbq_wrong.c"
    bad.write_text(text.replace(right, wrong))
    binary = kernels(ARM_COMPILER, source, tmp_path / "check", "-static", kernel_file="ggml/src/ggml-cpu/tbq_wrong.c")
    assert said in done(ARM_RUNNER, binary).stdout


# -- upstream's own tests, compiled from the patched source and linked to the libraries of the engine under test


@pytest.fixture(scope="module")
def upstream_test(source, tmp_path_factory):
    engine = build_engine(REQUEST)
    folder = tmp_path_factory.mktemp("upstream-tests")

    def build(name):
        libraries = [f"-l:{path.name}" for path in sorted(engine.folder.glob("libggml*.so"))]
        link = [f"-L{engine.folder}", *libraries, f"-Wl,-rpath,{engine.folder}", "-pthread"]
        argv = ["c++", "-std=c++17", "-O1", f"-I{source / 'ggml/include'}", source / "tests" / f"{name}.cpp", *link, "-o", folder / name]
        made = done(*argv)
        assert made.returncode == 0, made.stderr
        return folder / name

    return build


@pytest.mark.long
@pytest.mark.runtime
def test_quantize_fns(upstream_test):
    ran = done(upstream_test("test-quantize-fns"), "-v")
    assert ran.returncode == 0, ran.stdout
    for name in ("tbq3_0", "tbq4_0"):
        lines = [line for line in ran.stdout.splitlines() if line.startswith(name)]
        assert len(lines) == 13, lines  # 3 of upstream's own, 10 of the series
        assert all(" ok " in line for line in lines)


@pytest.mark.long
@pytest.mark.runtime
def test_backend_ops(upstream_test):
    program = upstream_test("test-backend-ops")
    for operation, least in (("FLASH_ATTN_EXT", 300), ("SET_ROWS", 40), ("CPY", 20), ("GET_ROWS", 10), ("MUL_MAT", 15)):
        ran = done(program, "test", "-b", "CPU", "-o", operation, "-p", "tbq")
        output = re.sub(r"\x1b\[\d*(;\d+)*m", "", ran.stdout)
        cases = [line for line in output.splitlines() if line.lstrip().startswith(f"{operation}(")]
        assert ran.returncode == 0, output[-2000:]
        assert len(cases) >= least, operation
        bad = [line for line in cases if not line.rstrip().endswith(": OK")]
        assert not bad, bad
        if operation == "FLASH_ATTN_EXT":
            assert {re.search(r"hsk=(\d+)", line)[1] for line in cases} == {"128", "256", "512"}
