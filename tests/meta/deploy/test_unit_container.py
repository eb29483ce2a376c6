"""The suite's own reading of units, held against a real systemd: which files it loads, what it starts, with which variables."""

import time

import pytest
from support.systemd_container import booted

from fixtures.deploy.effective import effective_command
from fixtures.deploy.manager import loaded_of
from fixtures.deploy.unit_files import find_unit, search_paths

pytestmark = [pytest.mark.long, pytest.mark.runtime]

ETC, RUN, LOCAL, USR = "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"
# started in place of a server: keeps its arguments and the variables it was given
DUMP = """#!/bin/sh
out=BIND/out/${0##*/}
printf '%s\\0' "$0" "$@" > $out.argv
cat /proc/$$/environ > $out.env
exec sleep 600
"""
# what systemd gives to every service, or what belongs to this one start
OWN = {"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "PATH", "LANG", "HOME", "LOGNAME", "USER", "SHELL"}

S = "[Service]\n"
# name -> files by folder; @P is the unit's program, @B the shared folder
UNITS = {
    "plain.service": {f"{ETC}/plain.service": f"{S}ExecStart=@P -m /m/x.gguf --port 8088\n"},
    "usr.service": {f"{USR}/usr.service": f"{S}ExecStart=@P usr\n"},
    "shadowed.service": {
        f"{USR}/shadowed.service": f"{S}ExecStart=@P usr\n",
        f"{LOCAL}/shadowed.service": f"{S}ExecStart=@P local\n",
        f"{ETC}/shadowed.service": f"{S}ExecStart=@P etc\n",
    },
    "dropin.service": {
        f"{ETC}/dropin.service": f"{S}Environment=A=1 B=2\nExecStart=@P one\n",
        f"{ETC}/dropin.service.d/81-mtp.conf": f"{S}Environment=B=3\nExecStart=\nExecStart=@P two\n",
    },
    "places.service": {
        f"{USR}/places.service": f"{S}Environment=W=main\nExecStart=@P $W\n",
        f"{USR}/places.service.d/10-a.conf": f"{S}Environment=W=usr\n",
        f"{RUN}/places.service.d/30-a.conf": f"{S}Environment=W=run\n",
        f"{ETC}/places.service.d/20-a.conf": f"{S}Environment=W=etc\n",
    },
    "override.service": {
        f"{USR}/override.service": f"{S}ExecStart=@P $W\n",
        f"{USR}/override.service.d/10-a.conf": f"{S}Environment=W=usr\n",
        f"{ETC}/override.service.d/10-a.conf": f"{S}Environment=W=etc\n",
    },
    "wide-prefix-x.service": {
        f"{ETC}/wide-prefix-x.service": f"{S}ExecStart=@P ${{A}} ${{B}}\n",
        f"{ETC}/wide-.service.d/50.conf": f"{S}Environment=A=wide B=wide\n",
        f"{ETC}/wide-prefix-.service.d/60.conf": f"{S}Environment=B=prefix\n",
    },
    "gate@8088.service": {
        f"{ETC}/gate@.service": f"{S}Environment=I=%i N=%n P=%p\nExecStart=@P --port %i %I %N %j ${{I}} $P\n",
        f"{ETC}/gate@.service.d/1.conf": f"{S}Environment=T=template\n",
        f"{ETC}/gate@8088.service.d/2.conf": f"{S}Environment=T=instance\n",
    },
    "esc@a-b\\x2dc.service": {f"{ETC}/esc@.service": f"{S}ExecStart=@P %i %I %f\n"},
    "home.service": {f"{ETC}/home.service": f"{S}ExecStart=@P %h %u %U %t %S %C %L %E %T %V %% %g %G %s\n"},
    "envfile.service": {
        f"{ETC}/envfile.service": f"{S}Environment=A=unit C=unit\nEnvironmentFile=@B/a.env\nEnvironmentFile=-@B/none.env\n"
        f"EnvironmentFile=@B/b.env\nExecStart=@P ${{A}} $B ${{C}} $D ${{E}} ${{NONE}} $NONE\n",
    },
    "envreset.service": {
        f"{ETC}/envreset.service": f"{S}Environment=A=1\nEnvironment=\nEnvironment=B=2\n"
        "EnvironmentFile=@B/a.env\nEnvironmentFile=\nExecStart=@P\n"
    },
    "unset.service": {
        f"{ETC}/unset.service": f"{S}Environment=A=1 B=2 C=3\nUnsetEnvironment=A C=4 B=2\nExecStart=@P ${{A}} ${{B}} ${{C}}\n"
    },
    "quotes.service": {
        f"{ETC}/quotes.service": f'{S}Environment="A=x y" \'B=it"s\' C=a\\x41\\tb D=""\n'
        'ExecStart=@P "a b" \'c "d\' e\\ f "$A" $A ${A} $$A \'$${A}\' "\\x41" x${A}y $AB\n',
    },
    "escapes.service": {f"{ETC}/escapes.service": f'{S}ExecStart=@P -ot "blk\\.([0-9]|1[01])\\.ffn_.*_exps\\.=CPU" a\\qb\n'},
    "bom.service": {f"{ETC}/bom.service": f"\ufeff{S}ExecStart=@P --port 8088\n"},
    "lines.service": {
        f"{ETC}/lines.service": f"{S}# c\nExecStart=@P -c 8192 \\\n  # 128K was too slow: -c 131072 \\\n  --port 8088 \\\n; c\n  -ngl 99\n"
    },
    "crlf.service": {f"{ETC}/crlf.service": f"{S}Environment=A=1\r\nExecStart=@P $A x\r\n".replace(S, "[Service]\r\n")},
    "nonsense.service": {
        f"{ETC}/nonsense.service": f"Stray=1\n[Unit]\nFoo=bar\n{S}no assignment\nBogus=1\nEnvironment=A B=2 1C=3\nExecStart=@P $B\n"
    },
    "prefixed.service": {f"{ETC}/prefixed.service": f"{S}Environment=A=1\nExecStart=-:@P $A ${{A}}\n"},
    "renamed.service": {f"{ETC}/renamed.service": f"{S}ExecStart=@@P other-name --port 1\n"},
    "opts.service": {f"{ETC}/opts.service": f'{S}Environment=\'OPTS=-c 8192 --alias "a b" -x\'\nExecStart=@P $OPTS "$OPTS" ${{OPTS}}\n'},
    "wide.service": {f"{ETC}/wide.service": f"{S}ExecStart=@P $W\n", f"{ETC}/wide.service.d/9.conf": f"{S}Environment=W=own\n"},
    "args.service": {f"{ETC}/args.service": f"{S}Environment=LLAMA_ARG_PORT=8088\nExecStart=@P -m /models/x.gguf\n"},
    "masked-dropin.service": {
        f"{USR}/masked-dropin.service": f"{S}ExecStart=@P ${{W}}\n",
        f"{USR}/masked-dropin.service.d/1.conf": f"{S}Environment=W=1\n",
        f"{ETC}/masked-dropin.service.d/1.conf": None,
    },
}
FILES = {
    "a.env": '# c\nA=file\nB=\'two words\'\n D = spaced  \nE="q \\"x\\" \\$y"\nexport F=1\nG=a\\\nb\n',
    "b.env": "A=later\nH=\n; c\nI=it's\n",
}
TOP_LEVEL = {f"{ETC}/service.d/00-all.conf": f"{S}Environment=EVERY=one W=type\n"}


def program(bind, name):
    return f"{bind}/bin/{name.replace('@', '-').replace(chr(92), '_').removesuffix('.service')}"


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    bind = tmp_path_factory.mktemp("units")
    with booted(bind) as running:
        for folder in ("bin", "out"):
            (bind / folder).mkdir()
        for name, text in FILES.items():
            (bind / name).write_text(text)
        for name, files in {**UNITS, "": TOP_LEVEL}.items():
            if name:
                dump = bind / "bin" / program("", name).rsplit("/", 1)[1]
                dump.write_text(DUMP.replace("BIND", str(bind)))
                dump.chmod(0o755)
            for place, text in files.items():
                file = running.path(place)
                file.parent.mkdir(parents=True, exist_ok=True)
                if text is None:
                    file.symlink_to("/dev/null")
                else:
                    file.write_bytes(text.replace("@P", program(bind, name)).replace("@B", str(bind)).encode())
        running.path(f"{ETC}/alias.service").symlink_to("plain.service")
        running.path(f"{ETC}/gone.service").symlink_to("/dev/null")
        running.ask("systemctl", "daemon-reload")
        running.ask("systemctl", "start", "--no-block", *UNITS)
        running.bind = bind
        deadline = time.monotonic() + 30
        while len(list((bind / "out").glob("*.env"))) < len(UNITS) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        yield running


def folders(container):
    return [container.path(str(folder)) for folder in search_paths("system")]


def ours(container, name):
    files = find_unit(name, folders(container))
    return files, effective_command(files, "system")


@pytest.mark.parametrize("name", UNITS)
def test_the_same_files_are_loaded(container, name):
    files, _ = ours(container, name)
    told = loaded_of(container.ask("systemctl", "show", name, "--property=LoadState,FragmentPath,DropInPaths,NeedDaemonReload"))
    inside = [f"/{file.relative_to(container.root)}" for file in (files.main, *files.dropins)]
    real = [told.fragment, *told.dropins]
    assert [place.replace("/lib/systemd", "/usr/lib/systemd", 1) if place.startswith("/lib/") else place for place in real] == inside
    assert told.load_state == "loaded"
    assert not told.needs_reload


@pytest.mark.parametrize("name", UNITS)
def test_the_same_command_is_started(container, name):
    _, command = ours(container, name)
    out = container.bind / "out" / f"{program('', name).rsplit('/', 1)[1]}.argv"
    assert command.hidden == []
    assert out.read_bytes().decode().split("\0")[:-1] == command.argv


@pytest.mark.parametrize("name", UNITS)
def test_the_same_variables_are_given(container, name):
    _, command = ours(container, name)
    out = container.bind / "out" / f"{program('', name).rsplit('/', 1)[1]}.env"
    real = dict(entry.split("=", 1) for entry in out.read_bytes().decode().split("\0") if entry)
    assert {key: value for key, value in real.items() if key not in OWN} == command.env


def test_an_alias_and_a_mask(container):
    files, _ = ours(container, "alias.service")
    assert container.ask("systemctl", "show", "alias.service", "--property=Id", "--value").strip() == files.name.full == "plain.service"
    assert find_unit("gone.service", folders(container)).masked
    assert "masked" in container.ask("systemctl", "show", "gone.service", "--property=LoadState")


def test_a_changed_file_needs_a_reload(container):
    file = container.path(f"{ETC}/plain.service")
    text = file.read_text()
    time.sleep(1.1)
    file.write_text(text.replace("8088", "9999"))
    asked = ("systemctl", "show", "plain.service", "--property=NeedDaemonReload,MainPID,FragmentPath")
    try:
        assert loaded_of(container.ask(*asked)).needs_reload
    finally:
        file.write_text(text)
        container.ask("systemctl", "daemon-reload")
    told = loaded_of(container.ask(*asked))
    assert not told.needs_reload
    assert told.pid > 0


def test_there_are_enough_of_them():
    assert len(UNITS) >= 21
