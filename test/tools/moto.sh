#!/usr/bin/env bash
# Prints the path of a "python" that has moto (and botocore), which are fetched from PyPI if
# they are not yet in ${XDG_CACHE_HOME:-$HOME/.cache}/pg_envelope.  Status 77, with a line on
# stderr, if they cannot be had.  With PGE_MOTO=PYTHON it is that one or none.
#
# Versions and hashes: moto_requirements.txt.  Of botocore's 400 services those that the
# tests use are kept; the directory can be moved (test/run.sh does).
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
pinned=$tools/moto_requirements.txt
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pg_envelope

fail() {
	echo "moto: $1" >&2
	exit 77
}

if [ -n "${PGE_MOTO:-}" ]; then
	[ -x "$PGE_MOTO" ] || fail "there is no $PGE_MOTO"
	echo "$PGE_MOTO"
	exit 0
fi

# The system's first: one in a home directory is closed to the user of the tests.
for python in /usr/bin/python3 python3 none; do
	[ "$python" != none ] || fail 'no python3 with venv (python3-venv)'
	"$python" -c 'import ensurepip, venv' 2>/dev/null && break
done
place=$cache/moto-$({ cat "$pinned" "$0"; "$python" -VV; uname -m; } | sha256sum | cut -c1-16)
if [ ! -x "$place/python" ]; then
	mkdir -p "$cache" 2>/dev/null || fail "no cache can be made: $cache"
	work=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	"$python" -m venv "$work/venv" >"$work/log" 2>&1 || fail "no venv: $(tail -n 1 "$work/log")"
	"$tools/pip_install.sh" "$work/venv/bin/python" "$pinned" --no-cache-dir --no-deps --no-compile --target "$work/new/lib" >"$work/log" 2>&1 ||
		fail "it could not be installed: $(tail -n 1 "$work/log")"
	find "$work/new/lib/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name iam ! -name kms ! -name sts -exec rm -rf {} +
	# shellcheck disable=SC2016 # of the wrapper
	printf '#!/bin/sh\nPYTHONPATH=$(dirname "$0")/lib exec %s "$@"\n' "$(command -v "$python")" >"$work/new/python"
	chmod 755 "$work/new/python"
	"$work/new/python" -m compileall -q "$work/new/lib" >"$work/log" 2>&1 || fail "it does not compile: $(tail -n 1 "$work/log")"
	chmod -R go+rX "$work/new"
	# Whoever was faster has made the same.
	mv -T "$work/new" "$place" 2>/dev/null || [ -x "$place/python" ] || fail "it could not be put in place: $place"
fi
echo "$place/python"
