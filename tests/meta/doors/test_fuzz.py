"""Whatever stands in a file of the owner's gives data or one message; whatever stands in a ledger's line, records or a named problem."""

import copy
import json
import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.archive_samples import record, run_name, write_run
from support.audit_subjects import HOST as LOCAL
from support.bad_input import check_words, in_time

from fixtures.catalog.attested import load_attested
from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import CATALOG, PROMPTS, load_host, load_requirements
from fixtures.catalog.waivers import load_waivers
from fixtures.evidence.archive import open_archive
from fixtures.evidence.ledger import line_of, read_ledger
from fixtures.measure.prompts import PromptError, load_prompt, load_speed_set

pytestmark = pytest.mark.long

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REQUIREMENTS, DGX = load_requirements(), load_host("dgx", bare=True)
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SCALAR = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=True), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
JUNK = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)

OVERLAY = """
[engine]
recipe = "path"
path = "/opt/fork"
commit = "abcdef0"
[engine.env]
X = "1"
[launch]
context = 8192
gpu_layers = 99
[guard]
lock = "/run/a.lock"
reserve_mib = 512.0
[[guard.competing]]
name = "asr"
cmdline = "asr"
max_cpu_pct = 50.0
[ppl]
corpus = "/c.txt"
chunks = 64
[candidates.31b-k3v3.limits.ppl]
engine = "e"
chunks = 64
"""
WAIVERS = """
schema = 1
[[waiver]]
requirement = "KV-1"
candidate = "twin42-q8"
reason = "the figure is off by design in this test"
who = "Ann"
date = "2026-11-20"
expires = "2026-12-20T00:00:00Z"
waives = ["FAIL"]
"""
IMPORTS = """
schema = 1
[[attested]]
requirement = "PPL-1"
candidate = "31b-k3v3"
value = 30.2595
unit = "PPL"
source = "readiness report, Candidate Final Readiness"
date = "2026-05-14"
who = "owner"
[attested.artefacts]
target = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
"""
FILES = {
    "host": ((CATALOG / "hosts/local.toml").read_text("utf-8"), "own.toml", lambda file: load_host(str(file), bare=True)),
    "overlay": (OVERLAY, "dgx.toml", lambda file: load_host("dgx", overlay=file)),
    "waivers": (WAIVERS, "waivers.toml", lambda file: load_waivers(file, LOCAL, REQUIREMENTS, NOW)),
    "imports": (IMPORTS, "imports.toml", lambda file: load_attested(file, DGX, REQUIREMENTS, NOW)),
    "prompt": (
        (PROMPTS / "coherence/zh_marker.toml").read_text("utf-8"),
        "zh_marker.toml",
        lambda file: load_prompt("zh_marker", str(file.parent)),
    ),
    "speed set": (
        (PROMPTS / "speed/repetitive-en.toml").read_text("utf-8"),
        "repetitive-en.toml",
        lambda file: load_speed_set(str(file)),
    ),
}


def spots(value, path=()):
    """Every place in nested data."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from spots(inner, (*path, key))


def toml(value):
    """A TOML value, tables written inline; what JSON calls NaN and Infinity has other names there."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return quoted(value)
    return repr(value).lower() if isinstance(value, bool | float) else str(value)


def quoted(text):
    return json.dumps(text).replace("\x7f", "\\u007f") if text.isascii() else '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def put(data, spot, junk):
    changed = copy.deepcopy(data)
    inner = changed
    for part in spot[:-1]:
        inner = inner[part]
    inner[spot[-1]] = junk
    return changed


@pytest.mark.parametrize("kind", FILES)
@FUZZ
@given(choice=st.integers(0, 10_000), junk=JUNK)
def test_whatever_stands_in_a_file_gives_data_or_one_message(kind, choice, junk, tmp_path):
    text, name, load = FILES[kind]
    data = tomllib.loads(text)
    places = list(spots(data))
    file = tmp_path / name
    file.write_text("".join(f"{quoted(key)} = {toml(value)}\n" for key, value in put(data, places[choice % len(places)], junk).items()))
    try:
        with in_time():
            load(file)
    except (CatalogError, PromptError) as error:
        check_words(str(error), name.replace(".", r"\."))


@pytest.mark.parametrize("kind", FILES)
@FUZZ
@given(cut=st.integers(0, 20_000), byte=st.binary(min_size=1, max_size=3))
def test_whatever_bytes_a_file_has_gives_data_or_one_message(kind, cut, byte, tmp_path):
    text, name, load = FILES[kind]
    content = text.encode()
    at = cut % len(content)
    file = tmp_path / name
    file.write_bytes(content[:at] + byte + content[at + len(byte) :])
    try:
        with in_time():
            load(file)
    except (CatalogError, PromptError) as error:
        check_words(str(error), name.replace(".", r"\."))


LINE = json.loads(line_of(record(2)))
LINE_SPOTS = list(spots(LINE))


@FUZZ
@given(spot=st.sampled_from(LINE_SPOTS), junk=JUNK)
def test_whatever_stands_in_a_line_of_a_ledger_is_a_record_or_a_named_problem(spot, junk, tmp_path):
    file = tmp_path / "evidence.jsonl"
    file.write_bytes(json.dumps(put(LINE, spot, junk)).encode() + b"\n")
    with in_time():
        content = read_ledger(file)
    assert content.records or content.problems


@settings(FUZZ, max_examples=30)
@given(spot=st.sampled_from(LINE_SPOTS), junk=JUNK)
def test_whatever_stands_in_an_old_run_never_stops_a_new_one(spot, junk, tmp_path_factory):
    reports = tmp_path_factory.mktemp("runs")
    write_run(reports, 1, record(1))
    folder = write_run(reports, 2, record(2), sealed=False)
    (folder / "evidence.jsonl").write_bytes(json.dumps(put(LINE, spot, junk)).encode() + b"\n")
    with in_time():
        archive = open_archive(reports, LOCAL.id, before="2999")
    try:
        for problem in archive.problems:
            check_words(problem, f"{run_name(2)} is left out")
        assert archive.durations() is not None
    finally:
        archive.close()
