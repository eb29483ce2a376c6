"""CMake options of a request: preset data plus what the request gives."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from llama_build.types import BuildError, Data

_FILE = Path(__file__).with_name("presets.toml")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Preset(Data):
    """One entry of `presets.toml`. `cuda_arch`: what nvcc must be able to build for; `room_mb`: what a build takes at most."""

    title: str
    room_mb: int
    cuda_arch: str | None = None
    options: dict[str, str] = Field(default_factory=dict)


class Presets(Data):
    """`presets.toml`."""

    fixed: dict[str, str]
    base: dict[str, str]
    presets: dict[str, Preset]


@dataclass(frozen=True)
class Configuration:
    """A preset, resolved. `options` is everything CMake is given; `asked` the part that the request named."""

    preset: str
    cuda_arch: str | None
    options: dict[str, str]
    asked: frozenset[str]
    room_mb: int

    @property
    def native(self) -> bool:
        """Whether the code is made for exactly this CPU."""
        return is_on(self.options.get("GGML_NATIVE", ""))

    @property
    def cuda(self) -> bool:
        """Whether a CUDA compiler is needed."""
        return is_on(self.options.get("GGML_CUDA", ""))


def load_presets() -> Presets:
    """The shipped presets."""
    return Presets.model_validate(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def configuration(preset: str, options: Mapping[str, str]) -> Configuration:
    """Merge the base options, the preset's and the request's. Raises BuildError for an unknown preset or an unusable option."""
    data = load_presets()
    if preset not in data.presets:
        raise BuildError(f"There is no preset {preset!r}. Expected one of {', '.join(data.presets)} (llama_build/presets.toml).")
    for name, value in options.items():
        if not _NAME.fullmatch(name):
            raise BuildError(
                f"{name!r} is no CMake option name. Expected letters, digits and underscores, as in GGML_CUDA_FA_ALL_QUANTS=ON."
            )
        if "\n" in value:
            raise BuildError(f"The value of option {name} has more than one line. Expected one CMake value, as in ON.")
        if name in data.fixed:
            raise BuildError(f"Option {name} is fixed at {data.fixed[name]}: the build cache relies on it. Leave it out.")
    chosen = data.presets[preset]
    merged = data.base | chosen.options | dict(options) | data.fixed
    return Configuration(preset=preset, cuda_arch=chosen.cuda_arch, options=merged, asked=frozenset(options), room_mb=chosen.room_mb)


def is_on(value: str) -> bool:
    """Whether CMake takes `value` for true."""
    return value.upper() in {"1", "ON", "YES", "TRUE", "Y"}
