"""Host, overlay, waivers and imports: numbers out of range, limits that cannot fail, signatures that sign nothing."""

import json
from datetime import UTC, datetime

import pytest
from support.bad_input import refusal
from support.signed_entries import READING, WAIVER

from fixtures.catalog.attested import load_attested
from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import CATALOG, load_host, load_requirements
from fixtures.catalog.waivers import load_waivers

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LOCAL = (CATALOG / "hosts/local.toml").read_text(encoding="utf-8")
REQUIREMENTS = load_requirements()
SPEED = 'decode_tps = { reference = 5.0, kind = "at_least", unit = "t/s"'
PATTERN = 'cmdline = "(^|/)(whisper-server|asr[-_]server)"'

# name -> (what stands in the host file, what stands there instead, what is said)
HOST = {
    "negative ubatch": ("ubatch = 512", "ubatch = -512", r"line 14: `launch\.ubatch` is -512; expected 1 to 65536\."),
    "no slot": ("parallel = 1", "parallel = 0", r"`launch\.parallel` is 0; expected 1 to 256"),
    "a billion slots": ("parallel = 1", "parallel = 1000000000", r"expected 1 to 256"),
    "negative threads": ("threads = 1 ", "threads = -4 ", r"`launch\.threads` is -4; expected 1 to 1024"),
    "negative time-out": (
        "ready_timeout_s = 120.0",
        "ready_timeout_s = -1.0",
        r"`launch\.ready_timeout_s` is -1\.0; expected more than 0 to 86400",
    ),
    "time-out without end": ("stop_timeout_s = 10.0", "stop_timeout_s = 1e30", r"`launch\.stop_timeout_s` is 1e\+30; expected more than 0"),
    "no time at all": (
        "request_timeout_s = 180.0",
        "request_timeout_s = 0.0",
        r"`launch\.request_timeout_s` is 0\.0; expected more than 0",
    ),
    "a time that is no number": ("window_s = 1.0", "window_s = nan", r"line 24: `guard\.window_s` is nan; expected a finite number"),
    "a context of 10^30": ("context = 8192", f"context = {10**30}", r"`launch\.context` is 1000+; expected 256 to 16777216"),
    "a billion requests": ("requests = 6", "requests = 1000000000", r"`speed\.requests` is 1000000000; expected 2 to 1000"),
    "more requests than prompts": (
        "requests = 6",
        "requests = 60",
        r"`speed\.requests` is 60, with `warmup` 61; speed set \S+ has 48 prompts",
    ),
    "max_tokens of 10^12": (
        "max_tokens = 64",
        "max_tokens = 1000000000000",
        r"`speed\.max_tokens` is 1000000000000; expected 8 to 1000000",
    ),
    "negative spread": ("max_cv_pct = 60.0", "max_cv_pct = -5.0", r"`speed\.max_cv_pct` is -5\.0; expected more than 0 to 1000"),
    "chunks without end": ("chunks = 4", "chunks = 1000000000000", r"`ppl\.chunks` is 1000000000000; expected 1 to 100000"),
    "a reserve of 10^30": ("reserve_mib = 256.0", "reserve_mib = 1e30", r"`guard\.reserve_mib` is 1e\+30; expected 0 to 16777216"),
    "a service that may use all": (
        "max_cpu_pct = 50.0",
        "max_cpu_pct = 1e30",
        r"`guard\.competing\.asr\.max_cpu_pct` is 1e\+30; expected 0 to",
    ),
    "a negative clock": (
        "reserve_mib = 256.0",
        "min_sm_clock_mhz = -5.0",
        r"`guard\.min_sm_clock_mhz` is -5\.0; expected more than 0 to 10000",
    ),
    "a negative n-gram": ("ngram_n_max = ", "ngram_n_max = -", r"ngram_n_max` is -16; expected 0 to 1024"),
    "a speed that cannot be missed": (
        SPEED,
        SPEED.replace("5.0", "0.0"),
        r"limits\.decode_tps` is inconsistent: at least 0 t/s lets everything pass",
    ),
    "a negative speed": (SPEED, SPEED.replace("5.0", "-5.0"), r"at least -5 t/s lets everything pass"),
    "a tolerance of all": (SPEED, SPEED.replace("5.0", "5.0, tolerance = 5.0"), r"at least 0 t/s lets everything pass"),
    "a relative tolerance of 150 %": (
        SPEED,
        SPEED.replace("5.0", "5.0, relative = true, tolerance = 150.0"),
        r"150 % lets everything pass; expected 0 to 100",
    ),
    "a limit of 10^308": (SPEED, SPEED.replace("5.0", "1e308"), r"limits\.decode_tps\.reference` is 1e\+308; expected -1e\+09 to 1e\+09"),
    "a speed in percent": (SPEED, SPEED.replace("t/s", "%"), r'limits\.decode_tps\.unit` is "%"; a limit of this name is "t/s"'),
    "a speed at most": (
        SPEED,
        SPEED.replace("at_least", "at_most"),
        r'limits\.decode_tps\.kind` is "at_most"; a limit of this name is "at_least"',
    ),
    "more than all accepted": (
        "accept_pct = { reference = 10.0",
        "accept_pct = { reference = 150.0",
        r"`reference` is 150 %; expected 0 to 100",
    ),
    "a title that paints": ('title = "Embedded stand-in host"', 'title = "\\u001b[31mred"', r"`title` is .*; it must not hold U\+001B"),
    "a pattern that fits everything": (PATTERN, 'cmdline = ".*"', r"guard\.competing\.asr\.cmdline` .*must not fit an empty text"),
    "a pattern that is none": (PATTERN, 'cmdline = "("', r"must be a regular expression"),
}

OVERLAY = {
    "negative memory": ("[memory]\nbudget_mib = -1.0\n", r"line 2: `memory\.budget_mib` is -1\.0; expected more than 0"),
    "free disk of 10^30": ("[guard]\nmin_free_disk_mib = 1e30\n", r"`guard\.min_free_disk_mib` is 1e\+30; expected 0 to"),
    "chunks 0": ("[ppl]\nchunks = 0\n", r"`ppl\.chunks` is 0; expected 1 to 100000"),
    "a commit that paints": ('[engine]\ncommit = "\\u001b[2J"\n', r"`engine\.commit` is .*; it must not hold U\+001B"),
    "a blank commit": ('[engine]\ncommit = " "\n', r"`engine\.commit` is .*; it must hold a word"),
    "weights of a type": ("[engine.dialect.kv_bpw]\nq9 = 1e30\n", r"expected at most 32"),
}

WAIVERS = {
    "a blank name": ({"who": " "}, r"line 6: `waiver\[0\]\.who` is .*must hold a word"),
    "a name of no width": ({"who": "\u200b"}, r"`waiver\[0\]\.who` is .*must not hold U\+200B, which nobody sees"),
    "a name drawn as nothing": ({"who": "\u3164"}, r"must not hold U\+3164"),
    "a name that turns the line": ({"who": "Ann\u202e"}, r"must not hold U\+202E"),
    "a name that paints": ({"who": "\x1b[31mAnn"}, r"must not hold U\+001B"),
    "a dash for a name": ({"who": "-"}, r"holds no letter and no digit"),
    "a reason that nobody sees": ({"reason": "\u200b" * 12}, r"`waiver\[0\]\.reason` .*must not hold U\+200B"),
    "a reason without end": ({"reason": "x" * 500_000}, r"`waiver\[0\]\.reason` has 500000 characters; expected at most 2000"),
    "a reason too short": ({"reason": "because"}, r"`waiver\[0\]\.reason` is .*expected at least 10 characters"),
    "before anything was measured": ({"date": "0001-01-01"}, r"0001-01-01 lies before 2023-03-10"),
    "a day that is none": ({"date": "2026-02-30"}, r"is no day of the calendar"),
    "an hour that is none": ({"expires": "2026-12-20T25:00:00Z"}, r"is no moment of the calendar"),
}

IMPORTS = {
    "a blank name": ({"who": " "}, r"`attested\[0\]\.who` is .*must hold a word"),
    "a name of no width": ({"who": "\u200b"}, r"`attested\[0\]\.who` .*U\+200B"),
    "another unit": ({"unit": "tokens"}, r'line 6: `attested\[0\]\.unit` is "tokens"; expected "PPL"'),
    "a blank unit": ({"unit": " "}, r"`attested\[0\]\.unit` is .*must hold a word"),
    "a negative perplexity": ({"value": -3.0}, r"`attested\[0\]\.value` is -3; expected 1 to 1000000, as a PPL can be"),
    "a perplexity of 0": ({"value": 0.0}, r"is 0; expected 1 to 1000000"),
    "a perplexity of 10^300": ({"value": 1e300}, r"expected 1 to 1000000"),
    "a source that nobody sees": ({"source": "\u200b" * 12}, r"`attested\[0\]\.source` .*U\+200B"),
    "a backend that is none": ({"backend": "\x1b[31m"}, r'`attested\[0\]\.backend` .*what computed, "cpu", "cuda"'),
    "before anything was measured": ({"date": "1999-01-01"}, r"lies before 2023-03-10"),
}
CASES = (HOST, OVERLAY, WAIVERS, IMPORTS)


def toml(folder, table, values):
    file = folder / f"{table}.toml"
    file.write_text(f"schema = 1\n[[{table}]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return file


@pytest.mark.parametrize("case", HOST)
def test_host(case, tmp_path):
    old, new, said = HOST[case]
    assert old in LOCAL
    file = tmp_path / "own.toml"
    file.write_text(LOCAL.replace(old, new, 1), encoding="utf-8")
    refusal(CatalogError, lambda: load_host(str(file), bare=True), str(file), said)


@pytest.mark.parametrize("case", OVERLAY)
def test_overlay(case, tmp_path):
    text, said = OVERLAY[case]
    file = tmp_path / "overlay.toml"
    file.write_text(text, encoding="utf-8")
    refusal(CatalogError, lambda: load_host("dgx", overlay=file), str(file), said)


@pytest.mark.parametrize("case", WAIVERS)
def test_waiver(case, tmp_path):
    change, said = WAIVERS[case]
    file = toml(tmp_path, "waiver", WAIVER | change)
    refusal(CatalogError, lambda: load_waivers(file, load_host("local", bare=True), REQUIREMENTS, NOW), str(file), said)


@pytest.mark.parametrize("case", IMPORTS)
def test_import(case, tmp_path):
    change, said = IMPORTS[case]
    file = toml(tmp_path, "attested", READING | change)
    refusal(CatalogError, lambda: load_attested(file, load_host("dgx", bare=True), REQUIREMENTS, NOW), str(file), said)


def test_the_same_entries_without_the_fault_load(tmp_path):
    assert load_waivers(toml(tmp_path, "waiver", WAIVER), load_host("local", bare=True), REQUIREMENTS, NOW)
    assert load_attested(toml(tmp_path, "attested", READING), load_host("dgx", bare=True), REQUIREMENTS, NOW)
