"""The dialect probe: what the texts of each engine mean, and every way a probe can fail."""

import shutil

import pytest
from pydantic import ValidationError
from support.places import DATA

from fixtures.catalog.host import DialectStatement
from fixtures.engine.dialect import DialectError, parse_dialect, recorded_dialect
from fixtures.engine.dialect_help import read_help
from fixtures.engine.dialects import FOLDER, load_families, read_families, recorded_texts

STANDARD = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

# family: sizes of its own KV types, MTP style, stacking, -lv (docs/facts.md#dialects)
FACTS = {
    "upstream": ({}, "spec-draft-n-max", True, 4),
    "atomicbot-2026-07": ({"turbo3": 3.125, "turbo4": 4.25}, "spec-draft-n-max", True, 4),
    "atomicbot-2026-05": ({"turbo3": 3.125, "turbo4": 4.25}, "draft-block-size", False, 3),
    "thetom": ({"turbo3": 3.125, "turbo4": 4.25}, "none", False, 3),
    "buun": ({"turbo3": 3.5, "turbo3_tcq": 3.25, "turbo4": 4.125}, "spec-draft-n-max", False, 3),
    "amesianx": ({"tbq3": 3.0625, "tbq4": 4.0625}, "none", False, 3),
    "tbq-patch": ({"tbq3_0": 3.125, "tbq4_0": 4.25}, "spec-draft-n-max", True, 4),
}


def texts(family):
    version, help_text = recorded_texts(family)
    return version.read_text("utf-8"), help_text.read_text("utf-8")


@pytest.mark.parametrize("family", FACTS)
def test_each_engine_is_recognised_with_its_own_sizes_and_styles(family):
    sizes, mtp_style, stacks, verbosity = FACTS[family]
    dialect = recorded_dialect(family)
    assert dialect.family == family
    assert {name: bpw for name, bpw in dialect.kv_bpw.items() if name not in STANDARD} == sizes
    assert dialect.kv_types[: len(STANDARD)] == STANDARD
    assert (dialect.mtp_style, dialect.spec_types_stack, dialect.kv_log_verbosity) == (mtp_style, stacks, verbosity)
    assert set(dialect.kv_bpw) <= set(dialect.kv_types)


def test_every_family_is_a_folder_of_three_files_and_every_folder_a_family():
    folders = {folder.name: {file.name for file in folder.iterdir()} for folder in FOLDER.iterdir() if (folder / "facts.toml").exists()}
    assert folders == {family.id: {"facts.toml", "help.txt", "version.txt"} for family in load_families().family}
    assert set(folders) == set(FACTS)


def test_signatures_are_tried_in_the_stated_order_not_in_that_of_the_folders(tmp_path):
    assert [family.id for family in load_families().family][:2] == ["tbq-patch", "amesianx"]
    copy = shutil.copytree(FOLDER, tmp_path / "dialects", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (copy / "standard.toml").read_text("utf-8")
    (copy / "standard.toml").write_text(text.replace('"tbq-patch", "amesianx"', '"amesianx", "tbq-patch"'), "utf-8")
    assert [family.id for family in read_families(copy).family][:2] == ["amesianx", "tbq-patch"]
    (copy / "newfork").mkdir()
    shutil.copy(copy / "upstream" / "facts.toml", copy / "newfork")
    with pytest.raises(ValueError, match=r"`order` names .*; the folders are .*newfork"):
        read_families(copy)


def test_removed_flags_are_listed_apart_and_never_accepted():
    dialect = recorded_dialect("upstream")
    assert {"--draft", "--draft-n", "--draft-max", "--draft-min", "--spec-ngram-size-n"} <= set(dialect.removed_flags)
    assert set(dialect.removed_flags).isdisjoint(dialect.flags)
    assert dialect.accepts("--defrag-thold"), "deprecated is not removed"
    assert recorded_dialect("thetom").accepts("--draft-max"), "removed there does not mean removed here"


def test_the_versions_of_both_formats_and_of_an_engine_that_talks_first():
    assert (recorded_dialect("upstream").version, recorded_dialect("upstream").commit) == ("0.5.0-dev", "0c1e570")
    assert (recorded_dialect("buun").version, recorded_dialect("buun").commit) == ("9326", "1c4788192")
    assert recorded_dialect("buun").label == "buun fork 9326 (1c4788192)"
    assert parse_dialect("version: 0 (unknown)\n", texts("upstream")[1]).commit == ""


def test_help_reader_on_the_awkward_parts_of_the_format():
    options = {names: option for option in read_help(texts("atomicbot-2026-07")[1]) for names in option.names}
    assert options["--no-kv-offload"] is options["-kvo"], "four names, text on the next line"
    assert options["-ctk"].allowed == (*STANDARD, "turbo2", "turbo3", "turbo4"), "values wrapped over two lines"
    assert options["--cache-type-k-draft"] is not options["--cache-type-k"]
    assert options["--spec-type"].choices[:2] == ("none", "draft-simple")
    assert options["--metrics"].hint == ""
    assert options["-fa"].choices == ("on", "off", "auto")
    assert options["--temp"].choices == ()
    assert read_help("") == ()
    assert read_help("\n   indented text of nobody\n") == ()


def test_a_fork_nobody_knows_is_unknown_and_its_types_have_no_size():
    version, text = texts("upstream")
    dialect = parse_dialect(version, text.replace("q5_0, q5_1", "q5_0, q5_1, kvarn3"))
    assert dialect.family == "unknown"
    assert "kvarn3" in dialect.kv_types
    assert "kvarn3" not in dialect.kv_bpw
    assert dialect.kv_bpw["q8_0"] == 8.5


def test_a_fork_that_moved_on_loses_the_sizes_of_its_family():
    """TheTom's types on an engine with upstream's flags: nobody has said what they weigh there."""
    version, text = texts("upstream")
    dialect = parse_dialect(version, text.replace("q5_0, q5_1", "q5_0, q5_1, turbo3, turbo4"))
    assert dialect.family == "unknown"
    assert "turbo3" not in dialect.kv_bpw
    assert dialect.kv_log_verbosity == 4, "learnt from the levels that the help lists"


def test_a_may_engine_that_lists_spec_types_with_commas_stacks_them():
    version, text = texts("atomicbot-2026-05")
    dialect = parse_dialect(
        version,
        text.replace("[none|draft|mtp|eagle3|ngram-cache|ngram-simple|ngram-map-k|ngram-map-k4v|ngram-mod]", "none,ngram-mod,mtp"),
    )
    assert dialect.family == "atomicbot-2026-05"
    assert dialect.spec_types == ("ngram-mod", "mtp")
    assert dialect.spec_types_stack


@pytest.mark.parametrize(
    ("version", "help_text", "says"),
    [
        ("version: 1 (abcdef0)", "usage: curl [options...] <url>\n -d, --data <data>  HTTP POST data\n", "--help does not list --model"),
        ("", texts("upstream")[1], "--version prints no `version:` line"),
        ("", "", "not a llama-server"),
    ],
)
def test_texts_of_something_else_are_refused(version, help_text, says):
    with pytest.raises(DialectError, match=says):
        parse_dialect(version, help_text)


# -- forks as they are: AtomicBot of July 2026 with and without --mtp-head, TheTom rebased, builds of one's own, ik_llama.cpp

JULY = "version: b10018-1.2.0 (build 10400, commit a6f3d363e)"


def july(*, mtp_head: bool) -> str:
    text = texts("atomicbot-2026-07")[1]
    return text if mtp_head else text.replace(", --mtp-head FNAME", " FNAME")


@pytest.mark.parametrize("mtp_head", [True, False])
def test_atomicbot_of_july_is_known_with_and_without_the_mtp_head(mtp_head: bool) -> None:
    dialect = parse_dialect(JULY, july(mtp_head=mtp_head))
    assert (dialect.family, dialect.accepts("--mtp-head")) == ("atomicbot-2026-07", mtp_head)
    assert "mtp" not in dialect.spec_types, "taken, and not listed"
    assert (dialect.spec_type("mtp"), dialect.mtp_style, dialect.kv_bpw["turbo4"]) == ("draft-mtp", "spec-draft-n-max", 4.25)


@pytest.mark.parametrize(
    ("version", "known"),
    [
        (JULY, True),
        ("version: b10018-1.1.0 (build 10390, commit 67861a917)", True),
        ("version: 10018 (a6f3d363e)", True),
        ("version: 10726 (7e70a11)", False),
        ("version: b10800-2.0.0 (build 11000, commit 7e70a11)", False),
        ("version: 0.5.0-dev (build 1, commit 7e70a11)", False),
    ],
)
def test_the_sizes_of_a_later_base_are_not_taken_for_known(version: str, known: bool) -> None:
    """TheTom's head packs turbo4 into 66 bytes, before it were 68: both are recognised, and what is not known is learnt."""
    dialect = parse_dialect(version, july(mtp_head=False))
    assert dialect.family == "atomicbot-2026-07"
    assert dialect.same_type_env == {"TURBO_AUTO_ASYMMETRIC": "0"}
    assert ("turbo4" in dialect.kv_bpw, "turbo3" in dialect.kv_bpw) == (known, known)


@pytest.mark.parametrize(
    ("version", "commit"),
    [
        ("version: 0.5.0-dev (build 0, commit 0c1e57098bba+tbq)", "0c1e57098bba+tbq"),
        ("version: 0.5.0-dev (build 1, commit 0c1e57098bba-1a2b3c4d5e6f+tbq)", "0c1e57098bba-1a2b3c4d5e6f+tbq"),
        ("version: 9123 (0c1e570-dirty)", "0c1e570-dirty"),
        ("version: 9123 (0c1e570-1a2b3c4+tbq)", "0c1e570-1a2b3c4+tbq"),
        (JULY, "a6f3d363e"),
        ("version: 0 (unknown)", ""),
    ],
)
def test_commits_of_ones_own_are_read(version: str, commit: str) -> None:
    assert parse_dialect(version, texts("tbq-patch")[1]).commit == commit


def test_buuns_list_takes_one_value() -> None:
    buun = recorded_dialect("buun")
    assert {"mtp", "draft-mtp", "ngram-mod", "suffix"} <= set(buun.spec_types)
    assert not buun.spec_types_stack


def ik(*, types: str = "") -> str:
    text = (DATA / "dialects" / "ik_help.txt").read_text("utf-8")
    return text.replace("data type for K (default", f"data type for K, allowed values: {types} (default") if types else text


def test_help_indented_by_two_blanks_is_read() -> None:
    options = {name: option for option in read_help(ik()) for name in option.names}
    assert {"-m", "--model", "--port", "-ctk", "--cache-type-k", "--version", "--spec-type"} <= set(options)
    assert (options["-c"].hint, options["--usage"].hint) == ("N", "")
    assert parse_dialect("version: 4486 (af8327f8)", ik(types="f16, q8_0")).kv_types == ("f16", "q8_0")


@pytest.mark.parametrize(
    "text",
    [
        ik(),
        ik().replace("  -m,    --model FNAME ", "  model FNAME "),
        ik().replace("  ", "\t"),
        "options: --ctx-size N --model FNAME --cache-type-k TYPE",
        texts("upstream")[1].replace("\n-", "\n* -"),
    ],
)
def test_a_llama_cpp_that_cannot_be_read_is_called_one(text: str) -> None:
    with pytest.raises(DialectError, match=r"^this is a llama\.cpp of another family, whose help this suite cannot read: it "):
        parse_dialect("version: 4486 (af8327f8)", text)


def test_the_owner_may_state_what_cannot_be_probed() -> None:
    stated = DialectStatement(kv_bpw={"f16": 16.0, "q8_KV": 8.25}, kv_log_verbosity=3)
    dialect = parse_dialect("version: 4486 (af8327f8)", ik(), stated)
    assert (dialect.kv_types, dialect.kv_bpw, dialect.kv_log_verbosity) == (("f16", "q8_KV"), {"f16": 16.0, "q8_KV": 8.25}, 3)
    version, text = texts("upstream")
    fork = text.replace("q5_0, q5_1", "q5_0, q5_1, kvarn3")
    assert parse_dialect(version, fork, DialectStatement(kv_bpw={"kvarn3": 3.25})).kv_bpw["kvarn3"] == 3.25
    assert parse_dialect(version, text, DialectStatement(kv_log_verbosity=3)).kv_log_verbosity == 3


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"kv_bpw": {"turbo9": 3.0}}, r"`engine\.dialect\.kv_bpw` names turbo9; this engine's KV types are f32, f16"),
        ({"mtp_style": "draft-block-size"}, r"`engine\.dialect\.mtp_style` is draft-block-size, and this engine has no flag"),
    ],
)
def test_what_is_stated_is_checked(stated: dict[str, object], says: str) -> None:
    with pytest.raises(DialectError, match=says):
        parse_dialect(*texts("upstream"), DialectStatement.model_validate(stated))


@pytest.mark.parametrize(
    "wrong", [{"kv_bpw": {"x": 0}}, {"kv_bpw": {"x": 33}}, {"kv_log_verbosity": 5}, {"mtp_style": "none"}, {"other": 1}]
)
def test_nothing_else_can_be_stated(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DialectStatement.model_validate(wrong)
