"""GPUs under a target: a dcgm-exporter's page, and NVML's answers."""

from types import SimpleNamespace

import pynvml
import pytest

from swarm.client.target.gpu import DcgmReader, NvmlReader, pick
from swarm.errors import UsageError

PAGE = """\
# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-a",device="nvidia0"} 1695
DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="GPU-b",device="nvidia1"} 1200
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a"} 300.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-b"} 100
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-a"} 2000
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a"} 60
DCGM_FI_DEV_GPU_TEMP{UUID="GPU-b",gpu="1"} 80
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a"} 90
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b"} 30
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a"} 1024
DCGM_FI_DEV_CLOCKS_EVENT_REASONS{gpu="0",UUID="GPU-a"} 1
DCGM_FI_DEV_CLOCKS_EVENT_REASONS{gpu="1",UUID="GPU-b"} 33
DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-a"} 7
"""


def test_a_page_becomes_one_sample_in_base_units():
    assert pick(PAGE, None) == {
        "gpu_sm_clock_hz": 1200e6,
        "gpu_power_w": 400.5,
        "gpu_energy_j": 2.0,
        "gpu_temperature_c": 80.0,
        "gpu_busy": pytest.approx(0.6),
        "gpu_memory_used_bytes": float(1 << 30),
        "gpu_throttled": 1.0,  # 33: idle, and a thermal limit
    }


def test_only_the_targets_gpus_count():
    of_one = pick(PAGE, [0])
    assert (of_one["gpu_power_w"], of_one["gpu_sm_clock_hz"], of_one["gpu_throttled"]) == (300.5, 1695e6, 0.0)
    assert pick(PAGE, [7]) == {}
    assert pick("<html>not found</html>", None) == {}


async def test_an_exporter_that_does_not_answer_says_nothing():
    async with DcgmReader("http://127.0.0.1:9/metrics", None) as reader:
        assert await reader.read() == {}


@pytest.fixture
def two_gpus(monkeypatch):
    """NVML as nvidia-ml-py shows it, with two GPUs; the second does not tell its energy."""

    def energy(gpu: int) -> int:
        if gpu == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 5_000

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetPowerUsage": lambda gpu: 250_000 + gpu * 50_000,
        "nvmlDeviceGetClockInfo": lambda gpu, kind: {pynvml.NVML_CLOCK_SM: 1500 + gpu}[kind],
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=1 << 30),
        "nvmlDeviceGetTemperature": lambda gpu, kind: {pynvml.NVML_TEMPERATURE_GPU: 70 + gpu}[kind],
        "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=50),
        "nvmlDeviceGetTotalEnergyConsumption": energy,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: 0x4 if gpu else 0x1,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)


async def test_nvml_gives_the_same_names_and_leaves_out_what_it_does_not_tell(two_gpus):
    async with NvmlReader([0, 1]) as reader:
        both = await reader.read()
    async with NvmlReader([0]) as reader:
        first = await reader.read()
    assert both == {
        "gpu_power_w": 550.0,
        "gpu_sm_clock_hz": 1500e6,
        "gpu_memory_used_bytes": float(2 << 30),
        "gpu_temperature_c": 71.0,
        "gpu_busy": 0.5,
        "gpu_throttled": 1.0,
    }
    assert (first["gpu_energy_j"], first["gpu_throttled"]) == (5.0, 0.0)


async def test_a_gpu_that_is_not_there_is_told_before_the_run(monkeypatch):
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    with pytest.raises(UsageError, match=r"gpu_devices: 0: .*nvidia-smi -L"):
        async with NvmlReader([0]):
            pass
