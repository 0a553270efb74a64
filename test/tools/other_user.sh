#!/usr/bin/env bash
# Gives the tests a second operating-system user, for an agent that is a service of its own:
# in WORK a directory of his, and a program by which the user of the tests (and nobody
# else) runs what he likes as him.  Prints the variables that say so (PGE_OTHER_…);
# nothing, and a line on stderr, if it cannot be done.
#
# The user is nobody, so that no user has to be made.  Only root can do this, in a WORK
# that is root's: where the user of the tests may put links, root's hand could be led
# elsewhere, to make another directory his.
# usage: other_user.sh WORK USER_OF_THE_TESTS
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
work=$1 tester=$2
other=nobody

if [ "$(id -u)" != 0 ]; then
	echo "No second user for the tests: only root can give them one." >&2
	exit 0
fi
if [ "$(stat -c %u "$work")" != 0 ]; then
	echo "other_user.sh: $work is not root's" >&2
	exit 1
fi
chmod 755 "$work"
mkdir -m 700 "$work/as"
install -d -o "$other" -g "$(id -gn $other)" -m 755 "$work/other"
install -o "$other" -g "$(id -gn $other)" -m 6755 "$(command -v setpriv)" "$work/as/$other"
chown "$tester" "$work/as"
as=("$work/as/$other" "--reuid=$other" "--regid=$(id -gn $other)" --keep-groups)
if [ "$(setpriv --reuid="$tester" --regid="$(id -g "$tester")" --init-groups "${as[@]}" id -un)" != "$other" ]; then
	echo "No second user for the tests: programs in $work cannot change it." >&2
	exit 0
fi
echo "PGE_OTHER_USER=$other"
echo "PGE_OTHER_DIR=$work/other"
echo "PGE_OTHER_AS=${as[*]}"
