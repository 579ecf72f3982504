# Standard input: a patch. $1: the tree with which the workspace began.
cat >"$patch"
now=$(snapshot)
[ ! -e "$kept" ] || cp -p "$kept" "$next"
export GIT_INDEX_FILE=$target
git read-tree "$1"
[ ! -s "$patch" ] || git apply --cached --whitespace=nowarn -p1 "$patch" || exit 95
wanted=$(git write-tree)
# Whatever differs from the beginning must be as the patch has it.
git diff-tree -r --no-renames --name-only -z "$1" "$now" >"$list"
[ ! -s "$list" ] ||
  GIT_LITERAL_PATHSPECS=1 xargs -0 git diff-tree -r --quiet "$now" "$wanted" -- <"$list" || exit 94
export GIT_INDEX_FILE=$next
git read-tree -m -u "$now" "$wanted" || exit 93
mv -f "$next" "$kept"
