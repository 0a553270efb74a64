#!/usr/bin/env bash
# Our values opened by an independent reader, and the reverse.  Closing line
# "N passed, N failed".  Needs python3 with venv, and "cryptography" of
# requirements.txt, which is installed into a virtual environment below BUILD
# (default build/interop); skips without them unless PGE_REQUIRE_ALL=1.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
cd "$(dirname "$0")"
top=$(cd ../.. && pwd)
build=${BUILD:-$top/build/interop}
mkdir -p "$build"

skip() {
	if [ "${PGE_REQUIRE_ALL:-0}" = 1 ]; then
		echo "interop: $1"
		echo "0 passed, 1 failed"
		exit 1
	fi
	echo "skipped: $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
}

# The stamp is the list itself: another list makes the environment anew.
venv=$build/venv
python=
if cmp -s requirements.txt "$venv/stamp"; then
	python=$venv/bin/python
else
	# A python3 in a home directory may be closed to us; the system's is next.
	for candidate in python3 /usr/bin/python3; do
		rm -rf "$venv"
		if "$candidate" -m venv "$venv" >"$build/venv.log" 2>&1; then
			python=$venv/bin/python
			break
		fi
	done
	[ -n "$python" ] || skip "no python3 with venv (python3-venv), see $build/venv.log"
	"$top/test/tools/pip_install.sh" "$python" requirements.txt >>"$build/venv.log" 2>&1 ||
		skip "cryptography could not be installed, see $build/venv.log"
	cp requirements.txt "$venv/stamp"
fi

${CC:-gcc} -std=gnu11 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -I"$top/src" -o "$build/driver" driver.c \
	"$top"/src/crypto/*.c "$top"/src/format/*.c "$top/src/base/secret.c" "$top/src/base/status.c" -lcrypto -lpthread
exec env PYTHONDONTWRITEBYTECODE=1 "$python" interop.py "$build/driver" "$top/test/vectors"
