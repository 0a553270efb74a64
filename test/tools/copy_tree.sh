#!/usr/bin/env bash
# Copies the tree, without what was built in it, into WORK/src and makes WORK/logs,
# tmp and home beside it, all of them postgres' if we are root.
# usage: copy_tree.sh WORK
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$1

chmod 755 "$work"
mkdir "$work/src" "$work/logs" "$work/tmp" "$work/home"
tar -C "$top" --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.so' --exclude=./pg_envelope_agent -cf - . |
	tar -C "$work/src" --no-same-owner -xf -
# What lint asks git for.
"$top/test/lint/pinned.sh" >"$work/src/test/fixtures/.pinned"
chmod -R u+rwX,go+rX "$work/src"
[ "$(id -u)" != 0 ] || chown -R postgres: "$work"
