#!/usr/bin/env bash
# The whole test suite on throwaway clusters; closing line "N passed, N failed".
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd); cd "$top"
if ! [ -x /usr/lib/postgresql/15/bin/postgres ] || ! [ -f /usr/include/curl/curl.h ] && ! ls /usr/include/*/curl/curl.h >/dev/null 2>&1; then
	mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/pg_envelope.conf
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-15 postgresql-server-dev-15 libcurl4-openssl-dev libssl-dev gcc make >/dev/null
fi
dir=$(mktemp -d /tmp/pg_envelope_check.XXXXXX)
trap 'test/tools/scratch.sh stop "$dir" >/dev/null 2>&1; rm -rf "$dir"' EXIT
chmod 755 "$dir"
make -s
test/tools/scratch.sh start "$dir"
if /usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress --inputdir=. --outputdir="$dir" --bindir="$dir/root/usr/lib/postgresql/15/bin" \
	--host="$dir/run" --user=postgres --load-extension=pg_envelope $(basename -s .sql sql/*.sql); then
	echo "$(ls sql/*.sql | wc -l) passed, 0 failed"
else
	cat "$dir/regression.diffs"; echo "0 passed, 1 failed"; exit 1
fi
