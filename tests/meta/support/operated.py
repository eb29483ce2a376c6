"""A host with a fallback that is a real llama-server, and a systemctl of the test's own; commands run as children, as people run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine
from support import child_session, fake_systemctl
from support.legacy import tree_of
from support.places import ROOT

UNIT = "llama-legacy.service"
APPROVE = ("--approve", "Ann: the candidate is withdrawn")

# the fake has no booted systemd behind it
_AS_BOOTED = """
import sys
from pathlib import Path
from fixtures.deploy import systemctl
systemctl._BOOTED = Path("/")
"""
_COMMAND = f"{_AS_BOOTED}from fixtures.operate.__main__ import main\nsys.exit(main(sys.argv[1:]))"
_PYTEST = f"{_AS_BOOTED}import pytest\nsys.exit(pytest.main(sys.argv[1:]))"


class Operated:
    """Below `folder`: units, scripts and models, the fake's memory in `systemd`, journals in `state`."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.units, self.systemd = folder / "live" / "units", folder / "systemd"
        self.model = folder / "live" / "models" / "good.gguf"
        for each in (self.units, self.systemd, self.model.parent, folder / "backups", folder / "bin", folder / "live" / "bin"):
            each.mkdir(parents=True)
        self.model.symlink_to(ensure_registry_model("smollm2-135m"))
        self.server = build_engine(EngineRequest.named("pinned+tbq")).server
        self.script = folder / "live" / "bin" / "run.sh"
        self.write_script(self.model)
        (self.units / UNIT).write_text(f"[Service]\nExecStart={self.script} --alias legacy\n")
        (self.systemd / "told.json").write_text(json.dumps({"units": str(self.units)}))
        tool = folder / "bin" / "systemctl"
        tool.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "{fake_systemctl.__file__}" "$@"\n')
        tool.chmod(0o755)
        self.host, self.overlay = self._host(), folder / "overlay.toml"
        self.overlay.write_text("[fallback]\nstate = []\n")

    def _host(self):
        file = child_session.write_host(self.folder, port=self.port, models={"good": child_session.Model()})
        text = file.read_text().replace("~/.config/systemd/user", str(self.units))
        watched = f'[ports.watch]\nfallback = {self.port}\n[fallback]\nunit = "{UNIT}"\nwatch = "fallback"\n'
        file.write_text(text.replace(f"[ports]\ntest = {self.port}\n", f"[ports]\ntest = {self.port + 9}\n{watched}"))
        return file

    def write_script(self, model):
        served = f'-m "{model}" --host 127.0.0.1 --port {self.port} -c 512 -np 1 -t 1 -fit off --jinja'
        self.script.write_text(f'#!/bin/sh\nexec {self.server} {served} "$@"\n')
        self.script.chmod(0o755)

    @property
    def env(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "READINESS_"))}
        own = {"FAKE_SYSTEMD": str(self.systemd), "XDG_STATE_HOME": str(self.folder / "state")}
        return kept | own | {"PATH": f"{self.folder / 'bin'}:{kept['PATH']}"}

    def start(self, *words):
        """A `./readiness` command as a child."""
        return self._child(_COMMAND, *words, *self.options)

    @property
    def options(self):
        return (f"--host={self.host}", f"--overlay={self.overlay}", f"--reports={self.folder / 'reports'}")

    def _child(self, program, *words):
        return subprocess.Popen(
            [sys.executable, "-c", program, *words], cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def readiness(self, *words):
        """(exit status, output) of a `./readiness` command."""
        return _ended(self.start(*words))

    def gates(self, *more):
        """(exit status, output) of an ordinary run of the gates about the fallback."""
        return _ended(
            self._child(_PYTEST, *child_session.LEAN, "-k", "fallback or restore_dry", *self.options, *more, "tests/test_deploy.py")
        )

    def record(self, requirement):
        """The newest run's evidence of a requirement."""
        newest = max((self.folder / "reports").iterdir())
        records = [json.loads(line) for line in (newest / "evidence.jsonl").read_text().splitlines()]
        return next(record for record in records if record["requirement"] == requirement)

    def back_up(self):
        """A backup and its local copy, both named in the overlay."""
        status, output = self.readiness("backup", str(self.folder / "backups"))
        assert status == 0, output
        (place,) = [path for path in (self.folder / "backups").iterdir() if path.name.startswith("gemma4")]
        copy = self.folder / "copy"
        subprocess.run(["cp", "-a", str(place), str(copy)], check=True)
        self.overlay.write_text(f'[fallback]\nbackup = "{place}"\ncopy = "{copy}"\n')
        return place

    def tree(self):
        """The live state."""
        return tree_of(self.folder / "live")

    def asked(self):
        """What systemd was asked to change."""
        file = self.systemd / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def refuse(self, *verbs):
        (self.systemd / "told.json").write_text(json.dumps({"units": str(self.units), "refused": verbs}))

    def state(self):
        """As systemd has it: active, inactive, failed."""
        shown = subprocess.run(
            ["systemctl", "--user", "show", UNIT, "--property=ActiveState"], env=self.env, capture_output=True, text=True, check=True
        )
        return shown.stdout.strip().partition("=")[2]

    def restart(self):
        """Have the installed unit run, as somebody else has started it; it need not have loaded its model yet."""
        subprocess.run(["systemctl", "--user", "restart", UNIT], env=self.env, check=True)
        (self.systemd / "asked").unlink(missing_ok=True)

    def stop(self):
        """End the fallback, whatever became of it."""
        subprocess.run(["systemctl", "--user", "stop", UNIT], env=self.env, check=False)
        (self.systemd / "asked").unlink(missing_ok=True)

    def journal(self):
        """The newest restore's journal; None where there is none."""
        files = sorted(Path(self.folder / "state").rglob("journal.json"))
        return json.loads(files[-1].read_text()) if files else None


def _ended(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output
