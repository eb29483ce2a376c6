"""`--choose` writes one table of an overlay; nothing else of it changes, and nothing unfit is written."""

import tomllib
from datetime import UTC, datetime

import pytest

from fixtures.catalog.decide import ChoiceError, decided
from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import load_host
from fixtures.catalog.noise import AcceptanceError
from fixtures.catalog.overlay_edit import current, difference, replace_text, with_table

NOW = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
PATH = ("goal", "decided", "twin30")
HOST = load_host("twins", bare=True)
SIGNED = "Ann: the memory is there"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        '[guard]\nlock = "/tmp/x"  # mine\n\n# of the speed\n[speed]\nprompt_set = "short-en"\n',
        '[goal.decided.twin30]\ncandidate = "old"\nextra = 1\n\n# of the guard\n[guard]\nlock = "/tmp/x"\n',
        '[goal.decided.twin60]\ncandidate = "twin60-k3v3"\n[goal.decided."twin30"]\ncandidate = "old"',
    ],
)
def test_one_table_is_set_and_all_else_stays(tmp_path, text):
    new = with_table(tmp_path / "x.toml", text, PATH, {"candidate": 'a "quoted" 名', "n": 1})
    data, before = tomllib.loads(new), tomllib.loads(text)
    assert data["goal"]["decided"].pop("twin30") == {"candidate": 'a "quoted" 名', "n": 1}
    before.setdefault("goal", {}).setdefault("decided", {}).pop("twin30", None)
    assert data == before
    assert [line for line in text.splitlines() if line.startswith("#")] == [line for line in new.splitlines() if line.startswith("#")]


def test_what_lines_cannot_replace_is_left_to_its_owner(tmp_path):
    text = 'goal = { decided = { twin30 = { candidate = "old" } } }\n'
    with pytest.raises(CatalogError, match=r"give it by hand: \[goal.decided.twin30\]; candidate = \"new\""):
        with_table(tmp_path / "x.toml", text, PATH, {"candidate": "new"})


def test_a_header_inside_a_text_is_none(tmp_path):
    text = 'title = """\n[goal.decided.twin30]\n"""\n'
    with pytest.raises(CatalogError, match="give it by hand"):
        with_table(tmp_path / "x.toml", text, PATH, {"candidate": "new"})


def test_a_file_is_replaced_whole_through_its_link_with_its_mode(tmp_path):
    real, link = tmp_path / "real.toml", tmp_path / "link.toml"
    real.write_text("# old\n", encoding="utf-8")
    real.chmod(0o640)
    link.symlink_to(real)
    replace_text(link, "# new\n")
    assert link.is_symlink()
    assert current(link) == "# new\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [link, real]
    assert current(tmp_path / "none.toml") == ""


def test_the_difference_names_the_file(tmp_path):
    told = difference(tmp_path / "x.toml", "a = 1\n", "a = 2\n")
    assert "-a = 1\n+a = 2\n" in told
    assert "x.toml (now)" in told


@pytest.mark.parametrize("lane", ["twin30-k3v3", "k3v3"])
def test_a_lane_is_chosen_by_its_candidate_or_its_own_name(lane):
    model, decision = decided(HOST, f"twin30={lane}", SIGNED, NOW)
    assert (model, decision.candidate, decision.who, decision.reason) == ("twin30", "twin30-k3v3", "Ann", "the memory is there")
    assert decision.date == "2026-11-26"


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("twin30=k9", '"k9" is no lane of twin30 that can be promoted; valid: twin30-k3v3, twin30-k3v4'),
        ("twin30=twin60-k3v3", "is no lane of twin30"),
        ("twin30=", '"" is no lane of twin30'),
        ("gemma=k3v3", '"gemma" is no model of the goal of host twins; valid: twin30, twin60'),
        ("twin30", 'expected MODEL=LANE, such as "twin60=twin60-k3v3"'),
    ],
)
def test_no_other_lane_can_be_chosen(choice, says):
    with pytest.raises(ChoiceError, match=r"^[^\n]*$") as error:
        decided(HOST, choice, SIGNED, NOW)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "signature", ["", "Ann", ": the memory is there", " : the memory is there", "Ann:", "Ann: ok", "...: the memory is there"]
)
def test_nobody_chooses_without_a_name_and_a_reason(signature):
    with pytest.raises(AcceptanceError, match='expected "WHO: REASON"'):
        decided(HOST, "twin30=k3v3", signature, NOW)


def overlay(tmp_path, decision):
    file = tmp_path / "twins.toml"
    file.write_text("[goal.decided.twin30]\n" + decision, encoding="utf-8")
    return load_host("twins", overlay=file)


WHO = 'who = "Ann"\nreason = "the memory is there"\n'


def test_a_decision_counts_before_the_choice_of_the_host_file(tmp_path):
    host = overlay(tmp_path, f'candidate = "twin30-k3v3"\n{WHO}date = "2026-11-26"\n')
    assert HOST.goal.chosen["twin30"] == "twin30-k3v4"
    assert host.goal.chosen == {"twin60": "twin60-k3v3", "twin30": "twin30-k3v3"}


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        (f'candidate = "twin60-k3v3"\n{WHO}date = "2026-11-26"\n', "goal.decided.twin30.candidate"),
        (f'candidate = "twin30-k3v3"\n{WHO}date = "yesterday"\n', 'a day like "2026-11-24"'),
        ('candidate = "twin30-k3v3"\nwho = " "\nreason = "the memory is there"\ndate = "2026-11-26"\n', "goal.decided.twin30.who"),
        ('candidate = "twin30-k3v3"\ndate = "2026-11-26"\n', "goal.decided.twin30.who"),
    ],
)
def test_a_decision_by_hand_is_checked_as_well(tmp_path, decision, says):
    with pytest.raises(CatalogError) as error:
        overlay(tmp_path, decision)
    assert says in str(error.value)
