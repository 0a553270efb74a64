#!/bin/sh
# Puts a script in place of a private server's program, which runs it under
# valgrind when it is to be a server.  Its reports go to the directory $PGE_REPORTS.
# usage: wrap_postgres.sh BINDIR SUPPRESSIONS
#
# SPDX-License-Identifier: PostgreSQL
set -eu
bindir=$1 suppressions=$2
mv "$bindir/postgres" "$bindir/postgres.real"
cat >"$bindir/postgres" <<EOF
#!/bin/sh
case \${1:-} in
-D) exec valgrind --quiet --leak-check=no --num-callers=30 --suppressions='$suppressions' \\
	--error-markers=VALGRINDERROR-BEGIN,VALGRINDERROR-END \\
	--log-file="$PGE_REPORTS/server-%p" '$bindir/postgres.real' "\$@" ;;
*) exec '$bindir/postgres.real' "\$@" ;;
esac
EOF
chmod 755 "$bindir/postgres"
