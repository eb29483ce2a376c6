"""What in a unit hides the GPU, and what only looks like it."""

import pytest

from fixtures.deploy.gpu_hiding import gpu_hiding
from fixtures.deploy.settings import settings_of

NODES = "DeviceAllow=/dev/nvidia0\nDeviceAllow=/dev/nvidiactl rw\nDeviceAllow=/dev/nvidia-uvm rw"


def hiding(text):
    return gpu_hiding(settings_of(f"[Unit]\nDescription=x\n[Service]\n{text}\n", "x.service"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PrivateDevices=yes", "PrivateDevices=yes (x.service:4) hides the GPU"),
        ("PrivateDevices=1\nDeviceAllow=char-nvidia*", "PrivateDevices=1 (x.service:4)"),
        ("ProtectClock=true", "ProtectClock=true (x.service:4) hides the GPU: no DeviceAllow= names /dev/nvidia0"),
        ("DevicePolicy=closed", "no DeviceAllow= names /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm"),
        (
            "DevicePolicy=strict\nDeviceAllow=char-nvidia rw",
            "strict (x.service:4) hides the GPU: no DeviceAllow= names /dev/nvidia-uvm",
        ),
        ("DeviceAllow=/dev/dri/card0", "DeviceAllow=/dev/dri/card0 (x.service:4) hides the GPU"),
        ("DevicePolicy=closed\nDeviceAllow=char-nvidia*\nDeviceAllow=", "DevicePolicy=closed"),
        ("MemoryDenyWriteExecute=on", "the driver cannot compile kernels"),
        ("ProcSubset=pid", "/proc/driver/nvidia is not there"),
        ("InaccessiblePaths=-/dev/nvidia0 /srv", "/dev/nvidia0 cannot be opened"),
        ("TemporaryFileSystem=/dev:ro", "/dev cannot be opened"),
    ],
)
def test_what_hides_the_gpu_is_named_with_its_line(text, said):
    (found,) = hiding(text)
    assert said in found


@pytest.mark.parametrize(
    "text",
    [
        "NoNewPrivileges=yes",
        "PrivateDevices=no",
        "PrivateDevices=yes\nPrivateDevices=no",
        "PrivateDevices=yes\nPrivateDevices=",
        "DevicePolicy=auto",
        f"DevicePolicy=closed\n{NODES}",
        f"ProtectClock=yes\n{NODES}",
        "DevicePolicy=closed\nDeviceAllow=char-nvidia* rw",
        "DeviceAllow=char-nvidia-frontend rw\nDeviceAllow=char-nvidia-uvm rw",
        "InaccessiblePaths=/boot",
        "ProcSubset=all",
    ],
)
def test_what_leaves_the_gpu_visible_is_not(text):
    assert hiding(text) == ()
