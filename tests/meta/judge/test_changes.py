"""What changed since an earlier run: verdicts, numbers, identities; reused evidence is no change."""

import shutil

import pytest
from support import child_session
from support.report_sample import five_states

from fixtures.catalog.load import load_host, load_requirements
from fixtures.judge.changes import changes_since
from fixtures.plugins import options
from fixtures.records.verdict import Verdict
from fixtures.report.html import render_page
from fixtures.report.page import build_page
from fixtures.report.terminal import render_changes


def since(before, after):
    return changes_since(before.verdict, before.evidence, after.verdict, after.evidence, load_requirements())


def with_gate(sample, change):
    """The sample, its first measured gate judged as `change` says."""
    verdict = sample.verdict
    candidate = next(c for c in verdict.candidates if any(g.seq and g.judgement.verdict is Verdict.PASS for g in c.gates))
    old = next(g for g in candidate.gates if g.seq and g.judgement.verdict is Verdict.PASS)
    new = old.model_copy(update={"judgement": old.judgement.model_copy(update=change)})
    gates = tuple(new if gate is old else gate for gate in candidate.gates)
    candidates = tuple(c.model_copy(update={"gates": gates}) if c is candidate else c for c in verdict.candidates)
    return sample._replace(verdict=verdict.model_copy(update={"candidates": candidates})), candidate.candidate, old


def reused(sample):
    """The sample as a later run that took everything from it."""
    return sample._replace(
        evidence=tuple(r.model_copy(update={"reused_from": f"{r.run}#{r.seq}", "run": "later"}) for r in sample.evidence)
    )


def test_reused_evidence_is_no_change():
    sample = five_states()
    found = since(sample, reused(sample))
    assert found.changes == ()
    assert "nothing changed" in render_changes(found)


def test_another_verdict_and_number_are_told():
    sample = five_states()
    worse, candidate, old = with_gate(reused(sample), {"verdict": Verdict.FAIL, "measured": 1.5})
    (change,) = since(sample, worse).changes
    assert (change.candidate, change.requirement, change.before, change.after) == (candidate, old.requirement, Verdict.PASS, Verdict.FAIL)
    assert change.measured_after == 1.5
    assert f"{candidate} {old.requirement}" in render_changes(since(sample, worse))
    assert "PASS -> FAIL" in render_changes(since(sample, worse))


def test_another_identity_is_told_part_by_part():
    sample = five_states()
    later = reused(sample)
    first = later.evidence[0]
    changed = first.model_copy(update={"identity": first.identity | {"engine": "another"}})
    found = since(sample, later._replace(evidence=(changed, *later.evidence[1:])))
    assert {change.changed for change in found.changes} == {("engine",)}


def test_a_gate_that_only_one_run_has_is_told():
    sample = five_states()
    fewer = sample.verdict.model_copy(update={"candidates": sample.verdict.candidates[1:]})
    gone = since(sample, reused(sample)._replace(verdict=fewer))
    assert {change.after for change in gone.changes} == {None}
    assert {change.candidate for change in gone.changes} == {sample.verdict.candidates[0].candidate}


@pytest.mark.parametrize("lang", ["en", "zh-TW"])
def test_the_page_shows_them(lang):
    sample = five_states()
    worse, _, _ = with_gate(reused(sample), {"verdict": Verdict.FAIL})
    page = render_page(build_page(**sample._asdict(), baseline=since(sample, worse), lang=lang))
    assert 'id="changes"' in page
    assert 'id="changes"' not in render_page(build_page(**sample._asdict(), lang=lang))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A host and the ended session of a run on it."""
    folder = tmp_path_factory.mktemp("first")
    host = child_session.write_host(folder, port=18810)
    session = child_session.start(host, folder / "reports", "-m", "signoff")
    assert session.wait() == 0, session.output
    return host, session


class Asked:
    """As much of pytest's config as says `--baseline=RUN`."""

    def __init__(self, run):
        self.run = run

    def getoption(self, _name):
        return str(self.run)


def refused(run, host):
    with pytest.raises(pytest.UsageError) as error:
        options._baseline(Asked(run), host)
    return str(error.value)


@pytest.mark.runtime
def test_a_baseline_that_cannot_be_one_is_refused(first, tmp_path):
    file, session = first
    host = load_host(str(file))
    assert "is no run folder" in refused(tmp_path / "nowhere", host)
    assert f"is a run of host {file.stem}" in refused(session.folder, load_host("local"))
    damaged = tmp_path / session.folder.name
    shutil.copytree(session.folder, damaged)
    ledger = damaged / "evidence.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"seq":1,', b'"seq":7,', 1))
    assert "is damaged: record 1" in refused(damaged, host)
    ledger.write_bytes((session.folder / "evidence.jsonl").read_bytes())
    (damaged / "verdict.json").write_text('{"run": 1}')
    assert "verdict.json cannot be read by this version of the suite" in refused(damaged, host)
    told = child_session.start(file, tmp_path / "told", "-m", "signoff", f"--baseline={damaged}")
    assert told.wait() == 4
    assert "Traceback" not in told.output
    assert "verdict.json cannot be read by this version of the suite" in told.output


@pytest.mark.runtime
def test_what_changed_since_the_baseline_is_told_and_kept(first, tmp_path):
    file, session = first
    again = child_session.start(file, tmp_path / "again", "-m", "signoff", f"--baseline={session.folder}")
    assert again.wait() == 0, again.output
    assert f"since {session.folder.name}" in again.output
    assert (again.folder / "changes.json").is_file()
