#!/usr/bin/env bash
# Runs a command in a folder with another Debian in it, which becomes the root, so that
# programs in it may make namespaces in turn (a chroot's may not).  To be started in mount
# and PID namespaces of its own: see enter() in folders.sh.
# usage: inside.sh FOLDER ro|rw TMP COMMAND …	TMP is /tmp and /var/tmp there
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
root=$1 how=$2 tmp=$3
shift 3
chmod 1777 "$tmp"
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir "$root/run/systemd"
for place in tmp var/tmp; do
	mount --bind "$tmp" "$root/$place"
done
if [ "$how" = ro ]; then mount -o remount,bind,ro "$root"; fi
cd "$root"
pivot_root . .
umount -l .
cd /
exec env -i TERM=dumb HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
