"""What an engine is made of: asked of the loader before it runs, read from /proc while it does. Small programs of this test's own."""

import hashlib
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest
from support.launches import engine_of

from fixtures.catalog.load import load_host
from fixtures.engine.linked import is_elf, linked_files, mapped_files, strangers
from fixtures.records.blocked import Blocked

ENV = {"PATH": "/usr/bin:/bin"}
SAYS = 'int value(void) {{ return {0}; }}\nconst char of[] = "{0}";\n'
MAIN = """\
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int value(void);
int main(int count, char **words) {{
    if (count > 1 && !strcmp(words[1], "--version")) {{ printf("version: {version} ({commit})\\n"); return 0; }}
    if (count > 1 && !strcmp(words[1], "--help")) {{ execl("/bin/cat", "cat", "{help}", (char *)0); return 1; }}
    printf("%d\\n", value()); fflush(stdout); sleep(count > 1 ? 60 : 0); return 0;
}}
"""
HELP = """\
-m,    --model FNAME                    model path
--port PORT                             port
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, q8_0
-ctv,  --cache-type-v TYPE              KV cache data type for V
                                        allowed values: f32, f16, q8_0
"""


def compiled(target, source, *flags):
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-x", "c", "-", "-o", str(target), *flags], input=source, text=True, check=True)
    return target


def library(folder, value):
    return compiled(folder / "libllama.so", SAYS.format(value), "-shared", "-fPIC", "-Wl,-soname,libllama.so")


def program(folder, name="llama-server", *flags, version="9507", commit="b0015a1", libraries=None):
    help_text = folder / "help.txt"
    help_text.write_text(HELP)
    source = MAIN.format(version=version, commit=commit, help=help_text)
    return compiled(folder / name, source, f"-L{libraries or folder}", "-lllama", *(flags or ("-Wl,-rpath,$ORIGIN",)))


@pytest.fixture
def engine(tmp_path):
    """A folder with a llama-server that loads the libllama.so beside it."""
    folder = tmp_path / "bin"
    library(folder, 1)
    program(folder)
    return folder


@contextmanager
def running(command, env=ENV):
    with subprocess.Popen([str(word) for word in command], env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline(), "it runs"
            yield process.pid
        finally:
            process.kill()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_program_and_its_libraries(engine):
    found = linked_files(engine / "llama-server", ENV)
    assert found["llama-server"] == sha256(engine / "llama-server")
    assert found["libllama.so"] == sha256(engine / "libllama.so")
    assert any(name.startswith("libc.so") for name in found)


@pytest.mark.parametrize("flags", [("-Wl,-rpath,{lib}", "-Wl,--disable-new-dtags"), ("-Wl,-rpath,{lib}",), ("-Wl,-rpath,$ORIGIN/../lib",)])
def test_a_library_that_a_run_path_finds(tmp_path, flags):
    lib = library(tmp_path / "lib", 1).parent
    (tmp_path / "bin").mkdir()
    server = program(tmp_path / "bin", "llama-server", *(flag.format(lib=lib) for flag in flags), libraries=lib)
    before = linked_files(server, ENV)
    library(lib, 2)
    assert linked_files(server, ENV)["libllama.so"] == sha256(lib / "libllama.so") != before["libllama.so"]


def test_a_library_that_a_variable_finds(engine, tmp_path):
    server = program(engine, "llama-server", "-Wl,--enable-new-dtags", libraries=engine)
    other = library(tmp_path / "other", 2)
    assert linked_files(server, ENV | {"LD_LIBRARY_PATH": str(engine)})["libllama.so"] == sha256(engine / "libllama.so")
    assert linked_files(server, ENV | {"LD_LIBRARY_PATH": str(other.parent)})["libllama.so"] == sha256(other)


def test_a_library_that_is_loaded_before_all_others(engine, tmp_path):
    before = compiled(tmp_path / "before.so", SAYS.format(3), "-shared", "-fPIC")
    assert linked_files(engine / "llama-server", ENV | {"LD_PRELOAD": str(before)})["before.so"] == sha256(before)


def test_a_backend_that_the_engine_opens_by_itself_counts_with_what_it_needs(engine, tmp_path):
    far = compiled(tmp_path / "far" / "libfar.so", SAYS.format(4), "-shared", "-fPIC", "-Wl,-soname,libfar.so")
    flags = ("-shared", "-fPIC", f"-L{far.parent}", "-Wl,--no-as-needed", "-lfar", f"-Wl,-rpath,{far.parent}")
    backend = compiled(engine / "libggml-cuda.so", "int backend(void) { return 0; }\n", *flags)
    found = linked_files(engine / "llama-server", ENV)
    assert (found["libggml-cuda.so"], found["libfar.so"]) == (sha256(backend), sha256(far))


def test_a_link_counts_as_what_it_leads_to(engine, tmp_path):
    link = tmp_path / "link" / "llama-server"
    link.parent.mkdir()
    link.symlink_to(engine / "llama-server")
    assert linked_files(link, ENV) == linked_files(engine / "llama-server", ENV)


@pytest.mark.parametrize("content", [b"#!/bin/sh\nexec true\n", b"", b"\x7fEL", b"MZ\x90", b"\x00" * 100])
def test_what_is_no_elf_program(tmp_path, content):
    file = tmp_path / "llama-server"
    file.write_bytes(content)
    assert not is_elf(file)
    assert linked_files(file, ENV) == {}


def test_a_damaged_header_counts_as_its_bytes(tmp_path):
    file = tmp_path / "llama-server"
    file.write_bytes(b"\x7fELF\x02\x01" + b"\xff" * 200)
    assert linked_files(file, ENV) == {"llama-server": sha256(file)}


def test_an_honest_engine_maps_what_was_expected(engine):
    expected = linked_files(engine / "llama-server", ENV)
    with running([engine / "llama-server", "serve"]) as pid:
        assert {file.path for file in mapped_files(pid)} >= {str(engine / "llama-server"), str(engine / "libllama.so")}
        assert strangers(mapped_files(pid), expected) == ()


def another_program(engine, tmp_path):
    """An ELF program that becomes another one."""
    hidden = tmp_path / "hidden"
    library(hidden, 2)
    program(hidden)
    compiled(
        engine / "llama-server",
        f'#include <unistd.h>\nint main(void) {{ return execl("{hidden}/llama-server", "s", "serve", (char *)0); }}\n',
    )
    return [engine / "llama-server"], ENV, "hidden/llama-server"


def another_library(engine, tmp_path):
    """A variable that only the wrapper knows."""
    other = library(tmp_path / "other", 2).parent
    program(engine, "llama-server", "-Wl,--enable-new-dtags", libraries=engine)
    return [engine / "llama-server", "serve"], ENV | {"LD_LIBRARY_PATH": str(other)}, "other/libllama.so"


def preloaded(engine, tmp_path):
    before = compiled(tmp_path / "libggml-before.so", SAYS.format(3), "-shared", "-fPIC")
    return [engine / "llama-server", "serve"], ENV | {"LD_PRELOAD": str(before)}, "libggml-before.so"


def opened_from_elsewhere(engine, tmp_path):
    """A backend that the engine opens from where nobody looked."""
    backend = compiled(tmp_path / "libggml-cpu.so", "int backend(void) { return 0; }\n", "-shared", "-fPIC")
    source = MAIN.format(version="1", commit="abcdef0", help="x").replace(
        'printf("%d', f'extern void *dlopen(const char *, int); dlopen("{backend}", 2); printf("%d'
    )
    compiled(engine / "llama-server", source, f"-L{engine}", "-lllama", "-Wl,-rpath,$ORIGIN")
    return [engine / "llama-server", "serve"], ENV, "libggml-cpu.so"


@pytest.mark.parametrize("hide", [another_program, another_library, preloaded, opened_from_elsewhere])
def test_what_a_launch_hides_is_seen_in_what_is_mapped(engine, tmp_path, hide):
    command, env, told = hide(engine, tmp_path)
    expected = linked_files(engine / "llama-server", ENV | {"LD_LIBRARY_PATH": str(engine)})
    with running(command, env) as pid:
        time.sleep(0.1)
        assert any(path.endswith(told) for path in strangers(mapped_files(pid), expected))


@pytest.mark.parametrize("name", ["llama-server", "libllama.so"])
def test_a_file_that_is_exchanged_while_it_runs_is_seen(engine, name):
    expected = linked_files(engine / "llama-server", ENV)
    with running([engine / "llama-server", "serve"]) as pid:
        shutil.copy(engine / name, engine / "copy")
        (engine / "copy").rename(engine / name)
        assert strangers(mapped_files(pid), expected) == (str(engine / name),)


def engine_at(folder, commit="b0015a1"):
    spec = {"recipe": "path", "path": str(folder), "commit": commit}
    host = load_host("local", bare=True)
    return engine_of(host.model_copy(update={"engine": host.engine.model_validate(spec)}))


def test_a_perplexity_of_the_same_build_is_used(engine):
    program(engine, "llama-perplexity")
    assert engine_at(engine).perplexity == engine / "llama-perplexity"


@pytest.mark.parametrize("name", ["llama-server", "llama-perplexity"])
def test_neither_program_of_an_engine_is_a_stranger(engine, name):
    program(engine, "llama-perplexity")
    with running([engine / name, "serve"]) as pid:
        assert engine_at(engine).strangers(mapped_files(pid)) == ()


def a_script(engine, tmp_path):
    script = engine / "llama-perplexity"
    script.write_text("#!/bin/sh\necho 'Final estimate: PPL = 25.1373 +/- 0.1'\n")
    script.chmod(0o755)
    return "is no ELF program"


def of_another_library(engine, tmp_path):
    program(engine, "llama-perplexity", f"-Wl,-rpath,{library(tmp_path / 'other', 2).parent}")
    return "loads another libllama.so"


def without_the_library(engine, tmp_path):
    compiled(engine / "llama-perplexity", 'int puts(const char *); int main(void) { return puts("version: 9507 (b0015a1)") < 0; }\n')
    return "does not load the engine's libllama.so"


def of_another_version(engine, tmp_path):
    program(engine, "llama-perplexity", version="9508")
    return "is of another build than llama-server: --version says .*9508"


def of_another_commit(engine, tmp_path):
    program(engine, "llama-perplexity", commit="0c1e570")
    return "is of another build than llama-server"


def a_link_to_another(engine, tmp_path):
    library(tmp_path / "other", 2)
    (engine / "llama-perplexity").symlink_to(program(tmp_path / "other", "llama-perplexity"))
    return "loads another libllama.so"


@pytest.mark.parametrize(
    "plant", [a_script, of_another_library, without_the_library, of_another_version, of_another_commit, a_link_to_another]
)
def test_a_perplexity_of_another_build_is_blocked(engine, tmp_path, plant):
    said = plant(engine, tmp_path)
    with pytest.raises(Blocked, match=said):
        _ = engine_at(engine).perplexity


@pytest.mark.parametrize("stated", ["b0015a1", "b0015a1d2f6c", "b0015a", "9507", "b9507", "B0015A1", "b0015a1+tbq"])
def test_a_stated_commit_that_is_the_engines(engine, stated):
    assert engine_at(engine, stated).dialect.commit == "b0015a1"


@pytest.mark.parametrize("stated", ["0c1e57098bba", "b0015", "b9508", "unknown", "0000000", "b0015a2"])
def test_a_stated_commit_that_is_another(engine, stated):
    with pytest.raises(Blocked, match=f"`engine.commit` says {stated}, but .* says b0015a1"):
        _ = engine_at(engine, stated).dialect


def test_one_byte_of_a_library_that_only_the_loader_finds_is_another_engine(tmp_path):
    lib = library(tmp_path / "far" / "lib", 1).parent
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "llama-server", f"-Wl,-rpath,{lib}", libraries=lib)
    before = engine_at(tmp_path / "bin").identity
    assert engine_at(tmp_path / "bin").identity == before
    library(lib, 2)
    assert engine_at(tmp_path / "bin").identity != before


def test_a_script_hides_what_runs(engine):
    assert engine_at(engine).opaque == ""
    a_script(engine, None)
    (engine / "llama-perplexity").rename(engine / "llama-server")
    assert "llama-server is no ELF program (a script?)" in engine_at(engine).opaque
