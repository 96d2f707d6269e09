#!/bin/sh
# Creates .venv beside this file and installs the requirements: `sh setup.sh`, or `sh setup.sh dev`
# with the packages for tests. On Debian and Ubuntu, a missing Python or venv module is installed
# with apt. Run it again to update.
set -eu
cd "$(dirname "$0")"

python=${PYTHON:-python3}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    echo "installing the package $(basename "$python")-venv" >&2
    $as_root apt-get update -q && $as_root apt-get install -yq "$(basename "$python")-venv"
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: expected Python 3.11 or newer, found $("$python" --version 2>&1)." \
        "Choose a newer one: PYTHON=python3.12 sh setup.sh" >&2
    exit 1
}
[ -x .venv/bin/pip ] || "$python" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r "requirements${1:+-$1}.txt"
