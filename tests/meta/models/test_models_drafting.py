"""Drafters that are models, kind by kind: which target a file drafts for, and what cache it has of its own."""

import pytest
from support.dflash_drafter import HEAD, write_dflash_drafter

from fixtures.models.artefacts import check_gguf
from fixtures.models.drafting import draft_cache, drafter_mismatch
from fixtures.models.errors import ArtefactError
from fixtures.models.traffic import weight_bytes
from fixtures.models.twins import ensure_twin


@pytest.fixture(scope="module")
def twin():
    return ensure_twin("twin42", "scripted")


@pytest.fixture(scope="module")
def target(twin):
    return check_gguf(twin.target)


@pytest.fixture(scope="module")
def dflash(twin, tmp_path_factory):
    return check_gguf(write_dflash_drafter(tmp_path_factory.mktemp("dflash") / "drafter.gguf", twin.target))


@pytest.mark.parametrize("spelt", ["dflash", "dflash-draft"])
def test_a_dflash_drafter_fits_by_hidden_size_and_vocabulary(target, dflash, spelt):
    drafter = dflash.model_copy(update={"architecture": spelt})
    assert drafter_mismatch("dflash", target, drafter) == ""
    for changed, said in (
        ({"hidden_size": 256}, "drafts for hidden size 256, the target"),
        ({"vocabulary": dflash.vocabulary + 129}, f"has {dflash.vocabulary + 129} tokens, the target"),
        ({"architecture": "eagle3"}, "has architecture eagle3, expected dflash: name the DFlash drafter of"),
    ):
        assert said in drafter_mismatch("dflash", target, drafter.model_copy(update=changed))


def test_a_drafter_of_one_kind_is_none_of_another(twin, target, dflash):
    assistant = check_gguf(twin.drafter)
    assert "has architecture gemma4-assistant, expected dflash" in drafter_mismatch("dflash", target, assistant)
    assert "has architecture dflash, expected gemma4-assistant" in drafter_mismatch("mtp", target, dflash)


def test_a_draft_model_is_any_model_of_the_same_tokens(target):
    assert drafter_mismatch("simple", target, target) == ""
    assert drafter_mismatch("simple", target, target.model_copy(update={"vocabulary": target.vocabulary - 128})) == ""
    assert "belongs to another model" in drafter_mismatch("simple", target, target.model_copy(update={"vocabulary": 49152}))
    assert "has the tokenizer gpt2, the target" in drafter_mismatch("simple", target, target.model_copy(update={"tokenizer": "gpt2"}))


def test_who_has_a_cache_of_its_own(twin, target, dflash):
    """An assistant looks into its target's; a DFlash drafter and a draft model have all their layers' own."""
    assert draft_cache("mtp", target, check_gguf(twin.drafter)) is None
    own = draft_cache("dflash", target, dflash)
    assert [(layer.kv_heads, layer.k_dim, layer.v_dim) for layer in own.layers] == [(1, HEAD, HEAD)]
    assert len(draft_cache("simple", target, target).layers) == 24
    inside = check_gguf(ensure_twin("twin64", "geometry").target)
    assert len(draft_cache("mtp", inside, None).layers) == 1


def test_a_forks_own_architecture_has_a_cache_that_nobody_can_compute(target, dflash, tmp_path):
    fork = tmp_path / "fork.gguf"
    fork.write_bytes(dflash.path.read_bytes().replace(b"dflash", b"dfork9"))
    with pytest.raises(ArtefactError, match="'dfork9', whose KV cache is not known here"):
        draft_cache("dflash", target, check_gguf(fork))


def test_a_pass_reads_all_of_a_dflash_drafter_but_its_embedding(dflash):
    found = weight_bytes(dflash.parts)
    assert found.step == found.file - dflash.vocabulary * dflash.hidden_size * 2
