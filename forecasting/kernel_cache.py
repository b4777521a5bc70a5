"""Compiled kernels are kept for the code they were made from, other modules' kernels included.

numba keeps a compiled kernel as long as the file in which it stands is the same, so a kernel that calls another would
stay as it was when the other one changes. Here the stamp of a file is a digest of it and of all modules of the package
that it imports, near or far. Where numba has no such place to put a stamp, its own rule stays.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import caching

_PACKAGE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^from\s+(\w+(?:\.\w+)*)\s+import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)


def follow_imports() -> bool:
    """Let the stamps of this package's kernels cover what they import; whether numba could be told so."""
    mixin: Any = getattr(caching, "_SourceFileBackedLocatorMixin", None)
    plain = getattr(mixin, "get_source_stamp", None)
    if plain is None:
        return False

    def get_source_stamp(locator: Any) -> object:
        path = Path(getattr(locator, "_py_file", "")).resolve()
        return stamp(path) if _PACKAGE in path.parents and path.is_file() else plain(locator)

    mixin.get_source_stamp = get_source_stamp
    return True


@cache
def stamp(path: Path) -> str:
    """A digest of a module of the package and of all that it imports from the package."""
    found, waiting = {path}, [path]
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    digest = hashlib.blake2b(digest_size=16)
    for one in sorted(found):
        digest.update(one.relative_to(_PACKAGE).as_posix().encode() + b"\0" + _content(one) + b"\0")
    return digest.hexdigest()


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _imported(path: Path) -> frozenset[Path]:
    """The package's modules that a module names in its imports."""
    found = set()
    for module, names in _IMPORT.findall(_content(path).decode()):
        parts = module.split(".")
        if parts[0] != _PACKAGE.name:
            continue
        place = _PACKAGE.joinpath(*parts[1:])
        found.add(place.with_suffix(".py"))
        found.update(place / f"{name}.py" for name in re.findall(r"\w+", names))
    return frozenset(one for one in found if one.is_file() and one != _PACKAGE.with_suffix(".py"))


FOLLOWS_IMPORTS = follow_imports()
"""Whether the stamps in force are ours."""
