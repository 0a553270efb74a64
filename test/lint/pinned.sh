#!/usr/bin/env bash
# Prints each line that test/fixtures/SHA256SUMS has, or had in git's history, which is what
# frozen.py compares it with; nothing where there is no git.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -e .git ] && command -v git >/dev/null; then
	# (The tree may be another user's: this only reads.)
	git -c safe.directory='*' log -p --format= --no-ext-diff --no-color -- test/fixtures/SHA256SUMS |
		sed -nE 's/^\+([0-9a-f]{64}  .*)/\1/p' | sort -u
fi
