#!/usr/bin/env bash
# Takes the logs out of a directory that is the tests' user's, to a place of ours: what is
# in there is read with his rights, so that no link of his leads root's hand to a file
# that is not his to read.  Links stay links.
# usage: take_logs.sh FROM TO [USER]     TO is made anew; USER: whose FROM is, if we are root
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
from=$1 to=$2 user=${3:-}
as_user=()
if [ "$(id -u)" = 0 ] && [ -n "$user" ]; then
	as_user=(setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups)
fi
rm -rf "$to"
mkdir -p "$to"
"${as_user[@]}" tar -C "$from" -cf - . | tar -C "$to" --no-same-owner --no-same-permissions -xf -
