"""What each drafter did, from the statistics lines of real logs and of logs that lie."""

import pytest

from fixtures.engine.drafters import read_drafters
from fixtures.engine.logs import read_log
from fixtures.records.engine import DrafterFacts

# copied from a server at the pin, shortened after the rate by position
NGRAM = (
    "0.02.608.741 I spec common_specu: statistics        ngram-mod: #calls(b,g,a) =    2      7      1, #gen drafts =      1, "
    "#acc drafts =     1, #gen tokens =     16, #acc tokens =    9, #mean acc len = 17.00"
)
MTP = (
    "0.16.887.375 I spec common_specu: statistics        draft-mtp: #calls(b,g,a) =   11    174    174, #gen drafts =    174, "
    "#acc drafts =   174, #gen tokens =    348, #acc tokens =   300, #mean acc len = 3.00"
)


def test_each_drafter_is_told_by_itself():
    assert read_drafters([NGRAM, "else", MTP]) == (
        DrafterFacts(name="ngram-mod", drafted=16, accepted=9),
        DrafterFacts(name="mtp", drafted=348, accepted=300),
    )


def test_lines_are_cumulative_so_the_last_one_counts():
    later = NGRAM.replace("     16,", "     96,").replace("    9,", "    90,")
    assert read_drafters([NGRAM, later]) == (DrafterFacts(name="ngram-mod", drafted=96, accepted=90),)


@pytest.mark.parametrize("name", ["draft-mtp", "mtp", "nextn", "draft_mtp", "MTP"])
def test_engines_spell_one_drafter_in_several_ways(name):
    assert [facts.name for facts in read_drafters([MTP.replace("draft-mtp", name)])] == ["mtp"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("draft-dflash", "dflash"), ("dflash", "dflash"), ("draft_dflash", "dflash"), ("draft-simple", "simple"), ("draft", "simple")],
)
def test_so_it_is_with_every_drafter_that_is_a_model(name, kind):
    assert [facts.name for facts in read_drafters([MTP.replace("draft-mtp", name)])] == [kind]


@pytest.mark.parametrize("name", ["ngram-mod", "ngram_mod"])
def test_the_older_spelling_of_ngram_mod(name):
    assert [facts.name for facts in read_drafters([NGRAM.replace("ngram-mod", name)])] == ["ngram-mod"]


@pytest.mark.parametrize("name", ["ngram-simple", "ngram-map-k", "draft-eagle3", "draft-dspark"])
def test_another_drafter_is_not_taken_for_one_of_ours(name):
    assert [facts.name for facts in read_drafters([NGRAM.replace("ngram-mod", name)])] == [name]


@pytest.mark.parametrize(
    "line", ["", "statistics ngram-mod: nothing told", "statistics: #gen tokens = 5, #acc tokens = 5", NGRAM.replace("#acc tokens", "#acc")]
)
def test_a_line_without_both_numbers_proves_nothing(line):
    assert read_drafters([line]) == ()


def test_the_log_reader_tells_them():
    assert [facts.name for facts in read_log(f"{MTP}\n{NGRAM}\n").drafters] == ["mtp", "ngram-mod"]
