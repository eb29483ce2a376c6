"""A home as the README's owner has one, on a machine of its own: a checkout, GGUFs, engine, units, a canary, an ASR service, an editor.

The GGUFs are twins: as large as they are, so that the host's file says other sizes than the DGX's; nothing else of it is changed but
the GPU, which this machine has not, and what is asked: one prompt, and nothing that a script cannot know; two minutes are for all.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fixtures.models.artefacts import check_gguf
from fixtures.models.twins.store import ensure_twin
from llama_build import EngineRequest, build_engine
from support.places import ROOT

HOME = "/home/owner"
_MODELS = {"gemma4-31b": "twin60", "gemma4-26b": "twin30", "gemma4-e4b": "twin42"}
_NAMES = {"gemma4-31b": "gemma-4-31b-it", "gemma4-26b": "gemma-4-26b-a4b-it", "gemma4-e4b": "gemma-4-e4b-it"}
_UNITS = {
    "31b-fullt3": ("gemma4-31b", 8090, "tbq3_0", 3, True),
    "26b-k3v4": ("gemma4-26b", 8088, "tbq4_0", 2, False),
    "e4b-fullt3": ("gemma4-e4b", 8089, "tbq3_0", 2, True),
    "e4b-k3v4": ("gemma4-e4b", 8093, "tbq4_0", 2, False),
}
_UNIT = """\
[Unit]
Description=release candidate {name}
[Service]
Environment=GGML_CUDA_DISABLE_GRAPHS=1
{pure}ExecStart={server} {words}
Restart=on-failure
[Install]
WantedBy=default.target
"""
_SCRIPTED = """
[exempt]
COH-4 = "its text is scripted: it knows no other prompt"
COH-5 = "its text is scripted: it knows no other prompt"
STA-6 = "its text is scripted: it knows no other prompt"
"""
_PURE = "Environment=GGML_TBQ_PURE=1\n"

# a machine that nobody else is on: its own processes, network, homes, locks; the real one is not touched
_ENTER = r"""
set -eu
ip link set lo up
mount -t tmpfs none /home
mkdir -p "$OWNER"
mount --bind "$SCENE" "$OWNER"
mount -t tmpfs none /run/lock
: > /run/lock/dgx-benchmarks.lock
export HOME="$OWNER" EDITOR="$OWNER/edit" READINESS_HOST="$OWNER/dgx.toml"
unset XDG_CACHE_HOME XDG_CONFIG_HOME XDG_STATE_HOME
GGML_CUDA_DISABLE_GRAPHS=1 GGML_TBQ_PURE=1 "$OWNER/llama.cpp/build/bin/llama-server" $CANARY > "$OWNER/canary.log" 2>&1 &
"$PYTHON" "$OWNER/asr-server.py" --port 9000 &
until grep -q listening "$OWNER/canary.log"; do sleep 0.2; done
cd "$OWNER/llama-readiness"
bash "$OWNER/steps.sh"
"""

# what an owner does in the editor: take what was found, leave what is only an example, and say what no machine can know
_EDIT = """\
#!{python}
import re, sys
from pathlib import Path
file = Path(sys.argv[1])
lines = file.read_text().splitlines()
text = "\\n".join(line if "EXAMPLE" in line else re.sub(r"^#(?=[\\[\\w])", "", line) for line in lines) + "\\n"
text = re.sub(r'(?m)^#?lock = .*', 'lock = "/run/lock/dgx-benchmarks.lock"', text)
text = re.sub(r'(?m)^#?texts = .*', 'texts = "shipped"', text)
text = text.replace("[guard]", "[guard]\\nmax_foreign_cpu_pct = 100.0", 1)
file.write_text(text)
"""


def build(scene: Path):
    """The home, as files below `scene`."""
    engine = build_engine(EngineRequest.named("pinned+tbq")).server.parent
    bin_folder = scene / "llama.cpp/build/bin"
    bin_folder.parent.mkdir(parents=True)
    shutil.copytree(engine, bin_folder, symlinks=True)
    host = (ROOT / "fixtures/catalog/hosts/dgx.toml").read_text()
    host = re.sub(r"(?ms)^\[hardware\]\n.*?(?=^\[)", "", host).replace('preset = "cuda-gb10"', 'preset = "cpu"')
    host = re.sub(r"(?m)^prompts = .*", 'prompts = ["zh_marker"]', host) + _SCRIPTED
    host = host.replace("[launch]\n", "[launch]\nthreads = 1  # spinning threads crawl on a busy machine\n", 1)
    for model, twin in _MODELS.items():
        made = ensure_twin(twin, "scripted")
        for part, source in (("target", made.target), ("drafter", made.drafter)):
            file = scene / "models" / f"{_NAMES[model]}{'-assistant' if part == 'drafter' else ''}-Q8_0.gguf"
            file.parent.mkdir(exist_ok=True)
            shutil.copy(source, file)
            stated = f'size = "{file.stat().st_size / (1 << 20):.3g}M", file_type = "{check_gguf(file).file_type}"'
            host = _with_size(host, model, part, stated)
    (scene / "dgx.toml").write_text(host)
    units = scene / ".config/systemd/user"
    units.mkdir(parents=True)
    for name, (model, port, v_type, drafted, pure) in _UNITS.items():
        words = " ".join(command_words(model, port, "tbq3_0", v_type, drafted))
        server = f"{HOME}/llama.cpp/build/bin/llama-server"
        text = _UNIT.format(name=name, pure=_PURE if pure else "", server=server, words=words)
        (units / f"llama-gemma4-{name}-mtp-rc.service").write_text(text)
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (checkout := scene / "llama-readiness" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, checkout)
    (scene / "llama-readiness/.venv").symlink_to((ROOT / ".venv").resolve())
    (scene / "asr-server.py").write_text("import time\nwhile True:\n    time.sleep(1)\n")
    editor = scene / "edit"
    editor.write_text(_EDIT.format(python=sys.executable))
    editor.chmod(0o755)


def command_words(model, port, k_type, v_type, drafted):
    """A llama-server as the owner starts one, by hand or by unit."""
    stem = f"{HOME}/models/{_NAMES[model]}"
    words = f"-m {stem}-Q8_0.gguf --host 127.0.0.1 --port {port} -c 8192 -np 1 -t 1 -ub 512 -fa on -fit off -ctk {k_type} -ctv {v_type}"
    drafting = f"--spec-type draft-mtp,ngram-mod -md {stem}-assistant-Q8_0.gguf --spec-draft-n-max {drafted}"
    return [*words.split(), "--jinja", *drafting.split(), "-lv", "4"]


def _with_size(host, model, part, stated):
    table, line = host.index(f"[models.{model}]"), f"\n{part} = "
    start = host.index(line, table)
    end = host.index("\n", start + 1)
    return host[:start] + f'{line}{{ kind = "file", {stated} }}' + host[end:]


def walk(scene: Path, steps: str, timeout=600):
    """The steps, a bash script, on the machine of their own; what they print."""
    (scene / "steps.sh").write_text(steps)
    env = os.environ | {
        "SCENE": str(scene),
        "OWNER": HOME,
        "PYTHON": sys.executable,
        "CANARY": " ".join(command_words("gemma4-26b", 8092, "tbq3_0", "tbq3_0", 2)),
    }
    command = ["unshare", "-m", "-n", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", _ENTER]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    return done.stdout
