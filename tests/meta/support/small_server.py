"""The plan of a small real server for tests that look at single requests: the local host's instruct model, on a port that was free."""

from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine
from support.free_port import free_port

_NGRAM = ("--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "8", "--spec-ngram-mod-n-min", "4", "--spec-ngram-mod-n-max", "16")


def small_server(folder, name, *, drafting):
    """Its log is `<name>.log` in `folder`; `drafting` as the local stand-ins do, or not at all."""
    engine, model = build_engine(EngineRequest.named("pinned+tbq")), ensure_registry_model("smollm2-135m")
    port = free_port()
    fixed = ("-c", "2048", "-np", "1", "-t", "1", "--jinja", "-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on", "--alias", name)
    argv = (str(engine.server), "-m", str(model), "--port", str(port), *fixed, *(_NGRAM if drafting else ()))
    command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}, policy_env={})
    return LaunchPlan(command, port, name, model, folder / f"{name}.log", 300.0, 300.0, 5.0)
