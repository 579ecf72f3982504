# Arguments: what `find` is to leave alone. What was known of the old workspace's files goes with them.
find /workspace -mindepth 1 "$@" -prune -exec rm -rf {} + && rm -rf "$HOME/.cofferdam/work.git" "$HOME/.cofferdam/work.index"
