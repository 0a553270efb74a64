#!/usr/bin/env bash
# The server of an older release of Debian, to upgrade from.
# usage: old_server.sh make DIR	on that release: the server with our library as built there,
#								and the libraries that its programs use, into DIR
#	     old_server.sh use DIR	on the newer one: prints what to set for the tests
#
# The newer release has a newer C library, which the old programs get along with; of the
# other libraries those are taken along that it does not have under the old names.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
verb=$1 dir=$2
top=$(cd "$(dirname "$0")/../.." && pwd)

make_it() {
	local bindir
	make -s -C "$top" -j2
	bindir=$("$top/test/tools/private_server.sh" "$dir/root")
	echo "${bindir#"$dir"/}" >"$dir/bindir"
	mkdir "$dir/libraries"
	ldd "$bindir"/* "$dir"/root/usr/lib/postgresql/*/lib/pg_envelope.so 2>/dev/null |
		sed -nE 's/^[[:space:]]+[^ ]+ => (\/[^ ]+) .*/\1/p' | sort -u |
		grep -vE '/(ld-linux.*|lib(c|m|dl|rt|pthread|resolv))\.so\.[0-9]+$' |
		xargs cp -Lt "$dir/libraries"
}

use_it() {
	local library
	mkdir "$dir/missing"
	for library in "$dir"/libraries/*; do
		ldconfig -p | grep -qF "${library##*/} " || cp "$library" "$dir/missing/"
	done
	chmod -R go+rX "$dir"
	echo "export PGE_OLD_BINDIR=$dir/$(cat "$dir/bindir") PGE_OLD_LIBRARIES=$dir/missing"
}

case $verb in
make) make_it ;;
use) use_it ;;
esac
