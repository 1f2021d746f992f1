# Sourced by bin/start and bin/test: makes .venv in the checkout, once for each pyproject.toml.
# shellcheck shell=bash

find_python() {
    # CPython 3.12 and 3.11 first: plyvel has wheels for these; for others pip compiles it against
    # LevelDB's headers.  Each is run, since a name on the PATH may be an empty shim.
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3 python3.13 python3.14; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    echo "uring needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv);" >&2
    echo "none was found on the PATH.  Set PYTHON to one that is elsewhere." >&2
    return 1
}

set_up() { # checkout extras-or-empty
    local root=$1 extras=$2 venv=$1/.venv python wanted stamp
    wanted=$(cat "$root/pyproject.toml" "$root/src/uring/__init__.py" | cksum)
    stamp=$venv/.uring-${extras:-runtime}
    # The path is part of the stamp: a checkout that was moved has an environment that was not.
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted $root" ]; then
        return 0
    fi
    echo "Setting up $venv (once) ..." >&2
    if ! "$venv/bin/python" -c pass 2>/dev/null || ! ls "$venv"/.uring-* >/dev/null 2>&1 ||
        ! grep -qF " $root" "$venv"/.uring-*; then
        python=$(find_python) || return 1
        "$python" -m venv --clear "$venv" || return 1
    fi
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable "$root${extras:+[$extras]}"; then
        echo "The installation failed.  Where plyvel would not build: there are wheels for CPython" >&2
        echo "3.11 and 3.12 on Linux; any other needs a C++ compiler and LevelDB's headers" >&2
        echo "(Debian: apt install g++ python3-dev libleveldb-dev)." >&2
        return 1
    fi
    echo "$wanted $root" >"$stamp"
}
