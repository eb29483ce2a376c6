"""An engine, its models and a tested arm as files of a test's own, and what the installed unit of it is found to be."""

import os
import shutil
import stat
from pathlib import Path

from fixtures.catalog.host import Units
from fixtures.deploy.comparison import Tested, compare
from fixtures.deploy.installed import unit_by_files
from fixtures.deploy.options import Options
from fixtures.deploy.words import quote_argument
from fixtures.engine.dialects import recorded_texts
from fixtures.measure.installed import same_file

PORT = 18795
UNIT = "llama-gate.service"
POLICY = {"GGML_CUDA_DISABLE_GRAPHS": "1", "TURBO_PURE": "1"}


class Bench:
    """A tested arm below `folder`, and a unit folder to install into."""

    def __init__(self, folder):
        self.folder = folder
        self.units = folder / "units"
        self.units.mkdir(parents=True)
        self.program = self.elf("engine/llama-server")
        self.model, self.drafter = (self.file(name, name) for name in ("models/target.gguf", "models/drafter.gguf"))
        self.argv = (
            *("-m", str(self.model), "--host", "127.0.0.1", "--port", str(PORT), "-c", "8192", "-np", "1", "-ub", "512", "-fa", "on"),
            *("-fit", "off", "-ctk", "q8_0", "-ctv", "q4_0", "-ngl", "99", "--jinja", "--spec-type", "draft-mtp,ngram-mod"),
            *("-md", str(self.drafter), "--spec-draft-n-max", "2", "--spec-ngram-mod-n-match", "8"),
        )
        key = "--api-key KEY                           keys that clients need (default: none)\n  (env: LLAMA_API_KEY)\n"
        help_text = f"{recorded_texts('upstream')[1].read_text(encoding='utf-8')}\n{key}"
        self.tested = Tested(self.program, self.argv, POLICY, Options(help_text), same_file, lambda name: name == "MY_FORK_MODE", layers=48)

    def file(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def script(self, name, text):
        path = self.file(name, text)
        path.chmod(0o755)
        return path

    def elf(self, name, more=b""):
        """A program of machine code; `more` makes it another one."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(shutil.which("true")).read_bytes() + more)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def line(self, changes=(), drop=(), more=(), program=None):
        """The tested command as an ExecStart value, with some values changed, some flags dropped and some words more."""
        words, changed = [], dict(changes)
        for flag, value in self._pairs():
            if flag not in drop:
                words += [flag, *([changed.get(flag, value)] if value is not None else [])]
        return " ".join(quote_argument(str(word)) for word in (program or self.program, *words, *more))

    def _pairs(self):
        words = list(self.argv)
        while words:
            flag = words.pop(0)
            yield flag, words.pop(0) if words and not words[0].startswith("-") else None

    def install(self, start, env=POLICY, *, name=UNIT, extra=""):
        lines = [f'Environment="{key}={value}"' for key, value in env.items()]
        self.units.joinpath(name).write_text("\n".join(["[Service]", *lines, f"ExecStart={start}", extra, ""]))

    def dropin(self, text, name="81-x.conf", unit=UNIT):
        folder = self.units / f"{unit}.d"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"[Service]\n{text}\n")

    def found(self, name=UNIT):
        """The comparison of the installed unit with the tested arm."""
        unit = unit_by_files(name, Units(directory=str(self.units), scope="user"), self.program)
        return compare(unit.engine, self.tested)


def fake_tool(folder, name, output):
    """A program first in PATH that only prints; returns the PATH."""
    folder.mkdir(exist_ok=True)
    tool = folder / name
    tool.write_text(f"#!/bin/sh\necho '{output}'\n")
    tool.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def same(found):
    """Whether the installed unit is the tested one, with nothing hidden."""
    assert found.differences == []
    assert found.hidden == []
    return True
