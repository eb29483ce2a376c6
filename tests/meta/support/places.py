"""Where things lie in the checkout."""

from pathlib import Path

META = Path(__file__).resolve().parents[1]
ROOT = META.parents[1]
DATA = META / "data"
