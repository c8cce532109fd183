//! The pages of `docs/`: their links lead somewhere, their commands are run, and each is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::gatepass::project;

/// Commands that only a release, a cluster or an engine can run, or that a test in `tests/deploy`
/// runs in its own way: how they begin, and what stands in.
const ELSEWHERE: [(&str, &str); 11] = [
    ("kubectl apply ", "what it applies is rendered before it"),
    ("docker build ", "buildah takes the same Dockerfile"),
    ("deploy/image/build-binary", "a step of that Dockerfile"),
    ("deploy/image/bill-of-materials ", "test_release.py"),
    ("cosign verify", "needs a release"),
    ("sha256sum --check ", "needs a release"),
    ("kubectl exec ", "test_runbooks.py runs it without a pod"),
    (
        "curl -X POST ",
        "Gatepass::order_refresh in tests/it asks so",
    ),
    ("gatepass exec ", "tests/it/exec.rs"),
    ("gatepass login ", "tests/it/login.rs"),
    ("gatepass logout ", "tests/it/login.rs"),
];

/// The page that `tests/deploy/test_documentation.py` walks through.
const GUIDE: &str = "docs/getting-started.md";

fn pages() -> Vec<PathBuf> {
    let pages = fs::read_dir(project().join("docs")).unwrap();
    let pages = pages.map(|entry| entry.unwrap().path());
    pages
        .filter(|page| page.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// A page's text, and its blocks of a language.
fn split(page: &Path, language: &str) -> (String, String) {
    let text = fs::read_to_string(page).unwrap();
    let (mut prose, mut blocks) = (String::new(), String::new());
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 0 {
            prose.push_str(part);
        } else if let Some(block) = part.strip_prefix(&format!("{language}\n")) {
            blocks.push_str(block);
        }
    }
    (prose, blocks)
}

/// The names by which a page's headings are linked to.
fn anchors(page: &Path) -> BTreeSet<String> {
    let (prose, _) = split(page, "sh");
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut checked = 0;
    let others = ["README.md", "benches/README.md"].map(|page| project().join(page));
    for page in pages().into_iter().chain(others) {
        let (prose, _) = split(&page, "sh");
        for link in prose.split("](").skip(1) {
            let target = link.split([')', ' ']).next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(path)
            };
            assert!(file.exists(), "{target:?} in {}", page.display());
            let found = anchor.is_empty() || anchors(&file).contains(anchor);
            assert!(found, "{target:?} in {}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn every_page_is_in_the_table_of_pages() {
    let (table, _) = split(&project().join("docs/README.md"), "sh");
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        let found = name == "README.md" || table.contains(&format!("]({name})"));
        assert!(found, "docs/README.md has no link to {name}");
    }
}

#[test]
fn every_command_of_the_pages_is_run() {
    let ci = fs::read_to_string(project().join(".ci/run")).unwrap();
    let (_, guide) = split(&project().join(GUIDE), "sh");
    for page in pages() {
        let (_, commands) = split(&page, "sh");
        for command in commands.replace("\\\n", "").lines() {
            let run = guide.lines().any(|line| line == command)
                || ci.lines().any(|line| line.ends_with(command))
                || ELSEWHERE
                    .iter()
                    .any(|(start, _)| command.starts_with(start));
            assert!(
                run,
                "{command:?} in {} is run nowhere: put it into .ci/run or {GUIDE}",
                page.display()
            );
        }
    }
}
