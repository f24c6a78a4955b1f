"""`swarm profiles`: the models that can be simulated, what fits on them, and new ones."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from swarm.cli.grouped import Grouped
from swarm.errors import UsageError

MOST_CONFIG_BYTES = 16 << 20

app = typer.Typer(
    cls=Grouped,
    rich_markup_mode=None,
    help="List, show and add the models that can be simulated.",
    epilog="Example: swarm profiles show moe-30b-a3b-awq-1x3090 --context 32k",
)


@app.callback(invoke_without_command=True)
def table(context: typer.Context) -> None:
    """List the profiles, if no other command is given."""
    if context.invoked_subcommand is None:
        from swarm.simulator import sizing

        print(sizing.table())


@app.command()
def names() -> None:
    """List the models and GPUs that `add` and MODEL@GPU know, with their sources."""
    from swarm.simulator.models import catalogue
    from swarm.simulator.profiles import data_files

    print("models, billions of parameters, source:")
    for name in catalogue.names():
        model = catalogue.find(name)
        print(f"  {name:30} {model.total_b:6g}  {model.source}")
    print("GPUs, source:")
    for name, figures in data_files.gpus().items():
        print(f"  {name:30} {figures['source']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A profile's name, a JSON file, or MODEL@[Nx]GPU[:QUANT].")],
    context: Annotated[
        str | None, typer.Option(metavar="8k,32k", help="Tokens of an agent's context; default: 8k,32k,128k.")
    ] = None,
    concurrency: Annotated[str, typer.Option(metavar="1,4,8", help="Agents at once.")] = "1,4,8,16",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Memory, how many agents fit, and how fast each of them is."""
    from swarm.scenario.quick import parse_levels
    from swarm.scenario.units import parse_tokens
    from swarm.simulator import sizing
    from swarm.simulator.profiles import profiles

    try:
        levels = parse_levels(concurrency)
    except ValueError as error:
        raise UsageError(f"--concurrency: {error}") from None
    try:
        contexts = [parse_tokens(part.strip()) for part in context.split(",")] if context else []
    except ValueError as error:
        raise UsageError(f"--context: {error}") from None
    try:
        profile = profiles.load(name)
        contexts = contexts or [min(sizing.CONTEXTS[0], profile.max_context), *sizing.CONTEXTS[1:]]
        if as_json:
            print(json.dumps(sizing.as_json(profile, contexts, levels), indent=1))
        else:
            print(sizing.describe(profile, contexts, levels))
    except ValueError as error:
        raise UsageError(str(error)) from None


@app.command()
def add(
    model: Annotated[
        str | None, typer.Argument(help="A model's name, such as qwen3-coder-30b-a3b; `swarm profiles names` has all.")
    ] = None,
    gpu: Annotated[str, typer.Option(metavar="rtx4090", help="The GPU; a wrong name gets the nearest.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="The config.json of a model that is not in the catalogue.")
    ] = None,
    quant: Annotated[
        str | None,
        typer.Option(metavar="bf16|fp8|awq|...", help="Precision of the weights; default: as it is published."),
    ] = None,
    tp: Annotated[int, typer.Option(min=1, help="GPUs that share each layer.")] = 1,
    link: Annotated[
        str | None, typer.Option(metavar="nvlink|pcie", help="Link between the GPUs; default: NVLink, if they have it.")
    ] = None,
    p2p: Annotated[
        bool | None, typer.Option(help="Whether GPUs reach each other over PCIe; default: unless GeForce.")
    ] = None,
    engine: Annotated[str | None, typer.Option(metavar="0.30", help="Version of vLLM.")] = None,
    power_limit: Annotated[
        float, typer.Option(metavar="W", min=0, help="Power limit of each GPU; 0: its usual one.")
    ] = 0,
    kv: Annotated[
        str, typer.Option("--kv", "--kv-cache-dtype", metavar="auto|fp8", help="Precision of the KV cache.")
    ] = "auto",
    memory_utilization: Annotated[float, typer.Option(help="vLLM's --gpu-memory-utilization.")] = 0.9,
    named: Annotated[
        str | None,
        typer.Option("--model", help="With --config: the model's name; default: the config's, or its folder's."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: <profile's name>.json.")] = None,
) -> None:
    """Make a profile of a model on a GPU, from names or from a config.json: assumed, until it is calibrated."""
    from swarm.recording.rundir import write_whole
    from swarm.simulator.models.weights import BYTES_PER_WEIGHT
    from swarm.simulator.profiles import by_name, profiles
    from swarm.simulator.profiles.derive import KV_BYTES, derive
    from swarm.simulator.profiles.efficiencies import ENGINE, LINKS

    if (model is None) == (config is None):
        raise UsageError("name a model, such as qwen3-coder-30b-a3b, or give its --config")
    if not gpu:
        raise UsageError("missing --gpu, such as --gpu rtx4090; `swarm profiles names` lists them")
    chosen = (
        ("--quant", quant or "bf16", BYTES_PER_WEIGHT),
        ("--link", link or LINKS[0], LINKS),
        ("--kv", kv, KV_BYTES),
    )
    for option, value, known in chosen:
        if value not in known:
            raise UsageError(f"{option} {value}: expected one of {', '.join(known)}")
    options: dict[str, Any] = {
        "quant": quant,
        "tp": tp,
        "link": link,
        "p2p": p2p,
        "engine": engine or ENGINE,
        "power_limit_w": power_limit,
        "memory_utilization": memory_utilization,
    }
    try:
        if config is None:
            entry = by_name.entry(str(model), gpu, kv=kv, **options)
        else:
            read = _read_config(config)
            called = named or read.get("_name_or_path") or config.resolve().parent.name
            gpu = by_name.find_gpu(gpu)
            entry = derive(read, model=str(called), gpu=gpu, kv_cache_dtype=kv, **options)
        profiles.parse(entry, where=str(config or model))
    except ValueError as error:
        raise UsageError(f"{config}: {error}" if config else str(error)) from None
    path = out or Path(f"{entry['name']}.json")
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another --out")
    write_whole(path, json.dumps(entry, indent=1) + "\n")
    print(f"{path} written; try: swarm profiles show {shlex.quote(str(path))}")


def _read_config(path: Path) -> dict[str, Any]:
    """A config.json. UsageError where it cannot be read; ValueError where it is none."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_CONFIG_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(text) > MOST_CONFIG_BYTES:
        raise ValueError(f"more than {MOST_CONFIG_BYTES >> 20} MiB: that is no config.json of a model")
    try:
        read = json.loads(text)
    except RecursionError:
        raise ValueError("not readable as JSON: nested too deeply") from None
    if not isinstance(read, dict):
        raise ValueError("expected a config.json: one object with the model's sizes")
    return read
