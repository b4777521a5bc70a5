#!/usr/bin/env bash
# Writes requirements/*.lock anew: hashed, for Python 3.10 and newer on every platform, without registry addresses.
# Needs uv, which nothing else here does. Versions already locked stay unless they no longer fit; delete a lock first
# to take the newest of everything, or pass --upgrade-package NAME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv=${UV:-uv}
command -v "$uv" >/dev/null || { echo "The locks are written by uv, which is not installed: pip install uv" >&2; exit 1; }

compile() {
    "$uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --custom-compile-command "make lock" "$@"
}

compile requirements/build.in --output-file requirements/build.lock "$@"
compile pyproject.toml --extra spark --extra plot --extra demo --constraint requirements/pins.in \
    --output-file requirements/demo.lock "$@"
compile pyproject.toml requirements/dev.in --extra spark --extra plot --extra demo --extra readers --extra notebooks \
    --extra tune --extra dev --constraint requirements/pins.in --constraint requirements/demo.lock \
    --constraint requirements/build.lock --output-file requirements/dev.lock "$@"
compile pyproject.toml requirements/dev.in --extra spark --extra plot --extra demo --extra readers --extra notebooks \
    --extra tune --extra dev --extra gpu --constraint requirements/pins.in --constraint requirements/dev.lock \
    --constraint requirements/build.lock --output-file requirements/gpu.lock "$@"
