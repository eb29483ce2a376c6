"""Services in containers: found by unit, cgroup or command, and counted where they belong."""

import os

import pytest
from support.neighbours import burner, detached

from fixtures.catalog.host import Competing
from fixtures.host import load, processes
from fixtures.host.cgroup import container_in, is_container, unit_in, units_in
from fixtures.host.decisions import describe_load, is_busy
from fixtures.host.load import competing_load

ID = "4f3ac1e0d2b94c7f8a6b5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f40"


CLIENT = "0::/system.slice/asr.service"


@pytest.fixture
def cgroups(monkeypatch):
    """pid -> the text of its cgroup file, for the processes of a test; all others are in none."""
    known = {}
    for module in (processes, load):
        monkeypatch.setattr(module, "cgroups_of", lambda pid: known.get(pid, "0::/\n"))
    return known


WORK_OF_A_CONTAINER = [
    f"0::/system.slice/docker-{ID}.scope",
    f"0::/system.slice/docker-{ID}.scope/system.slice/whisper.service",
    f"0::/docker/{ID}",
    f"4:memory:/x\n1:name=systemd:/docker/{ID}\n0::/\n",
    f"0::/machine.slice/libpod-{ID}.scope/container",
    f"0::/system.slice/asr.service/libpod-payload-{ID}",
    "0::/system.slice/asr.service/workers/3",
    f"0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope",
    f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
]


@pytest.mark.parametrize("where", WORK_OF_A_CONTAINER)
def test_service_found_by_its_unit_counts_with_what_its_container_burns(cgroups, where):
    """13-doctor/dockasr.py: `docker run` waits inside the unit, the work is done outside of it."""
    service = Competing(name="asr", unit="asr.service", max_cpu_pct=50)
    with detached("sleep", "30") as client, detached(*burner("x")) as worker:
        cgroups |= {client: CLIENT, worker: where}
        loads = competing_load([service], 1.0)
    assert {client, worker} == {entry.pid for entry in loads}
    assert next(entry.cpu_pct for entry in loads if entry.pid == worker) > 5  # however busy this machine is
    assert is_busy(service.model_copy(update={"max_cpu_pct": 5.0}), loads)
    assert f"pid {worker} python" in describe_load(service, loads)


def test_container_that_is_another_services_by_its_command_counts_there(cgroups):
    services = [
        Competing(name="asr", unit="asr.service", max_cpu_pct=50),
        Competing(name="database", cmdline="of-the-database", max_cpu_pct=90),
    ]
    with detached(*burner("of-the-database")) as worker:
        cgroups[worker] = f"0::/system.slice/docker-{ID}.scope"
        loads = competing_load(services, 0.3)
    assert [(entry.pid, entry.service) for entry in loads] == [(worker, "database")]


def test_unit_of_an_earlier_container_finds_the_new_one_and_says_where(cgroups):
    service = Competing(name="asr", unit="docker-OLDID.scope", max_cpu_pct=2)
    with detached(*burner("x")) as worker:
        cgroups[worker] = f"0::/system.slice/docker-{ID}.scope"
        loads = competing_load([service], 0.5)
    assert is_busy(service, loads)
    assert f"(docker-{ID}.scope)" in describe_load(service, loads)


def test_containers_do_not_count_to_a_service_that_is_found_by_its_command(cgroups):
    with detached(*burner("x")) as worker:
        cgroups[worker] = f"0::/system.slice/docker-{ID}.scope"
        assert competing_load([Competing(name="asr", cmdline="asr-server-of-a-test", max_cpu_pct=5)], 0.2) == ()


def test_processes_of_the_container_that_this_run_is_in_are_no_service(cgroups):
    own = f"0::/docker/{ID}"
    cgroups[os.getpid()] = own
    with detached("sleep", "30") as neighbour:
        cgroups[neighbour] = own
        assert competing_load([Competing(name="asr", unit="asr.service", max_cpu_pct=5)], 0.1) == ()


@pytest.mark.parametrize(
    ("text", "units", "container"),
    [
        ("0::/system.slice/asr.service\n", ("asr.service",), None),
        (f"0::/system.slice/docker-{ID}.scope/a.service\n", ("a.service", f"docker-{ID}.scope"), f"docker-{ID}.scope"),
        (f"0::/docker/{ID}\n", (), ID),
        ("0::/lxc.payload.asr/system.slice\n", (), "lxc.payload.asr"),
        ("0::/machine.slice/machine-asr.scope\n", ("machine-asr.scope",), "machine-asr.scope"),
        ("0::/\n", (), None),
        ("garbage\n", (), None),
        ("", (), None),
    ],
)
def test_units_and_container_of_a_cgroup_path(text, units, container):
    assert (units_in(text), container_in(text)) == (units, container)
    assert unit_in(text) == next(iter(units), None)


@pytest.mark.parametrize("unit", ["asr.service", "session-3.scope", "docker.service", "app-firefox-12.scope", "dockerd.scope"])
def test_unit_that_is_no_container(unit):
    assert not is_container(unit)
