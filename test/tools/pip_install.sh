#!/usr/bin/env bash
# Installs pinned packages from PyPI.  pip tries again where no connection can be made; a
# download that breaks off is tried again here, once.
# usage: pip_install.sh PYTHON REQUIREMENTS [option of "pip install" …]
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
python=$1 requirements=$2
shift 2

install() {
	"$python" -m pip install --disable-pip-version-check --quiet --require-hashes --only-binary :all: -r "$requirements" "$@"
}

install "$@" || install "$@"
