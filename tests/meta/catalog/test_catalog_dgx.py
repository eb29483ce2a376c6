"""The DGX catalog against the seed report's tables: digit by digit, and no figure more."""

import re
import tomllib
from decimal import Decimal

import pytest
from support.places import DATA

from fixtures.catalog.candidate import GATED_ROLES, Role
from fixtures.catalog.load import CATALOG, applies, load_claims, load_host, load_lanes, load_requirements
from fixtures.catalog.missing import all_missing_keys, missing_keys
from fixtures.catalog.model import FileArtefact
from fixtures.models.geometry import shipped_geometry
from fixtures.models.kv_size import KvShape, kv_size

SEED = tomllib.loads(DATA.joinpath("seed_tables.toml").read_text(encoding="utf-8"))
GEOMETRY = {"31b": "gemma4-31b", "26b": "gemma4-26b-a4b", "e4b": "gemma4-e4b", "e2b": "gemma4-e2b"}


@pytest.fixture(scope="module")
def dgx(tmp_path_factory):
    """The host as shipped: no overlay of this machine's user may change what these tests see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("no-overlay")))
        yield load_host("dgx")


def leaves(value, place=()):
    """(dotted place, leaf); entries of a list are named by their id where they have one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*place, inner.get("id", str(index)) if isinstance(inner, dict) else str(index)))
    else:
        yield ".".join(place), value


def written(name):
    """A catalog file's leaves with numbers as they are written: 24.6580 stays 24.6580."""
    return dict(leaves(tomllib.loads((CATALOG / name).read_text(encoding="utf-8"), parse_float=Decimal)))


def numbers(values):
    return {place: str(value) for place, value in values.items() if isinstance(value, int | Decimal) and not isinstance(value, bool)}


def expected_numbers():
    """Every number that hosts/dgx.toml must hold, from the seed's tables alone."""
    found = {"schema": "1"}
    for key in ("memory_gb", "bandwidth_gb_s"):
        found[f"hardware.{key}"] = SEED["machine"][key]
    for key in ("ubatch", "parallel"):
        found[f"launch.{key}"] = SEED["machine"][key]
    found |= {f"speed.depths.{index}": depth for index, depth in enumerate(SEED["speed"]["depths"])}
    found["ports.test"] = SEED["ports"]["test"]
    found |= {f"ports.watch.{name}": SEED["ports"][name] for name in ("fallback", "canary")}
    found |= {f"guard.residents.{index}.port": SEED["ports"][name] for index, name in enumerate(("canary", "fallback"))}
    for row in SEED["candidate"]:
        found |= _candidate_numbers(row)
    for row_id, readings in SEED["readings"].items():
        found |= {f"rows.{row_id}.readings.{index}.value": value for index, (_, value) in enumerate(readings)}
    found |= {f"audit.clear_ports.{index}": port for index, port in enumerate(SEED["audit"]["clear"])}
    found |= {f"audit.taken_ports.{index}.port": port for index, port in enumerate(SEED["audit"]["taken"])}
    found["audit.competing_cpu_pct.ASR"] = SEED["audit"]["asr_pct"]
    return found


def _candidate_numbers(row):
    at, tolerance = f"candidates.{row['id']}", SEED["tolerances"]
    found = {
        f"{at}.speculation.mtp_block": row["block"],
        f"{at}.limits.decode_tps.reference": row["tps"][0],
        f"{at}.limits.decode_tps.reference_high": row["tps"][1],
        f"{at}.limits.decode_tps.tolerance": tolerance["tps"],
        f"{at}.limits.accept_pct.reference": row["accept"],
        f"{at}.limits.accept_pct.tolerance": tolerance["accept"],
        f"{at}.limits.kv_8k_mib.reference": row["kv_8k"],
        f"{at}.limits.kv_8k_mib.tolerance": tolerance["kv_8k"],
    }
    if "ppl" in row:
        found |= {f"{at}.limits.ppl.reference": row["ppl"], f"{at}.limits.ppl.tolerance": tolerance["ppl"]}
    if row["id"] in SEED["services"]:
        found[f"{at}.port"] = SEED["services"][row["id"]][1]
    return found


def test_every_number_is_the_seeds_digit_by_digit_and_none_is_left_over():
    assert numbers(written("hosts/dgx.toml")) == expected_numbers()


def test_a_changed_digit_would_be_seen():
    text = (CATALOG / "hosts/dgx.toml").read_text(encoding="utf-8")
    for right, wrong in (("24.6580", "24.658"), ("359.38", "359.83"), ("8093", "8094"), ("90.00", "90.0")):
        changed = dict(leaves(tomllib.loads(text.replace(right, wrong, 1), parse_float=Decimal)))
        assert numbers(changed) != expected_numbers(), f"{right} -> {wrong}"


def unknown_to_the_seed(text):
    figures = {number for _, leaf in leaves(SEED) for number in re.findall(r"\d+(?:\.\d+)?", str(leaf))}
    return set(re.findall(r"\d+(?:\.\d+)?", text)) - figures


def test_no_sentence_mentions_a_number_that_the_seed_does_not_have():
    texts = {place: value for place, value in written("hosts/dgx.toml").items() if isinstance(value, str)}
    assert {place: text for place, text in texts.items() if unknown_to_the_seed(text)} == {}
    assert unknown_to_the_seed("about 97.20 t/s at 8094") == {"97.20", "8094"}


def test_candidates_are_the_seeds_rows(dgx):
    found = {
        c.id: (c.role.value, c.lane, str(c.speculation.mtp_block), c.speculation.ngram_mod, c.policy.pure_mode, c.policy.no_graphs)
        for c in dgx.candidates
    }
    wanted = {row["id"]: (row["role"], row["lane"], row["block"], row["ngram"], row["pure"], True) for row in SEED["candidate"]}
    assert found == wanted


def test_artefacts_are_the_seeds(dgx):
    for name, (target, drafter) in SEED["artefacts"].items():
        model = dgx.models[f"gemma4-{name}"]
        assert isinstance(model.target, FileArtefact)
        assert isinstance(model.drafter, FileArtefact)
        assert (model.target.size, model.target.file_type, model.drafter.size) == (target, "Q4_K_M", drafter)
        assert model.target.path is None, "a path of somebody's machine in the public host file"
    assert {c.id: c.model for c in dgx.candidates} == {row["id"]: f"gemma4-{row['model']}" for row in SEED["candidate"]}


def test_services_are_the_seeds(dgx):
    found = {c.id: [c.unit, str(c.port)] for c in dgx.candidates if c.unit or c.port}
    assert found == SEED["services"]
    assert dgx.fallback is not None
    assert dgx.fallback.unit == SEED["fallback"]["unit"]


def test_tolerances_stand_3_percent_and_3_points_below_and_say_proposed(dgx):
    for candidate in dgx.candidates:
        speed, accept, kv = candidate.limit("decode_tps"), candidate.limit("accept_pct"), candidate.limit("kv_8k_mib")
        assert speed and accept and kv
        assert speed.proposed and accept.proposed and not kv.proposed
        assert speed.margin(speed.reference * 0.97) == pytest.approx(0, abs=1e-9)
        assert speed.margin(speed.reference * 0.969) < 0
        assert accept.bound == pytest.approx(accept.reference - 3)
        assert kv.margin(kv.reference + 0.02) < 0 < kv.margin(kv.reference)
    ppl = dgx.candidate("e4b-k3v3").limit("ppl")
    assert ppl is not None
    assert ppl.margin(24.6580 * 1.0009) > 0 > ppl.margin(24.6580 * 1.0011)


def test_rows_are_kept_apart_and_carry_their_readings(dgx):
    assert {row.role for row in dgx.rows} == {"reference", "control", "withdrawn", "side"}
    assert {candidate.role for candidate in dgx.candidates} == {Role.PROMOTED, Role.COMPARISON} <= GATED_ROLES
    found = {row.id: [[reading.case, f"{reading.value:g}"] for reading in row.readings] for row in dgx.rows if row.readings}
    assert found == {row: [[case, f"{float(value):g}"] for case, value in readings] for row, readings in SEED["readings"].items()}


def test_no_lane_is_chosen_before_its_owner_decides(dgx):
    assert dgx.goal.models == ("gemma4-31b", "gemma4-26b", "gemma4-e4b")
    assert dgx.goal.chosen == {}


def test_the_8k_figures_follow_from_the_named_geometries_and_lanes(dgx):
    lanes = load_lanes()
    for candidate in dgx.candidates:
        lane, geometry, limit = lanes.lanes[candidate.lane], dgx.models[candidate.model].geometry, candidate.limit("kv_8k_mib")
        assert geometry and limit
        shape = KvShape(n_ctx=8192, n_ubatch=dgx.launch.ubatch, n_parallel=dgx.launch.parallel)
        size = kv_size(shipped_geometry(geometry), shape, lanes.roles[lane.k].bpw, lanes.roles[lane.v].bpw)
        assert limit.margin(size.total_mib) >= 0, f"{candidate.id}: {size.total_mib} MiB"


def test_claims_are_the_seeds_kv_tables():
    found = {(c.geometry, c.lane, c.context): (c.unit, f"{c.value:.2f}") for c in load_claims()}
    wanted = {(GEOMETRY[row["model"]], row["lane"], 8192): ("MiB", row["kv_8k"]) for row in SEED["candidate"]}
    for model, values in SEED["kv_128k"].items():
        wanted |= {(GEOMETRY[model], lane, 131072): ("GiB", v) for lane, v in zip(("f16", "q8", "k3v4", "k3v3"), values, strict=True)}
    assert found == wanted
    assert len(load_claims()) == len(wanted)
    contexts = {"8192", "131072"}
    assert set(numbers(written("claims.toml")).values()) - contexts == {value for _, value in wanted.values()}


def test_claims_name_shipped_geometries():
    for claim in load_claims():
        assert shipped_geometry(claim.geometry).name == claim.geometry


def test_coherence_of_26b_is_owed_by_both_lanes_and_by_nothing_else_called_26b(dgx):
    coherence = next(r for r in load_requirements() if r.id == "COH-1")
    assert [c.id for c in dgx.candidates if "26b" in c.id and applies(coherence, c, dgx)] == ["26b-k3v4", "26b-k3v3"]
    assert not applies(coherence, dgx.candidate("31b-k3v4"), dgx)


def test_the_comparison_row_owes_no_ppl_and_four_candidates_owe_a_unit(dgx):
    requirements = {r.id: r for r in load_requirements()}
    assert [c.id for c in dgx.candidates if not applies(requirements["PPL-1"], c, dgx)] == ["31b-k3v4"]
    assert sorted(c.id for c in dgx.candidates if applies(requirements["DEP-1"], c, dgx)) == sorted(SEED["services"])


def test_nothing_that_only_the_owner_knows_is_in_the_public_file(dgx):
    missing = set(all_missing_keys(dgx, load_requirements()))
    assert {
        "guard.lock",
        "guard.competing",
        "engine.recipe",
        "engine.path",
        "engine.commit",
        "engine.pure_mode_env",
        "models.gemma4-31b.target.path",
        "models.gemma4-e4b.drafter.path",
        "launch.context",
        "coherence.texts",
        "speed.prompt_set",
        "ppl.corpus",
        "ppl.chunks",
        "ppl.context",
        "units.directory",
        "units.scope",
        "fallback.backup",
        "fallback.copy",
        "candidates.26b-k3v3.limits.ppl.backend",
        "candidates.26b-k3v3.limits.ppl.corpus_sha256",
    } <= missing
    text = (CATALOG / "hosts/dgx.toml").read_text(encoding="utf-8")
    assert not re.search(r"/(home|mnt|tmp|opt|usr)/", text)


def test_static_requirements_of_the_dgx_need_no_overlay(dgx):
    static = [requirement for requirement in load_requirements() if not requirement.runtime]
    assert static
    assert {missing_keys(dgx, candidate, requirement) for requirement in static for candidate in dgx.candidates} == {()}
