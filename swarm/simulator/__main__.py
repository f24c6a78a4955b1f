"""`python -m swarm.simulator`: the simulated vLLM in a process of its own."""

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import get_args

from swarm.simulator import profiles
from swarm.simulator.profiles import Admission, Profile

_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM. Exit code 2: the profile, an option or the address cannot be used."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if args.exit_with_parent:
        exit_with_parent()
    try:
        profile = profiles.load(
            args.profile,
            max_num_seqs=args.max_num_seqs,
            max_num_batched_tokens=args.max_num_batched_tokens,
            max_model_len=args.max_model_len,
            kv_tokens=args.kv_tokens,
            admission=args.admission,
        )
        serve(profile, host=args.host, port=args.port, served_model_name=args.served_model_name, api_key=args.api_key)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(
    profile: Profile,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    served_model_name: str | None = None,
    api_key: str | None = None,
) -> None:
    """Runs the server until SIGINT or SIGTERM. Says `listening on http://HOST:PORT` on stdout once it is ready.

    OSError where it cannot listen.
    """
    asyncio.run(_serve(profile, host, port, served_model_name, api_key))


async def _serve(profile: Profile, host: str, port: int, served_model_name: str | None, api_key: str | None) -> None:
    from swarm.simulator import server as http  # aiohttp: late, so that a wrong option is answered at once

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    server = await http.start(profile, host=host, port=port, served_model_name=served_model_name, api_key=api_key)
    with contextlib.suppress(BrokenPipeError):
        print(f"listening on {server.url}", flush=True)
    await stop.wait()
    await server.close()


def exit_with_parent() -> None:
    """SIGTERM to this process when its parent dies, however it does (Linux)."""
    if sys.platform != "linux":
        raise SystemExit("error: --exit-with-parent needs Linux")
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the request took effect
        raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m swarm.simulator", description="A simulated vLLM server.")
    parser.add_argument("--profile", default=profiles.names()[0], help="name of a profile, or a .json file with one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument("--served-model-name", help="default: the profile's name")
    parser.add_argument("--api-key", help="refuse requests without it")
    parser.add_argument("--max-num-seqs", type=int, help="most requests in a step")
    parser.add_argument("--max-num-batched-tokens", type=int, help="most tokens in a step")
    parser.add_argument("--max-model-len", type=int, help="longest context, prompt and reply")
    parser.add_argument("--kv-tokens", type=int, help="size of the KV cache")
    parser.add_argument("--admission", choices=get_args(Admission), help="when a waiting request may start")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the process that started it dies")
    return parser


if __name__ == "__main__":
    sys.exit(main())
