"""Which host a run is about, and how a GB10 is recognised from files below any root."""

import pytest

from fixtures.catalog.choose import choose_host, is_gb10


@pytest.mark.parametrize(
    ("option", "env", "gb10", "host", "why"),
    [
        ("./mine.toml", {"READINESS_HOST": "local"}, True, "./mine.toml", "--host"),
        (None, {"READINESS_HOST": " dgx "}, False, "dgx", "READINESS_HOST"),
        ("", {"READINESS_HOST": ""}, True, "dgx", "GB10"),
        (None, {}, False, "local", "not a GB10"),
    ],
)
def test_option_then_variable_then_detection(option, env, gb10, host, why):
    name, reason = choose_host(option, env, lambda: gb10)
    assert name == host
    assert why in reason


def test_detection_is_not_asked_where_the_user_has_spoken():
    def boom():
        raise AssertionError

    assert choose_host("local", {}, boom)[0] == "local"
    assert choose_host(None, {"READINESS_HOST": "local"}, boom)[0] == "local"


GPU = "proc/driver/nvidia/gpus/000f:01:00.0/information"


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        (GPU, "Model: \t\t NVIDIA GB10\nIRQ:   \t\t 0\n", True),
        ("sys/class/dmi/id/product_name", "NVIDIA_DGX_Spark\n", True),
        ("sys/class/dmi/id/product_family", "DGX Spark\n", True),
        ("proc/device-tree/model", "NVIDIA DGX Spark\0", True),
        ("proc/device-tree/compatible", "nvidia,gb10\0nvidia,soc\0", True),
        (GPU, "Model: \t\t NVIDIA GB100\n", False),
        (GPU, "Model: \t\t NVIDIA H100 80GB HBM3\n", False),
        ("sys/class/dmi/id/product_name", "DGX Station A100\n", False),
        ("sys/class/dmi/id/product_name", "\xff\xfe", False),
    ],
)
def test_a_gb10_says_so_in_a_file(tmp_path, file, text, found):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text, encoding="latin-1")
    assert is_gb10(tmp_path) is found


def test_a_machine_that_says_nothing_or_unreadable_things_is_no_gb10(tmp_path):
    assert not is_gb10(tmp_path)
    (tmp_path / "sys/class/dmi/id/product_name").mkdir(parents=True)
    assert not is_gb10(tmp_path)
