//! The configuration at work.

use std::fmt::Write;

use super::Text;

/// All of it, folded up; where it is long, the way to it.
pub(super) fn whole(page: &mut String, configuration: &str) {
    page.push_str("<section id=\"configuration\"><h2>Configuration</h2>\n");
    if configuration.len() > LONGEST {
        page.push_str(
            "<p>It is long: <a href=\"/api/config\">/api/config</a> has it as it was resolved, with \
             where each value comes from.</p></section>\n",
        );
        return;
    }
    page.push_str(
        "<details><summary>As resolved, with where each value comes from</summary>\
         <pre tabindex=\"0\" aria-label=\"Configuration\">",
    );
    for line in configuration.lines() {
        let comment = line
            .rfind("  # ")
            .or_else(|| line.starts_with('#').then_some(0));
        let (said, origin) = match comment.and_then(|at| line.split_at_checked(at)) {
            Some((said, origin)) => (said, origin),
            None => (line, ""),
        };
        let _ = write!(page, "{}", Text(said));
        if !origin.is_empty() {
            let _ = write!(page, "<i>{}</i>", Text(origin));
        }
        page.push('\n');
    }
    page.push_str("</pre></details></section>\n");
}

/// The page is to stay small.
const LONGEST: usize = 16 * 1024;
