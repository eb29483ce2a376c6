"""What the real systemd says of rendered units, and of units with planted faults."""

import os
import re
import shutil
import subprocess

import pytest

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.deploy.unit import render_unit
from fixtures.deploy.verify import verify_unit
from fixtures.deploy.words import split_words

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"),
]

PROGRAM = "/usr/bin/env"  # any program that is there
NAME = "llama-readiness-test.service"
SCOPES = ("system", "user")


def candidate():
    return load_host("local").candidate("gemma3-270m-q8")


def rendered(scope, arguments=(), env=None, program=PROGRAM):
    host = load_host("local").model_copy(update={"units": Units(scope=scope, user="llama")})
    argv = [program, *arguments, "-ctk", "q8_0", "--port", str(candidate().port)]
    return render_unit(candidate=candidate(), host=host, argv=argv, env=env or {"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize(("scope", "at_most"), [("system", 2.5), ("user", 7.0)])
def test_a_rendered_unit_is_valid_and_hardened(scope, at_most):
    result = verify_unit(rendered(scope), NAME, scope=scope)
    assert result.stderr == ()
    assert result.ok
    assert result.exit_status == 0
    assert 0 < result.exposure <= at_most
    assert re.fullmatch(r"systemd \d+", result.version)


def test_a_bare_unit_is_exposed():
    """The scale of `exposure`: without hardening it is near 10."""
    result = verify_unit(f"[Service]\nExecStart={PROGRAM}\n", NAME)
    assert result.ok
    assert result.exposure > 9


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("NoNewPrivileges=", "NoNewPrivilege=", "NoNewPrivilege"),
        ("Type=exec", "Type=exe", "service type"),
        ("[Service]", "[Servise]", "Servise"),
        ("Restart=on-failure", "Restart=on-failures", "restart specifier"),
        ("TimeoutStartSec=", "TimeoutStartSec=x", "TimeoutStartSec"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@system-servic", "system-servic"),
        (f"ExecStart={PROGRAM}", "ExecStart=/no/such/llama-server", "/no/such/llama-server"),
        (f"ExecStart={PROGRAM}", "ExecStart=llama/server", "llama/server"),
        (f"ExecStart={PROGRAM}", f'ExecStart={PROGRAM} "', ""),
        (f"ExecStart={PROGRAM}", f"ExecStart={PROGRAM} \\q", ""),
    ],
)
def test_a_planted_fault_is_seen(scope, old, new, complaint):
    text = rendered(scope)
    assert text.count(old) == 1
    result = verify_unit(text.replace(old, new), NAME, scope=scope)
    assert not result.ok
    assert any(complaint in line for line in result.stderr), result.stderr


def test_a_missing_engine_is_seen():
    result = verify_unit(rendered("system", program="/opt/gone/llama-server"), NAME)
    assert not result.ok
    assert "/opt/gone/llama-server" in " ".join(result.stderr)


def test_a_warning_counts_although_the_exit_status_does_not_tell():
    result = verify_unit(rendered("system").replace("User=llama", "User=nobody"), NAME)
    assert result.exit_status == 0
    assert not result.ok


def test_messages_name_the_unit_not_our_folder():
    result = verify_unit(rendered("system").replace("Type=exec", "Type=exe"), NAME)
    assert all(line.startswith(NAME) or "/tmp" not in line for line in result.stderr), result.stderr  # noqa: S108 - read, not used


def test_other_units_of_the_host_do_not_speak_up(tmp_path, monkeypatch):
    """A broken unit of somebody else, even one that ours wants, is not our unit's fault."""
    (tmp_path / "broken.service").write_text("[Service]\nBogus=1\n")
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", str(tmp_path))
    text = rendered("system").replace("[Service]", "Wants=broken.service\n\n[Service]")
    assert verify_unit(text, NAME).ok


ODD_ARGUMENTS = (
    *("plain", "with space", "", " lead", "trail ", "tab\there", "line\nbreak", "bell\x07", "esc\x1b[0m"),
    *('double"quote', "single'quote", "back\\slash", "\\", "\\n", "\\x41", '\\"', "ends with \\"),
    *("$HOME", "${HOME}", "$$", "$", "a$b", "%", "%%", "%n", "100%", "%%h"),
    *(";", "a;b", "#", "# x", "|", "&&", "`id`", "$(id)", "*", "?", "[a]", "{a,b}", "~", "!", "@x", "+x", ":x", "-"),
    *("-c", "--flag=value", "a=b", "繁體中文", "é", "💾", "\u2028", "\ufeff", "/models/a b (1).gguf", '{"key": "va\\lue %s $x"}'),
)


def understood(unit, folder):
    """The command and the environment as systemd's own parser has them; it prints them when it is told to be chatty."""
    file = folder / NAME
    file.write_text(unit, encoding="utf-8")
    env = {**os.environ, "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_UNIT_PATH": str(folder), "LC_ALL": "C.UTF-8"}
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(file)]
    dump = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False).stdout
    lines = re.findall(r"^\s*Command Line: (.*)$", dump, re.MULTILINE)
    if not lines:
        pytest.skip("this systemd prints no dump of a unit")
    # the dump escapes $ and ` as a shell would; a unit file does not know that escape
    words = split_words(re.sub(r"\\(\\|[$`])", lambda found: "\\\\" if found[1] == "\\" else found[1], lines[0]))
    environment = re.findall(r"^\s*Environment: (.*)$", dump, re.MULTILINE)
    return words, environment


def test_systemd_understands_every_odd_argument(tmp_path):
    """Quoting is right in systemd's own eyes, not only in our parser's. It keeps `$$` until the program starts."""
    words, _ = understood(rendered("system", ODD_ARGUMENTS), tmp_path)
    assert words[1 : len(ODD_ARGUMENTS) + 1] == [word.replace("$", "$$") for word in ODD_ARGUMENTS]


def test_systemd_understands_every_odd_variable(tmp_path):
    values = {f"V{number:02}": value for number, value in enumerate(ODD_ARGUMENTS) if value.isprintable()}
    _, environment = understood(rendered("system", env=values), tmp_path)
    assert sorted(environment) == [f"{name}={value}" for name, value in values.items()]
