"""Whatever stands in a catalog gives a host or one message."""

import copy
import tomllib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_catalog import DGX, check_message

from fixtures.catalog.checks import Known, problems
from fixtures.catalog.errors import CatalogError
from fixtures.catalog.host import EngineSpec, Guard, Host
from fixtures.catalog.load import load_requirements
from fixtures.catalog.overlay import laid_over
from fixtures.catalog.toml_file import TomlFile
from fixtures.catalog.validate import validated


def _spots(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _spots(inner, (*path, key))


DGX_DATA = tomllib.loads(DGX)


WORDS = sorted(
    {part for spot in _spots(DGX_DATA) for part in spot if isinstance(part, str)} | set(EngineSpec.model_fields) | set(Guard.model_fields)
)


JUNK = st.one_of(
    st.none().map(lambda _: {}),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


KNOWN = Known(
    lanes=frozenset({"k3v3", "k3v4"}),
    requirements={requirement.id: requirement for requirement in load_requirements()},
    prompts=frozenset({"zh_marker", "embedded_facts", "repeat_line"}),
)


FUZZ = settings(max_examples=100, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(spot=st.sampled_from(list(_spots(DGX_DATA))), junk=JUNK)
def test_whatever_stands_anywhere_gives_a_host_or_one_message(spot, junk):
    data = copy.deepcopy(DGX_DATA)
    inner = data
    for part in spot[:-1]:
        inner = inner[part]
    inner[spot[-1]] = junk
    source = TomlFile(Path("/x/dgx.toml"), DGX, data)
    try:
        host = validated(Host, data, source.error)
        for place, problem in problems(host, KNOWN):
            raise source.error(place, problem)
    except CatalogError as error:
        check_message(error)


@FUZZ
@given(
    tables=st.dictionaries(
        st.sampled_from(sorted(DGX_DATA)), st.dictionaries(st.sampled_from(WORDS), JUNK, min_size=1, max_size=3), max_size=2
    )
)
def test_whatever_an_overlay_sets_gives_a_host_or_one_message(tables):
    base = validated(Host, DGX_DATA, TomlFile(Path("/x/dgx.toml"), DGX, DGX_DATA).error)
    try:
        laid_over(base, DGX_DATA, TomlFile(Path("/x/overlay.toml"), "", tables), KNOWN)
    except CatalogError as error:
        check_message(error)
