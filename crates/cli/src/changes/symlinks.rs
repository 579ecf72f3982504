//! Symlinks in a patch that lead out of the directory to which it is applied.
//!
//! Such a link harms nobody when it is made. It waits for whatever is written or read through it later, by tools that
//! take the project's files for the project's.

/// The paths of symlinks that the patch makes or changes and whose targets are outside, as far as the names tell.
pub(super) fn leading_out(patch: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut section = Section::default();
    for line in patch.split('\n') {
        if line.starts_with("diff --git ") {
            section = Section::default();
        } else if section.in_header {
            section.read_header(line);
        } else if let (true, Some(path), Some(target)) =
            (section.is_link, &section.path, line.strip_prefix('+'))
            && leads_out(path, target)
            && !found.contains(path)
        {
            found.push(path.clone());
        }
    }
    found
}

/// One file's part of a patch.
struct Section {
    in_header: bool,
    is_link: bool,
    path: Option<String>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            in_header: true,
            is_link: false,
            path: None,
        }
    }
}

impl Section {
    fn read_header(&mut self, line: &str) {
        if line.starts_with("@@ ") {
            self.in_header = false;
        } else if line.ends_with(" 120000")
            && (line.starts_with("new file mode ") || line.starts_with("index "))
        {
            self.is_link = true;
        } else if let Some(name) = line.strip_prefix("+++ ") {
            // git ends a name with blanks in it with a tab.
            let name = unquoted(name.strip_suffix('\t').unwrap_or(name));
            self.path = name.strip_prefix("b/").map(str::to_owned);
        }
    }
}

/// A name as git writes it: in quotes with escapes when it has unusual characters.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(first @ b'0'..=b'3') => {
                let digits = [first, rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let value = digits.iter().fold(0_u32, |value, digit| {
                    value * 8 + u32::from(digit.saturating_sub(b'0'))
                });
                bytes.push(u8::try_from(value & 0xff).unwrap_or(b'?'));
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Steps up may only come first, and not more of them than directories are above the link.
fn leads_out(path: &str, target: &str) -> bool {
    let depth = path
        .split('/')
        .filter(|part| !part.is_empty())
        .count()
        .saturating_sub(1);
    let mut parts = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .peekable();
    let mut ups = 0;
    while parts.next_if(|part| *part == "..").is_some() {
        ups += 1;
    }
    target.starts_with('/') || ups > depth || parts.any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(path: &str, target: &str) -> String {
        format!(
            "diff --git a/x b/x\nnew file mode 120000\nindex 0000000..1111111\n--- /dev/null\n+++ {path}\n@@ -0,0 +1 @@\n\
             +{target}\n\\ No newline at end of file\n"
        )
    }

    #[test]
    fn links_that_leave_are_found() {
        for (path, target, out) in [
            ("b/a", "/etc/passwd", true),
            ("b/a", "../x", true),
            ("b/d/a", "../x", false),
            ("b/d/a", "../../x", true),
            ("b/a", "d/../../x", true),
            ("b/a", "d/x", false),
            ("b/with blank\t", "/x", true),
            ("\"b/d/\\303\\244\"", "/x", true),
        ] {
            assert_eq!(
                leading_out(&link(path, target)).len(),
                usize::from(out),
                "{path} {target}"
            );
        }
        assert_eq!(leading_out(&link("\"b/d/\\303\\244\\n\"", "/x")), ["d/ä\n"]);
        assert_eq!(leading_out(&link("b/with blank\t", "/x")), ["with blank"]);
    }

    #[test]
    fn files_with_such_contents_are_not_links() {
        let file = link("b/a", "/etc/passwd").replace("120000", "100644");
        assert_eq!(leading_out(&file), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = leading_out(&text);
            let _ = unquoted(&text);
        }
    }
}
