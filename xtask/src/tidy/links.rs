//! Links from Markdown to files of the repository lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::{Finding, Text};

pub(super) fn check(root: &Path, text: &Text) -> Vec<Finding> {
    let folder = text.path.parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in links(&text.text) {
        let file = target.split(['#', '?']).next().unwrap_or_default();
        if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
            continue;
        }
        let relative = match file.strip_prefix('/') {
            Some(from_root) => PathBuf::from(from_root),
            None => folder.join(file),
        };
        let inside = normal(&relative);
        if !inside.is_some_and(|path| root.join(path).exists()) {
            findings.push(Finding::new(&text.path, line, "link", format!("{target}: no such file")));
        }
    }
    findings
}

/// The path without `.` and `..`; None when it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// Every `](target)` outside of code, and every `[name]: target`, with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // What stands between backticks is code: every second part.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in prose.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            links.push((index + 1, target.trim_matches(['<', '>']).to_owned()));
        }
        if let Some((name, target)) = prose.split_once("]: ").filter(|(name, _)| name.starts_with('['))
            && !name.starts_with("[^")
        {
            links.push((index + 1, target.trim().to_owned()));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn a_link_to_nothing_is_found() {
        let root = crate::workspace::root();
        let lines = |content: &str| -> Vec<usize> {
            let page = text("xtask/page.md", content);
            check(&root, &page).iter().map(|finding| finding.line).collect()
        };
        assert_eq!(lines("[a](Cargo.toml) [b](../Cargo.toml#x)\n[c](gone.md)\n[d]: gone.md"), [2, 3]);
        assert_eq!(lines("[out](../../etc/passwd)"), [1]);
        assert!(lines("[w](https://example.com/x) [h](#here) `[x](gone)`\n```\n[y](gone)\n```").is_empty());
    }
}
