# $1: the tree with which the workspace began. $2: the one that is kept already. $3: how many KiB may lie about.
tree=$(snapshot)
printf '%s %s\n' "$tree" "$(tr -dc '\0' <"$left" | wc -c)"
[ "$tree" = "$1" ] || [ "$tree" = "$2" ] ||
  git diff-tree -r -p --binary --full-index --no-renames --no-ext-diff --no-textconv --no-color \
    --src-prefix=a/ --dst-prefix=b/ "$1" "$tree"
# What no tree of interest has any more, but for what somebody else may be at.
size=$(du -sk "$repo/objects" 2>/dev/null) || size=0
[ "${size%%[!0-9]*}" -lt "$3" ] || git prune --expire=10.minutes.ago "$1" 2>/dev/null || :
