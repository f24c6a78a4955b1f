"""Soaks in virtual time: small jobs of two agents, windows of ten seconds, and servers that get into trouble."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from small_runs import write_project

from swarm.client.base import ChatRequest, Failure, Observation
from swarm.commands.predict import PARTS, Parts, continue_prediction, predict_scenario
from swarm.commands.soak import resume_soak, run_soak
from swarm.engine.virtual import VirtualClient, VirtualServer
from swarm.scenario.load import load_scenario


@dataclass
class Trouble:
    """What a server does wrong, in seconds on the run's time line."""

    down: tuple[float, float] | None = None
    """It crashes, and is back as another process."""
    stall: tuple[float, float] | None = None
    """Nothing comes meanwhile, and no connection is closed."""
    busy: tuple[float, float] | None = None
    """It refuses everything with 429."""
    cut_every: int | None = None
    """So many requests from one truncated stream to the next."""
    sent: list[float] = field(default_factory=list)
    """When requests came."""


class TroubledClient(VirtualClient):
    trouble = Trouble()

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        trouble, clock = self.trouble, self._clock
        now = clock.now() / 1e9
        trouble.sent.append(now)
        if trouble.busy and trouble.busy[0] <= now < trouble.busy[1]:
            return self._fail(seen, Failure("rate_limited", "HTTP 429", 429), now)
        if trouble.down and trouble.down[0] <= now < trouble.down[1]:
            return self._fail(seen, Failure("refused", "connection refused"), now)
        if trouble.down and now < trouble.down[0]:
            return await self._until_down(request, seen, trouble.down[0] - now)
        if trouble.stall and trouble.stall[0] <= now < trouble.stall[1]:
            await asyncio.sleep(trouble.stall[1] - now)
            await super().complete(request, seen)
            seen.send_ns = round(now * 1e9)
            return None
        await super().complete(request, seen)
        if trouble.stall and now < trouble.stall[0] <= clock.now() / 1e9:
            await self._hold_back(seen, trouble.stall)
        if trouble.cut_every and len(trouble.sent) % trouble.cut_every == 0 and seen.stamps:
            del seen.stamps[len(seen.stamps) // 2 :], seen.tokens[len(seen.tokens) // 2 :]
            seen.completion_tokens, seen.finish_reason = len(seen.stamps), None
            seen.failure = Failure("cut", "the stream ended without [DONE]")
        return None

    def _fail(self, seen: Observation, failure: Failure, now_s: float) -> None:
        seen.send_ns = seen.end_ns = round(now_s * 1e9)
        seen.failure = failure

    async def _until_down(self, request: ChatRequest, seen: Observation, left_s: float) -> None:
        try:
            async with asyncio.timeout(left_s):
                await super().complete(request, seen)
        except TimeoutError:
            seen.end_ns, seen.failure = self._clock.now(), Failure("reset", "connection reset by peer")

    async def _hold_back(self, seen: Observation, stall: tuple[float, float]) -> None:
        begin, late = (round(edge * 1e9) for edge in (stall[0], stall[1] - stall[0]))
        for index, stamp in enumerate(seen.stamps):
            seen.stamps[index] = stamp + late if stamp >= begin else stamp
        await asyncio.sleep(late / 1e9)
        seen.end_ns = self._clock.now()


class TroubledServer(VirtualServer):
    trouble = Trouble()

    async def read(self) -> dict[str, float] | None:
        now, down = self._loop.time(), self.trouble.down
        if down and down[0] <= now < down[1]:
            return None
        found = await super().read()
        if found and down and now >= down[1]:
            found["started_at"] += down[1]
        return found


@pytest.fixture
def trouble(soaks: "Soaks") -> Callable[..., Trouble]:
    """Gets the servers of this test into trouble."""

    def prepare(**kinds: Any) -> Trouble:
        made = Trouble(**kinds)
        troubled = {"trouble": made}
        client, server = (type("Mine", (one,), troubled) for one in (TroubledClient, TroubledServer))
        soaks.parts = replace(soaks.parts, client=client, server=server)
        return made

    return prepare


@dataclass
class Soaks:
    """Runs soaks of one project."""

    folder: Path
    parts: Parts = PARTS

    def write(self, **changes: Any) -> Path:
        stage = {"warmup": "20s", "duration": "4m", "trials": 1} | changes.pop("stage", {})
        agents = {"levels": [2], "system_tokens": 1500, "context": "4k", "think": "3s"} | changes.pop("agents", {})
        write_project(
            self.folder, agents=agents, stage=stage, soak={"window": "10s"} | changes.pop("soak", {}), **changes
        )
        return self.folder / "small.yaml"

    def run(self, name: str = "night", **changes: Any) -> dict[str, Any]:
        """The results of a soak in virtual time; four minutes if nothing else is said."""
        path = self.folder / "small.yaml"
        if changes or not path.exists():
            path = self.write(**changes)
        run_soak(load_scenario(path), self.folder / name, None, partial(predict_scenario, parts=self.parts))
        return analyse(self.folder / name)

    def resume(self, name: str = "night") -> dict[str, Any]:
        resume_soak(self.folder / name, None, predict=partial(continue_prediction, parts=self.parts))
        return analyse(self.folder / name)

    def break_off(self, name: str = "night", share: float = 0.5) -> None:
        """Leaves the files as `kill -9` would: cut somewhere, in the middle of a line."""
        for file in ("events.jsonl", "server.jsonl", "histograms.hlog"):
            data = (self.folder / name / file).read_bytes()
            (self.folder / name / file).write_bytes(data[: round(len(data) * share)].rstrip(b"\n")[:-3])
        (self.folder / name / "results.json").unlink(missing_ok=True)


@pytest.fixture
def soaks(tmp_path: Path) -> Soaks:
    return Soaks(tmp_path)


def reasons(results: dict[str, Any]) -> str:
    return " ".join(results["invalid_reasons"])
