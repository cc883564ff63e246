//! Links between pages lead somewhere.

use std::path::{Component, Path, PathBuf};

use crate::tree;

/// Returns the targets of `[text](target)` outside code blocks.
fn targets(page: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for piece in line.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                targets.push(target.to_owned());
            }
        }
    }
    targets
}

/// Joins a relative target to the folder of its page, resolving `..` by text.
fn join(page: &Path, target: &str) -> Option<PathBuf> {
    let mut path = page.parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir if !path.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[test]
fn links_between_pages_resolve() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for page in tree::files("md") {
        for target in targets(&tree::read(&page)) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let found = join(&page, file).is_some_and(|path| tree::root().join(path).exists());
            if !found {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
    assert!(checked > 0, "no link was checked");
}

#[test]
fn every_contract_is_listed() {
    let listed = targets(&tree::read(Path::new("schemas/README.md")));
    for page in tree::files("md").iter().filter(|page| page.parent() == Some(Path::new("schemas"))) {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name == "README.md" || listed.contains(&name), "schemas/README.md does not list {name}");
    }
}

#[test]
fn links_are_found_outside_code_only() {
    let page = "see [a](x.md), [b](../y.md#z)\n```\n[c](no.md)\n```\n[d](https://e)";
    assert_eq!(targets(page), ["x.md", "../y.md#z", "https://e"]);
    assert_eq!(join(Path::new("schemas/a.md"), "../b.md"), Some(PathBuf::from("b.md")));
    assert_eq!(join(Path::new("a.md"), "../../b.md"), None);
}
