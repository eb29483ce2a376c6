"""Installed units of planted candidates: each as it is rendered, and then as its row says. Words: tests/meta/planted/faults.toml."""

import json
import os
import pwd

from fixtures.catalog.load import load_host
from fixtures.measure.prompts import corpus_sha256
from fixtures.measure.units import rendered_unit
from llama_build import EngineRequest, build_engine
from support.launches import subject_of

REFERENCE = {
    "reference": 100.0,
    "tolerance": 100.0,
    "relative": True,
    "kind": "equal",
    "unit": "PPL",
    "source": "meta test",
    "backend": "cpu",
    "chunks": 1,
    "context": 128,
}


class Installer:
    """Installs the units of a written host file."""

    def __init__(self, host):
        self._host, self._loaded = host, load_host(str(host.file))

    def rendered(self, candidate):
        """The unit of that candidate, as the suite renders it."""
        return rendered_unit(subject_of(self._loaded, self._loaded.candidate(candidate), None, self._host.folder))

    def install(self, candidate, plant=None):
        """Install the candidate's unit, changed as `plant` says."""
        plant, name = plant or {}, self._host.unit(candidate)
        if plant.get("absent"):
            return
        if "link" in plant:
            (self._host.units / name).symlink_to(plant["link"])
            return
        text = self.rendered(candidate)
        fill = self._filling(text)
        for old, new in plant.get("replace", ()):
            assert fill(old) in text, f"{candidate}: {fill(old)} is not in the unit"
            text = text.replace(fill(old), fill(new))
        text = fill(plant["text"]) if "text" in plant else text.replace("ExecStart=", fill(plant.get("add", "")) + "\nExecStart=", 1)
        (self._host.units / plant.get("file", name)).write_text(text)
        for file, content in plant.get("files", {}).items():
            self._write(self._host.folder / file, fill(content))
        if "dropin" in plant:
            folder = self._host.units / f"{plant.get('dropin_of', name)}.d"
            folder.mkdir(exist_ok=True)
            (folder / "81-planted.conf").write_text(f"[Service]\n{fill(plant['dropin'])}\n")

    def _write(self, path, content):
        """A file of a row; `->TARGET` is a link, a script may be run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            path.symlink_to(content[2:])
            return
        path.write_text(content)
        path.chmod(0o755 if content.startswith("#!") else 0o644)

    def _filling(self, text):
        (command,) = [line.partition("=")[2] for line in text.splitlines() if line.startswith("ExecStart=")]
        program, _, words = command.partition(" ")
        flags = words.split()
        known = {
            "exec": command, "server": program, "words": words, "model": flags[flags.index("-m") + 1],
            "port": flags[flags.index("--port") + 1], "folder": str(self._host.folder),
            "model_from_home": os.path.relpath(flags[flags.index("-m") + 1], pwd.getpwuid(os.getuid()).pw_dir),
        }  # fmt: skip

        def fill(template):
            for name, value in known.items():
                template = template.replace(f"{{{name}}}", value)
            return template

        return fill


def reference(plant):
    """A candidate's perplexity reference, as TOML."""
    taken = {
        "engine": build_engine(EngineRequest.named("pinned+tbq")).manifest.engine_id,
        "corpus_sha256": corpus_sha256("readiness-bilingual"),
    }
    values = REFERENCE | taken | plant.get("reference", {})
    return "[candidates.limits.ppl]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
