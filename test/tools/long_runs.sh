# For the runners of test/LONG_RUNS.md: which commit they test, and their row there.
# Sourced by bash scripts that stand at the top of the tree.
#
# SPDX-License-Identifier: PostgreSQL

# The commit that is tested, which may not be the one that is there at the end.
pge_tested_commit() {
	local commit
	commit=$(git -c safe.directory='*' rev-parse --short HEAD 2>/dev/null || echo unknown)
	[ -z "$(git -c safe.directory='*' status --porcelain -- . ':!test/LONG_RUNS.md' 2>/dev/null)" ] || commit+=+
	echo "$commit"
}

# pge_record RUN COMMIT CLOSING-LINE
pge_record() {
	local row="| $1 | $(date -u +%F) | $2 | $3 |"
	sed -i "s~^| $1 |.*~$row~" test/LONG_RUNS.md
	grep -qxF "$row" test/LONG_RUNS.md || echo "$row" >>test/LONG_RUNS.md
}
