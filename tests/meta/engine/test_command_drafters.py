"""A drafter that is a model, of any kind: its words in each dialect, and one sentence where an engine has no such thing."""

import pytest
from support.launches import DRAFTER, prepared, render_command

from fixtures.catalog.load import load_host
from fixtures.catalog.model import FileArtefact, Model
from fixtures.catalog.speculation import MODEL_DRAFTERS, Speculation, block_key
from fixtures.engine.command import CommandError, server_command
from fixtures.engine.dialect import recorded_dialect
from fixtures.engine.dialects import load_families

HOST = load_host("local", bare=True)
FILE = FileArtefact(path="/m/t.gguf")
MODEL = Model(title="any", target=FILE, drafter=FileArtefact(path="/m/d.gguf"))
WITH = HOST.model_copy(update={"models": HOST.models | {"twin42": MODEL}})


def command(family, drafter=DRAFTER, **speculation):
    candidate = HOST.candidate("twin42-q8").model_copy(update={"speculation": Speculation(**speculation)})
    return render_command(server_command(prepared(WITH, candidate, recorded_dialect(family), drafter=drafter), port=8087))


def test_every_kind_has_its_block_and_its_names():
    assert set(MODEL_DRAFTERS) == set(load_families().drafters)
    assert {block_key(kind) for kind in MODEL_DRAFTERS} <= Speculation.model_fields.keys()


@pytest.mark.parametrize("family", ["upstream", "tbq-patch", "atomicbot-2026-07"])
@pytest.mark.parametrize(("kind", "name"), [("mtp", "draft-mtp"), ("dflash", "draft-dflash"), ("simple", "draft-simple")])
def test_a_block_of_eight_drafts_seven(family, kind, name):
    assert command(family, **{f"{kind}_block": 8}).endswith(f"--spec-type {name} -md /m/d.gguf --spec-draft-n-max 7")
    stacked = command(family, **{f"{kind}_block": 8}, ngram_mod=True, ngram_n_match=8)
    assert stacked.endswith(f"--spec-type {name},ngram-mod -md /m/d.gguf --spec-draft-n-max 7 --spec-ngram-mod-n-match 8")


@pytest.mark.parametrize(
    ("family", "kind", "words"),
    [
        ("buun", "dflash", "--spec-type dflash -md /m/d.gguf --spec-draft-n-max 7"),
        ("atomicbot-2026-05", "simple", "--spec-type draft -md /m/d.gguf --draft-max 7"),
        ("atomicbot-2026-05", "mtp", "--spec-type mtp --mtp-head /m/d.gguf --draft-block-size 8"),
    ],
)
def test_forks_have_words_of_their_own(family, kind, words):
    assert command(family, **{f"{kind}_block": 8}).endswith(words)


@pytest.mark.parametrize("family", ["thetom", "amesianx", "atomicbot-2026-05"])
def test_an_engine_without_dflash_says_so_and_what_it_offers(family):
    with pytest.raises(CommandError, match=r"^twin42-q8 drafts with DFlash, which .* does not have\. It offers --spec-type .*ngram-mod\.$"):
        command(family, dflash_block=8)


def test_an_engine_that_takes_one_value_stacks_nothing():
    with pytest.raises(CommandError, match=r"stacks dflash and ngram-mod, but --spec-type of .*buun.* takes one value only"):
        command("buun", dflash_block=8, ngram_mod=True)


def test_a_drafter_without_its_file_is_told_by_its_name():
    with pytest.raises(CommandError, match="twin42-q8 drafts with DFlash: model twin42 has a drafter, but no file was given for it"):
        command("upstream", drafter=None, dflash_block=8)


def test_names_for_people_and_for_the_record():
    both = Speculation(dflash_block=8, ngram_mod=True, ngram_n_match=8)
    assert (both.label, both.members, both.active) == ("DFlash b8 + ngram-mod", ("dflash", "ngram-mod"), True)
    assert both.alone("dflash") == Speculation(dflash_block=8)
    assert both.alone("ngram-mod") == Speculation(ngram_mod=True, ngram_n_match=8)
    assert both.alone("none") == Speculation()
    assert (Speculation().label, Speculation().members, Speculation().active) == ("none", (), False)
