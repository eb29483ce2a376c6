"""The table of planted faults, tests/meta/planted/faults.toml, as its tests read it. Its head tells what a row may say."""

import tomllib
from dataclasses import dataclass, field
from functools import cache

from support.places import META

TABLE = META / "planted" / "faults.toml"
KINDS = range(1, 16)  # of what a fault breaks; the table's head names them


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    id: str
    kind: int
    run: str
    breaks: str
    caught: str = ""
    says: tuple = ()
    never: tuple = ()
    with_: dict = field(default_factory=dict)
    launcher: dict = field(default_factory=dict)
    plant: dict = field(default_factory=dict)

    @property
    def requirement(self):
        return self.caught.partition(" ")[0]

    @property
    def verdict(self):
        return self.caught.partition(" ")[2]


@cache
def _table():
    return tomllib.loads(TABLE.read_text("utf-8"))


def faults():
    """Every row of the table, in its order."""
    return tuple(Fault(**{{"with": "with_"}.get(key, key): value for key, value in row.items()}) for row in _table()["fault"])


def honest():
    """Every honest spelling of a unit, by its id."""
    return {row["id"]: row for row in _table()["honest"]}


def faults_of(run):
    """The rows of one run."""
    return [fault for fault in faults() if fault.run == run]


def clean_id(given):
    """The id of the clean candidate that is like `given` in all but the fault."""
    return "-".join(["clean", *(str(value).split("_")[0] for value in given.values())]).replace(" ", "-").lower() if given else "clean"


def by_id(run):
    """The candidates of a run: clean ones first, one for every combination that a fault has; then the faults."""
    rows = faults_of(run)
    clean = {clean_id(fault.with_): fault.with_ for fault in rows}
    return clean | {fault.id: fault.with_ for fault in rows}
