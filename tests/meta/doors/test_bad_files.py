"""Prompts, corpora, models, scripts, units, ledgers and verdicts: what is no file, has no end, or says what cannot be."""

import os
import struct
from pathlib import Path

import pytest
from support.archive_samples import IDENTITY, KEY, record, run_name, write_run
from support.audit_subjects import HOST as LOCAL
from support.bad_input import check_words, in_time, refusal, sparse
from support.evidence_samples import evidence

from fixtures.catalog.host import Units
from fixtures.catalog.load import PROMPTS
from fixtures.deploy.errors import DeployError
from fixtures.deploy.installed import unit_by_files
from fixtures.evidence.archive import open_archive
from fixtures.evidence.ledger import Ledger, LedgerError
from fixtures.evidence.recorded import RecordedError, open_recorded
from fixtures.measure.audit.scripts import compiled
from fixtures.measure.prompts import PromptError, corpus_sha256, load_prompt, load_speed_set
from fixtures.models.artefacts import check_gguf
from fixtures.models.errors import ArtefactError

MARKER = (PROMPTS / "coherence/zh_marker.toml").read_text(encoding="utf-8")
SPEED = (PROMPTS / "speed/repetitive-en.toml").read_text(encoding="utf-8")


def extra(check):
    """The marker prompt with one more check of both styles."""
    return MARKER.replace("[chat]", f"[[checks]]\n{check}\n[chat]", 1)


# name -> (text or what makes the file, what is said)
TEXTS = {
    "max_tokens of 10^12": (
        MARKER.replace("max_tokens = 96", f"max_tokens = {10**12}"),
        r"line \d+: `chat\.max_tokens` is 1000000000000; expected 1 to 1000000",
    ),
    "no answer can pass: two texts": (extra('kind = "exact"\ntext = "別的"'), r"`chat` is inconsistent: no answer can pass its checks"),
    "no answer can pass: forbidden": (
        extra('kind = "contains_none"\ntexts = ["標記"]'),
        r"no answer can pass its checks: .* fails `contains_none`",
    ),
    "no answer can pass: white space": (MARKER.replace('正常。"', '正常。  "', 1), r"no answer can pass its checks"),
    "no answer can pass: not traditional": (MARKER.replace("【驗收標記】繁體中文輸出正常。", "简体", 1), r"demands fails `script`"),
    "nested without end": ("x = " + "[" * 5000 + "]" * 5000, r"is nested too deeply"),
    "a number of 5000 digits": (MARKER.replace("max_tokens = 96", "max_tokens = " + "9" * 5000), r"is not valid TOML"),
    "checks that are no list": (MARKER.replace("[chat]\n", "[chat]\nchecks = 5\n", 1), r"`chat\.checks` is 5; expected a list"),
    "a title that paints": (MARKER.replace('title = "Tr', 'title = "\\u001b[31mTr'), r"`title` is .*U\+001B"),
    "a pipe": (os.mkfifo, r"is a named pipe \(FIFO\)"),
    "10 GB": (sparse, r"is larger than 1 MiB \(it has 10 GiB\)"),
}

SETS = {
    "a billion prompts": (SPEED.replace("count = 48", "count = 1000000000"), r"line \d+: `count` is 1000000000; expected 2 to 10000"),
    "a prompt of a billion blanks": (
        SPEED.replace("{number}", "{number:>1000000000}"),
        r"the template formats a pool; expected \{name\} alone",
    ),
    "a look inside": (SPEED.replace("{number}", "{number.__class__}"), r"the template uses .*number\.__class__"),
    "a brace too many": (SPEED.replace("{number}", "{number"), r"is inconsistent"),
}

CORPORA = {
    "a pipe": (os.mkfifo, r"is a named pipe \(FIFO\)"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), r"is a device"),
    "a folder": (Path.mkdir, r"is a directory"),
    "10 GB": (sparse, r"it is larger than 1 GiB"),
    "empty": (Path.touch, r"is empty"),
    "not text": (lambda file: file.write_bytes(b"\xff\xfe\x00" * 2000), r"is not UTF-8 \(byte 0\)"),
}


def head(tensors, fields):
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields)


def text(value):
    return struct.pack("<Q", len(value)) + value


def number(key, kind, form, value):
    """A model of an architecture, and one number more."""
    return head(0, 2) + ARCHITECTURE + field(key, kind, struct.pack(form, value)) + bytes(64)


def field(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = field(b"general.architecture", 8, text(b"llama"))
DIMS = struct.pack("<IQQQQIQ", 4, *[2**63] * 4, 0, 0)
GGUFS = {
    "2^63 fields": (head(0, 2**63), r"it claims 0 tensors and 9223372036854775808 fields; no model has more than"),
    "3 million tensors": (head(3_000_000, 0) + bytes(72_000_000), r"it claims 3000000 tensors"),
    "a text of 2^62 bytes": (head(0, 1) + text(b"k") + struct.pack("<IQ", 8, 2**62), r"is damaged or truncated"),
    "an array that turns round": (
        head(0, 1) + text(b"k") + struct.pack("<IIQQ", 9, 8, 2, 2**64 - 8) + bytes(64),
        r"is damaged or truncated",
    ),
    "a tensor of 2^252": (head(1, 0) + text(b"t") + DIMS, r"is truncated: its 1 tensors need at least"),
    "negative layers": (number(b"llama.block_count", 5, "<i", -5), r"has -5 under .* expected an integer of 0 to"),
    "layers that are no number": (number(b"llama.block_count", 6, "<f", float("nan")), r"has nan under"),
    "an architecture that paints": (
        head(0, 1) + field(b"general.architecture", 8, text(b"\x1b[31mred")) + bytes(64),
        r"lacks the metadata key ⟨U\+001B⟩\[31mred",
    ),
    "a billion parts": (number(b"split.count", 4, "<I", 10**9), r"is the first of 1000000000 parts"),
    "a pipe": (os.mkfifo, r"is a named pipe \(FIFO\)"),
}

SCRIPTS = {
    "a pipe": (os.mkfifo, r"it is a named pipe \(FIFO\), expected a regular file"),
    "10 GB": (sparse, r"it is larger than 4 MiB \(it has 10 GiB\)"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), r"it is a device"),
    "nested without end": (lambda file: file.write_text("x = " + "-" * 100_000 + "1"), r"does not compile"),
}

GOOD_UNIT = "[Service]\nExecStart=/bin/llama-server --port 5\n"


def written(name, text, make=None):
    """What writes the unit, and makes the file that it names."""

    def write(folder):
        (folder / "x.service").write_text(text.replace("HERE", str(folder)))
        if make:
            place = folder / name
            place.parent.mkdir(exist_ok=True)
            make(place)

    return write


UNITS = {
    "a pipe": (lambda folder: os.mkfifo(folder / "x.service"), r"it is a named pipe"),
    "10 GB": (lambda folder: sparse(folder / "x.service"), r"it is larger than 1 MiB"),
    "a drop-in that is a pipe": (written("x.service.d/a.conf", GOOD_UNIT, os.mkfifo), r"a\.conf cannot be read \(it is a named pipe"),
    "variables out of a pipe": (written("env", GOOD_UNIT + "EnvironmentFile=HERE/env\n", os.mkfifo), r"it is a named pipe"),
    "variables without end": (written("", GOOD_UNIT + "EnvironmentFile=/dev/zero\n"), r"it is a device"),
    "variables of all processes": (written("", GOOD_UNIT + "EnvironmentFile=/proc/*/*/*/*\n"), r"names its folder by a pattern"),
    "a wrapper that is a pipe": (written("w.sh", "[Service]\nExecStart=/bin/bash HERE/w.sh\n", os.mkfifo), r"it is a named pipe"),
    "a NUL": (written("", "[Service]\nExecStart=/bin/a\0b --port 5\n"), r"holds a NUL character"),
}


def changed(old, new):
    def write(folder):
        file = folder / "evidence.jsonl"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return write


def exchanged(name, make):
    def write(folder):
        (folder / name).unlink()
        make(folder / name)

    return write


RUNS = {
    "a ledger that is a pipe": (exchanged("evidence.jsonl", os.mkfifo), r"cannot be read: it is a named pipe"),
    "a ledger of 10 GB": (exchanged("evidence.jsonl", sparse), r"it is larger than 256 MiB"),
    "a ledger without end": (exchanged("evidence.jsonl", lambda file: file.symlink_to("/dev/zero")), r"it is a device"),
    "a verdict that is a pipe": (exchanged("verdict.json", os.mkfifo), r"it is a named pipe"),
    "a verdict of 10 GB": (exchanged("verdict.json", sparse), r"it is larger than 64 MiB"),
    "a manifest that is a pipe": (exchanged("run.json", os.mkfifo), r"it is a named pipe"),
    "a verdict nested without end": (lambda folder: (folder / "verdict.json").write_text("[" * 100_000), r"cannot be read"),
    "a line nested without end": (
        lambda folder: (folder / "evidence.jsonl").write_text("[" * 100_000 + "\n"),
        r"its ledger is damaged: record 1",
    ),
    "a number of 5000 digits": (
        lambda folder: (folder / "evidence.jsonl").write_text("9" * 5000 + "\n"),
        r"its ledger is damaged: record 1",
    ),
    "a number of 10^30": (changed('"seq":1', f'"seq":{"9" * 30}'), r"cannot be used: OverflowError"),
    "half a character": (changed('"case":""', '"case":"\\ud800"'), r"cannot be used: UnicodeEncodeError"),
    "before the calendar": (changed("2026-11-02T13:00:00.000+00:00", "0001-01-01T00:00:00+14:00"), r"cannot be used: OverflowError"),
}

RECORDED = {
    "a pipe": (exchanged("run.json", os.mkfifo), r"run\.json: it is a named pipe"),
    "10 GB": (exchanged("run.json", sparse), r"run\.json: it is larger than 64 MiB"),
    "nested without end": (lambda folder: (folder / "run.json").write_text("[" * 100_000), r"run\.json cannot be read by this version"),
    "empty": (lambda folder: (folder / "run.json").write_text(""), r"run\.json cannot be read by this version"),
}

LEDGERS = {
    "what is no record": lambda file: file.write_text("garbage\n"),
    "a list": lambda file: file.write_text("[]\n"),
    "a pipe": os.mkfifo,
}
CASES = (TEXTS, SETS, CORPORA, GGUFS, SCRIPTS, UNITS, RUNS, RECORDED, LEDGERS)


def put(file, content):
    """The file with that content, or made by that function."""
    if callable(content):
        content(file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("case", TEXTS)
def test_prompt(case, tmp_path):
    content, said = TEXTS[case]
    file = put(tmp_path / "zh_marker.toml", content)
    refusal(PromptError, lambda: load_prompt("zh_marker", str(tmp_path)), str(file), said)


@pytest.mark.parametrize("case", SETS)
def test_speed_set(case, tmp_path):
    content, said = SETS[case]
    file = put(tmp_path / "repetitive-en.toml", content)
    refusal(PromptError, lambda: load_speed_set(str(file)), str(file), said)


@pytest.mark.parametrize("case", CORPORA)
def test_corpus(case, tmp_path):
    content, said = CORPORA[case]
    file = put(tmp_path / "corpus.txt", content)
    refusal(PromptError, lambda: corpus_sha256(str(file)), str(file), said)


@pytest.mark.parametrize("case", GGUFS)
def test_gguf(case, tmp_path):
    content, said = GGUFS[case]
    file = put(tmp_path / "model.gguf", content)
    refusal(ArtefactError, lambda: check_gguf(file), str(file), said)


@pytest.mark.parametrize("case", SCRIPTS)
def test_script(case, tmp_path):
    content, said = SCRIPTS[case]
    file = put(tmp_path / "helper.py", content)
    with in_time():
        (row,) = compiled([str(file)]).raw["rows"]
    assert row["state"] in ("blocked", "broken")
    check_words(row["problem"], str(file), said)


@pytest.mark.parametrize("case", UNITS)
def test_unit(case, tmp_path):
    make, said = UNITS[case]
    make(tmp_path)
    with in_time():
        try:
            unit = unit_by_files("x.service", Units(directory=str(tmp_path), scope="system"))
        except DeployError as error:
            told = str(error)
        else:
            told = "; ".join((*unit.engine.command.hidden, *unit.engine.command.faults))
    check_words(told, str(tmp_path), said)


@pytest.mark.parametrize("case", RUNS)
def test_one_damaged_old_run_never_stops_a_new_one(case, tmp_path):
    damage, said = RUNS[case]
    write_run(tmp_path, 1, record(1))
    damage(write_run(tmp_path, 2, record(2)))
    with in_time():
        archive = open_archive(tmp_path, LOCAL.id, before="2999")
    try:
        (problem,) = archive.problems
        check_words(problem, f"{run_name(2)} is left out: ", said)
        assert archive.newest(KEY, IDENTITY).run == run_name(1), "the sound run before it counts"
    finally:
        archive.close()


@pytest.mark.parametrize("case", RECORDED)
def test_recorded_run(case, tmp_path):
    damage, said = RECORDED[case]
    folder = write_run(tmp_path, 2, record(2))
    damage(folder)
    refusal(RecordedError, lambda: open_recorded(folder), str(folder), said)


@pytest.mark.parametrize("case", LEDGERS)
def test_nothing_is_chained_to_what_is_no_ledger(case, tmp_path):
    file = tmp_path / "evidence.jsonl"
    LEDGERS[case](file)
    refusal(LedgerError, lambda: Ledger(file).append(evidence()), str(file))
