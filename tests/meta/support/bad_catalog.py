"""A catalog and an overlay of a test's own, to be spoiled."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fixtures.catalog.load import CATALOG, load_host

DGX = (CATALOG / "hosts/dgx.toml").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Place:
    """Where one bad case may put its files."""

    catalog: Path
    overlay: Path

    def load(self):
        return load_host("dgx", catalog=self.catalog)

    def replace(self, file, old, new):
        path = self.catalog / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"the case replaces {old!r}, which {file} does not have"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


def new_place(root, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root / "config"))
    shutil.copytree(CATALOG, root / "catalog", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    overlay = root / "config" / "llama-readiness" / "dgx.toml"
    overlay.parent.mkdir(parents=True)
    return Place(root / "catalog", overlay)


def check_message(error, *parts):
    """One paragraph, in our words, that names the file and says all of `parts`."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < 700, text
    assert text.startswith(str(error.file))
    assert text.endswith((".", ")")), text
    for foreign in ("pydantic", "Input should", "validation error", "type=", "Traceback", "[Errno", "<class"):
        assert foreign not in text, text
    for part in parts:
        assert part in text, f"{part!r} is not in: {text}"
