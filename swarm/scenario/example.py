"""The commented scenario that `swarm init` writes."""

from importlib import resources
from pathlib import Path

from swarm.errors import UsageError


def write_example(path: Path, text: str | None = None) -> None:
    """Writes the example, or the `text` of a scenario, to a new file. Raises UsageError rather than overwrite one."""
    text = text or resources.files(__package__).joinpath("example.yaml").read_text(encoding="utf-8")
    try:
        file = path.open("x", encoding="utf-8")
        try:
            with file:
                file.write(text)
        except OSError:
            path.unlink()  # a part of it would be in the way of the next try
            raise
    except FileExistsError:
        raise UsageError(f"{path} exists; give another name: swarm init FILE") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
