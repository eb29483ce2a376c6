"""The doctor's eyes: what it finds on real files and real processes, and what it leaves alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from support.places import ROOT

from fixtures.doctor.examine import examine, probe_engine
from fixtures.doctor.files import read_ggufs, search_files
from fixtures.doctor.services import asr_like_services, llama_units, running_servers, settings_of
from fixtures.engine.dialects import recorded_texts


def silent(_message):
    pass


def write_gguf(path, architecture="gemma4", name="tiny"):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_tokenizer_model("llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def program(path, family="upstream", before=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    version, text = recorded_texts(family)
    path.write_text(f'#!/bin/sh\n{before}\ncase "$1" in --version) cat {version};; --help) cat {text};; esac\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def start():
    """Starts a Python under another name, not as our child: what we start ourselves never competes with us. Gives its pid."""
    running = []
    orphan = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], executable=sys.executable, stdout=-3, stderr=-3).pid)"

    def begin(*argv, code="import time; time.sleep(60)"):
        started = [sys.executable, "-c", orphan, argv[0], "-c", code, *argv[1:]]
        running.append(int(subprocess.run(started, capture_output=True, check=True, timeout=30).stdout))
        return running[-1]

    yield begin
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def test_ggufs_and_engines_are_found_through_links_once_and_loops_end(tmp_path):
    volume, home = tmp_path / "volume" / "gemma", tmp_path / "home"
    volume.mkdir(parents=True)
    home.mkdir()
    model = write_gguf(volume / "model.gguf")
    (home / "models").symlink_to(volume)
    (home / "link.GGUF").symlink_to(model)
    (home / "again").symlink_to(home)
    (home / "self").symlink_to(home / "self")
    (home / "dangling.gguf").symlink_to(tmp_path / "absent.gguf")
    program(home / "fork" / "build" / "bin" / "llama-server")
    (home / "fork" / "llama-server.log").touch()
    found = search_files([home, volume, tmp_path / "absent"], budget_s=10, max_depth=8, progress=silent)
    assert [str(path.relative_to(tmp_path)) for path in found.ggufs] == ["home/link.GGUF", "volume/gemma/model.gguf"]
    assert [path.name for path in found.servers] == ["llama-server"]
    assert (found.unreadable, found.not_searched) == ([], [])
    facts = read_ggufs(found.ggufs, budget_s=10, progress=silent)
    assert [(gguf_.architecture, gguf_.file_type, gguf_.name) for gguf_ in facts] == [("gemma4", "Q4_K_M", "tiny")] * 2
    assert facts[0].resolved == str(model)


def test_a_split_model_is_its_first_part_and_skipped_folders_are_not_searched(tmp_path):
    for name in ("m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"):
        (tmp_path / name).touch()
    for folder in (".git", "node_modules", "own-cache"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.gguf").touch()
    found = search_files([tmp_path], skip=[tmp_path / "own-cache"], budget_s=10, max_depth=8, progress=silent)
    assert [path.name for path in found.ggufs] == ["m-00001-of-00003.gguf"]


def test_depth_and_time_are_bounded_and_what_was_left_out_is_said(tmp_path):
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "deep.gguf").touch()
    (tmp_path / "a" / "near.gguf").touch()
    assert [p.name for p in search_files([tmp_path], budget_s=10, max_depth=1, progress=silent).ggufs] == ["near.gguf"]
    assert [p.name for p in search_files([tmp_path], budget_s=10, max_depth=3, progress=silent).ggufs] == ["near.gguf", "deep.gguf"]
    assert search_files([tmp_path], budget_s=-1, max_depth=3, progress=silent).not_searched == [str(tmp_path)]
    unread = read_ggufs([tmp_path / "a" / "near.gguf"], budget_s=-1, progress=silent)[0]
    assert (unread.problem, unread.architecture) == ("not read: out of time", "")


def test_a_broken_gguf_says_why(tmp_path):
    (tmp_path / "page.gguf").write_text("<html>login</html>", encoding="utf-8")
    assert "is a web page, not a model" in read_ggufs([tmp_path / "page.gguf"], budget_s=9, progress=silent)[0].problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_normal_user_is_told_which_folders_are_closed(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (tmp_path / "open.gguf").touch()
    tmp_path.chmod(0o755)
    code = (
        "import os, sys; from fixtures.doctor.files import search_files\n"
        # after the imports, and from inside: root's Python and pytest's folders are closed to others
        "os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "found = search_files(['.'], budget_s=9, max_depth=3, progress=print)\n"
        "print(found.unreadable, [p.name for p in found.ggufs])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "['closed'] ['open.gguf']\n"


def test_an_engine_is_probed_without_any_gpu(tmp_path):
    engine = probe_engine(program(tmp_path / "llama-server", "buun", before='test "${CUDA_VISIBLE_DEVICES-unset}" = "" || exit 9'))
    assert (engine.label, engine.commit, engine.problem) == ("buun fork 9326 (1c4788192)", "1c4788192", "")
    assert "turbo3_tcq" in engine.kv_types
    assert engine.library_path is None


def test_an_engine_that_needs_its_libraries_beside_it_is_found_out(tmp_path):
    lost = 'case "$LD_LIBRARY_PATH" in */fork/lib*) ;; *) echo "error while loading shared libraries: libllama.so: no" >&2; exit 127;; esac'
    engine = probe_engine(program(tmp_path / "fork" / "bin" / "llama-server", before=lost))
    assert engine.problem == ""
    assert engine.library_path == f"{tmp_path}/fork/bin:{tmp_path}/fork/lib"
    hopeless = probe_engine(program(tmp_path / "other" / "bin" / "llama-server", before=lost))
    assert "does not find the shared library libllama.so" in hopeless.problem


def test_a_program_that_a_stranger_could_have_put_there_is_never_run(tmp_path):
    server = program(tmp_path / "llama-server", before=f"touch {tmp_path}/ran")
    server.chmod(0o777)
    assert "not probed" in probe_engine(server).problem
    if os.geteuid() == 0:
        server.chmod(0o755)
        os.chown(server, 65534, 65534)
        assert "not probed" in probe_engine(server).problem
    assert not (tmp_path / "ran").exists()
    assert "cannot be looked at" in probe_engine(tmp_path / "absent").problem


def test_a_running_server_is_found_with_its_settings(start):
    pid = start("/opt/fork/llama-server", "-m", "/m/t.gguf", "--mtp-head", "/m/d.gguf", "--port", "18340", "--api-key", "hush")
    found = {server.pid: server for server in running_servers()}[pid]
    assert (found.settings.model, found.settings.drafter, found.settings.port) == ("/m/t.gguf", "/m/d.gguf", 18340)
    assert found.rss_mib > 0
    assert found.program
    assert "hush" not in found.command


def test_settings_of_both_spellings_and_of_nonsense():
    said = settings_of(["llama-server", "--model", "a", "-c", "8192", "--ctx-size", "4096", "--n-gpu-layers", "99", "--port"])
    assert (said.model, said.context, said.gpu_layers, said.port) == ("a", 4096, 99, None)
    assert settings_of(["llama-server", "-c", "many", "-ngl", "auto"]).context is None
    assert settings_of([]).model is None


def test_speech_recognition_is_found_by_its_command_line_and_measured(start):
    busy = start("python3", "/srv/asr-service/serve.py", code="while True: pass")
    start("python3", "/home/nasrin/laser.py")
    found, deadline = {}, time.monotonic() + 60
    while (busy not in found or found[busy].cpu_pct <= 5) and time.monotonic() < deadline:  # on a busy machine it may get no turn
        found = {service.pid: service for service in asr_like_services(0.3)}
    assert busy in found
    assert found[busy].cpu_pct > 5
    assert not any("laser.py" in service.command for service in found.values())


UNIT = """[Unit]
Description=Gemma RC
[Service]
User=llama
Environment=GGML_CUDA_DISABLE_GRAPHS=1 "PURE=full mode"
Environment=HF_TOKEN=hush
# Environment=OLD=1
ExecStart=/opt/fork/llama-server -m /m/t.gguf \\
  --port 8090 -c 8192 -ngl 99
"""


def test_units_are_read_with_continued_lines_and_without_secrets(tmp_path):
    system, lower, user = (tmp_path / name for name in ("system", "lower", "user"))
    for folder in (system, lower, user):
        folder.mkdir()
    (system / "gemma-rc.service").write_text(UNIT, encoding="utf-8")
    (lower / "gemma-rc.service").write_text("[Service]\nExecStart=/shadowed/llama-server\n", encoding="utf-8")
    (system / "cron.service").write_text("[Service]\nExecStart=/usr/sbin/cron\n", encoding="utf-8")
    (user / "llama-open-quote.service").write_text('[Service]\nExecStart=/x/llama-server "--alias\n', encoding="utf-8")
    (user / "folder-llama.service").mkdir()
    (user / "llama-dangling.service").symlink_to(tmp_path / "absent")
    units = llama_units([system, lower, tmp_path / "absent"], [user])
    assert [(Path(unit.path).name, unit.scope) for unit in units] == [("gemma-rc.service", "system"), ("llama-open-quote.service", "user")]
    first = units[0]
    assert (first.user, first.settings.model, first.settings.port) == ("llama", "/m/t.gguf", 8090)
    assert (first.settings.context, first.settings.gpu_layers) == (8192, 99)
    assert first.variables == {"GGML_CUDA_DISABLE_GRAPHS": "1", "PURE": "full mode", "HF_TOKEN": "***"}


def test_examine_brings_it_together_and_reports_progress(tmp_path, start):
    write_gguf(tmp_path / "m.gguf")
    program(tmp_path / "bin" / "llama-server", "thetom")
    start("whisper-server")
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    said = []
    findings = examine(said.append, roots=[tmp_path], unit_folders=([], []), window_s=0.1)
    assert [Path(found.path).name for found in findings.ggufs] == ["m.gguf"]
    assert f"{tmp_path}/bin/llama-server" in [engine.path for engine in findings.engines]
    assert any("whisper-server" in service.command for service in findings.asr_like)
    assert any(message.startswith("probing engine 1 of") for message in said)
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before
