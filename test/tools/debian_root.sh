# What makes a folder with another Debian in it (debootstrap) of use: this machine's
# mirror and its way to the packages.  Sourced by bash scripts that run as root.
#
# SPDX-License-Identifier: PostgreSQL

# debian_mirror [-security]: as this machine's apt has it.
debian_mirror() {
	sed -n "s/^URIs: *\(http[^ ]*\/debian${1:-}\/*\)\$/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\(http[^ ]*\/debian${1:-}\/*\) .*/\2/p" \
		/etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1
}

# debian_network ROOT
debian_network() {
	local root=$1 file
	for file in /etc/apt/apt.conf /etc/resolv.conf /etc/hosts $(grep -ls '^Acquire::' /etc/apt/apt.conf.d/* || true); do
		[ ! -f "$file" ] || install -D -m 644 "$file" "$root$file"
	done
	# A network that brings its own certificates: pip must know them too.
	if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
		install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/outer-ca.pem"
		printf '[global]\ncert = /etc/outer-ca.pem\n' >"$root/etc/pip.conf"
	fi
}
