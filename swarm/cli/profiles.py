"""`swarm profiles`: the models that can be simulated, what fits on them, and new ones."""

import json
from pathlib import Path
from typing import Annotated

import typer

from swarm.errors import UsageError

app = typer.Typer(rich_markup_mode=None, help="List, show and add the models that can be simulated.")


@app.callback(invoke_without_command=True)
def table(context: typer.Context) -> None:
    """List the profiles, if no other command is given."""
    if context.invoked_subcommand is None:
        from swarm.simulator import sizing

        print(sizing.table())


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A profile's name, or a JSON file.")],
    context: Annotated[str, typer.Option(metavar="32k", help="Tokens of an agent's context.")] = "8k",
) -> None:
    """Memory, how many agents fit, and how fast each of them is."""
    from swarm.scenario.units import parse_tokens
    from swarm.simulator import sizing
    from swarm.simulator.profiles import profiles

    try:
        tokens = parse_tokens(context)
    except ValueError as error:
        raise UsageError(f"--context: {error}") from None
    try:
        print(sizing.describe(profiles.load(name), tokens))
    except ValueError as error:
        raise UsageError(str(error)) from None


@app.command()
def add(
    config: Annotated[Path, typer.Option(help="The model's config.json.")],
    gpu: Annotated[str, typer.Option(metavar="rtx4090", help="From the table of GPUs; a wrong name lists it.")],
    quant: Annotated[
        str | None, typer.Option(metavar="bf16|fp8|awq", help="Precision of the weights; default: as config.json says.")
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
    kv_cache_dtype: Annotated[str, typer.Option(metavar="auto|fp8", help="Precision of the KV cache.")] = "auto",
    memory_utilization: Annotated[float, typer.Option(help="vLLM's --gpu-memory-utilization.")] = 0.9,
    model: Annotated[str | None, typer.Option(help="Model name; default: the config's, or its folder's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: <profile's name>.json.")] = None,
) -> None:
    """Make a profile from a model's config.json and a GPU's data sheet: assumed, until it is calibrated."""
    from swarm.recording.rundir import write_whole
    from swarm.simulator.models.weights import BYTES_PER_WEIGHT
    from swarm.simulator.profiles import data_files, profiles
    from swarm.simulator.profiles.derive import KV_BYTES, derive
    from swarm.simulator.profiles.efficiencies import ENGINE, LINKS

    chosen = (
        ("--gpu", gpu, data_files.gpus()),
        ("--quant", quant or "bf16", BYTES_PER_WEIGHT),
        ("--link", link or LINKS[0], LINKS),
        ("--kv-cache-dtype", kv_cache_dtype, KV_BYTES),
    )
    for option, value, known in chosen:
        if value not in known:
            raise UsageError(f"{option} {value}: expected one of {', '.join(known)}")
    try:
        read = json.loads(config.read_text("utf-8"))
        named = model or read.get("_name_or_path") or config.resolve().parent.name
        entry = derive(
            read,
            model=named,
            gpu=gpu,
            quant=quant,
            tp=tp,
            link=link,
            p2p=p2p,
            engine=engine or ENGINE,
            power_limit_w=power_limit,
            kv_cache_dtype=kv_cache_dtype,
            memory_utilization=memory_utilization,
        )
        profiles.parse(entry, where=str(config))
    except OSError as error:
        raise UsageError(f"{config}: cannot be read: {error.strerror}") from None
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{config}: {error}") from None
    path = out or Path(f"{entry['name']}.json")
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another --out")
    write_whole(path, json.dumps(entry, indent=1) + "\n")
    print(f"{path} written; try: swarm profiles show {path} --context 8k")
