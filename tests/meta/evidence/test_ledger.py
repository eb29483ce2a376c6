"""The ledger: chained, durable, readable after anything."""

import os
import re
import signal
import subprocess
import sys

import pytest
from support.evidence_samples import evidence
from support.places import META, ROOT

from fixtures.evidence.ledger import Ledger, LedgerError, read_ledger

WRITER = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(META)!r}]
from pathlib import Path
from support.evidence_samples import evidence
from fixtures.evidence.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for n in range(int(sys.argv[2])):
    ledger.append(evidence(case=sys.argv[3] + str(n), raw={{"text": "x" * 3000}}))
    print(n, flush=True)
"""


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "evidence.jsonl")


def writer(path, count, name):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(count), name], stdout=subprocess.PIPE, text=True)


def test_chain_and_round_trip(ledger):
    first, second = ledger.append(evidence(case="a")), ledger.append(evidence(case="b", reason="測試 \u202e <script>"))
    content = read_ledger(ledger.path)
    assert content.records == (first, second)
    assert (first.seq, second.seq) == (1, 2)
    assert content.problems == ()
    assert re.fullmatch(r"[0-9a-f]{64}", content.sha256)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda lines: [lines[0], lines[1].replace(b'"duration_s":1.0', b'"duration_s":2.0'), *lines[2:]], "record 3: does not follow"),
        (lambda lines: [lines[0], *lines[2:]], "record 2: carries seq 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "record 1: carries seq 2"),
        (lambda lines: [lines[0], b"{}", *lines[2:]], "record 2: not a valid evidence record"),
    ],
    ids=["digit", "dropped", "swapped", "garbage"],
)
def test_damage_is_named(ledger, damage, named):
    for n in range(4):
        ledger.append(evidence(case=str(n)))
    ledger.path.write_bytes(b"".join(line + b"\n" for line in damage(ledger.path.read_bytes().splitlines())))
    assert any(problem.startswith(named) for problem in read_ledger(ledger.path).problems)


def test_changed_last_record_changes_the_seal(ledger):
    ledger.append(evidence())
    sealed = read_ledger(ledger.path).sha256
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"duration_s":1.0', b'"duration_s":2.0'))
    assert read_ledger(ledger.path).sha256 != sealed


def test_torn_record_is_named_and_overwritten(ledger):
    ledger.append(evidence(case="whole"))
    with ledger.path.open("ab") as file:
        file.write(b'{"schema":1,"run":"half')
    content = read_ledger(ledger.path)
    assert [r.case for r in content.records] == ["whole"]
    assert content.problems == ("record 2: incomplete (the writer was killed); ignored",)
    ledger.append(evidence(case="next"))
    assert ([r.case for r in read_ledger(ledger.path).records], read_ledger(ledger.path).problems) == (["whole", "next"], ())


def test_lone_surrogates_survive(ledger):
    ledger.append(evidence(raw={"answer": "a\ud800b"}, reason="\udfff"))
    content = read_ledger(ledger.path)
    assert (content.problems, content.records[0].raw["answer"], content.records[0].reason) == ((), "a\ud800b", "\udfff")


def test_two_processes_write_one_chain(ledger):
    with writer(ledger.path, 20, "a") as first, writer(ledger.path, 20, "b") as second:
        first.communicate(timeout=60)
        second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    content = read_ledger(ledger.path)
    assert content.problems == ()
    assert sorted(r.case for r in content.records) == sorted(f"{name}{n}" for name in "ab" for n in range(20))


def test_killed_writer_loses_no_complete_record(ledger):
    told = 0
    with writer(ledger.path, 10_000, "k") as process:
        assert process.stdout is not None
        while told < 5:
            told = int(process.stdout.readline()) + 1
        process.send_signal(signal.SIGKILL)
        told += len(process.stdout.read().splitlines())
    content = read_ledger(ledger.path)
    assert len(content.records) >= told >= 5
    assert all("incomplete" in problem for problem in content.problems)


@pytest.mark.runtime
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_full_disk_keeps_earlier_records(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], check=False, capture_output=True).returncode:
        pytest.skip("this sandbox may not mount a tmpfs")
    try:
        ledger = Ledger(mount / "evidence.jsonl")
        with pytest.raises(LedgerError, match="No space left on device; earlier records are intact"):
            for n in range(1000):
                ledger.append(evidence(case=str(n), raw={"text": "x" * 2000}))
        content = read_ledger(ledger.path)
        assert len(content.records) > 5
        assert content.problems == ()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


KILLER = f"""
import os, random, signal, sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(META)!r}]
from pathlib import Path
from support.evidence_samples import evidence
from fixtures.evidence.ledger import Ledger, read_ledger
chance = random.Random(20261124)
ledger = Ledger(Path(sys.argv[1]))
for kill in range(int(sys.argv[2])):
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        while True:
            record = ledger.append(evidence(case=str(kill), raw={{"text": "x" * chance.randrange(20000)}}))
            os.write(tell, record.seq.to_bytes(4, "big"))
    os.close(tell)
    time.sleep(chance.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    known = b""
    while block := os.read(told, 65536):
        known += block
    os.close(told)
    content = read_ledger(ledger.path)
    newest = int.from_bytes(known[-4:], "big")
    assert len(content.records) >= newest, (kill, len(content.records), newest)
    assert all("incomplete" in problem for problem in content.problems), (kill, content.problems)
print(len(content.records))
"""


@pytest.mark.runtime
@pytest.mark.long
def test_200_random_kill_points_lose_no_complete_record(ledger):
    """Real processes, killed while they write; the next one goes on in the same file."""
    command = [sys.executable, "-c", KILLER, str(ledger.path), "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200
