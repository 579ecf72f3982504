set -eu
command -v git >/dev/null 2>&1 || exit 97
cd /workspace
state=$HOME/.cofferdam
mkdir -p "$state"
repo=$state/work.git
kept=$state/work.index
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1
export GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat GIT_NO_REPLACE_OBJECTS=1 GIT_NO_LAZY_FETCH=1
export GIT_CONFIG_COUNT=10
export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=core.hooksPath GIT_CONFIG_VALUE_1=/dev/null
export GIT_CONFIG_KEY_2=core.fsmonitor GIT_CONFIG_VALUE_2=false
export GIT_CONFIG_KEY_3=core.autocrlf GIT_CONFIG_VALUE_3=false
export GIT_CONFIG_KEY_4=core.excludesFile GIT_CONFIG_VALUE_4=/dev/null
export GIT_CONFIG_KEY_5=core.attributesFile GIT_CONFIG_VALUE_5=/dev/null
export GIT_CONFIG_KEY_6=core.fsync GIT_CONFIG_VALUE_6=none
export GIT_CONFIG_KEY_7=core.compression GIT_CONFIG_VALUE_7=1
export GIT_CONFIG_KEY_8=advice.addEmbeddedRepo GIT_CONFIG_VALUE_8=false
export GIT_CONFIG_KEY_9=gc.auto GIT_CONFIG_VALUE_9=0

# Bytes are what they are, whatever the project's attributes say: these go before them.
bytes='* -text -ident -filter -working-tree-encoding !eol !diff !merge'
[ -e "$repo/ready" ] || git init -q --bare --template= "$repo"
line=
read -r line 2>/dev/null <"$repo/info/attributes" || :
if [ "$line" != "$bytes" ]; then
  mkdir -p "$repo/info"
  printf '%s\n' "$bytes" >"$repo/info/attributes.$$"
  mv -f "$repo/info/attributes.$$" "$repo/info/attributes"
  : >"$repo/ready"
fi
export GIT_DIR=$repo GIT_WORK_TREE=/workspace
# A session that an earlier version began has its first tree there.
[ ! -d "$state/objects" ] ||
  export GIT_ALTERNATE_OBJECT_DIRECTORIES=$state/objects:$state/base.git/objects:/workspace/.git/objects

next=$state/index.$$ list=$state/list.$$ left=$state/left.$$ patch=$state/patch.$$ target=$state/target.$$
trap 'rm -f "$next" "$next.lock" "$list" "$list".* "$left" "$patch" "$target" "$target.lock"' EXIT
export GIT_INDEX_FILE=$next

# Of paths that end in NUL: those of large files, as what git is to leave out; and the others that it can hold.
large() {
  xargs -0 printf './%s\0' | xargs -0 sh -c \
    'exec find "$@" -maxdepth 0 -type f -size +65536k -exec printf ":(exclude,literal)%s\\0" {} +' sh 2>/dev/null || :
}
small() {
  xargs -0 printf './%s\0' | xargs -0 sh -c \
    'exec find "$@" -maxdepth 0 \( -type l -o -type f -size -65537k \) -print0' sh 2>/dev/null || :
}

# Repositories inside the workspace end in a slash: git would keep the name of their commit alone. Their files are added
# by name, and from then on they are a directory as any other.
inner() {
  tr '\0' '\n' <"$list" | grep '/$' >"$list.inner" || return 1
  while IFS= read -r inner; do
    (
      cd "./$inner"
      GIT_WORK_TREE=$PWD GIT_INDEX_FILE=$list.none git ls-files -z -o --exclude-per-directory=.gitignore |
        small | git update-index --add --replace -z --stdin
    ) 2>/dev/null || :
  done <"$list.inner"
}

# The workspace as a tree, written from what the index says and what differs from it.
attempt() {
  # What the project tracks although it ignores it.
  if [ -f .git/index ] && { [ -n "$first" ] || [ .git/index -nt "$kept" ]; }; then
    GIT_INDEX_FILE=.git/index git ls-files -z -c -i --exclude-per-directory=.gitignore >"$list" 2>/dev/null || :
    [ ! -s "$list" ] || small <"$list" | git update-index --add --replace -z --stdin 2>/dev/null || :
  fi
  for _ in 1 2 3; do
    git ls-files -z -o -m --exclude-per-directory=.gitignore >"$list" 2>/dev/null || return 1
    inner || break
  done
  { printf '.\0'; [ ! -s "$list" ] || large <"$list"; } >"$left"
  # All at once into one pack when there is much to begin with.
  set -- git -c "${first:-core.preloadIndex=true}" add -A --pathspec-from-file="$left" --pathspec-file-nul
  "$@" 2>/dev/null || "$@" --ignore-errors 2>/dev/null || [ $? -eq 1 ] || return 1
  git write-tree
}

# Its name. The index stays for the next time, so that only what changed is read again; each call works on a copy with
# its times, so that two do not get in each other's way. One that makes no sense any more is made anew.
snapshot() {
  first=
  if [ -e "$kept" ]; then cp -p "$kept" "$next"; else first=core.bigFileThreshold=1; fi
  attempt 2>/dev/null || {
    rm -f "$kept" "$next"
    first=core.bigFileThreshold=1
    attempt
  }
  mv -f "$next" "$kept" 2>/dev/null || :
}
