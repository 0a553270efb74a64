#!/usr/bin/env bash
# "make installcheck": the SQL tests against a running server (PGHOST, PGPORT,
# PGUSER … as for psql), in a database contrib_regression that they drop and make.
# They make and destroy keys, so they refuse a server whose keyring is not marked
# as one that tests may fill and lose.
# usage: installcheck.sh [TEST …]
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
pg_config=${PG_CONFIG:-pg_config}
bindir=$("$pg_config" --bindir)
pg_regress=$(dirname "$("$pg_config" --pgxs)")/../test/regress/pg_regress

refuse() {
	echo "installcheck: $1" >&2
	exit 1
}

sql() {
	"$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" -c "$1"
}

superuser=$(sql 'SHOW is_superuser') || refuse 'there is no server to test (set PGHOST, PGPORT, PGUSER)'
[ "$superuser" = on ] || refuse 'it needs a superuser, to create the extension'
case ,$(sql 'SHOW shared_preload_libraries' | tr -d ' "'), in
*,pg_envelope,*|*,\$libdir/pg_envelope,*) ;;
*) refuse "the server does not preload pg_envelope: set shared_preload_libraries = 'pg_envelope' and restart it" ;;
esac

# Whatever keyring_file names then: the keys would be made in the service's keyring.
[ "$(sql 'SHOW pg_envelope.agent')" = spawn ] ||
	refuse 'its agent is external (pg_envelope.agent): what keyring that has cannot be seen from here'

file=$(sql "SELECT coalesce(nullif(current_setting('pg_envelope.keyring_file'), ''),
	current_setting('data_directory') || '.pg_envelope/keyring')")
# Of the file only its head (magic, version, protection, flags) crosses.
head=$(sql "SELECT encode(pg_read_binary_file('${file//\'/\'\'}', 0, 10, true), 'hex')")
case $head in
5047454b45595201????) ;;
'') refuse "the server has no keyring yet ($file); for a test server make one: pg_envelope_agent keyring create --test --keyring $file" ;;
*) refuse "$file is no keyring" ;;
esac
if [ $((0x${head:18:2} & 1)) = 0 ]; then
	refuse "the keyring of this server, $file, is not marked as a test keyring: nothing is run against it"
fi

if [ $# = 0 ]; then
	set -- $(cd sql && ls -- *.sql | sed 's/\.sql$//' | sort)
fi
out=${INSTALLCHECK_OUTPUT:-$top/build/installcheck}
mkdir -p "$out"
"$pg_regress" --inputdir="$top" --outputdir="$out" --bindir="$bindir" \
	--dbname=contrib_regression --load-extension=pg_envelope "$@"
