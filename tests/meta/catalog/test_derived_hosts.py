"""A host with a `base` is the base on another machine: nothing that a candidate is can drift or be changed."""

import pytest
from support.bad_catalog import check_message, new_place

from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import load_host, load_requirements
from fixtures.catalog.missing import missing_keys
from fixtures.catalog.model import TwinArtefact
from fixtures.catalog.scope import applies

OWN = """
schema = 1
base = "dgx"
id = "second"
title = "Another machine"
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    return new_place(tmp_path, monkeypatch)


def written(place, text):
    """The host of that text, beside the shipped ones of a catalog of the test's own."""
    file = place.catalog / "hosts/second.toml"
    file.write_text(text.lstrip(), encoding="utf-8")
    return load_host("second", catalog=place.catalog)


def said(place, text, *parts):
    with pytest.raises(CatalogError) as caught:
        written(place, text)
    check_message(caught.value, *parts)


def test_the_rehearsal_is_the_dgx_but_for_its_machine():
    """Only what a rehearsal cannot have is exempt, and all of a candidate stands in the base's file."""
    rehearsal, dgx = load_host("dgx-rehearsal", bare=True), load_host("dgx", bare=True)
    assert rehearsal.standin
    for name in ("ports", "goal", "tiers", "rows", "audit", "fallback"):
        assert getattr(rehearsal, name) == getattr(dgx, name), name
    for ours, theirs in zip(rehearsal.candidates, dgx.candidates, strict=True):
        assert ours.model_copy(update={"exempt": theirs.exempt}) == theirs
        assert set(theirs.exempt) <= set(ours.exempt)


def test_the_rehearsal_serves_full_twins_of_the_size_that_the_dgx_states():
    rehearsal, dgx = load_host("dgx-rehearsal", bare=True), load_host("dgx", bare=True)
    for name, model in rehearsal.models.items():
        for ours, theirs in ((model.target, dgx.models[name].target), (model.drafter, dgx.models[name].drafter)):
            assert isinstance(ours, TwinArtefact)
            assert (ours.variant, ours.size, ours.file_type) == ("full", theirs.size, theirs.file_type)


def test_the_rehearsal_lacks_no_key_for_what_it_owes():
    host = load_host("dgx-rehearsal", bare=True)
    owed = [(one, item) for one in host.candidates for item in load_requirements() if applies(item, one, host)]
    assert {key for one, item in owed for key in missing_keys(host, one, item)} == set()


def test_what_the_base_gains_its_derived_hosts_gain(place):
    place.replace("hosts/dgx.toml", "reference = 23.79\n", "reference = 24.79\n")
    place.replace(
        "hosts/dgx.toml",
        'lane = "k3v4"\nrole = "promoted"\nspeculation = { mtp_block = 3',
        'lane = "q8"\nrole = "promoted"\nspeculation = { mtp_block = 2',
    )
    rehearsal = load_host("dgx-rehearsal", catalog=place.catalog)
    assert rehearsal.candidate("31b-k3v3").limit("decode_tps").reference == 24.79
    assert (rehearsal.candidate("26b-k3v4").lane, rehearsal.candidate("26b-k3v4").speculation.mtp_block) == ("q8", 2)


def test_differences_merge_and_an_overlay_lies_over_them(place):
    text = OWN + "launch.context = 4096\nlaunch.threads = 3\n"
    assert written(place, text).launch.model_dump(include={"context", "threads", "ubatch"}) == {
        "context": 4096,
        "threads": 3,
        "ubatch": 512,
    }
    place.overlay.with_name("second.toml").write_text("launch.context = 8192\n", encoding="utf-8")
    laid = load_host("second", catalog=place.catalog)
    assert (laid.launch.context, laid.launch.threads, laid.launch.ubatch) == (8192, 3, 512)


def test_an_exemption_joins_those_of_each_candidate(place):
    host = written(place, OWN + '[exempt]\nDEP-1 = "no systemd here"\n')
    assert all(candidate.exempt["DEP-1"] == "no systemd here" for candidate in host.candidates)
    assert "PPL-1" in host.candidate("31b-k3v4").exempt


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (OWN + "[ports]\ntest = 9000\n", ("line 5: `ports` is the base's", "differs in its machine alone")),
        (OWN + '[[candidates]]\nid = "mine"\n', ("line 5: `candidates` is the base's",)),
        (OWN + 'goal.models = ["gemma4-31b"]\n', ("`goal` is the base's",)),
        (OWN + 'hardwear.name = "x"\n', ("`hardwear` is the base's", "did you mean `hardware`?")),
        (OWN.replace('"dgx"', '"dxg"'), ("line 2: `base` is not the name of a shipped host; did you mean `dgx`?",)),
        (OWN.replace('"dgx"', "3"), ("line 2: `base` is not the name of a shipped host",)),
        (OWN.replace('"dgx"', '"dgx-rehearsal"'), ('line 2: `base` is "dgx-rehearsal", which derives from another host itself',)),
        (OWN.replace('"dgx"', '"second"'), ('`base` is "second", which derives from another host itself',)),
        (OWN + "exempt = 3\n", ("`exempt` is 3; expected a table",)),
        (OWN + '[exempt]\nKV-99 = "why"\n', ("line 6: `exempt.KV-99` is not a requirement",)),
        (OWN + '[exempt]\nKV-1 = ""\n', ("KV-1", "is empty")),
        (OWN + "[launch]\ncontxt = 3\n", ("line 6: `launch.contxt` is not a known key; did you mean `context`?",)),
        (
            OWN + '[models.gemma4-31b]\ntarget = { kind = "twin", twin = "twin60", variant = "full" }\n',
            ("line 6: `models.gemma4-31b.target.kind`", "which only a host with `standin = true` may serve"),
        ),
    ],
)
def test_what_a_derived_host_cannot_say(place, text, parts):
    said(place, text, *parts)


def test_what_is_wrong_with_the_base_is_told_of_the_base(place):
    place.replace("hosts/dgx.toml", 'kind = "at_least"', 'kidn = "at_least"')
    with pytest.raises(CatalogError) as caught:
        load_host("dgx-rehearsal", catalog=place.catalog)
    check_message(caught.value, str(place.catalog / "hosts/dgx.toml"), "did you mean `kind`?")
