#!/bin/sh
# Runs a program that has a planted fault: it must fail, and say what the fault is.
# usage: expect_report.sh PATTERN PROGRAM ARGUMENT …
#
# SPDX-License-Identifier: PostgreSQL
pattern=$1
shift
if said=$("$@" 2>&1); then
	echo "not ok - $*: it ended well"
elif ! printf '%s\n' "$said" | grep -q "$pattern"; then
	echo "not ok - $*: no report of \"$pattern\":"
	printf '%s\n' "$said"
else
	echo "ok - $*: $pattern"
	exit 0
fi
exit 1
