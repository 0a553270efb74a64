# What the demo and the benchmark share: who runs the server, and where it is.
# Sourced by bash scripts that have set $top.
#
# SPDX-License-Identifier: PostgreSQL

pge_ensure_packages() { "$top/test/tools/packages.sh" build "$@"; }

pge_bindir() { "${PG_CONFIG:-pg_config}" --bindir; }

# PostgreSQL refuses to run as root.
pge_server_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

pge_as_server_user() {
	if [ "$(id -u)" = 0 ]; then
		(cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/ "$@")
	else
		"$@"
	fi
}
