"""The lock: all that pyproject.toml asks for, one version of each for every Python and platform, with hashes."""

import re
import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD = PYPROJECT["build-system"]["requires"]
RUN = PYPROJECT["project"]["dependencies"]
ASKED = {"run": [*BUILD, *RUN], "dev": [*BUILD, *RUN, *PYPROJECT["project"]["optional-dependencies"]["dev"]]}
LOCK = pytest.mark.parametrize("lock", ASKED)
PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")]
ENVIRONMENTS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
        "extra": "",
    }
    for python, (system, machine) in product(["3.11", "3.12", "3.13"], PLATFORMS)
]


@dataclass(frozen=True)
class Entry:
    pin: Requirement
    hashes: str

    @property
    def version(self) -> str:
        (specifier,) = self.pin.specifier
        assert specifier.operator == "=="
        return specifier.version


def entries(lock: str) -> list[Entry]:
    text = re.sub(r"^#.*\n", "", (ROOT / f"requirements/{lock}.txt").read_text(), flags=re.M)
    return [
        Entry(Requirement(pin), hashes)
        for pin, *_, hashes in (line.partition(" --hash=") for line in text.replace("\\\n   ", "").splitlines())
    ]


def pinned(lock: str, environment: dict[str, str]) -> dict[str, str]:
    """The version of each package that pip installs in such an environment."""
    wanted = [entry for entry in entries(lock) if not entry.pin.marker or entry.pin.marker.evaluate(environment)]
    versions = {canonicalize_name(entry.pin.name): entry.version for entry in wanted}
    assert len(versions) == len(wanted), "a package is pinned twice"
    return versions


@LOCK
def test_every_dependency_is_pinned_to_a_version_that_pyproject_allows_on_every_python_and_platform(lock):
    for environment in ENVIRONMENTS:
        versions = pinned(lock, environment)
        for requirement in map(Requirement, ASKED[lock]):
            if not requirement.marker or requirement.marker.evaluate(environment):
                version = versions.get(canonicalize_name(requirement.name), "")
                assert requirement.specifier.contains(version, prereleases=True), (
                    f"requirements/{lock}.txt has {requirement.name} {version or 'not at all'}, pyproject.toml wants "
                    f"{requirement}: run `make lock`"
                )


@LOCK
def test_every_entry_is_a_name_a_version_and_hashes_and_names_no_place_to_fetch_from(lock):
    for entry in entries(lock):
        assert entry.pin.url is None
        assert re.fullmatch(r"sha256:[0-9a-f]{64}( +--hash=sha256:[0-9a-f]{64})*", entry.hashes.strip()), entry.pin
    assert not re.search(r"^ *-(?!-hash=)|://", (ROOT / f"requirements/{lock}.txt").read_text(), re.M)


def test_what_is_tested_is_what_is_run():
    for environment in ENVIRONMENTS:
        assert pinned("run", environment).items() <= pinned("dev", environment).items()


def test_the_project_is_built_with_what_is_locked():
    asked = {Requirement(line).name for line in (ROOT / "requirements/build.in").read_text().splitlines()[1:]}
    assert {Requirement(line).name for line in BUILD} <= asked


def test_make_and_the_image_install_nothing_that_is_not_locked():
    for file in ("Makefile", "docker/Dockerfile"):
        text = (ROOT / file).read_text().replace("\\\n", " ")
        for command in re.findall(r"(?:pip|PIP\)) install[^\n&]*", text):
            locked = "--require-hashes" in command
            assert locked or "--no-deps" in command or re.search(r"quiet uv$|==", command), f"{file}: {command}"


def test_the_proxy_in_the_image_is_the_locked_litellm():
    (image,) = re.findall(r"litellm\[proxy\]==([\d.]+)", (ROOT / "docker/Dockerfile").read_text())
    assert image == pinned("run", ENVIRONMENTS[0])["litellm"]
