"""A machine's legacy state below one folder: the fallback's unit with all that it needs, its host, and a systemd that plays along."""

import hashlib
import shutil
from pathlib import Path

from fixtures.catalog.host import Fallback, Units
from fixtures.catalog.load import load_host
from fixtures.deploy import service
from fixtures.deploy.belongings import belongings
from fixtures.deploy.systemctl import ChangeFailed, Systemctl, SystemdSilent
from fixtures.operate.keep import keep
from fixtures.records.base import utc_now
from fixtures.records.conditions import PortState

UNIT = "llama-legacy.service"
PORT = 18951


class Legacy:
    """`folder` holds everything; `change` makes the state another one, so that a restore has something to do."""

    def __init__(self, folder):
        self.folder = folder
        self.units = folder / "units"
        self.program = self.file("engine/llama-server", Path(shutil.which("true")).read_bytes(), 0o755)
        self.model = self.file("models/m.gguf", b"GGUF\0")
        self.env = self.file("etc/legacy.env", "HF_TOKEN=hf_abcdefghijkl\n", 0o600)
        self.common = self.file("bin/common.sh", f"MODEL={self.model}\n")
        self.script = self.file("bin/run.sh", f'#!/bin/sh\n. {self.common}\nexec {self.program} -m "$MODEL" --port {PORT}\n', 0o755)
        self.unit = self.file(
            f"units/{UNIT}", f"[Service]\nEnvironmentFile={self.env}\nEnvironmentFile=-{folder}/none.env\nExecStart={self.script}\n"
        )
        self.dropin = self.file(f"units/{UNIT}.d/10.conf", "[Service]\nNice=5\n")
        self.link = self.units / "default.target.wants" / UNIT
        self.link.parent.mkdir()
        self.link.symlink_to(f"../{UNIT}")
        self.state = folder / "state"
        self.file("state/sub/notes.txt", "as it was\n")
        (self.state / "elsewhere").symlink_to("/etc/passwd")
        (folder / "backups").mkdir()

    def file(self, name, content, mode=0o644):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def host(self, backup=None, copy=None):
        fallback = Fallback(
            unit=UNIT, watch="fallback", backup=backup and str(backup), local_copy=copy and str(copy), state=(str(self.state),)
        )
        units = Units(directory=str(self.units), scope="user")
        local = load_host("local", bare=True)
        ports = local.ports.model_copy(update={"watch": {"fallback": PORT}})
        guard = local.guard.model_copy(update={"lock": str(self.folder / "run.lock")})
        return local.model_copy(update={"fallback": fallback, "units": units, "ports": ports, "guard": guard})

    def belongings(self):
        host = self.host()
        found = belongings(UNIT, host.units)
        found.paths[str(self.state)] = "state"
        return found

    def backup(self):
        return keep(self.host(), UNIT, self.belongings(), self.folder / "backups", utc_now())[0]

    def owners_backup(self, *files):
        """A folder as its owner would have made it by hand: no manifest, no paths."""
        folder = self.folder / "backups" / "gemma4-legacy-state-by-hand"
        folder.mkdir()
        for file in files or (self.unit, self.script, self.common, self.env):
            shutil.copy(file, folder / file.name)
        return folder

    def change(self):
        """Another state: every kind of change is among what a restore must do."""
        self.unit.write_text(f"[Service]\nExecStart={self.program} --other HF_TOKEN=hf_zzzzzzzzzzzz\n")
        self.script.write_text("#!/bin/sh\nexit 1\n")
        self.file(f"units/{UNIT}.d/90.conf", "[Service]\nNice=9\n")
        self.link.unlink()
        shutil.rmtree(self.state / "sub")

    def tree(self):
        """What everything is but the backups: hash of each file, target of each link, mode."""
        return tree_of(self.folder, leave_out=("backups", "journal", "run.lock"))


def tree_of(folder, leave_out=()):
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(leave_out):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), oct(path.stat().st_mode))
        else:
            found[name] = "folder"
    return found


class Manager:
    """Stands for systemd in this process. `refuse` names the verb that fails, `asked` is what was asked for."""

    def __init__(self, monkeypatch, state="inactive"):
        self.state, self.asked, self.refuse, self.silent = state, [], "", ""
        monkeypatch.setattr(Systemctl, "show", lambda _, name, *wanted: self.show(*wanted))
        monkeypatch.setattr(Systemctl, "environment", lambda _: "")
        monkeypatch.setattr(Systemctl, "daemon_reload", lambda _: self.change("daemon-reload"))
        monkeypatch.setattr(Systemctl, "change", lambda _, verb, name, timeout_s: self.change(verb))
        monkeypatch.setattr(service, "port_state", lambda port: PortState(port=port, free=True))

    def show(self, *wanted):
        if self.silent:
            raise SystemdSilent(self.silent)
        known = {"ActiveState": self.state, "MainPID": "7" if self.state == "active" else "0"}
        return {key: known.get(key, "") for key in wanted}

    def change(self, verb):
        self.asked.append(verb)
        if self.refuse == verb:
            self.refuse = ""
            raise ChangeFailed(f"`systemctl {verb}` failed: refused by the test")
        self.state = {"start": "active", "restart": "active", "stop": "inactive"}.get(verb, self.state)
