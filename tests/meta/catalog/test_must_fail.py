"""Negative candidates of host local, spoiled: what could never fail, or is deployed all the same, is one message."""

import pytest

from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import CATALOG, load_host

LOCAL = (CATALOG / "hosts/local.toml").read_text(encoding="utf-8")
MUST = 'must_fail = { COH-1 = "text check failed", PPL-2 = "mean KL divergence from F16 KV is" }'

SPOILED = {
    "chosen": ('gemma3-270m = "gemma3-270m-q8"', 'gemma3-270m = "gemma3-270m-k3v3"', "which is not a promoted candidate of gemma3-270m"),
    "unknown": (MUST, 'must_fail = { COH-11 = "text check failed" }', "must_fail.COH-11` is not a requirement; did you mean `COH-1`?"),
    "does not apply": (MUST, 'must_fail = { DEP-1 = "x" }', "must_fail.DEP-1` does not apply to gemma3-270m-k3v3, so that it could never"),
    "no limit": (MUST, 'must_fail = { TPS-1 = "x" }', "must_fail.TPS-1` cannot fail without a limit; give `limits.decode_tps`"),
    "no words": (MUST, 'must_fail = { COH-1 = "" }', "must_fail.COH-1` is empty"),
    "no requirement": (MUST, "must_fail = {}", "must_fail` is missing; a negative candidate names what it must fail"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_negative_candidate_that_does_not_fit(tmp_path, case):
    old, new, said = SPOILED[case]
    assert old in LOCAL
    host = tmp_path / "local.toml"
    host.write_text(LOCAL.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        load_host(str(host), bare=True)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
