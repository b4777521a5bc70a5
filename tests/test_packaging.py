"""The locks, the project file and the wheel agree, so that a fresh machine gets what was tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def pins(lock: str, python: str) -> dict[str, str]:
    """Package -> locked version on Linux with this Python."""
    here = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    lines = re.findall(r"^(\S+)==(\S+)(?: ; (.+?))? \\$", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.M)
    return {
        canonicalize_name(name): version for name, version, mark in lines if not mark or Marker(mark).evaluate(here)
    }


def declared(*extras: str) -> list[Requirement]:
    lines = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("python", PYTHONS)
def test_locks_satisfy_the_project_file(python: str) -> None:
    wanted = {
        "demo": declared("spark", "plot", "demo"),
        "dev": declared("spark", "plot", "demo", "readers", "notebooks", "tune", "dev"),
    }
    for lock, requirements in wanted.items():
        locked = pins(lock, python)
        unmet = [
            str(need) for need in requirements if locked.get(canonicalize_name(need.name), "") not in need.specifier
        ]
        assert not unmet, f"make lock: {lock}.lock does not hold {unmet}"


@pytest.mark.parametrize("python", PYTHONS)
def test_tests_run_on_the_versions_of_the_demo(python: str) -> None:
    demo, dev = pins("demo", python), pins("dev", python)
    assert {name: dev.get(name) for name in demo} == demo


@pytest.mark.parametrize("lock", ["build", "demo", "dev"])
def test_every_pin_is_hashed_and_no_registry_is_named(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    pinned = re.findall(r"^[\w.-]+==", text, re.M)
    assert len(pinned) == len(re.findall(r"^[\w.-]+==.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.M)) > 2
    assert "://" not in text


@pytest.mark.parametrize(("heavy", "locks"), [("torch", ("demo", "dev")), ("prophet", ("demo",))])
def test_what_is_asked_for_by_name_stays_out(heavy: str, locks: tuple[str, ...]) -> None:
    assert not [lock for lock in locks for python in PYTHONS if heavy in pins(lock, python)]


def test_the_wheel_holds_the_three_packages_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    clutter = shutil.ignore_patterns(".*", "lake", "build", "dist", "*.egg-info", "__pycache__", "spark-warehouse")
    shutil.copytree(ROOT, source, ignore=clutter)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("almanac-*-py3-none-any.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = [source / name for name in ("forecasting", "udfs", "jobs")]
    modules = {path.relative_to(source).as_posix() for folder in packages for path in folder.rglob("*.py")}
    others = {f"{folder.name}/py.typed" for folder in packages} | {"udfs/log4j2.properties"}
    assert packed == modules | others
