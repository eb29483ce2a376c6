"""What is cited is there: facts by anchor, requirements by id, documents and paths by name, and all of it in this repository."""

import re

import pytest
from support.citations import MARKS, Repository, anchors_of, texts, wrong_citations
from support.places import ROOT

from fixtures.catalog.load import load_requirements

# wrong citations are their subject
THESE = {"tests/meta/docs/test_citations.py", "tests/meta/support/citations.py"}
# they name requirements that nobody has: as bad input, or invented
PLANTS_REQUIREMENTS = {
    "tests/meta/catalog/test_derived_hosts.py",
    "tests/meta/catalog/test_must_fail.py",
    "tests/meta/catalog/test_waivers.py",
    "tests/meta/data/bad_host_files.toml",
    "tests/meta/report/test_report_new_requirement.py",
}


@pytest.fixture(scope="module")
def pages():
    return texts()


@pytest.fixture(scope="module")
def repository(pages):
    anchors = {path: anchors_of(text) for path, text in pages.items() if path.endswith(".md")}
    return Repository(frozenset(pages), anchors, frozenset(requirement.id for requirement in load_requirements()))


def test_every_citation_resolves(pages, repository):
    wrong = [each for path, text in pages.items() if path not in THESE for each in wrong_citations(path, text, repository)]
    unplanned = [each for each in wrong if not (planted(each) and ": no requirement " in each)]
    assert unplanned == [], "\n".join(unplanned)


def planted(problem):
    return problem.partition(":")[0] in PLANTS_REQUIREMENTS


def test_files_that_plant_requirements_still_do(pages, repository):
    assert [path for path in PLANTS_REQUIREMENTS if not list(wrong_citations(path, pages[path], repository))] == []


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("fixtures/measure/kv.py", '"""Bytes. docs/facts.md#kv-cash."""', "docs/facts.md has no #kv-cash"),
        ("fixtures/records/verdict.py", "# ARCHITECTURE.md#verdict", "ARCHITECTURE.md has no #verdict"),
        ("tests/test_kv.py", '"""docs/fact.md#kv-cache"""', "no document docs/fact.md"),
        ("fixtures/catalog/lanes.toml", "# see HACKING.md", "no document HACKING.md"),
        ("fixtures/catalog/hosts/dgx.toml", 'source = "seed; KV-99"', "no requirement KV-99"),
        ("README.md", "PPL-1, COH-77", "no requirement COH-77"),
        ("README.md", "[facts](docs/facts.md#none)", "docs/facts.md has no #none"),
        ("README.md", "[here](#no-such-heading)", "README.md has no #no-such-heading"),
        ("docs/facts.md", "[from the wrong folder](ARCHITECTURE.md)", "no file for the link ARCHITECTURE.md"),
        ("README.md", "rooms: `fixtures/judge/`, `fixtures/jury/`", "no file or folder fixtures/jury/"),
        ("fixtures/measure/kv.py", '"""Bytes. FACTS section 2."""', "FACTS section is outside this repository"),
        ("fixtures/measure/kv.py", "# as FACTS.md says", "FACTS.md is outside this repository"),
        ("fixtures/plugins/settle.py", "# End the test as DESIGN says", "DESIGN is outside this repository"),
        ("README.md", "see ../shared/inputs", "../shared/ is outside this repository"),
        ("llama_build/pinned.toml", f"# {ROOT}/notes.txt", f"{ROOT} is outside this repository"),
    ],
)
def test_goes_red(repository, path, text, said):
    problems = list(wrong_citations(path, f"first line\n{text}\n", repository))
    assert any(each.startswith(f"{path}:2: {said}") for each in problems), problems


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("fixtures/measure/kv.py", '"""Bytes of KV-1. docs/facts.md#kv-cache, ARCHITECTURE.md#words."""'),
        ("llama_build/__init__.py", '"""See README.md in this folder."""'),
        ("docs/facts.md", "[up](../ARCHITECTURE.md#flow), [here](#geometry), [folder](../prompts)"),
        ("fixtures/report/write.py", 'folder.write("summary.md", text)  # into reports/<run>/summary.md'),
        ("fixtures/models/gguf_header.py", "Format: https://example.org/shared/docs/NONE.md#none"),
        ("tests/meta/doctor/test_doctor.py", 'models = ["/opt/shared/models", "/srv/models"]'),
        ("tests/meta/engine/test_dialect.py", "FACTS = {}  # UTF-8, SHA-256, _MOST_ARTEFACTS"),
    ],
)
def test_stays_green(repository, path, text):
    assert list(wrong_citations(path, text, repository)) == []


def test_anchors_are_those_of_github():
    page = '# KV cache\n## GB10 and NVML\n```sh\n# no heading\n```\n### `-lv`, or: what is "it"?\n## KV cache\n#none\n'
    assert anchors_of(page) == {"kv-cache", "gb10-and-nvml", "-lv-or-what-is-it", "kv-cache-1"}


def test_every_fact_has_its_mark(pages):
    marked = re.compile(rf"- \*(?:{'|'.join(MARKS)})\* · \S")
    above_table = re.compile(rf"\*(?:{'|'.join(MARKS)})\* - \S.*:")
    facts = pages["docs/facts.md"].partition("\n## ")[2]
    lines = facts.splitlines()
    assert [line for line in lines if line.startswith("- ") and not marked.match(line)] == []
    first_rows = [i for i, line in enumerate(lines) if line.startswith("|") and not lines[i - 1].startswith("|")]
    assert [lines[i] for i in first_rows if not above_table.fullmatch(lines[i - 2])] == []
    sections = [section.partition("\n") for section in facts.split("\n## ")]
    assert [title for title, _, body in sections if "\n- *" not in f"\n{body}" and "\n*" not in body] == []
