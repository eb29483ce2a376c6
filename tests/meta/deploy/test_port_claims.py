"""Two installed units that ask for one port: found with the line, unless they can never run at the same time."""

import os

import pytest
from support.installed_units import PORT, UNIT

from fixtures.catalog.host import Units
from fixtures.deploy.installed import installed_files, unit_by_files, unit_folders
from fixtures.deploy.port_claims import port_claim, port_clashes

FALLBACK = "llama-gemma4-26b.service"


def clashes(bench, notes=None):
    units = Units(directory=str(bench.units), scope="user")
    own = port_claim(installed_files(UNIT, units), unit_by_files(UNIT, units).engine)
    assert own.port == PORT
    return port_clashes(own, unit_folders(units), "user", [] if notes is None else notes)


def other(bench, command, name=FALLBACK, unit="", extra=""):
    (bench.units / name).write_text(f"[Unit]\n{unit}\n[Service]\n{extra}\nExecStart={command}\n")


def test_units_of_their_own_ports_do_not_clash(bench):
    bench.install(bench.line())
    other(bench, f"{bench.program} --port 8080")
    other(bench, "/usr/bin/true", "backup.service")
    assert clashes(bench) == ()


@pytest.mark.parametrize(
    "command",
    [
        f"/opt/old/llama-server -m x --port {PORT}",
        f'/bin/sh -c "exec /opt/old/llama-server --port {PORT}"',
        f"/usr/bin/python3 -m http.server --port {PORT}",
        f"/usr/bin/docker run --rm -p {PORT}:8080 llama.cpp:server -m x",
        "/opt/old/llama-server --port ${LLAMA_PORT}",
    ],
)
def test_another_unit_of_the_same_port_is_named_with_its_line(bench, command):
    bench.install(bench.line())
    other(bench, command, extra=f"Environment=LLAMA_PORT={PORT}")
    (found,) = clashes(bench)
    assert found.startswith(f"{FALLBACK} asks for port {PORT}, too ({bench.units / FALLBACK}:5)")


def test_a_dropin_of_the_other_unit_counts(bench):
    bench.install(bench.line())
    other(bench, f"{bench.program} --port 8080")
    bench.dropin(f"ExecStart=\nExecStart={bench.program} --port {PORT}", unit=FALLBACK)
    (found,) = clashes(bench)
    assert "81-x.conf:3" in found


def test_a_llama_server_without_a_port_asks_for_8080(bench):
    bench.install(bench.line({"--port": "8080"}))
    other(bench, f"{bench.program} -m x")
    other(bench, "/usr/bin/python3 -m http.server", "python.service")
    units = Units(directory=str(bench.units), scope="user")
    own = port_claim(installed_files(UNIT, units), unit_by_files(UNIT, units).engine)
    (found,) = port_clashes(own, unit_folders(units), "user", [])
    assert found.startswith(f"{FALLBACK} asks for port 8080")


@pytest.mark.parametrize("side", ["own", "other"])
def test_units_that_exclude_each_other_may_share_a_port(bench, side):
    bench.install(bench.line())
    other(bench, f"{bench.program} --port {PORT}", unit=f"Conflicts={UNIT}" if side == "other" else "")
    if side == "own":
        (bench.units / f"{UNIT}.d").mkdir()
        (bench.units / f"{UNIT}.d" / "apart.conf").write_text(f"[Unit]\nConflicts=x.service {FALLBACK}\n")
    assert clashes(bench) == ()


def test_aliases_masked_units_and_copies_are_no_other_units(bench):
    bench.install(bench.line())
    (bench.units / "alias.service").symlink_to(UNIT)
    (bench.units / "masked.service").symlink_to(os.devnull)
    (bench.units / f"{UNIT}.bak").write_text((bench.units / UNIT).read_text())
    assert clashes(bench) == ()


def test_a_unit_of_which_nothing_can_be_read_is_a_note(bench):
    bench.install(bench.line())
    (bench.units / "broken.service").write_text("[Service]\nType=exec\n")
    notes = []
    assert clashes(bench, notes) == ()
    assert any("broken.service" in note and "no ExecStart" in note for note in notes)


@pytest.mark.parametrize(
    "junk", [b"", b"\0\xff[Service]\nExecStart=\0", b"[Service]\nExecStart=a\0b --port 1\n", b"[Service]\nExecStart=/x%i --port %i\n"]
)
def test_junk_among_the_units_stops_nothing(bench, junk):
    bench.install(bench.line())
    for name in ("junk.service", "junk@.service", "junk-\udcff.service"):
        (bench.units / name).write_bytes(junk)
    (bench.units / "folder.service").mkdir()
    (bench.units / "dangling.service").symlink_to("nowhere.service")
    (bench.units / "itself.service").symlink_to("itself.service")
    other(bench, f"{bench.program} --port {PORT}")
    (found,) = clashes(bench)
    assert found.startswith(FALLBACK)
