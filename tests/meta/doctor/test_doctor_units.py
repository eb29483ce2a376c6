"""The doctor reads units as the suite's own unit reader does, shows no secret, and suggests nothing that changes with every start."""

import re

import pytest
from support.places import DATA

from fixtures.catalog.load import load_host
from fixtures.doctor.examine import Findings
from fixtures.doctor.overlay import render_overlay
from fixtures.doctor.services import ServiceFound, llama_units, running_servers
from fixtures.doctor.suggest import is_passing

RC = "llama-gemma4-26b-k3v4-mtp-rc.service"
ID = "4f3ac1e0d2b94c7f8a6b5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f40"
WHISPER = "/usr/bin/python3 -m whisper_live --port 9090"


def service(unit):
    return ServiceFound(pid=77, command=WHISPER, unit=unit, cpu_pct=311.0)


def overlay(units=(), unit=None):
    findings = Findings(user="qa", units=units, asr_like=(service(unit),))
    return render_overlay(findings, load_host("dgx", bare=True))


def settings(text, key):
    return re.findall(rf"^#{key} = (.*?)(?:  # .*)?$", text, re.MULTILINE)


def test_inputs_of_the_issue():
    """13-doctor: values out of a comment within a continuation, both keys printed, a container's id as unit."""
    units = llama_units([DATA / "doctor_units"], [])
    text = overlay(units, f"docker-{ID}.scope")
    launch = text[text.index("#[launch]") : text.index("#[guard]")]
    assert (settings(launch, "context"), settings(launch, "gpu_layers")) == (["8192"], ["99"])
    assert "sk-qa" not in text
    assert text.count("--api-key '***'") + text.count("--api-key ***") >= 2
    assert settings(text, "unit") == []
    assert settings(text, "cmdline") == ['"whisper_live"']


UNITS = {
    "comment after a value line": ("ExecStart=/x/llama-server -c 8192 -ngl 99 \\\n# -c 131072\n  --port 8088\n", (8192, 99)),
    "semicolon comment": ("ExecStart=/x/llama-server -c 8192 \\\n  ; -ngl 40 \\\n  -ngl 99\n", (8192, 99)),
    "value in a variable": ('Environment="OPTS=-c 8192 -ngl 99"\nExecStart=/x/llama-server $OPTS\n', (8192, 99)),
    "braced variable": ("Environment=CTX=8192\nExecStart=/x/llama-server -c ${CTX} -ngl 99\n", (8192, 99)),
    "reset": ("ExecStart=/x/llama-server -c 131072 -ngl 40\nExecStart=\nExecStart=/x/llama-server -c 8192 -ngl 99\n", (8192, 99)),
    "other section": ("ExecStart=/x/llama-server -c 8192 -ngl 99\n[X-Notes]\nExecStart=/x/llama-server -c 1 -ngl 1\n", (8192, 99)),
    "commented line": ("#ExecStart=/x/llama-server -c 1 -ngl 1\nExecStart=/x/llama-server -c 8192 -ngl 99\n", (8192, 99)),
    "quoted words": ("ExecStart=/x/llama-server \"-c\" '8192' -ngl 99\n", (8192, 99)),
}


@pytest.mark.parametrize("name", UNITS)
def test_unit_is_read_as_systemd_reads_it(name, tmp_path):
    body, expected = UNITS[name]
    (tmp_path / RC).write_text(f"[Unit]\nDescription=llama\n[Service]\n{body}", encoding="utf-8")
    (unit,) = llama_units([tmp_path], [])
    assert (unit.settings.context, unit.settings.gpu_layers) == expected


@pytest.mark.parametrize(
    "text",
    [
        '[Service]\nExecStart=/x/llama-server "--open\n',
        "no unit, but llama --api-key sk-planted-1\n",
        "[Service]\nUser=x\n# llama\n",
        "[Service\nllama=1\n",
    ],
)
def test_file_that_systemd_would_not_start_is_listed_and_nothing_read_out_of_it(text, tmp_path):
    (tmp_path / "llama-x.service").write_text(text, encoding="utf-8")
    (unit,) = llama_units([tmp_path], [])
    assert unit.settings.context is None
    assert "planted" not in unit.model_dump_json()
    assert tmp_path.name in overlay((unit,))


SECRETS = [
    'Environment="LLAMA_OPTS=--metrics --api-key planted-1"\nExecStart=/x/llama-server $LLAMA_OPTS\n',
    "Environment=HF_TOKEN=planted-2\nExecStart=/x/llama-server\n",
    "ExecStart=/x/llama-server --api-key=planted-3\n",
    "ExecStart=/bin/sh -c 'exec /x/llama-server --api-key planted-4'\n",
    "ExecStart=/usr/bin/docker run -e HF_TOKEN=planted-5 llama\n",
    "ExecStart=/x/llama-server -mu https://me:planted-6@host/m.gguf\n",
    "ExecStart=/usr/bin/curl -H 'Authorization: Bearer planted-7' http://llama\n",
    'ExecStart=/x/llama-server "--open --api-key planted-8\n',
]


@pytest.mark.parametrize("body", SECRETS)
def test_no_secret_of_a_unit_is_shown(body, tmp_path):
    (tmp_path / RC).write_text(f"[Service]\n{body}", encoding="utf-8")
    text = overlay(llama_units([tmp_path], []))
    assert "planted" not in text
    assert "***" in text


PASSING = [f"docker-{ID}.scope", f"libpod-{ID}.scope", "run-r1f2e3d.scope", "run-u12.service", "machine-asr.scope", "session-4.scope"]


@pytest.mark.parametrize("unit", PASSING)
def test_unit_that_changes_with_every_start_is_no_suggestion(unit):
    assert is_passing(unit)
    text = overlay(unit=unit)
    assert (settings(text, "unit"), settings(text, "cmdline")) == ([], ['"whisper_live"'])


@pytest.mark.parametrize("unit", ["asr.service", "whisper@1.service", "runner.service"])
def test_lasting_unit_is_suggested(unit):
    assert settings(overlay(unit=unit), "unit") == [f'"{unit}"']


def test_looking_around_shows_no_secret_of_a_running_server():
    assert all("--api-key" not in found.command or "***" in found.command for found in running_servers())
