"""Audit rows of scripts and of the machine as a whole."""

import json

import pytest
from support.audit_subjects import judged, rows
from support.places import DATA

from fixtures.catalog.host import Guard
from fixtures.catalog.load import load_host
from fixtures.measure.audit.machine import machine
from fixtures.measure.audit.scripts import compiled
from fixtures.records.conditions import GpuReading, GuardReport, ResidentServer
from fixtures.records.verdict import Verdict


class TestScripts:
    """AUD-6: compiled as `py_compile` and `bash -n` do, never run, nothing written."""

    @pytest.mark.parametrize(
        ("name", "text", "verdict", "said"),
        [
            ("a.py", "import os\n", Verdict.PASS, ""),
            ("a.py", "x = '\\d'\n", Verdict.PASS, ""),  # a warning is no error
            ("a.py", "def f(:\n", Verdict.FAIL, "a.py does not compile, line 1"),
            ("a.py", "x = 1\0\n", Verdict.FAIL, "a.py does not compile"),
            ("a.sh", "echo ok\n", Verdict.PASS, ""),
            ("a.sh", "if true\n", Verdict.FAIL, "a.sh does not compile"),
            ("tool", "#!/usr/bin/env python3\nx = 1\n", Verdict.PASS, ""),
            ("tool", "#!/bin/bash\necho 'open\n", Verdict.FAIL, "tool does not compile"),
            ("tool", "\x7fELF", Verdict.FAIL, "neither Python nor shell"),
            ("gone.py", None, Verdict.BLOCKED, "gone.py cannot be read: No such file or directory"),
        ],
    )
    def test_one(self, tmp_path, name, text, verdict, said):
        if text is not None:
            (tmp_path / name).write_text(text)
        found = compiled([str(tmp_path / name)])
        judgement = judged("AUD-6", found)
        assert judgement.verdict is verdict
        assert said in judgement.reason
        assert [path.name for path in tmp_path.iterdir()] == ([name] if text is not None else [])

    def test_a_broken_one_is_a_failure_though_another_is_absent(self, tmp_path):
        (tmp_path / "a.sh").write_text("if true\n")
        judgement = judged("AUD-6", compiled([str(tmp_path / "gone.py"), str(tmp_path / "a.sh")]))
        assert judgement.verdict is Verdict.FAIL
        assert "a.sh does not compile" in judgement.reason
        assert "gone.py cannot be read" in judgement.reason

    def test_nothing_in_a_script_is_run(self, tmp_path, monkeypatch):
        touched = tmp_path / "touched"
        (tmp_path / "env.sh").write_text(f"touch {touched}\n")
        monkeypatch.setenv("BASH_ENV", str(tmp_path / "env.sh"))
        (tmp_path / "a.sh").write_text(f"touch {touched}\n")
        (tmp_path / "a.py").write_text(f"open({str(touched)!r}, 'w')\n")
        assert judged("AUD-6", compiled([str(tmp_path / "a.sh"), str(tmp_path / "a.py")])).verdict is Verdict.PASS
        assert not touched.exists()

    def test_none_listed_is_said(self):
        found = compiled(())
        assert judged("AUD-6", found).reason == "the host lists no helper script"
        assert rows(found)[0]["reading"] == "scripts_none"


DGX = json.loads((DATA / "dgx_guard.json").read_text(encoding="utf-8"))


class TestMachine:
    """AUD-5: the report's own audit, line by line."""

    @staticmethod
    def dgx(**facts):
        host = load_host("dgx", bare=True)
        host = host.model_copy(update={"guard": Guard.model_validate(DGX["limits"])})
        report = GuardReport.model_validate(DGX["report"]).model_copy(update=facts)
        found = machine(report, host)
        return found, judged("AUD-5", found, host, host.candidate("31b-k3v3"))

    def test_the_reports_audit_gets_the_reports_judgements(self):
        found, judgement = self.dgx()
        states = {(row["item"], row["subject"]): row["state"] for row in rows(found)}
        assert [port for (item, port), state in states.items() if item == "port" and state == "clear"] == [
            str(port) for port in DGX["judgements"]["clear_ports"]
        ]
        blocked = {port: row["problem"] for row in rows(found) if row["state"] == "blocked" and (port := row["subject"]).isdecimal()}
        assert blocked == DGX["judgements"]["blocked_ports"]
        assert states["lock", "/run/lock/stand-in.lock"] == "clear"
        assert states["load", "ASR"] == "blocked"
        assert (judgement.verdict, judgement.reason) == (Verdict.BLOCKED, DGX["judgements"]["session"])
        roles = {row["subject"]: row["facts"]["role"] for row in rows(found) if row["item"] == "port"}
        assert roles == {
            "8080": "fallback",
            "8087": "test",
            "8088": "26b-k3v4",
            "8089": "e4b-k3v3",
            "8090": "31b-k3v3",
            "8092": "canary",
            "8093": "e4b-k3v4",
        }

    def test_a_taken_service_port_alone_keeps_no_gate_from_running(self):
        found, judgement = self.dgx(load=())
        assert judgement.verdict is Verdict.PASS
        assert {row["subject"] for row in rows(found) if row["state"] == "blocked"} == {"8090", "8092"}

    def test_resident_server_is_told_with_model_and_memory(self):
        server = ResidentServer(pid=3161112, model="/m/26b.gguf", port=8092, memory_mib=900.0, gpu_mib=17000.0)
        found, _ = self.dgx(servers=(server,))
        (row,) = [row for row in rows(found) if row["item"] == "server"]
        assert (row["subject"], row["state"]) == ("PID 3161112", "note")
        assert row["facts"] == {"model": "/m/26b.gguf", "memory": "900 MiB, GPU 17000 MiB", "port": 8092}

    @pytest.mark.parametrize(
        ("facts", "said"),
        [
            ({"load": (), "gpu_error": "NVML fails", "gpus": ()}, "GPU cannot be judged: NVML fails"),
            ({"load": (), "gpus": ()}, "no NVIDIA driver is loaded"),
            ({"load": (), "gpus": (GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0),)}, "96 % busy, 10 % allowed"),
            ({"load": (), "missing_keys": ("guard.lock",), "lock": None}, "missing key `guard.lock`"),
        ],
    )
    def test_each_other_thing_in_the_way_is_a_blocked_line(self, facts, said):
        found, judgement = self.dgx(**facts)
        assert judgement.verdict is Verdict.BLOCKED
        assert said in judgement.reason
        assert any(said in row["problem"] for row in rows(found) if row["state"] == "blocked")

    def test_no_gpu_is_a_fact_where_none_is_needed(self):
        found, judgement = self.dgx(load=(), gpus=(), gpu_expected=False)
        assert judgement.verdict is Verdict.PASS
        assert [(row["state"], row["reading"]) for row in rows(found) if row["item"] == "gpu"] == [("note", "gpu_none")]

    def test_full_disk_blocks_where_the_host_states_a_minimum(self):
        host = load_host("dgx", bare=True)
        report = GuardReport.model_validate(DGX["report"]).model_copy(update={"load": (), "disk_free_mib": 100.0})
        for least, state, verdict in ((None, "note", Verdict.PASS), (50.0, "clear", Verdict.PASS), (2000.0, "blocked", Verdict.BLOCKED)):
            limits = Guard.model_validate(DGX["limits"] | {"min_free_disk_mib": least})
            found = machine(report, host.model_copy(update={"guard": limits}))
            assert [row["state"] for row in rows(found) if row["item"] == "disk"] == [state]
            assert judged("AUD-5", found, host.model_copy(update={"guard": limits})).verdict is verdict
