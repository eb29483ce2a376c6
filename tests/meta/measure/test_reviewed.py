"""DEP-4 and DEP-5: what is rendered of a shipped candidate, held against its reviewed file - and red once that is edited."""

import hashlib
import re
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence
from support.evidence_samples import judged as judged_record

from fixtures.catalog.load import CATALOG, host_names, load_host, load_lanes
from fixtures.catalog.owed import deployable
from fixtures.catalog.reviewed import load_reviewed, reviewed_file
from fixtures.deploy.differences import command_differences, text_differences
from fixtures.deploy.preview import candidate_texts
from fixtures.engine.dialect import recorded_dialects
from fixtures.measure.reviewed import command_lines, unit_text
from fixtures.records.blocked import Blocked
from fixtures.records.verdict import Verdict

MEASURES = {"DEP-4": command_lines, "DEP-5": unit_text}
EVERYONE = [(host_id, candidate.id) for host_id in host_names() for candidate in deployable(load_host(host_id, bare=True))]


def subject(host_id="local", candidate_id="smollm2-135m-q8"):
    host = load_host(host_id, bare=True)
    return SimpleNamespace(host=host, candidate=host.candidate(candidate_id))


def judged(requirement, observation):
    host = load_host("local")
    return judged_record(evidence(requirement, measured=observation.measured, raw=observation.raw), host.candidates[0], host)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The reviewed file of the sample candidate, in a copy of the catalog that the measurement reads."""
    copy = shutil.copytree(CATALOG / "reviewed", tmp_path / "reviewed")
    monkeypatch.setattr("fixtures.measure.reviewed.load_reviewed", partial(load_reviewed, catalog=copy.parent))
    return reviewed_file("local", "smollm2-135m-q8", copy.parent)


@pytest.mark.parametrize(("host_id", "candidate_id"), EVERYONE)
def test_every_shipped_candidate_is_as_reviewed(host_id, candidate_id):
    host = load_host(host_id, bare=True)
    rendered = candidate_texts(host, load_lanes(), host.candidate(candidate_id), recorded_dialects())
    assert load_reviewed(host_id, candidate_id).texts == rendered
    for requirement, measure in MEASURES.items():
        observation = measure(subject(host_id, candidate_id))
        assert judged(requirement, observation).verdict is Verdict.PASS
        assert observation.raw["differences"] == []


@pytest.mark.parametrize("requirement", MEASURES)
def test_the_record_holds_the_text_behind_its_hash(requirement):
    observation = MEASURES[requirement](subject())
    assert hashlib.sha256(observation.raw["rendered"].encode()).hexdigest() == observation.measured["rendered_sha256"]
    assert set(observation.raw["review"]) == {"who", "date", "reason"}


def test_a_hand_edited_command_is_red_and_its_arms_and_dialects_are_named(file):
    file.write_text(file.read_text("utf-8").replace('"-ub 512"', '"-ub 256"', 1), "utf-8")
    observation = command_lines(subject())
    found = judged("DEP-4", observation)
    assert found.verdict is Verdict.FAIL
    edited = load_reviewed("local", "smollm2-135m-q8", file.parents[2]).texts.commands.values()
    more = sum("-ub 256" in lines for lines in edited) - 1
    said = f"differ from the reviewed ones: production atomicbot-2026-05 and {more} more: reviewed was -ub 256, rendered is -ub 512"
    assert more > 20
    assert said in found.reason
    assert judged("DEP-5", unit_text(subject())).verdict is Verdict.PASS


def test_a_hand_edited_difference_is_red_for_its_dialects_only(file):
    text = file.read_text("utf-8")
    file.write_text(text.replace('"+ --spec-ngram-mod-n-max 16"', '"+ --spec-ngram-mod-n-max 15"', 1), "utf-8")
    (difference,) = command_lines(subject()).raw["differences"]
    said = "production atomicbot-2026-07 and 2 more: reviewed was --spec-ngram-mod-n-max 15, rendered is --spec-ngram-mod-n-max 16"
    assert difference == said


def test_a_hand_edited_unit_is_red(file):
    file.write_text(file.read_text("utf-8").replace("NoNewPrivileges=yes\n", ""), "utf-8")
    found = judged("DEP-5", unit_text(subject()))
    assert found.verdict is Verdict.FAIL
    assert found.reason == "the rendered unit differs from the reviewed one: reviewed was without NoNewPrivileges=yes"
    assert judged("DEP-4", command_lines(subject())).verdict is Verdict.PASS


def test_many_differences_are_bounded(file):
    long = 'unit = """\n' + "".join(f"Old{n}=1\nUMask=0077\n" for n in range(60))
    file.write_text(file.read_text("utf-8").replace('unit = """\n', long), "utf-8")
    differences = unit_text(subject()).raw["differences"]
    assert len(differences) == 41
    assert differences[-1].startswith("and ")


@pytest.mark.parametrize("measure", MEASURES.values())
def test_without_a_readable_review_it_is_blocked(file, measure):
    file.write_text(file.read_text("utf-8").replace("schema = 1", "schema = 1\nwhom = 2"), "utf-8")
    with pytest.raises(Blocked, match=re.escape(f"{file}, line 3: `whom` is not a known key")):
        measure(subject())
    file.unlink()
    with pytest.raises(Blocked, match="nobody reviewed the texts of candidate smollm2-135m-q8 yet"):
        measure(subject())
    own = subject()
    own.host = own.host.model_copy(update={"id": "my-host"})
    with pytest.raises(Blocked, match=r"^host my-host is not shipped: nobody reviewed its texts$"):
        measure(own)


def test_differences_in_words():
    old, new = ("a", "b", "c", "d"), ("a", "x", "c", "d", "e")
    assert text_differences(new, old) == ("reviewed was b, rendered is x", "reviewed was without e")
    assert text_differences(("a",), ("a", "b")) == ("reviewed was b, rendered is without",)
    assert text_differences(old, old) == ()
    rendered, reviewed = {"plain a": old, "plain new": old}, {"plain a": old, "plain old": new}
    assert command_differences(rendered, reviewed) == (
        "plain new: was never reviewed",
        "plain old: was reviewed, and is no longer rendered",
    )
