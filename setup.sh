#!/bin/sh
# Makes .venv beside this file and installs the project's requirements into it: `sh setup.sh`, and
# `sh setup.sh dev` with what the tests need. Also on a bare Debian or Ubuntu, where Python's venv
# module is a package of its own. A second run only brings things up to date.
set -eu
cd "$(dirname "$0")"

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or newer is needed, found $("$python" --version 2>&1)." \
        "Set PYTHON to a newer one: PYTHON=python3.12 sh setup.sh" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    echo "installing the Debian package python3-venv" >&2
    $as_root apt-get update -q && $as_root apt-get install -yq python3-venv
fi
[ -x .venv/bin/pip ] || "$python" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r "requirements${1:+-$1}.txt"
