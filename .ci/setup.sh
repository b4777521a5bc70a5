#!/usr/bin/env bash
# Brings what `make demo` (setup.sh demo), `make test` (setup.sh dev) or `make test-gpu` (setup.sh gpu: with torch, some
# gigabytes) needs into .venv of this checkout: the virtual environment, the locked packages, Almanac itself, a Java for
# Spark, Delta's jars. It does only what is not done yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:?usage: .ci/setup.sh demo|dev|gpu}
lock=requirements/$what.lock
[ -f "$lock" ] || { echo "There is no $lock; give demo, dev or gpu." >&2; exit 2; }

# A shell set up for another Spark, Python or pip must not reach into this environment.
unset SPARK_HOME SPARK_CONF_DIR PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON PYTHONPATH PYTHONHOME \
    PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_HASHES PIP_CONSTRAINT PIP_NO_DEPS PIP_ONLY_BINARY PIP_NO_BINARY

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# Installs one of Debian's packages if this user may; otherwise fails in silence, and the caller says what is missing.
apt_install() {
    command -v apt-get >/dev/null || return 1
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    say "installing $1 with apt"
    if [ -z "${lists_are_new:-}" ]; then
        "${as_root[@]}" apt-get update -qq >/dev/null 2>&1 || true  # an unreachable extra source is no reason to stop
        lists_are_new=1
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" \
        </dev/null >/dev/null 2>&1
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

make_venv() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 && return
    local python
    python=$(find_python) || fail "Almanac needs Python 3.10 or newer, and no such python3 is on the PATH; install one and run this again."
    # Debian keeps ensurepip, without which an environment has no pip, in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local version
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv" || apt_install python3-venv || true
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$python cannot make a virtual environment; install the package python$version-venv (apt-get install python$version-venv) and run this again."
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

# The state that an installation belongs to: another lock, project file, interpreter or folder means a new one.
fingerprint() {
    { cat requirements/build.lock "$lock" pyproject.toml; .venv/bin/python --version; pwd; } | sha256sum | cut -d' ' -f1
}

install_packages() {
    local stamp=.venv/almanac-$what.stamp print
    print=$(fingerprint)
    [ "$(cat "$stamp" 2>/dev/null)" = "$print" ] && return
    rm -f "$stamp"
    say "installing the packages of $lock; the first time this takes some minutes"
    local pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet)
    "${pip[@]}" --require-hashes -r requirements/build.lock
    "${pip[@]}" --require-hashes --no-build-isolation -r "$lock"
    "${pip[@]}" --no-deps --no-build-isolation --editable .
    echo "$print" >"$stamp"
    # The packages of the demo are among those of the tests, in the same versions, and these among those with torch.
    if [ "$what" != demo ]; then (lock=requirements/demo.lock; fingerprint >.venv/almanac-demo.stamp); fi
    if [ "$what" = gpu ]; then (lock=requirements/dev.lock; fingerprint >.venv/almanac-dev.stamp); fi
}

# Prints the home of a Java that Spark 4 runs on (17 or newer): the user's choice first, then the system's.
find_java() {
    local java home version
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java || true)" \
        /usr/lib/jvm/*17*/bin/java /usr/lib/jvm/*21*/bin/java /usr/lib/jvm/*/bin/java; do
        [ -n "$java" ] && [ -x "$java" ] || continue
        version=$("$java" -XshowSettings:properties -version 2>&1) || continue
        home=$(sed -n 's/^ *java\.home = //p' <<<"$version")
        version=$(sed -n 's/^ *java\.specification\.version = //p' <<<"$version")
        version=${version%%.*}
        if [ -n "$home" ] && [ "${version:-0}" -ge 17 ] 2>/dev/null; then
            echo "$home"
            return
        fi
    done
    return 1
}

# Spark's own start script reads the file, so that Spark finds this Java from any shell, whatever JAVA_HOME says there.
tell_spark_its_java() {
    local home
    home=$(find_java) || { apt_install openjdk-17-jre-headless || apt_install openjdk-21-jre-headless || true; home=$(find_java); } ||
        fail "Spark needs Java 17 or 21, and none is here; install it (apt-get install openjdk-17-jre-headless, or openjdk-21-jre-headless) and run this again."
    local conf
    conf=$(.venv/bin/python -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')/conf
    local line="if [ -x '$home/bin/java' ]; then export JAVA_HOME='$home'; fi"
    [ "$(cat "$conf/spark-env.sh" 2>/dev/null)" = "$line" ] && return
    mkdir -p "$conf"
    echo "$line" >"$conf/spark-env.sh"
}

make_venv
install_packages
tell_spark_its_java
.venv/bin/python -m udfs.jars
