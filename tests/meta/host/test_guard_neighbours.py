"""Neighbours of a run: services in containers, services that are not there, bursts, all foreign load, servers of others."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pynvml
import pytest
from pydantic import ValidationError
from support.neighbours import burner, detached
from support.places import ROOT

from fixtures.catalog.host import Competing, Guard, Resident
from fixtures.catalog.load import load_host
from fixtures.engine.process import wait_until
from fixtures.host.decisions import session_block, told_of
from fixtures.host.foreign import foreign_fault, stranger_fault
from fixtures.host.foreign_load import ForeignMeter, descendants, own_cpu_s, parse_cpu_times
from fixtures.host.ports import llama_servers
from fixtures.host.processes import ProcessStat
from fixtures.host.watch import mean_load, peaks, watch
from fixtures.judge.conditions import disturbance
from fixtures.records.conditions import ForeignLoad, GuardReport, MemoryReading, ProcessLoad, ResidentServer, ServicePeak, Snapshot

NOW = datetime(2026, 5, 14, 12, tzinfo=UTC)
MEMORY = MemoryReading(available_mib=1.0, total_mib=1.0, swap_used_mib=0.0, swap_total_mib=0.0)
CALM = GuardReport(host="h", at=NOW, memory=MEMORY)


class TestAbsent:
    """A service of which no process runs is told; that it blocks is the host's to say."""

    def test_is_told_and_does_not_block(self):
        limits = Guard(competing=(Competing(name="asr", unit="asr.service", cmdline="whisper", max_cpu_pct=5),))
        assert session_block(CALM, limits) is None
        assert told_of(CALM, limits) == ["no process of asr is running (looked for cmdline whisper, unit asr.service)"]

    def test_blocks_where_the_host_requires_it_also_beside_accepted_load(self):
        limits = Guard(competing=(Competing(name="asr", process="asrd", max_cpu_pct=5, required=True),))
        said = "no process of asr is running (looked for process asrd)"
        assert session_block(CALM, limits) == session_block(CALM, limits, load_accepted=True) == said

    def test_is_clear_where_it_idles(self):
        limits = Guard(competing=(Competing(name="asr", process="asrd", max_cpu_pct=5, required=True),))
        idle = CALM.model_copy(update={"load": (ProcessLoad(name="asrd", pid=7, command="", cpu_pct=0.0, service="asr"),)})
        assert (session_block(idle, limits), told_of(idle, limits)) == (None, [])


def busy(cpu_pct, pid=7, service="asr"):
    return ProcessLoad(name="asr", pid=pid, command="", cpu_pct=cpu_pct, service=service)


class TestBurst:
    """A burst that is shorter than the window must not hide in its mean."""

    LIMITS = Guard(competing=(Competing(name="asr", process="asr", max_cpu_pct=50),))

    def test_mean_and_peak_of_rounds(self):
        rounds = [(1.0, [busy(0.0)]), (1.0, [busy(200.0)]), (1.0, [busy(0.0)]), (1.0, [busy(0.0)]), (1.0, [busy(0.0)])]
        assert [entry.cpu_pct for entry in mean_load(rounds)] == [40.0]
        assert peaks(rounds) == (ServicePeak(service="asr", cpu_pct=200.0),)

    def test_processes_that_come_and_go_add_up(self):
        rounds = [(1.0, [busy(60.0, pid=pid)]) for pid in (1, 2, 3, 4)]
        assert sum(entry.cpu_pct for entry in mean_load(rounds)) == 60.0
        assert peaks(rounds)[0].cpu_pct == 60.0

    def test_rounds_of_unequal_length_count_by_their_length(self):
        assert mean_load([(3.0, [busy(0.0)]), (1.0, [busy(100.0)])])[0].cpu_pct == 25.0

    def test_no_rounds(self):
        assert (mean_load([]), peaks([])) == ((), ())

    def test_blocks_with_both_numbers(self):
        report = CALM.model_copy(update={"load": (busy(40.0),), "peaks": (ServicePeak(service="asr", cpu_pct=200.0),)})
        assert session_block(report, self.LIMITS) == "asr: 40.0 % of a core, 200.0 % in its busiest second, 50 % allowed (pid 7 asr 40.0 %)"
        other = report.model_copy(update={"peaks": (ServicePeak(service="backup", cpu_pct=200.0),)})
        assert session_block(other, self.LIMITS) is None

    def test_real_burst_within_the_window_is_seen_above_its_mean(self, tmp_path):
        """Where the burst falls on rounds is chance, and a busy machine draws it out: it tells how long it took."""
        service = Competing(name="burst", cmdline="burst-of-a-test", max_cpu_pct=40)
        burst = "begun = time.monotonic()\nwhile time.process_time() < 0.5: pass\ntook = time.monotonic() - begun"
        program = f"import sys, time\ntime.sleep(0.8)\n{burst}\nopen(sys.argv[2], 'w').write(str(took))\ntime.sleep(20)"
        with detached(sys.executable, "-c", program, "burst-of-a-test", str(tmp_path / "took")):
            seen = watch(Guard(competing=(service,), window_s=5.0), pynvml)
            assert wait_until(lambda: (tmp_path / "took").exists() and (tmp_path / "took").read_text(), 60.0)
        took_s = float((tmp_path / "took").read_text())
        (mean,) = [entry.cpu_pct for entry in seen.load]
        (peak,) = [entry.cpu_pct for entry in seen.peaks]
        assert 5 <= mean < 15
        assert peak >= max(mean, 40 / (int(took_s) + 2)), f"it took {took_s:.1f} s: at most so many seconds and two have a part of it"


class TestForeign:
    """Everything that is not this run, whoever it is."""

    @staticmethod
    def load(cpu_pct, cores=20, *loud):
        return ForeignLoad(cpu_pct=cpu_pct, cores=cores, loudest=loud)

    def test_limit_is_of_all_cores_and_the_loudest_are_named(self):
        loud = ProcessLoad(name="nvcc", pid=9, command="", cpu_pct=380.0, unit="build.scope")
        said = foreign_fault(self.load(19.0, 20, loud), (), Guard())
        assert said == "other processes use 19 % of all cores, 10 % allowed: pid 9 nvcc 380 % of a core (build.scope)"
        report = CALM.model_copy(update={"foreign": self.load(19.0, 20, loud)})
        assert session_block(report, Guard()) == said
        assert session_block(report, Guard(max_foreign_cpu_pct=20.0)) is None
        assert session_block(report, Guard(), load_accepted=True) is None

    def test_idle_desktop_passes(self):
        assert foreign_fault(self.load(5.0), (), Guard()) == ""
        assert foreign_fault(None, (), Guard()) == ""

    def test_service_with_a_limit_of_its_own_is_not_counted_twice(self):
        services = (busy(40.0), busy(40.0, service="also"))
        assert foreign_fault(self.load(25.0, 2), services, Guard()) == ""
        assert foreign_fault(self.load(35.0, 2), services, Guard()) != ""

    def test_disturbs_a_measurement_by_its_mean(self):
        def samples(*pcts):
            loud = ProcessLoad(name="stress", pid=5, command="", cpu_pct=700.0)
            seen = [None if pct is None else self.load(pct, 20, loud) for pct in pcts]
            return [Snapshot(at=NOW, load_1min=1.0, mem_available_mib=1.0, foreign=foreign) for foreign in seen]

        limits = Guard(window_s=2.0)
        assert disturbance(samples(2, 2, 35, 35, 2), limits) == (
            "other processes came up during the measurement: 35 % of all cores over 2 s, 10 % allowed: pid 5 stress 700 % of a core"
        )
        assert disturbance(samples(2, 2, 15, 2, 2), limits) is None
        assert disturbance(samples(None, None), limits) is None
        assert disturbance(samples(35, 35), Guard(window_s=2.0, max_foreign_cpu_pct=100.0)) is None

    def test_real_burner_of_nobodys_service_is_seen_and_named_without_its_command(self):
        with detached(*burner("a-private-word")):
            meter = ForeignMeter()
            time.sleep(1.0)
            seen = meter.read()
        assert seen.cores == os.cpu_count()
        assert seen.cpu_pct > 5 / seen.cores
        assert seen.loudest  # on a busy machine another one may be louder than this
        assert "a-private-word" not in seen.model_dump_json()

    def test_own_children_are_not_foreign_also_once_they_have_ended(self):
        meter = ForeignMeter()
        subprocess.run(burner("x", 0.6), check=True)
        with subprocess.Popen(burner("x")) as child:
            time.sleep(0.6)
            seen = meter.read()
            child.kill()
        assert child.pid not in [entry.pid for entry in seen.loudest]

    def test_child_that_ends_counts_once(self):
        before = {(1, 0): ProcessStat(1.0, 0, 0, 0.0), (2, 5): ProcessStat(30.0, 5, 1, 0.0)}
        after = {(1, 0): ProcessStat(1.5, 0, 0, 31.0)}  # reaped it: 30 s were seen before
        assert own_cpu_s(before, after, {1}) == 1.5
        assert own_cpu_s(before, {(1, 0): ProcessStat(1.5, 0, 0, 0.0)}, {1}) == 0.5  # somebody else reaped it

    def test_family(self):
        assert descendants(2, {1: 0, 2: 1, 3: 2, 4: 3, 5: 1}) == {2, 3, 4}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("cpu  10 5 5 70 10 3 2 0 0 0\ncpu0 5 2 3 35 5 0 0 0\ncpu1 5 3 2 35 5 0 0 0\nintr 5\n", (20, 100, 2)),
            ("cpu  10 5 5 80\ncpu0 10 5 5 80\n", (20, 100, 1)),
            ("cpu  10 5 5 70 0 0 0 10 0 0\n", (20, 100, 1)),
        ],
    )
    def test_kernels_figures(self, text, expected):
        times = parse_cpu_times(text)
        assert (times.busy, times.total, times.cores) == expected

    @pytest.mark.parametrize("text", ["", "intr 5\n", "cpu\n", "cpu a b c d\n", "cpu 1 2\n"])
    def test_no_figures(self, text):
        assert parse_cpu_times(text) is None

    def test_moment_too_short_tells_nothing(self):
        assert ForeignMeter().read() is None


def server(**facts):
    return ResidentServer(**{"pid": 31, "model": "/m/26b.gguf", "port": 8092, "memory_mib": 900.0} | facts)


class TestResident:
    """A llama-server that this run did not start."""

    def test_blocks_with_pid_port_model_and_memory(self):
        report = CALM.model_copy(update={"servers": (server(gpu_mib=17000.0, unit="canary.service"),)})
        assert session_block(report, Guard()) == (
            "a llama-server (pid 31, port 8092, unit canary.service) holds /m/26b.gguf and 900 MiB of memory and 17000 MiB of a GPU; "
            "if it is to stay, name it in `guard.residents` (port, unit or model), else stop it"
        )
        assert session_block(report, Guard(), load_accepted=True) is None

    @pytest.mark.parametrize(
        ("entry", "stays"),
        [
            ({"port": 8092}, True),
            ({"port": 8080}, False),
            ({"unit": "canary.service"}, True),
            ({"unit": "other.service"}, False),
            ({"model": "/m/26b.gguf"}, True),
            ({"model": "/m/*"}, True),
            ({"model": "/m/31b.gguf"}, False),
            ({"port": 8092, "model": "/m/31b.gguf"}, False),
            ({"port": 8092, "unit": "canary.service", "model": "*26b*"}, True),
        ],
    )
    def test_may_stay_where_all_that_its_entry_says_is_true_of_it(self, entry, stays):
        limits = Guard(residents=(Resident(name="canary", **entry),))
        assert (stranger_fault(server(unit="canary.service"), limits) == "") is stays

    def test_with_hidden_model_and_port_is_told_as_such(self):
        limits = Guard(residents=(Resident(name="x", model="/m/*"), Resident(name="y", port=1)))
        said = stranger_fault(server(model=None, port=None), limits)
        assert "port unknown" in said
        assert "a model that its command line does not name" in said

    def test_entry_needs_something_to_find_it_by(self):
        with pytest.raises(ValidationError, match="`port`, `unit` or `model`"):
            Resident(name="canary")

    def test_of_the_dgx_are_canary_and_fallback(self):
        limits = load_host("dgx", bare=True).guard
        assert [stranger_fault(server(port=port), limits) == "" for port in (8092, 8080, 8081)] == [True, True, False]

    def test_real_stranger_is_found_with_its_password_masked(self):
        shell = 'exec -a llama-server "$0" -c "import time; time.sleep(20)" --port 18399 -mu https://me:planted@h/m'
        with detached("bash", "-c", shell, sys.executable) as pid:
            deadline = time.monotonic() + 5
            while pid not in [found.pid for found in llama_servers()] and time.monotonic() < deadline:
                time.sleep(0.05)
            (found,) = [found for found in llama_servers() if found.pid == pid]
        assert (found.port, found.model) == (18399, "https://***@h/m")
        assert "planted" not in stranger_fault(found, Guard())


@pytest.mark.parametrize("name", ["local", "twins"])
def test_embedded_hosts_let_a_shared_machine_be_shared_visibly(name):
    assert load_host(name).guard.max_foreign_cpu_pct == 100.0
    text = (ROOT / "fixtures" / "catalog" / "hosts" / f"{name}.toml").read_text(encoding="utf-8")
    assert "max_foreign_cpu_pct = 100.0  # told, not judged" in text
