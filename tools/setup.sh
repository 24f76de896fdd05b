#!/bin/sh
# Make `.venv` fit to run covey, on a machine about which nothing is known.
#
#   sh tools/setup.sh cli      what the command and the demo need       leaves the stamp .venv/.cli
#   sh tools/setup.sh dev      what the checks and the tests need       leaves the stamp .venv/.dev
#   sh tools/setup.sh state    prints "broken" if .venv has to be made anew; changes nothing
#
# The Python is $PYTHON if that is set, else the first of python3, python3.13, python3.12, python3.11 that is new
# enough. Three ways to an environment, the first that works: uv; `-m venv`; `-m venv --without-pip`, filled by that
# Python's own pip (Debian without python3-venv has no ensurepip: there `-m venv` fails, and leaves half of one behind).
#
# A `.venv` is broken if its Python does not start, is too old or does not find its packages, or if it was stamped in
# another folder (an editable install points to where it was made). One that somebody else made, and that works, is used
# as it is. What this script begins and cannot finish it takes away again. When it has to run is make's business: stamps
# older than pyproject.toml or constraints.txt are stale.
#
# POSIX alone, because it meets dash, bash 3.2 and BSD tools, and folders with a space in their name.
set -u

log=.setup.log
too_old='needs Python 3.11 or newer, and found none:'
new_enough='import sys
if sys.version_info < (3, 11): sys.exit(1)'
# Without pyvenv.cfg, .venv/bin/python is the system's own, and installing into it would change the machine.
sound="$new_enough
import os, site
sys.exit(not (os.path.samefile(sys.prefix, '.venv') and os.path.isdir(site.getsitepackages()[0])))"
export UV_PYTHON_DOWNLOADS=never # a Python that nobody asked for is not ours to fetch

say() { printf 'covey: %s\n' "$*" >&2; }

stop() {
    say "$*"
    exit 1
}

logged() { "$@" >>"$log" 2>&1; }

has_uv() { command -v uv >/dev/null 2>&1; }

find_python() { # prints the full path of a Python that is new enough, or nothing
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11
    fi
    for candidate in "$@"; do
        if "$candidate" -c "$new_enough" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
}

broken() {
    for stamp in .venv/.cli .venv/.dev; do
        if [ -f "$stamp" ] && [ "$(cat "$stamp")" != "$(pwd -P)" ]; then
            return 0
        fi
    done
    ! .venv/bin/python -c "$sound" >/dev/null 2>&1
}

# --- who installs: uv, the environment's own pip, or the pip of the Python it was made from ---------------------------

base_pip() { "$python" -m pip --python .venv/bin/python "$@"; }

own_pip() { .venv/bin/python -m pip "$@"; }

choose_installer() { # fails if there is none
    if has_uv; then
        installer='uv pip install --python .venv/bin/python'
    elif logged own_pip --version; then
        installer='own_pip install --disable-pip-version-check --no-input'
    elif [ -n "$python" ] && logged base_pip --version; then
        installer='base_pip install --disable-pip-version-check --no-input'
    else
        return 1
    fi
}

make_environment() {
    unfinished=yes
    rm -rf .venv
    if has_uv && logged uv venv --python "${python:->=3.11}" .venv; then
        return
    elif [ -n "$python" ]; then
        logged "$python" -m venv .venv && return
        rm -rf .venv
        logged "$python" -m venv --without-pip .venv && return
        stop "$python cannot make an environment: apt install python3-venv, or install uv"
    elif has_uv; then
        stop "$too_old uv python install 3.13"
    else
        stop "$too_old apt install python3-venv, or install uv and run: uv python install 3.13"
    fi
}

# shellcheck disable=SC2086 # $installer is several words, and ours
install() { logged $installer -c constraints.txt -e "$1"; }

give_up() {
    say "could not install $1 into .venv; the end of $log says:"
    tail -n 15 "$log" >&2
    exit 1
}

# --- what was asked for -----------------------------------------------------------------------------------------------

CDPATH='' cd -- "$(dirname -- "$0")/.." || exit 1

case ${1:-} in
    state)
        if broken; then echo broken; fi
        exit 0
        ;;
    cli) wanted='.[cli,speed,tls]' ;;
    dev) wanted='.[dev]' ;;
    *) stop 'usage: sh tools/setup.sh cli|dev|state' ;;
esac

say "installing $wanted into .venv"
true >"$log" || stop 'cannot write in this folder'
unfinished=
trap 'if [ -n "$unfinished" ]; then rm -rf .venv; fi' EXIT
trap 'exit 130' HUP INT TERM

python=$(find_python)
if [ -n "${PYTHON:-}" ] && [ -z "$python" ]; then
    stop "PYTHON=$PYTHON is not a Python 3.11 or newer"
fi
if broken || ! choose_installer; then
    make_environment
    choose_installer || stop "$python has neither ensurepip nor a fit pip: apt install python3-venv, or install uv"
fi

if ! install "$wanted"; then
    # uvloop and cryptography are compiled: where there is no wheel for them, covey runs without.
    if [ "$1" = cli ] && install '.[cli]'; then
        say "went on without the extras speed and tls, which do not install here (see $log)"
    else
        give_up "$wanted"
    fi
fi

unfinished=
pwd -P >".venv/.$1"
