"""The catalogue of strings is complete in every language, and no template has words of its own."""

import re
import string
import tomllib

import pytest
from support.places import ROOT

from fixtures.catalog.candidate import Role
from fixtures.catalog.load import host_names, load_families, load_host, load_requirements
from fixtures.judge.comparison import Finding
from fixtures.records.audit import AuditItem, Wording
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import SignOff, Verdict
from fixtures.report.errors import ReportError
from fixtures.report.honesty import Headline
from fixtures.report.strings import LANGUAGES, SOURCE_LANGUAGE, strings

ROOM = ROOT / "fixtures" / "report"
TEMPLATES = sorted((ROOM / "templates").rglob("*.html"))
# groups whose keys are composed at run time from an enumeration, a catalog id or a section id
COMPOSED = (
    "area.",
    "banner.lead_",
    "column.",
    "coverage.",
    "curve.",
    "decision.criterion_",
    "lane_fact.",
    "promotion.",
    "file.",
    "finding.",
    "goal_state.",
    "headline.",
    "language.",
    "ledger.",
    "method.",
    "role.",
)
COMPOSED += ("audit.item.", "audit.reading.", "audit.step.")
COMPOSED += (
    "runbook.do_",
    "runbook.rule_",
    "comparison.differs_",
    "comparison.finding_",
    "section.",
    "series.",
    "signoff.",
    "tier.",
    "verdict.",
)


def _catalogue():
    return tomllib.loads((ROOM / "strings.toml").read_text("utf-8"))


def _catalog_words():
    """Every Chinese word that requirements, families and figures bring along."""
    for family in load_families():
        yield family.zh_tw
    for item in load_requirements():
        yield from (item.zh_tw.title, item.zh_tw.must) if item.zh_tw else ()
        yield from (item.figure.zh_tw,) if item.figure else ()


def _sources():
    return "\n".join(file.read_text("utf-8") for file in (*ROOM.rglob("*.py"), *TEMPLATES))


def _placeholders(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_string_exists_in_every_language():
    keys = [set(strings(lang).messages) for lang in LANGUAGES]
    assert keys[0] == keys[1]
    assert len(keys[0]) > 200
    blank = [(lang, key) for lang in LANGUAGES for key, text in strings(lang).messages.items() if not text.strip()]
    assert blank == []


def test_every_translation_takes_the_same_arguments():
    english, chinese = (strings(lang).messages for lang in LANGUAGES)
    assert [key for key in english if _placeholders(english[key]) != _placeholders(chinese[key])] == []


def test_chinese_text_is_chinese():
    """A string that was left in English would go unnoticed; what both languages write alike is listed."""
    alike = {"page.product", "column.http_status", "exact.sha256", "file.junit", "language.en"}
    words = strings("zh-TW").messages
    assert {key for key, text in words.items() if not re.search("[\u4e00-\u9fff\uff00-\uffef]", text)} == alike


def test_chinese_text_uses_full_width_punctuation():
    half = re.compile("[\u4e00-\u9fff][,:;()]")
    texts = [*strings("zh-TW").messages.values(), *strings("zh-TW").phrases.values(), *_catalog_words()]
    assert [text for text in texts if half.search(text)] == []


def test_every_shipped_requirement_brings_its_translation():
    missing = [item.id for item in load_requirements() if item.zh_tw is None]
    assert missing == [], "give each of them zh-TW = { title, must } in fixtures/catalog/requirements/"


@pytest.mark.parametrize("host", host_names())
def test_every_exemption_of_a_shipped_host_is_translated(host):
    known = strings("zh-TW").phrases
    candidates = load_host(host, bare=True).candidates
    reasons = {reason for candidate in candidates for reason in (*candidate.exempt.values(), *candidate.unasked.values())}
    assert reasons - set(known) == set(), "add these sentences to [phrases] of fixtures/report/strings.toml"


def test_every_phrase_is_translated_into_every_language():
    others = set(LANGUAGES) - {SOURCE_LANGUAGE}
    assert [sentence for sentence, texts in _catalogue()["phrases"].items() if set(texts) != others] == []


def test_every_composed_key_exists():
    composed = [f"verdict.{verdict}" for verdict in Verdict] + [f"coverage.{verdict}" for verdict in Verdict]
    composed += [f"method.{verdict}" for verdict in Verdict] + [f"method.{signoff.name}" for signoff in SignOff]
    composed += [f"signoff.{signoff.name}" for signoff in SignOff] + [f"role.{role}" for role in Role]
    composed += [f"headline.{headline}" for headline in Headline] + [f"banner.lead_{headline}" for headline in Headline]
    composed += [f"ledger.{status}" for status in EvidenceStatus]
    composed += [f"area.{item.area}" for item in load_requirements()] + [f"comparison.finding_{finding}" for finding in Finding]
    composed += [f"audit.item.{item}" for item in AuditItem] + [f"audit.reading.{reading}" for reading in Wording]
    composed += [
        f"audit.step.{item}" for item in AuditItem if item not in (AuditItem.MEMORY, AuditItem.SERVER)
    ]  # only told, never in the way
    assert [key for key in composed if key not in strings("en").messages] == []


def test_every_series_of_a_chart_has_its_colour():
    named = {key.removeprefix("series.") for key in strings("en").messages if key.startswith("series.")}
    style = (ROOM / "style.css").read_text("utf-8")
    coloured = set(re.findall(r"\.b-(\w+)", style))
    assert coloured <= named, "a colour for nothing"
    assert len(named - coloured) == 1, "one of ours may have the default colour: two would look alike in one chart"
    assert re.search(r"\.chart \{ --fill:", style), "a series that the style sheet does not know has a colour"


def test_no_string_is_unused_and_none_is_missing():
    sources = _sources()
    known = set(strings("en").messages)
    used = set(re.findall(r"""(?:\bMsg|\bt|\bwords|\b_WORDS)\(\s*f?["']([a-z0-9_]+\.[a-zA-Z0-9_.]+)["']""", sources))
    quoted = set(re.findall(r"""["']([a-z0-9_]+\.[a-zA-Z0-9_.]+)["']""", sources))
    assert {key for key in used - known if not key.startswith(COMPOSED)} == set()
    assert {key for key in known - quoted if not key.startswith(COMPOSED)} == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_words(template):
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "\0", template.read_text("utf-8"), flags=re.DOTALL)
    spoken = re.findall(r"""\b(?:aria-label|title|alt|placeholder|content)="([^"\0]*[^\W\d_]{3}[^"\0]*)\"""", text)
    assert [words for words in spoken if not re.match(r"width=device-width|light dark|default-src", words)] == []
    between = re.sub(r"<[^>]*>", "\0", text)
    assert re.findall(r"[^\W\d_]+", between) == []


def test_the_check_for_words_in_templates_can_fail(tmp_path):
    for planted in ("<p>Ready</p>", '<a title="Go there">{{ x }}</a>'):
        template = tmp_path / "planted.html"
        template.write_text(planted)
        with pytest.raises(AssertionError):
            test_templates_hold_no_words(template)


def test_an_unknown_language_or_key_is_one_clear_message():
    with pytest.raises(ReportError, match="'fr' is unknown; available: en, zh-TW"):
        strings("fr")
    with pytest.raises(ReportError, match=r"'page\.nothing'"):
        strings("en")("page.nothing")
    with pytest.raises(ReportError, match="'run'"):
        strings("en")("page.footer")
