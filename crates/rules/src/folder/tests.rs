//! The folder is taken as a whole, when it changed.

use super::*;
use logyard_sys::SimDisk;

const GOOD: &[u8] = b"groups: [{name: g, rules: [{alert: A, expr: vector(1)}]}]";

fn shown(
    found: Option<Result<BTreeMap<Tenant, Namespaces>, Vec<FileFault>>>,
) -> Option<Result<String, String>> {
    let texts =
        |faults: Vec<FileFault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
    let names = |by_tenant: BTreeMap<Tenant, Namespaces>| {
        let all = by_tenant.iter().flat_map(|(tenant, namespaces)| {
            namespaces.keys().map(move |namespace| format!("{tenant}/{namespace}"))
        });
        all.collect::<Vec<_>>().join(" ")
    };
    found.map(|found| found.map(names).map_err(texts))
}

#[test]
fn it_is_read_when_it_changed_and_whole_or_not_at_all() {
    let disk = SimDisk::new();
    let mut folder = RuleFolder::new(Arc::new(disk.clone()), Path::new("/rules"));
    let text = shown(folder.reload()).unwrap().unwrap_err();
    assert!(text.starts_with("cannot use rule file /rules: cannot read it"), "{text}");
    assert_eq!(shown(folder.reload()), None);
    disk.create_dir_all(Path::new("/rules/team")).unwrap();
    assert_eq!(shown(folder.reload()), Some(Ok(String::new())));
    for path in ["/rules/a.yaml", "/rules/team/b.yml", "/rules/.c.yaml", "/rules/d.txt"] {
        disk.write_atomic(Path::new(path), GOOD).unwrap();
    }
    assert_eq!(shown(folder.reload()), Some(Ok("fake/a.yaml team/b.yml".to_owned())));
    assert_eq!(shown(folder.reload()), None);
    disk.write_atomic(Path::new("/rules/e.yaml"), b"groups:\n- rules: []\n").unwrap();
    disk.write_atomic(Path::new("/rules/a.yaml"), b"groups: x").unwrap();
    let text = shown(folder.reload()).unwrap().unwrap_err();
    assert!(
        text.contains("/rules/a.yaml line 1") && text.contains("/rules/e.yaml line 1: group 0"),
        "{text}"
    );
    assert_eq!(shown(folder.reload()), None);
    disk.remove_file(Path::new("/rules/e.yaml")).unwrap();
    disk.remove_file(Path::new("/rules/a.yaml")).unwrap();
    assert_eq!(shown(folder.reload()), Some(Ok("team/b.yml".to_owned())));
}

#[test]
fn one_tenant_has_each_file_once() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/rules/fake")).unwrap();
    for path in ["/rules/a.yaml", "/rules/fake/a.yaml"] {
        disk.write_atomic(Path::new(path), GOOD).unwrap();
    }
    let mut folder = RuleFolder::new(Arc::new(disk), Path::new("/rules"));
    let text = shown(folder.reload()).unwrap().unwrap_err();
    assert!(text.contains("its tenant has another file of that name"), "{text}");
}
