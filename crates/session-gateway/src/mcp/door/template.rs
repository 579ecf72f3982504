//! Which server a resource belongs to when only a template says so.
//!
//! Templates come from servers and URIs from agents, so matching is linear in both and understands only as much as it
//! has to: literal text in order, anything where a variable stands.

/// A URI template, cut into its literal parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// The text before the first variable, between variables, and behind the last one.
    literals: Vec<String>,
}

impl Template {
    /// Reads a template; what is no template stands for itself.
    pub(super) fn parse(text: &str) -> Self {
        let mut literals = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((_, after)) = behind.split_once('}') else {
                break;
            };
            literals.push(before.to_owned());
            rest = after;
        }
        literals.push(rest.to_owned());
        Self { literals }
    }

    /// Whether a URI could have been made of it.
    pub(super) fn fits(&self, uri: &str) -> bool {
        let [first, middle @ .., last] = self.literals.as_slice() else {
            return self.literals.first().is_some_and(|only| only == uri);
        };
        let Some(mut rest) = uri.strip_prefix(first.as_str()) else {
            return false;
        };
        for literal in middle {
            let Some((_, after)) = rest.split_once(literal.as_str()) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }

    /// How much of it is literal: of two that fit, the longer one says more.
    pub(super) fn weight(&self) -> usize {
        self.literals.iter().map(String::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_stand_for_anything() {
        let fits = |template: &str, uri: &str| Template::parse(template).fits(uri);
        assert!(fits("file:///{+path}", "file:///a/b.txt"));
        assert!(fits("repo://{owner}/{name}/issues", "repo://a/b/issues"));
        assert!(!fits("repo://{owner}/{name}/issues", "repo://a/b/pulls"));
        assert!(!fits("repo://{owner}", "file:///x"));
        assert!(fits("exact://x", "exact://x"));
        assert!(!fits("exact://x", "exact://xy"));
        assert!(fits("broken://{x", "broken://{x"));
        assert!(!fits("broken://{x", "broken://y"));
    }

    proptest! {
        #[test]
        fn what_was_made_of_a_template_fits_it(values in prop::collection::vec("[a-z/]{0,8}", 3)) {
            let template = Template::parse("t://{a}-{b}/x{c}");
            let uri = format!("t://{}-{}/x{}", values[0], values[1], values[2]);
            prop_assert!(template.fits(&uri));
        }

        #[test]
        fn any_template_and_uri_are_survived(template in any::<String>(), uri in any::<String>()) {
            let _ = Template::parse(&template).fits(&uri);
        }
    }
}
