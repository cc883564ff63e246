//! The map in `crates/README.md` is true: each crate uses exactly the crates its row names, and an
//! outside package with one home is used nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::tree;

/// One row of the map.
struct Row {
    /// Crates it uses, by folder name.
    uses: BTreeSet<String>,
    /// Outside packages that only it may use.
    home_of: BTreeSet<String>,
}

/// Reads the rows `| crates/x | owns | uses | only home of |`, by folder name.
fn map() -> BTreeMap<String, Row> {
    let page = tree::read(Path::new("crates/README.md"));
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `crates/")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [folder, _, uses, home] = cells[..] else {
            panic!("want four cells, got {}: {line}", cells.len())
        };
        let folder = folder.trim_matches('`').strip_prefix("crates/").unwrap().to_owned();
        let uses = uses.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "–").collect();
        // Every second piece between backticks is inside a pair of them.
        let home_of = home.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(rows.insert(folder, Row { uses, home_of }).is_none(), "twice in the map: {line}");
    }
    rows
}

/// One package of the workspace as cargo sees it: what it depends on, tests apart.
struct Package {
    folder: String,
    ours: BTreeSet<String>,
    outside: BTreeSet<String>,
    tests_only: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(tree::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let (mut ours, mut outside, mut tests_only) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let set = match (dependency["kind"] == "dev", used.strip_prefix("logyard-")) {
                (true, _) => &mut tests_only,
                (false, Some(_)) => &mut ours,
                (false, None) => &mut outside,
            };
            set.insert(used.strip_prefix("logyard-").unwrap_or(used).to_owned());
        }
        let folder = name.strip_prefix("logyard-").unwrap_or(name).to_owned();
        packages.push(Package { folder, ours, outside, tests_only });
    }
    packages
}

#[test]
fn arrows_are_those_of_the_map() {
    let map = map();
    let packages = packages();
    let mut wrong = Vec::new();
    for package in &packages {
        let Some(row) = map.get(&package.folder) else {
            wrong.push(format!("crates/{} is not in the map", package.folder));
            continue;
        };
        for extra in package.ours.difference(&row.uses) {
            wrong.push(format!("{} uses {extra}, which the map does not allow", package.folder));
        }
        for unused in row.uses.difference(&package.ours) {
            wrong.push(format!("{} does not use {unused}, which the map says it does", package.folder));
        }
    }
    for folder in map.keys().filter(|folder| packages.iter().all(|package| package.folder != **folder)) {
        wrong.push(format!("crates/{folder} is in the map but not in the workspace"));
    }
    assert!(wrong.is_empty(), "crates/README.md and the manifests disagree:\n{}", wrong.join("\n"));
}

#[test]
fn outside_packages_stay_at_home() {
    let map = map();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for package in packages() {
        for (home, row) in &map {
            for strayed in package.outside.intersection(&row.home_of) {
                checked += 1;
                if *home != package.folder {
                    wrong.push(format!("{} uses {strayed}, whose only home is {home}", package.folder));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 5, "only {checked} packages with a home were seen: the map is not read right");
}

#[test]
fn benches_have_one_home() {
    for package in packages().iter().filter(|package| package.folder != "logyard") {
        let strayed = package.tests_only.contains("criterion") || package.outside.contains("criterion");
        assert!(!strayed, "{} uses criterion, whose only home is benches", package.folder);
    }
}

#[test]
fn forbidden_arrows_stay_forbidden() {
    // Said apart from the map, so that nobody allows them by editing one row.
    let never = [
        ("store", "logql"),
        ("store", "engine"),
        ("engine", "store"),
        ("agent", "ingest"),
        ("agent", "store"),
        ("agent", "engine"),
        ("agent", "server"),
    ];
    for package in packages() {
        for (from, to) in never {
            let arrow = package.folder == from && package.ours.contains(to);
            assert!(!arrow, "{from} must never use {to}");
        }
        let above = package.ours.contains("server") || package.ours.contains("logyard");
        assert!(!above || package.folder == "logyard", "{} must not use server", package.folder);
    }
}
