#!/usr/bin/env bash
# Prints what stands for the tree's contents, without what was built in it.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
cd "$(dirname "$0")/../.."
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rw,go= \
	--exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.so' --exclude=./pg_envelope_agent \
	--exclude=__pycache__ -cf - . | sha256sum | cut -d' ' -f1
