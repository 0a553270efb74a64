#!/usr/bin/env bash
# Builds a server for check-hardened from Debian's source package, with assertions.
# usage: build_server.sh asan|valgrind; prints the pg_config of what it has installed
#
#	asan		gcc's address and undefined-behaviour sanitizers, which end what errs
#	valgrind	with the server's own notes to valgrind (USE_VALGRIND), which cost
#				little without it: also the server for debug_discard_caches
#
# All happens below $PGE_HARDENED_DIR (default /var/tmp/pg_envelope-hardened); what
# is there is used again.  The source comes by apt, from the mirrors that the
# system's packages come from but with a list of sources of our own, so nothing of
# its configuration changes, and must be this one: Debian's archive keeps its last
# point release, so a new one needs new sums here.
#
# Root does not build: Debian's patches make a server whose library directory has
# no "postgres" in its path install its libraries into /usr/lib/postgresql, over
# the system's own.  So the path has it, this script looks where they would go, and
# the user postgres, who runs it then, could not write there.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
	dir=${PGE_HARDENED_DIR:-/var/tmp/pg_envelope-hardened}
	install -d -o postgres -m 755 "$dir"
	exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$dir" TMPDIR="$dir" PGE_HARDENED_DIR="$dir" "$0" "$@"
fi
kind=$1
dir=${PGE_HARDENED_DIR:-/var/tmp/pg_envelope-hardened}
version=15.18-0+deb12u1
sums="d940b57dd029ef0712212164410fcb51854c883f3fc0c3a11486acdfd2ca5947  postgresql-15_$version.dsc
11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4  postgresql-15_${version%-*}.orig.tar.bz2
efe6fc2007229a2cc7b087d75cb1213d49e275ec47c4b896d5e0880b4904f8b3  postgresql-15_$version.debian.tar.xz"
prefix=$dir/postgresql-$kind

common='-O1 -fno-omit-frame-pointer'
sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'
case $kind in
asan) flags=("CFLAGS=$common $sanitize" "LDFLAGS=$sanitize") ;;
valgrind) flags=("CFLAGS=$common" CPPFLAGS=-DUSE_VALGRIND) ;;
*) echo "build_server.sh: no kind \"$kind\"" >&2; exit 2 ;;
esac
# The compiler's own probes would be taken for leaks.
export ASAN_OPTIONS=detect_leaks=0

# sources LABEL SUITE: the line for that suite, where this system has the archive.
sources() {
	apt-get indextargets --format 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI)' \
		'Origin: Debian' "Label: $1" | sort -u | sed -n "1s/\$/ $2 main/p"
}

fetch() {
	local apt=$dir/apt
	echo "$sums" | (cd "$dir" && sha256sum --check --status 2>/dev/null) && return
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
	{ sources Debian bookworm; sources Debian-Security bookworm-security; } >"$apt/sources.list"
	if [ ! -s "$apt/sources.list" ]; then
		echo "build_server.sh: apt knows no mirror of Debian: is there one in its sources, and has apt-get update run?" >&2
		return 1
	fi
	apt=(apt-get -qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
		-o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o "APT::Sandbox::User=$(id -un)")
	"${apt[@]}" update || return
	(cd "$dir" && "${apt[@]}" source --download-only "postgresql-15=$version" && echo "$sums" | sha256sum --check --quiet)
}

# What our tests use, no more: the whole takes twice as long.
parts() {
	local part
	for part in common port timezone backend backend/utils/mb/conversion_procs backend/snowball include \
		interfaces/libpq backend/replication/libpqwalreceiver backend/replication/pgoutput fe_utils \
		bin/initdb bin/pg_ctl bin/psql bin/pg_dump bin/pg_config bin/pg_basebackup bin/pg_controldata \
		bin/pg_resetwal bin/pg_rewind bin/pg_upgrade bin/pgbench bin/scripts pl/plpgsql makefiles test/regress test/isolation test/perl; do
		echo "src/$part"
	done
	echo contrib/auto_explain contrib/dblink contrib/pg_stat_statements contrib/postgres_fdw
}

# Whatever the patches make of it, nothing is installed beside our directory.
stays_here() {
	local where
	where=$(printf 'subdir = .\ntop_builddir = .\ninclude src/Makefile.global\nwhere:\n\t@printf "%%s\\n" $(bindir) $(libdir) $(pkglibdir) $(pgxsdir) $(datadir) $(includedir) $(includedir_server)\n' |
		make -s --no-print-directory -f - where)
	if grep -v "^$prefix/" <<<"$where"; then
		echo "build_server.sh: this would be installed outside of $prefix" >&2
		return 1
	fi
}

# (Each step says "or return": within a condition bash does not stop by itself.)
build() {
	local part
	mkdir -p "$dir/build-$kind" && cd "$dir/build-$kind" || return
	[ -f config.status ] || "$dir/src/configure" --prefix="$prefix" CC=gcc "${flags[@]}" \
		--enable-cassert --enable-debug --enable-tap-tests --with-openssl --without-readline || return
	stays_here || return
	make -C src/backend generated-headers || return
	for part in $(parts); do
		make -j2 -C "$part" install || return
	done
	make -C src install-local && make -C config install
}

mkdir -p "$dir"
log=$dir/build-$kind.log
if [ ! -e "$dir/$kind.done" ]; then
	echo "Building the server \"$kind\" from postgresql-15 $version; the log is $log" >&2
	fetch >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
	[ -d "$dir/src" ] || dpkg-source --no-check -x "$dir/postgresql-15_$version.dsc" "$dir/src" >>"$log" 2>&1
	(build) >>"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
	touch "$dir/$kind.done"
fi
echo "$prefix/bin/pg_config"
