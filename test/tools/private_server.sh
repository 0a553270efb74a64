#!/usr/bin/env bash
# Makes a private copy of the installed PostgreSQL in a folder and installs the
# extension there, so that tests need no root and touch no system directory
# (the server finds its files relative to its own program).
# usage: private_server.sh DIR [PG_CONFIG]; prints the bindir of the copy.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
dir=$1 pg_config=${2:-pg_config}
top=$(cd "$(dirname "$0")/../.." && pwd)
bindir=$($pg_config --bindir)
if [ ! -x "$dir$bindir/postgres" ]; then
	for part in "$bindir" "$($pg_config --pkglibdir)" "$($pg_config --sharedir)"; do
		mkdir -p "$dir$part"
		cp -aL "$part/." "$dir$part/" 2>/dev/null || cp -a "$part/." "$dir$part/"
	done
fi
make -s -C "$top" PG_CONFIG="$pg_config" install DESTDIR="$dir" >&2
echo "$dir$bindir"
