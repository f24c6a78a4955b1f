"""`python -m swarm.simulator`: the simulated vLLM in a process of its own."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import get_args

from swarm.simulator.profiles import profiles
from swarm.simulator.server import faults


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM. Exit code 2: the profile, an option or the address cannot be used."""
    options = vars(_parser().parse_args(argv))
    try:
        options["befalling"] = _faults(options.pop("faults"))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from swarm.simulator.server.server import serve  # aiohttp: late, so that a wrong option is answered at once

    try:
        serve(**options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _faults(text: str) -> tuple[faults.Fault, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--faults: no JSON: {error}") from None
    return faults.parse(value)


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
    return text.lower() == "true"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m swarm.simulator", description="A simulated vLLM server.")
    parser.add_argument("--profile", default=profiles.names()[0], help="name of a profile, or a .json file with one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--allow-host", dest="allow_hosts", action="append", default=[], help="answer to it too")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument("--served-model-name", help="default: the profile's name")
    parser.add_argument("--api-key", help="refuse requests without it")
    parser.add_argument("--max-num-seqs", type=int, help="most requests in a step")
    parser.add_argument("--max-num-batched-tokens", type=int, help="most tokens in a step")
    parser.add_argument("--max-model-len", type=int, help="longest context, prompt and reply")
    parser.add_argument("--kv-tokens", type=int, help="size of the KV cache")
    parser.add_argument("--enable-prefix-caching", type=_switch, help="true or false")
    parser.add_argument("--long-prefill-token-threshold", type=int, help="most tokens of one prompt in one step")
    parser.add_argument("--link", help="between the GPUs: nvlink or pcie")
    parser.add_argument("--p2p", type=_switch, help="whether GPUs reach each other over PCIe: true or false")
    parser.add_argument("--engine", help="version of vLLM")
    parser.add_argument("--power-limit-w", type=float, help="of each GPU")
    parser.add_argument("--kv-cache-dtype", help="auto or fp8")
    parser.add_argument("--api-overhead-s", type=float, help="from a request's arrival to the engine's queue")
    parser.add_argument("--admission", choices=get_args(profiles.Admission), help="when a waiting request may start")
    parser.add_argument("--faults", default="[]", help='JSON: [{"kind": "reset", "rate": 0.02, "seed": 1}]')
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the process that started it dies")
    return parser


if __name__ == "__main__":
    sys.exit(main())
