//! What is not applied unless somebody asks for it.
//!
//! Two kinds: files that tools on the host run or obey as soon as somebody looks at the directory (git, editors, agents,
//! shells that load environments), at any depth and in any case of letters; and symlinks that lead out of what is copied.
//! What runs only when somebody builds or runs the project is the project itself, and is applied.

use super::shown;

/// How many paths are listed.
const MAX_LISTED: usize = 1000;

/// Directories and files that a tool obeys wherever it finds them.
const NAMES: &[&str] = &[
    ".claude",
    ".cursor",
    ".devcontainer",
    ".devcontainer.json",
    ".direnv",
    ".envrc",
    ".husky",
    ".idea",
    ".mcp.json",
    ".vscode",
];

/// What makes git run something, directly in a repository or in one that it keeps for submodules and worktrees.
const GIT_NAMES: &[&str] = &["commondir", "config", "config.worktree", "hooks"];
const GIT_NESTED: &[&str] = &["modules", "worktrees"];

/// Whether a tool on the host could run something on account of the file or directory at `path` (relative, `/` between
/// the parts), or on account of a directory above it.
pub fn could_run_on_host(path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    withheld_prefix(&parts).is_some()
}

/// How many of the parts name the topmost thing that is withheld.
pub(super) fn withheld_prefix(parts: &[&[u8]]) -> Option<usize> {
    (1..=parts.len()).find(|count| {
        let (last, above) = (parts[*count - 1], &parts[..*count - 1]);
        is_one_of(last, NAMES) || (is_one_of(last, GIT_NAMES) && in_git_dir(above))
    })
}

/// Whether a path names a repository: as anything but a directory it points to another one, with a configuration.
pub(super) fn is_git_dir(parts: &[&[u8]]) -> bool {
    parts.last().is_some_and(|last| is_one_of(last, &[".git"]))
}

fn in_git_dir(above: &[&[u8]]) -> bool {
    let Some(git) = above.iter().rposition(|part| is_one_of(part, &[".git"])) else {
        return false;
    };
    above.get(git + 1).is_none_or(|next| is_one_of(next, GIT_NESTED))
}

fn is_one_of(part: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| name.as_bytes().eq_ignore_ascii_case(part))
}

/// Whether a symlink stays beneath the root of what is copied, `depth` directories above it.
///
/// Steps up may only come first: then they climb from where the link really is. After a name they would climb from
/// wherever that name leads, which a second link decides.
pub(super) fn stays_beneath(target: &[u8], depth: usize) -> bool {
    let mut parts = target
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .peekable();
    let mut ups = 0;
    while parts.next_if(|part| *part == b"..").is_some() {
        ups += 1;
    }
    !target.starts_with(b"/") && ups <= depth && parts.all(|part| part != b"..")
}

/// What was left out.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    pub(super) listed: Vec<String>,
    pub(super) count: u64,
    last: Vec<u8>,
}

impl Withheld {
    /// `top` stands for everything below it and is listed once if its entries come together.
    pub(super) fn note(&mut self, top: &[u8]) {
        self.count += 1;
        if self.last == top && self.count > 1 {
            return;
        }
        self.last = top.to_vec();
        let shown = shown(top);
        if self.listed.len() < MAX_LISTED && !self.listed.contains(&shown) {
            self.listed.push(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_obey_is_known_at_any_depth_and_in_any_case() {
        for held in [
            ".envrc",
            "a/b/.ENVRC",
            ".git/hooks",
            ".git/hooks/pre-commit",
            "a/.Git/Config",
            ".git/config.worktree",
            ".git/modules/x/hooks/post-checkout",
            ".git/modules/a/b/config",
            ".git/worktrees/w/config.worktree",
            ".git/commondir",
            "p/.claude/settings.json",
            ".vscode/tasks.json",
            ".mcp.json",
            ".git/modules/x/.git/config",
        ] {
            assert!(could_run_on_host(held.as_bytes()), "{held}");
        }
        for applied in [
            "src/config",
            "hooks/pre-commit",
            ".git/HEAD",
            ".git/refs/heads/hooks",
            ".git/logs/refs/heads/config",
            ".github",
            "envrc",
            ".gitignore",
            "CLAUDE.md",
            "a.claude",
            ".git/objects/ab/config",
        ] {
            assert!(!could_run_on_host(applied.as_bytes()), "{applied}");
        }
    }

    #[test]
    fn the_topmost_part_is_named() {
        let parts: Vec<&[u8]> = b"a/.claude/x/.envrc".split(|byte| *byte == b'/').collect();
        assert_eq!(withheld_prefix(&parts), Some(2));
    }

    #[test]
    fn symlinks_climb_only_first_and_not_too_far() {
        for (target, depth, stays) in [
            ("a", 0, true),
            ("./a/./b", 0, true),
            ("../a", 1, true),
            ("../../a/b", 2, true),
            ("..", 1, true),
            ("../a", 0, false),
            ("../../a", 1, false),
            ("/etc/passwd", 9, false),
            ("a/../b", 9, false),
            ("../a/..", 9, false),
            ("a/..", 9, false),
        ] {
            assert_eq!(
                stays_beneath(target.as_bytes(), depth),
                stays,
                "{target} at {depth}"
            );
        }
    }
}
