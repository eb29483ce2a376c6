"""Faults of placement: a signed-off session on a host with a GPU, whose log and driver say so - and do not mean it."""

import pytest
from support.launcher import Faults
from support.planted_table import by_id, faults_of
from support.planting import Host, gpu_that_lists

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS = faults_of("gpu")
ON_GPU = Faults(
    log=(
        (r"CPU(_Mapped)? model buffer", "CUDA0 model buffer"),
        ("CPU KV buffer", "CUDA0 KV buffer"),
        (r"(.*)loading model tensors.*", "\\g<0>\n\\1offloaded 31/31 layers to GPU"),
        ("no usable GPU found", "all is well"),
    )
)
HELD_MIB = 500.0


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    host = Host(folder, 21200, by_id("gpu"), launch="gpu_layers = 99").with_launcher(ROWS, ON_GPU).write()
    told = {str(host.test_port(row.id)): row.plant["held_mib"] or None for row in ROWS if "held_mib" in row.plant}
    return host.run("--signoff", env=gpu_that_lists(folder, {"*": HELD_MIB} | told), status=(1,))


def test_without_a_fault_it_is_ready(signed):
    signed.assert_clean("clean")


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(signed, fault):
    signed.assert_caught(fault)


def test_nothing_else_passes_on_the_cpu(signed):
    """Not only the gate of the placement: no measurement counts that was taken on the CPU of a GPU host."""
    failed = {
        requirement for requirement, verdict, reason in signed.gates("falls-back-to-the-cpu") if "runs on the CPU of a host" in reason
    }
    assert failed == {"KV-1", "COH-1", "STA-1"}
