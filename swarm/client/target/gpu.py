"""Readings of a target's GPUs, once a second: from a dcgm-exporter's page, or from NVML on this machine.

Both come to the same names: `gpu_power_w`, `gpu_memory_used_bytes` and `gpu_energy_j` summed over the target's GPUs,
`gpu_sm_clock_hz` of the slowest, `gpu_temperature_c` of the hottest, `gpu_busy` (0..1) their mean, and `gpu_throttled`:
1 while power or heat holds down the clock of one of them. What is not told is left out.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import aiohttp

from swarm.client.base import Connection
from swarm.client.wire import plain_session
from swarm.errors import UsageError
from swarm.text import listed

MAX_PAGE_BYTES = 4 << 20
HELD_DOWN = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""Reasons for a low clock, by NVML's bits: software power cap, hardware slowdown, thermal (software, hardware), power
brake."""

Sample = dict[str, float]


@dataclass(frozen=True)
class _Quantity:
    """How values of several GPUs, each times `unit`, become one."""

    name: str
    unit: float
    over_gpus: Callable[[Sequence[float]], float]


def _any_held_down(masks: Sequence[float]) -> float:
    return float(any(int(mask) & HELD_DOWN for mask in masks))


_DCGM = {
    "DCGM_FI_DEV_POWER_USAGE": _Quantity("gpu_power_w", 1, sum),
    "DCGM_FI_DEV_SM_CLOCK": _Quantity("gpu_sm_clock_hz", 1e6, min),
    "DCGM_FI_DEV_FB_USED": _Quantity("gpu_memory_used_bytes", 1 << 20, sum),
    "DCGM_FI_DEV_GPU_TEMP": _Quantity("gpu_temperature_c", 1, max),
    "DCGM_FI_DEV_GPU_UTIL": _Quantity("gpu_busy", 0.01, fmean),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": _Quantity("gpu_energy_j", 1e-3, sum),
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": _Quantity("gpu_throttled", 1, _any_held_down),  # before DCGM 4
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": _Quantity("gpu_throttled", 1, _any_held_down),
}
_LINE = re.compile(r'^(DCGM_FI_DEV_\w+)\{(?:[^\n]*?,)?gpu="(\d+)"[^\n]*\} ([0-9.eE+-]+)', re.M)


def pick(page: str, devices: Collection[int] | None) -> Sample:
    """A sample from a dcgm-exporter's page; `devices`: the GPUs that count, by number; None: all."""
    found: dict[str, list[float]] = {}
    for name, gpu, value in _LINE.findall(page):
        if name in _DCGM and (devices is None or int(gpu) in devices):
            found.setdefault(name, []).append(float(value) * _DCGM[name].unit)
    return {_DCGM[name].name: _DCGM[name].over_gpus(values) for name, values in found.items()}


class DcgmReader:
    """Reads a dcgm-exporter; an async context manager."""

    def __init__(self, url: str, devices: Collection[int] | None) -> None:
        self._url = url
        self._devices = devices

    async def __aenter__(self) -> "DcgmReader":
        self._session = plain_session(Connection(self._url, None))  # the target's key is not the exporter's business
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def read(self) -> Sample:
        """The sample of now; empty when there is no answer."""
        try:
            async with self._session.get(self._url) as response:
                page = await response.content.read(MAX_PAGE_BYTES) if response.status == 200 else b""
                while page and not response.content.at_eof() and len(page) < MAX_PAGE_BYTES:
                    page += await response.content.read(MAX_PAGE_BYTES)
        except (aiohttp.ClientError, OSError):
            return {}
        return pick(page.decode(errors="replace"), self._devices)


class NvmlReader:
    """Reads GPUs of this machine; an async context manager. Raises UsageError where one is not there."""

    def __init__(self, devices: Sequence[int]) -> None:
        self._devices = devices

    async def __aenter__(self) -> "NvmlReader":
        import pynvml

        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(device) for device in self._devices]
        except pynvml.NVMLError as error:
            raise UsageError(
                f"gpu_devices: {listed(self._devices)}: {error}; see what `nvidia-smi -L` lists, or name "
                "a dcgm-exporter with gpu_metrics_url"
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        import pynvml

        pynvml.nvmlShutdown()

    async def read(self) -> Sample:
        # In a thread: a driver may take milliseconds for each of these, and lets go of the interpreter meanwhile.
        return await asyncio.to_thread(self._read)

    def _read(self) -> Sample:
        import pynvml as nvml

        asked: list[tuple[_Quantity, Callable[[Any], float]]] = [
            (_Quantity("gpu_power_w", 1e-3, sum), nvml.nvmlDeviceGetPowerUsage),
            (_Quantity("gpu_sm_clock_hz", 1e6, min), lambda gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
            (_Quantity("gpu_memory_used_bytes", 1, sum), lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
            (
                _Quantity("gpu_temperature_c", 1, max),
                lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
            ),
            (_Quantity("gpu_busy", 0.01, fmean), lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
            (_Quantity("gpu_energy_j", 1e-3, sum), nvml.nvmlDeviceGetTotalEnergyConsumption),
            (_Quantity("gpu_throttled", 1, _any_held_down), nvml.nvmlDeviceGetCurrentClocksThrottleReasons),
        ]
        found: Sample = {}
        for quantity, ask in asked:
            try:
                found[quantity.name] = quantity.over_gpus([ask(gpu) * quantity.unit for gpu in self._handles])
            except nvml.NVMLError:
                continue  # an older GPU does not tell everything
        return found
