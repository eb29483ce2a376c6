"""Units: what is rendered can be read back, word for word; what differs from the tested command is said in words."""

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.deploy.errors import DeployError
from fixtures.deploy.gpu_hiding import gpu_hiding
from fixtures.deploy.parse import UnitFacts, parse_unit, same_command, service_settings
from fixtures.deploy.settings import settings_of
from fixtures.deploy.unit import render_unit
from fixtures.deploy.verify import verify_unit
from fixtures.deploy.words import quote_argument, quote_assignment, split_words

SERVER = "/opt/engine/bin/llama-server"
ENV = {"PATH": "/usr/bin:/bin", "HOME": "/home/llama", "GGML_CUDA_DISABLE_GRAPHS": "1"}

# everything that systemd treats specially, mixed with ordinary and non-ASCII text
ODD = st.text(st.sampled_from(list("abc -/=:.,;#'\"\\$%{}()<>&|!@+*?~`^[]\n\t\r\x01\x1b\x7f é體💾\u0085\u2028\ufeff")), max_size=12)
ARGUMENTS = st.lists(ODD | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@cache
def base_host():
    return load_host("local")


@cache
def host_with(scope="system", user="llama"):
    return base_host().model_copy(update={"units": Units(scope=scope, user=user)})


@pytest.fixture(scope="module")
def candidate():
    return base_host().candidate("gemma3-270m-q8")


@pytest.fixture(scope="module")
def argv(candidate):
    model = ["-m", "/models/gemma.gguf", "--host", "127.0.0.1", "--port", str(candidate.port)]
    return [SERVER, *model, "-c", "8192", "-ctk", "q8_0", "-ctv", "q8_0", "--spec-type", "ngram-mod"]


@pytest.fixture(scope="module", params=["system", "user"])
def unit(request, candidate, argv):
    return render_unit(candidate=candidate, host=host_with(request.param), argv=argv, env=ENV)


# -- rendering


def test_the_structure_of_a_unit(unit, snapshot):
    assert [line.partition("=")[0] for line in unit.splitlines()] == snapshot


def test_unit_holds_command_environment_and_port(unit, candidate, argv):
    facts = parse_unit(unit)
    assert facts == UnitFacts(argv=tuple(argv), env=ENV, port=candidate.port)
    assert same_command(facts, argv, ENV) == ()


def test_unit_waits_for_health_and_gives_up(unit, candidate):
    settings = dict(service_settings(unit))
    ready, stop = base_host().launch.ready_timeout_s, base_host().launch.stop_timeout_s
    assert settings["Type"] == "exec"
    assert f"http://127.0.0.1:{candidate.port}/health" in settings["ExecStartPost"]
    assert float(settings["TimeoutStartSec"]) > ready
    assert settings["Restart"] == "on-failure"
    limit = int(re.search(r"StartLimitIntervalSec=(\d+)", unit)[1])
    burst = int(re.search(r"StartLimitBurst=(\d+)", unit)[1])
    attempt = int(settings["TimeoutStartSec"]) + int(settings["TimeoutStopSec"]) + int(settings["RestartSec"])
    assert limit >= burst * attempt, "starts that each run into the time-out would go on for ever"
    assert float(settings["TimeoutStopSec"]) == stop


def test_unit_does_not_hide_the_gpu(unit):
    assert gpu_hiding(settings_of(unit, "x.service")) == ()
    keys = {key for key, _ in service_settings(unit)}
    assert not keys & {"PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy", "ProcSubset", "MemoryDenyWriteExecute"}


def test_scopes_differ_in_what_only_the_system_can_do(candidate, argv):
    system, user = (
        dict(service_settings(render_unit(candidate=candidate, host=host_with(scope), argv=argv, env=ENV))) for scope in ("system", "user")
    )
    assert system["User"] == "llama"
    assert "User" not in user
    assert system["ProtectSystem"] == "strict"
    assert system["ProtectHome"] == "read-only"
    assert "ProtectSystem" not in user
    assert user["NoNewPrivileges"] == system["NoNewPrivileges"] == "yes"


@pytest.mark.parametrize(
    ("bind", "polled", "loopback_only"),
    [("127.0.0.1", "127.0.0.1", True), ("0.0.0.0", "127.0.0.1", False), ("::", "[::1]", False), ("10.0.0.5", "10.0.0.5", False)],  # noqa: S104 - rendered, not bound to
)
def test_the_poll_and_the_fence_follow_the_bind_address(candidate, argv, bind, polled, loopback_only):
    argv = [bind if word == "127.0.0.1" else word for word in argv]
    unit = render_unit(candidate=candidate, host=host_with(), argv=argv, env=ENV)
    assert f"http://{polled}:{candidate.port}/health" in unit
    assert ("IPAddressDeny=any" in unit) == loopback_only


def test_a_title_cannot_add_a_line(candidate, argv):
    text = render_unit(candidate=candidate, host=host_with(), argv=argv, env=ENV, description="50 %\nExecStart=/bin/evil\\")
    assert parse_unit(text).argv == tuple(argv)
    assert "Description=50 %% ExecStart=/bin/evil\n" in text


def changed(candidate, **changes):
    return candidate.model_copy(update=changes)


@pytest.mark.parametrize(
    ("host", "change", "message"),
    [
        (host_with(scope=None), lambda argv: argv, "missing key `units.scope`"),
        (host_with(user=None), lambda argv: argv, "missing key `units.user`"),
        (host_with(user="a\nb"), lambda argv: argv, "is no user name"),
        (host_with(), lambda argv: [word for word in argv if word not in ("--port", "18092")], "names no --port"),
        (host_with(), lambda argv: [word.replace("18092", "18093") for word in argv], "listens on 18093, its service port is 18092"),
        (host_with(), lambda argv: ["llama-server", *argv[1:]], "plain absolute path"),
        (host_with(), lambda argv: ["/opt/../llama-server", *argv[1:]], "plain absolute path"),
        (host_with(), lambda argv: ['/opt/"x"/llama-server', *argv[1:]], "takes no quotes"),
        (host_with(), lambda argv: ["/opt/$x/llama-server", *argv[1:]], "takes no quotes"),
        (host_with(), lambda argv: [*argv, "a\0b"], "NUL"),
        (host_with(), lambda argv: [*argv, "\udcff"], "not UTF-8"),
    ],
)
def test_what_no_unit_can_say_is_refused_in_one_line(candidate, argv, host, change, message):
    with pytest.raises(DeployError) as caught:
        render_unit(candidate=candidate, host=host, argv=change(argv), env=ENV)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "é"])
def test_a_bad_variable_name_is_refused(name):
    with pytest.raises(DeployError, match="no name of an environment variable"):
        quote_assignment(name, "x")


# -- there and back


@given(ARGUMENTS)
def test_any_argument_comes_back(words):
    assert split_words(" ".join(map(quote_argument, words))) == [word.replace("%", "%%").replace("$", "$$") for word in words]


@given(ARGUMENTS, st.dictionaries(NAMES, ODD, max_size=4))
def test_any_command_and_environment_come_back(words, env):
    host = host_with()
    candidate = host.candidate("smollm2-135m-q8")
    argv = [SERVER, *words, "--port", str(candidate.port)]
    text = render_unit(candidate=candidate, host=host, argv=argv, env=env)
    facts = parse_unit(text)
    assert facts.argv == tuple(argv)
    assert facts.env == env
    assert facts.unresolved == ()
    assert same_command(facts, argv, env) == ()


@given(ARGUMENTS, ARGUMENTS)
def test_two_commands_are_the_same_only_if_they_are_equal(words, others):
    facts = UnitFacts(argv=(SERVER, *words), env={}, port=None)
    assert (same_command(facts, [SERVER, *others], {}) == ()) == (words == others)


# -- differences in words


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-ctk q8_0", "-ctk q4_0", "the unit has -ctk q4_0, tested was -ctk q8_0"),
        ("-c 8192 ", "", "the unit lacks -c 8192, tested was with it"),
        ("-c 8192", "-c 8192 --no-warmup", "the unit has --no-warmup, tested was without"),
        ("-c 8192 -ctk q8_0", "-ctk q8_0 -c 8192", "arguments stand in another order"),
        (SERVER, "/opt/old/llama-server", f"the unit starts /opt/old/llama-server, tested was {SERVER}"),
        ("--port 18092", "--port 18093", "the unit has --port 18093, tested was --port 18092"),
        ("Environment=GGML_CUDA_DISABLE_GRAPHS=1\n", "", "the unit lacks the variable GGML_CUDA_DISABLE_GRAPHS=1"),
        ("DISABLE_GRAPHS=1", "DISABLE_GRAPHS=0", "the unit sets GGML_CUDA_DISABLE_GRAPHS=0, tested was GGML_CUDA_DISABLE_GRAPHS=1"),
        ("Type=exec", "Type=exec\nEnvironment=LLAMA_ARG_CTX_SIZE=4096", "the unit sets LLAMA_ARG_CTX_SIZE=4096, tested was without it"),
        (
            "Type=exec",
            "EnvironmentFile=-/etc/llama.env",
            "EnvironmentFile=-/etc/llama.env in the unit is known to systemd on the host only",
        ),
        ("-c 8192", "-c ${CONTEXT}", "${CONTEXT} in the unit is known to systemd on the host only"),
        ("/models/", "%h/", "%h in the unit is known to systemd on the host only"),
        ("ExecStart=/", "ExecStart=-/", "special prefix '-'"),
    ],
)
def test_every_planted_difference_is_named(unit, argv, old, new, message):
    assert unit.count(old) == 1
    differences = same_command(parse_unit(unit.replace(old, new)), argv, ENV)
    assert any(message in difference for difference in differences), differences


# -- hand-written units

HAND_WRITTEN = r"""
# a comment
[Unit]
Description = hand-written
[Service]
Environment="A=one two" B=2 'C=a "b"'
Environment=EXTRA="--flash-attn on"
Environment=
Environment=A=3 LINE=x\ty%% PORT=8090 "EXTRA=-fa on"
ExecStart=/bin/false
ExecStart=
ExecStart = -/opt/llama-server \
    -m "/models/my model.gguf" \
    # a comment in between
    ; and another
    --port ${PORT} $EXTRA --note "$$A is ${A}" \
    '--x' tab\x09\u4e2d

[Install]
WantedBy=default.target
"""


def test_a_hand_written_unit_is_read_as_systemd_reads_it():
    facts = parse_unit(HAND_WRITTEN)
    assert facts.prefixes == "-"
    assert facts.port == 8090
    assert facts.env == {"A": "3", "LINE": "x\ty%", "PORT": "8090", "EXTRA": "-fa on"}
    assert facts.argv == (
        *("/opt/llama-server", "-m", "/models/my model.gguf", "--port", "8090", "-fa", "on"),
        *("--note", "$A is 3", "--x", "tab\t中"),
    )


def test_windows_line_ends_are_read_too():
    assert parse_unit(HAND_WRITTEN.replace("\n", "\r\n")) == parse_unit(HAND_WRITTEN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the unit has 0 ExecStart= lines"),
        ("[Service]\nType=exec\n", "the unit has 0 ExecStart= lines"),
        ("[Service]\nExecStart=/a\nExecStart=/b\n", "the unit has 2 ExecStart= lines"),
        ("ExecStart=/a\n", "neither a [Section] nor a Key=Value inside one"),
        ("[Service]\nhello\n", "neither a [Section] nor a Key=Value inside one"),
        ('[Service]\nExecStart=/a "b\n', "unbalanced quotes"),
        ('[Service]\nEnvironment="A=\\q"\nExecStart=/a\n', "unknown escape \\q"),
        ("[Service]\nExecStart=@/a b\n", "the prefix @"),
        ("[Service]\nEnvironment=A\nExecStart=/a\n", "'A' is no NAME=VALUE"),
        ("[Service]\nExecStart=  \n", "the unit has 0 ExecStart= lines"),
    ],
)
def test_what_is_no_service_unit_gets_one_message(text, message):
    with pytest.raises(DeployError) as caught:
        parse_unit(text)
    assert message in str(caught.value)


# -- systemd-analyze missing


def test_a_missing_systemd_analyze_is_one_message(unit, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="systemd-analyze is missing"):
        verify_unit(unit, "x.service")


def test_a_unit_needs_a_services_name(unit):
    with pytest.raises(DeployError, match="no name of a service unit"):
        verify_unit(unit, "../x.service")
