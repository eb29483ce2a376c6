"""Perplexity is measured once - and again after one byte of the corpus or of the engine has changed, the KV type or a variable."""

import hashlib
import json
import re
import shutil

import pytest
from support import child_session

from fixtures.measure.prompts import corpus_path
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

PLAN = """\
[ppl]
corpus = "{corpus}"
chunks = 2
context = 128
[units]"""
LIMIT = """
[candidates.limits.ppl]
reference = 40.0
tolerance = 100.0
relative = true
kind = "equal"
unit = "PPL"
source = "meta test"
engine = "{engine}"
backend = "cpu"
corpus_sha256 = "{sha256}"
chunks = 2
context = 128
"""


def write_host(folder):
    """A host on `folder`'s own engine and corpus; its `good-q8` owes a perplexity, with a reference for exactly these."""
    corpus, engine = folder / "corpus.txt", folder / "engine"
    host = child_session.write_host(folder, port=18610, recipe="path", engine=f'path = "{engine}"\ncommit = "0c1e57098bba"')
    text = host.read_text().replace("[units]", PLAN.format(corpus=corpus), 1).replace('PPL-1 = "not part of this test"\n', "", 1)
    good, mark, other = text.rpartition("\n[[candidates]]")
    engine_id = build_engine(EngineRequest(recipe="path", path=engine)).manifest.engine_id
    limit = LIMIT.format(engine=engine_id, sha256=hashlib.sha256(corpus.read_bytes()).hexdigest())
    host.write_text(good + limit + mark + other)
    return host


class Run:
    """One ended perplexity session: its exit status, record and launches, and what its page says went stale."""

    def __init__(self, host, *args):
        reports = host.parent / "reports"
        session = child_session.start(host, reports, "-m", "ppl", *args)
        self.status, self.output = session.wait(), session.output
        assert "Traceback" not in self.output, self.output
        self.folder = max(path for path in reports.iterdir() if path.is_dir())
        (self.record,) = map(json.loads, (self.folder / "evidence.jsonl").read_text().splitlines())
        launches = self.folder / "launches.jsonl"
        self.launched = [entry["program"] for entry in map(json.loads, launches.read_text().splitlines())] if launches.exists() else []
        self.verdict = json.loads((self.folder / "verdict.json").read_text())

    @property
    def stale(self):
        """The table of evidence that no longer counts, on both pages: requirement, earlier record, what changed."""
        found = set()
        for page, caption in (("index.html", "Evidence of earlier runs that no longer counts"), ("index.zh-TW.html", "不再採計的既有證據")):
            table = re.search(rf"<caption>[^<]*{caption}.*?</table>", (self.folder / page).read_text("utf-8"), re.DOTALL)
            cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table[0].partition("<tbody")[2], re.DOTALL) if table else []
            found.add(tuple(re.sub(r"<[^>]+>", " ", text).strip() for text in cells[1:4]))
        (told,) = found  # both languages list the same
        return told

    @property
    def gate(self):
        (gate,) = [g for c in self.verdict["candidates"] for g in c["gates"] if (c["candidate"], g["requirement"]) == ("good-q8", "PPL-1")]
        return gate


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first run, with the folder that holds all it was made of."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copy(corpus_path("readiness-bilingual"), folder / "corpus.txt")
    shutil.copytree(build_engine(EngineRequest.named("pinned+tbq")).folder, folder / "engine", symlinks=True)
    run = Run(write_host(folder))
    assert run.status == 0, run.output
    assert run.launched == ["llama-perplexity"] * 2, "its start and its end"
    assert (run.gate["judgement"]["verdict"], run.gate["reused_from"], run.stale) == ("PASS", None, ())
    return run


@pytest.fixture
def moved(first, tmp_path):
    """All that the first run was made of, at another place; gives its host file."""
    folder = tmp_path / "moved"
    shutil.copytree(first.folder.parents[1], folder, symlinks=True)
    return write_host(folder)


def test_nothing_is_launched_where_nothing_but_paths_is_different(moved, first):
    second = Run(moved)
    assert (second.status, second.launched) == (0, []), second.output
    assert (second.gate["judgement"]["verdict"], second.gate["reused_from"]) == ("PASS", f"{first.folder.name}#1")
    assert second.record["measured"] == first.record["measured"]
    assert second.stale == ()
    assert f"{first.folder.name}#1" in (second.folder / "index.html").read_text("utf-8")
    fresh = Run(moved, "--fresh")
    assert fresh.status == 0, fresh.output
    assert fresh.launched == ["llama-perplexity"] * 2
    assert (fresh.gate["reused_from"], fresh.stale) == (None, ())


def another_byte(host):
    """The last byte of the corpus, behind all that is evaluated."""
    corpus = host.parent / "corpus.txt"
    content = corpus.read_bytes()
    corpus.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def another_type(host):
    text = host.read_text()
    assert text.count('lane = "q8"') == 2
    host.write_text(text.replace('lane = "q8"', 'lane = "f16"', 1))


def another_engine(host):
    """One byte behind the end of a library: an ELF file that loads and computes as before."""
    library = (host.parent / "engine" / "libggml-base.so").resolve()
    assert host.parent in library.parents
    with library.open("ab") as file:
        file.write(b"\n")


def another_variable(host):
    """One that no engine knows: what a variable does is the engine's affair, that it is there is ours."""
    text = host.read_text()
    host.write_text(text.replace('commit = "0c1e57098bba"', 'commit = "0c1e57098bba"\nenv = { GGML_OF_THIS_TEST = "1" }'))


@pytest.mark.parametrize(
    ("change", "part", "verdict", "why"),
    [
        (another_byte, "corpus", "BLOCKED", "the recorded value's corpus_sha256 is"),
        (another_type, "lane", "PASS", "perplexity"),
        (another_engine, "engine", "BLOCKED", "the recorded value's engine is path-"),
        (another_variable, "policy", "PASS", "perplexity"),
    ],
    ids=["corpus", "kv-type", "engine", "variable"],
)
def test_a_change_is_measured_again_and_named(moved, first, change, part, verdict, why):
    change(moved)
    changed = Run(moved)
    assert changed.launched == ["llama-perplexity"] * 2, changed.output
    assert changed.record["reused_from"] is None
    assert changed.record["identity"] != first.record["identity"]
    earlier = changed.record["raw"]["supersedes"]
    assert (earlier["run"], earlier["changed"]) == (first.folder.name, [part])
    assert changed.stale == ("PPL-1", f"{earlier['run']}#{earlier['seq']}", part)
    assert changed.gate["judgement"]["verdict"] == verdict, "a reference counts only for what it was taken with"
    assert why in changed.gate["judgement"]["reason"]
    assert changed.status == (0 if verdict == "PASS" else 75), changed.output


def test_a_change_is_told_before_it_is_measured_and_reused_after(moved, first):
    another_type(moved)
    asked = Run(moved, "--from-ledger")
    assert (asked.status, asked.launched, asked.gate["judgement"]["verdict"]) == (75, [], "BLOCKED"), asked.output
    assert asked.stale == ("PPL-1", f"{first.folder.name}#1", "lane"), "what no longer counts is told before it is measured again"
    changed = Run(moved)
    assert changed.stale == ("PPL-1", f"{first.folder.name}#1", "lane"), changed.output
    again = Run(moved)
    assert (again.launched, again.stale) == ([], ()), "now it is the changed one that is reused"
    assert again.gate["reused_from"] == f"{changed.folder.name}#1"
