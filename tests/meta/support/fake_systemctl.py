"""A systemctl for one service: starts what the unit's files say, as a process of its own. Run as a program, first in PATH.

What it knows is in the folder of FAKE_SYSTEMD: pid, the units' folder, what was loaded, and every change that it was asked for.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from fixtures.catalog.host import Units
from fixtures.deploy.installed import unit_by_files


def main(arguments):
    words = [word for word in arguments if not word.startswith("--") or "=" in word]
    verb, *rest = words
    state = State(Path(os.environ["FAKE_SYSTEMD"]))
    if verb == "show-environment":
        return 0
    if verb == "show":
        return show(state, rest[0], rest[1].partition("=")[2].split(","))
    state.note(" ".join(words))
    if verb in state.refused:
        print(f"Failed to {verb}: refused by the test", file=sys.stderr)
        return 1
    if verb == "daemon-reload":
        state.loaded = state.files()
        return 0
    if verb in ("stop", "restart"):
        state.stop()
    return state.start(rest[0]) if verb in ("start", "restart") else 0


class State:
    def __init__(self, folder):
        self.folder = folder
        self.told = json.loads((folder / "told.json").read_text())
        self.refused = self.told.get("refused", ())

    def note(self, words):
        with (self.folder / "asked").open("a") as log:
            log.write(words + "\n")

    def files(self):
        units = Path(self.told["units"])
        names = sorted(file for file in units.rglob("*") if file.is_file() and not file.name.startswith("."))
        return hashlib.sha256(b"".join(str(file).encode() + file.read_bytes() for file in names)).hexdigest()

    @property
    def loaded(self):
        return (self.folder / "loaded").read_text() if (self.folder / "loaded").exists() else self.files()

    @loaded.setter
    def loaded(self, value):
        (self.folder / "loaded").write_text(value)

    @property
    def pid(self):
        file = self.folder / "pid"
        return int(file.read_text()) if file.exists() else 0

    def alive(self):
        try:
            return self.pid > 0 and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def active(self):
        return "active" if self.alive() else "failed" if self.pid else "inactive"

    def stop(self):
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)
            while self.alive():
                time.sleep(0.02)
        (self.folder / "pid").unlink(missing_ok=True)

    def start(self, name):
        self.loaded = self.loaded
        if self.alive():
            return 0
        command = unit_by_files(name, Units(directory=self.told["units"], scope="user")).engine.command
        try:
            with (self.folder / "service.log").open("ab") as log:
                process = subprocess.Popen(
                    command.argv, env=os.environ | command.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            (self.folder / "pid").write_text("4194303")
            print(f"Job for {name} failed: {error}", file=sys.stderr)
            return 1
        (self.folder / "pid").write_text(str(process.pid))
        return 0


def show(state, name, wanted):
    main = Path(state.told["units"]) / name
    there = main.exists()
    dropins = sorted(main.with_name(f"{name}.d").glob("*.conf")) if there else []
    known = {
        "LoadState": "loaded" if there else "not-found",
        "FragmentPath": str(main) if there else "",
        "DropInPaths": " ".join(map(str, dropins)),
        "NeedDaemonReload": "no" if state.loaded == state.files() else "yes",
        "ActiveState": state.active(),
        "MainPID": str(state.pid if state.alive() else 0),
    }
    print("\n".join(f"{key}={known.get(key, '')}" for key in wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
