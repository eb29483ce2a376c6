"""An arm64 Debian on this machine, with its own Python and the suite's lock: programs run under qemu-user, in namespaces of their own.

Two things make it fast. Packages are unpacked by this machine's dpkg instead of being configured under emulation, and wheels are
fetched by this machine's pip. A model of processor without pointer authentication (QEMU_CPU) is emulated seven times as fast as `max`.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker

from fixtures.models.cache import cache_root
from fixtures.records.digest import digest
from support.places import ROOT

PYTHONS = {"3.11": "bookworm", "3.13": "trixie"}  # the release that has it
_NEEDED = ("debootstrap", "dpkg-deb", "qemu-aarch64", "unshare", "make", "git")
_PACKAGES = "python3,python3-venv,make,ca-certificates"
_BUILD = ("debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={_PACKAGES}")
_LAYOUT = 1  # how a tree is put together
_CPU = "cortex-a76"
_FETCH_S, _RUN_S = 600, 900
_PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 40)))

# each step's seconds and status; what pip and pytest print stays readable above
_STEPS = r"""
step() {
    name=$1; shift
    begun=$(date +%s); status=0
    "$@" || status=$?
    echo "[step $name: status $status, $(($(date +%s) - begun)) s]"
}
uname -m
python3 --version
step setup make setup
step static .venv/bin/python -m pytest -q -p no:hypothesispytest -m "not runtime"
step doctor ./readiness doctor --host=dgx
step audit ./readiness audit --host=dgx --reports=/tmp/reports
"""

# an ELF header of aarch64, as binfmt_misc is told of it; F: qemu is opened here, before the root changes
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

# the registration lives in a user namespace and ends with it: nothing of this machine changes
_ENTER = r"""
set -eu
mount -t tmpfs none "$WORK"
mkdir "$WORK/up" "$WORK/work" "$WORK/root"
mount -t overlay none -o "lowerdir=$TREE,upperdir=$WORK/up,workdir=$WORK/work" "$WORK/root"
root=$WORK/root
mkdir -p "$root/suite" "$root/wheels" "$root/usr/lib64" "$root/usr/lib/x86_64-linux-gnu"
[ -e "$root/lib64" ] || ln -s usr/lib64 "$root/lib64"
git -C "$SUITE" ls-files -z | tar -C "$SUITE" --null --files-from=- -cf - | tar -xf - -C "$root/suite"
mount --rbind "$(realpath /lib64)" "$root/usr/lib64"
mount --rbind "$(realpath /lib/x86_64-linux-gnu)" "$root/usr/lib/x86_64-linux-gnu"
mount --bind "$WHEELS" "$root/wheels"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' "$BINFMT" > /proc/sys/fs/binfmt_misc/register
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 QEMU_CPU="$CPU" PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels \
    PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 COLUMNS=100 chroot "$root" /bin/sh -c "cd /suite; $INSIDE"
"""


def _require_tools():
    """Skips where this machine cannot emulate arm64."""
    if platform.machine() != "x86_64":
        pytest.skip("arm64 is emulated on x86_64 only")
    if os.geteuid() != 0:
        pytest.skip("an arm64 Debian needs root")
    if missing := [tool for tool in _NEEDED if shutil.which(tool) is None]:
        pytest.skip(f"an arm64 Debian needs {', '.join(missing)} (packages debootstrap, qemu-user, util-linux)")
    mounted = ["unshare", "-r", "-m", "-p", "-f", "--mount-proc", "mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel has no binfmt_misc of a user namespace's own (Linux 6.7)")


def check_suite(version, work):
    """Sets the suite up from its lock on an arm64 Debian with that Python, runs what needs no engine, and tells each step's seconds."""
    if version not in os.environ.get("READINESS_ARM64", version).split():
        pytest.skip(f"READINESS_ARM64 asks for {os.environ['READINESS_ARM64']} only")
    _require_tools()
    before = os.times()
    done = _run_inside(version, work)
    spent = os.times().children_user - before.children_user
    steps = {name: (int(status), int(took)) for name, status, took in re.findall(r"\[step (\w+): status (\d+), (\d+) s\]", done.stdout)}
    print(f"Python {version} on aarch64: {steps}; {spent:.0f} s of one core in all")
    assert done.stdout.startswith(f"aarch64\nPython {version}."), done.stdout[-3000:]
    assert {name: status for name, (status, _) in steps.items()} == {"setup": 0, "static": 0, "doctor": 0, "audit": 75}, done.stdout[-6000:]
    assert "Traceback" not in done.stdout
    passed, took = re.search(r"(\d+) passed[^\n]* in ([\d.]+)s", done.stdout).groups()
    print(f"{passed} static gates in {took} s")
    assert int(passed) >= 80, "the static gates of all shipped hosts"
    assert "# What the overlay of host dgx" in done.stdout
    assert re.search(r"\$ pytest --host dgx --reports=/tmp/reports -m audit", done.stdout), "the next step, to be copied"


def _run_inside(version, work):
    """The steps in a fresh copy of the checkout, on an arm64 Debian with that Python, without network."""
    env = os.environ | {
        "TREE": str(_tree(PYTHONS[version])),
        "WHEELS": str(wheels(version)),
        "WORK": str(work),
        "SUITE": str(ROOT),
        "BINFMT": f":llama-arm64:M::{_MAGIC}:{_MASK}:{shutil.which('qemu-aarch64')}:OCF",
        "CPU": _CPU,
        "INSIDE": _STEPS,
    }
    command = ["unshare", "-r", "-m", "-n", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", _ENTER]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_RUN_S, check=False)


def wheels(version):
    """A folder with an aarch64 wheel of all that the lock asks for under that Python. Fails where one has none."""
    locked = _locked(version)
    folder = cache_root() / "arm64" / f"wheels-{version}-{digest(locked)[:16]}"
    if folder.is_dir():
        return folder
    part = _part(folder)
    part.mkdir(parents=True)
    wanted = part / "requirements.lock"
    wanted.write_text(locked)
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", version, *(f"--platform={name}" for name in _PLATFORMS)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        *target,
        "-r",
        str(wanted),
        "-d",
        str(part),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    if done.returncode != 0:
        shutil.rmtree(part)
    assert done.returncode == 0, f"Python {version} on aarch64: {done.stderr[-2000:]}"
    part.rename(folder)
    return folder


def _locked(version):
    """The lock's entries for that Python on aarch64, hashes included: pip takes markers for those of the machine that it runs on."""
    machine = {"platform_machine": "aarch64", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    machine |= {"python_version": version, "python_full_version": f"{version}.0"}
    kept = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text()):
        head, _, rest = entry.partition("\\\n")
        name, _, marker = head.partition(";")
        if not marker.strip() or Marker(marker.strip()).evaluate(machine):
            hashes = [line for line in rest.splitlines() if line.strip().startswith("--hash")]
            kept.append(f"{name.strip()} \\\n" + "\n".join(hashes))
    return "\n".join(kept) + "\n"


def _tree(release):
    """The root folder of a release, unpacked; a build that was cut short leaves nothing under its name."""
    tree = cache_root() / "arm64" / f"{release}-{digest([*_BUILD, _LAYOUT])[:16]}"
    if not tree.is_dir():
        part = _part(tree)
        part.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([*_BUILD, release, str(part)], capture_output=True, text=True, timeout=_FETCH_S, check=False)
        if done.returncode != 0:
            shutil.rmtree(part, ignore_errors=True)
            pytest.skip(f"debootstrap cannot fetch arm64 packages here: {(done.stdout + done.stderr).strip()[-300:]}")
        _unpack(part)
        part.rename(tree)
    return tree


def _unpack(root):
    """All packages, unpacked here; then what their scripts would have made and Python needs: users, certificates, /proc."""
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacked:
            subprocess.run(["tar", "-x", "-C", str(root), "--keep-directory-symlink"], stdin=unpacked.stdout, check=True)
        package.unlink()
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    trusted = root / "etc/ssl/certs/ca-certificates.crt"
    trusted.parent.mkdir(parents=True, exist_ok=True)
    trusted.write_bytes(b"".join(file.read_bytes() for file in sorted((root / "usr/share/ca-certificates").glob("*/*.crt"))))
    for name in ("proc", "dev"):
        if (root / name).is_symlink():
            (root / name).unlink()
        (root / name).mkdir(exist_ok=True)


def _part(final: Path) -> Path:
    return final.with_name(f"{final.name}.{os.getpid()}")
