#!/usr/bin/env bash
# "make lint": tries each rule on planted faults, then judges the tree.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v python3 >/dev/null; then
	echo "SKIP: lint needs python3"
	[ "${PGE_REQUIRE_ALL:-0}" = 1 ] && exit 1
	exit 77
fi
PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/lint.py" "$@"
