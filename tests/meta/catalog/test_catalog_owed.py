"""What applies to whom, and what a candidate owes."""

from pathlib import Path

import pytest

from fixtures.catalog.candidate import Role
from fixtures.catalog.host import Host
from fixtures.catalog.load import (
    CatalogError,
    applies,
    load_host,
    load_requirements,
    tier_of,
)
from fixtures.catalog.requirement import Tier

pytestmark = pytest.mark.usefixtures("config")


def test_tiers_can_be_overridden_by_the_host(catalog):
    requirement = next(r for r in load_requirements() if r.tier is Tier.ADVISORY)
    host = load_host("dgx")
    assert tier_of(requirement, host) is Tier.ADVISORY
    file = catalog / "hosts/dgx.toml"
    file.write_text(file.read_text(encoding="utf-8") + f'\n[tiers]\n{requirement.id} = "required"\n', encoding="utf-8")
    assert tier_of(requirement, load_host("dgx", catalog=catalog)) is Tier.REQUIRED


def test_applies_looks_at_role_needs_and_exemption():
    host, requirement = load_host("dgx"), load_requirements()[0]
    candidate = host.candidate("31b-k3v4")  # MTP only, no unit, no prompts
    for needs, owed in (
        ((), True),
        (("mtp",), True),
        (("drafter",), True),
        (("speculation",), True),
        (("unit",), False),
        (("prompts",), False),
        (("gpu",), True),
        (("chat",), True),
    ):
        assert applies(requirement.model_copy(update={"needs": frozenset(needs)}), candidate, host) is owed, needs
    assert not applies(requirement.model_copy(update={"roles": frozenset({Role.PROMOTED})}), candidate, host)
    assert not applies(requirement, candidate.model_copy(update={"exempt": {requirement.id: "because"}}), host)
    local = load_host("local")
    assert not applies(requirement.model_copy(update={"needs": frozenset({"gpu"})}), local.candidates[0], local)


def test_a_chosen_candidate_owes_the_unit_gates_before_it_has_a_unit():
    host = load_host("dgx")
    requirement = next(each for each in load_requirements() if "unit" in each.needs)
    bare = host.candidate("26b-k3v3")  # has neither unit nor port
    assert not applies(requirement, bare, host)
    chosen = host.model_copy(update={"goal": host.goal.model_copy(update={"chosen": {bare.model: bare.id}})})
    assert applies(requirement, bare, chosen)
    assert not applies(requirement, bare.model_copy(update={"exempt": {requirement.id: "because"}}), chosen)


def test_an_mtp_head_inside_the_target_needs_no_drafter(catalog: Path):
    file = catalog / "hosts/dgx.toml"
    text = file.read_text(encoding="utf-8")
    start = text.index("[models.gemma4-26b]")
    entry = text[start : text.index("\n[", start + 1)]
    bare = "\n".join(line for line in entry.splitlines() if not line.startswith("drafter"))

    def said(written: str) -> str:
        file.write_text(text.replace(entry, written), encoding="utf-8")
        try:
            load_host("dgx", bare=True, catalog=catalog)
        except CatalogError as error:
            return str(error)
        return ""

    assert bare != entry
    assert "mtp_inside = true` where the target holds its own MTP head" in said(bare)
    assert said(bare + "\nmtp_inside = true\n") == ""
    assert "is true beside a `drafter`" in said(entry + "\nmtp_inside = true\n")


@pytest.mark.parametrize(
    ("speculation", "inside", "told"),
    [
        ("dflash_block = 8", "", "models.gemma4-26b.drafter` is missing; 26b-k3v4 drafts with DFlash (`dflash_block`) and needs one."),
        ("dflash_block = 8", "mtp_inside = true", "26b-k3v4 drafts with DFlash (`dflash_block`) and needs one."),
        ("simple_block = 4", "", "26b-k3v4 drafts with a draft model (`simple_block`) and needs one."),
        ("mtp_block = 3, dflash_block = 8", "", "has `mtp_block` and `dflash_block`; an engine loads one drafter that is a model."),
        ("dflash_block = 1", "", "candidates.26b-k3v4.speculation.dflash_block` is 1"),
    ],
)
def test_a_drafter_that_is_a_model_has_a_file_and_is_alone(catalog: Path, speculation, inside, told):
    file = catalog / "hosts/dgx.toml"
    text = file.read_text(encoding="utf-8")
    start = text.index("[models.gemma4-26b]")
    entry = text[start : text.index("\n[", start + 1)]
    bare = "\n".join(line for line in entry.splitlines() if not line.startswith("drafter"))
    text = text.replace(entry, f"{bare}\n{inside}\n").replace("mtp_block = 3, ngram_mod = true", f"{speculation}, ngram_mod = true", 1)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        load_host("dgx", bare=True, catalog=catalog)
    assert told in str(error.value)


def test_a_form_is_left_out_by_its_name_and_with_a_reason(catalog):
    local = load_host("local")
    candidate = local.candidate("smollm2-135m-q8")
    assert candidate.forms == ("marker", "lines")
    assert candidate.unasked["json"] == "too much for 135 million weights, whatever the cache"
    file = catalog / "hosts/local.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("unasked = { rare =", "unasked = { rara =", 1), encoding="utf-8")
    with pytest.raises(CatalogError, match=r"`candidates\.gemma3-270m-q4\.unasked\.rara` is not a form; did you mean `rare`"):
        load_host("local", bare=True, catalog=catalog)


def test_what_applies_to_nobody_on_a_host_is_said_once():
    """A candidate's own reason counts before the host's, and a negative owes what it must fail."""
    local = load_host("local")
    host = Host.model_validate(local.model_dump(by_alias=True) | {"exempt": {"COH-5": "the host's reason"}})
    reasons = {candidate.id: candidate.exempt.get("COH-5") for candidate in host.candidates}
    assert reasons["gemma3-270m-q8"] == "the host's reason"
    assert reasons["smollm2-135m-q8"] == local.candidate("smollm2-135m-q8").exempt["COH-5"]
    assert reasons["gemma3-270m-k3v3"] is None
