"""What a kit holds, and the environment that is made of it: with the standard library, without network."""

import io
import json
import lzma
import platform
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version

import pytest

from llama_build.pinned import load_pin
from rehearsal import kit
from rehearsal.install import ABOUT, ROOT, InstallError, install

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
LOCK = """
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:01
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:02
idna==3.20 \\
    --hash=sha256:03
"""


def write_wheel(folder, name="tiny", code="WORD = 'tiny'\n"):
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", f"{name}.py,,\n")
    return wheel


def write_kit_folder(folder, **about):
    (folder / "wheels").mkdir(parents=True)
    write_wheel(folder / "wheels")
    (folder / ABOUT).write_text(json.dumps({"python": HERE, "machine": platform.machine(), "without": []} | about))
    return folder


def test_versions_are_those_that_are_locked_for_the_python_there():
    assert list(kit._versions(LOCK, "3.12", "x86_64")) == ["numpy==2.5.5", "idna==3.20"]
    assert list(kit._versions(LOCK, "3.11", "x86_64")) == ["numpy==2.4.6", "idna==3.20"]


def test_a_wheel_is_packed_again_with_the_same_files(tmp_path):
    wheel = write_wheel(tmp_path, code="x = 1\n" * 500)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(io.BytesIO(kit.stored(wheel))) as new:
        assert {name: old.read(name) for name in old.namelist()} == {name: new.read(name) for name in new.namelist()}
        assert all(member.compress_type == zipfile.ZIP_STORED for member in new.infolist())


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_kit_is_one_archive_that_tar_unpacks(tmp_path, machine):
    suite = io.BytesIO()
    with tarfile.open(fileobj=suite, mode="w") as tar:
        member = tarfile.TarInfo("llama-readiness/Makefile")
        member.size, member.mode = 5, 0o755
        tar.addfile(member, io.BytesIO(b"all:\n"))
    file = tmp_path / "kit.tar.xz"
    kit.write_kit(file, [(ABOUT, b"{}"), ("wheels/a.whl", b"a" * 1000)], suite.getvalue(), machine)
    subprocess.run(["tar", "xJf", file, "-C", tmp_path], check=True)
    top = tmp_path / "llama-readiness"
    assert (top / "Makefile").read_bytes() == b"all:\n"
    assert (top / "Makefile").stat().st_mode & 0o111
    assert (top / "kit" / ABOUT).read_bytes() == b"{}"
    assert (top / "kit" / "wheels" / "a.whl").read_bytes() == b"a" * 1000


def test_a_kit_holds_what_is_committed_and_says_which_commit(tmp_path, monkeypatch):
    said = {
        ("rev-parse", "HEAD"): b"0123abc\n",
        ("status", "--porcelain"): b"",
        ("archive", "--prefix=llama-readiness/", "HEAD"): bytes(tarfile.RECORDSIZE),
    }
    monkeypatch.setattr(kit, "_git", lambda *arguments: said[arguments])
    monkeypatch.setattr(kit, "wheels", lambda work, *_: [write_wheel(work)])
    monkeypatch.setattr(kit, "fetch", lambda *_: None)
    monkeypatch.setattr(kit, "pack", lambda pin, _archive, work: (work / pin.packed).write_bytes(b"source") and work / pin.packed)
    file = tmp_path / "kit.tar.xz"
    lines = []
    kit.make_kit(file, "3.12", "x86_64", ("numpy",), lines.append)
    with lzma.open(file) as opened, tarfile.open(fileobj=opened) as tar:
        assert json.load(tar.extractfile(f"llama-readiness/kit/{ABOUT}"))["commit"] == "0123abc"
        assert tar.extractfile(f"llama-readiness/kit/{load_pin().packed}").read() == b"source"
        assert "llama-readiness/kit/wheels/tiny-1.0-py3-none-any.whl" in tar.getnames()
    monkeypatch.setattr(kit, "MOST_BYTES", 100)
    with pytest.raises(kit.KitError, match=r"more than 0; largest: wheels/tiny.*Leave out what the machine has"):
        kit.make_kit(file, "3.12", "x86_64", (), lines.append)
    with pytest.raises(kit.KitError, match="nothing of that name is packed: nmupy"):
        kit.make_kit(file, "3.12", "x86_64", ("nmupy",), lines.append)
    said["status", "--porcelain"] = b" M fixtures/x.py\n"
    with pytest.raises(kit.KitError, match=r"something is not: M fixtures/x\.py"):
        kit.make_kit(file, "3.12", "x86_64", (), lines.append)


def test_a_wheel_that_was_not_locked_is_not_packed(tmp_path, monkeypatch):
    def deliver(argv, **_):
        write_wheel(tmp_path)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(kit.subprocess, "run", deliver)
    with pytest.raises(kit.KitError, match=r"no hash of tiny-1\.0.*something else than what was locked"):
        kit.wheels(tmp_path, "3.12", "x86_64", (), LOCK)


@pytest.mark.runtime
def test_an_environment_is_made_of_the_kits_wheels_and_of_what_this_python_has(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/nowhere")
    folder, environment = write_kit_folder(tmp_path / "kit", without=["ninja", "psutil"]), tmp_path / "venv"
    install(folder, environment)
    told = "import tiny, psutil, ninja, pathlib; print(tiny.WORD, psutil.__version__, (pathlib.Path(ninja.BIN_DIR) / 'ninja').exists())"
    done = subprocess.run([environment / "bin" / "python", "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tiny", version("psutil"), "True"]
    hidden = subprocess.run([environment / "bin" / "python", "-c", "import numpy"], capture_output=True, check=False)
    assert hidden.returncode, "what was not left out and not packed is not there"
    assert (environment / ".installed").exists()


@pytest.mark.runtime
def test_a_package_that_is_nowhere_is_named(tmp_path):
    folder = write_kit_folder(tmp_path / "kit", without=["no-such-package"])
    with pytest.raises(InstallError, match=r"packed without no-such-package, and .* has none: pack it with it"):
        install(folder, tmp_path / "venv")


@pytest.mark.parametrize(("key", "other"), [("python", "3.9"), ("machine", "riscv64")])
def test_a_kit_for_another_machine_is_refused(tmp_path, key, other):
    folder = write_kit_folder(tmp_path / "kit", **{key: other})
    with pytest.raises(InstallError, match=rf"this kit is for {key} {other}, not .* FOR={HERE}-"):
        install(folder, tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "mine").touch()
    with pytest.raises(InstallError, match="is no virtual environment, so it is not cleared"):
        install(write_kit_folder(tmp_path / "kit"), tmp_path / "venv")
    assert (tmp_path / "venv" / "mine").exists()


def test_the_installer_needs_nothing_but_the_standard_library():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import rehearsal.install; print('site' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
