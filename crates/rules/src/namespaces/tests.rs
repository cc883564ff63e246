//! What is acknowledged survives, under any name; what is damaged is put aside.

use super::*;
use crate::check::read_group;
use logyard_sys::SimDisk;

fn open(disk: &SimDisk) -> NamespaceFiles {
    NamespaceFiles::open(Arc::new(disk.clone()), PathBuf::from("/data/rules")).unwrap()
}

fn group(name: &str, expr: &str) -> RuleGroup {
    read_group(format!("name: {name:?}\nrules: [{{alert: A, expr: {expr}}}]").as_bytes()).unwrap()
}

fn names(files: &NamespaceFiles, tenant: &Tenant, namespace: &str) -> Vec<String> {
    files
        .groups(tenant, namespace)
        .iter()
        .map(|group| format!("{} {}", group.name, group.rules[0].expr))
        .collect()
}

#[test]
fn groups_survive_a_crash_under_any_name() {
    let disk = SimDisk::new();
    let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
    let odd = ["plain", "a/b", "..", ".hidden", "50 %", "ümlaut\n", "a%2Fb", "con:*?"];
    let mut files = open(&disk);
    for namespace in odd {
        files.set(&one, namespace, group("g/1", "vector(1)")).unwrap();
        files.set(&one, namespace, group("h", "vector(2)")).unwrap();
        files.set(&one, namespace, group("g/1", "vector(3)")).unwrap();
    }
    files.set(&two, "plain", group("g", "vector(4)")).unwrap();
    let disk = disk.crash();
    let files = open(&disk);
    for namespace in odd {
        assert_eq!(names(&files, &one, namespace), ["g/1 vector(3)", "h vector(2)"], "{namespace:?}");
    }
    assert_eq!(files.by_tenant[&one].len(), odd.len());
    assert_eq!(names(&files, &two, "plain"), ["g vector(4)"]);
}

#[test]
fn removed_is_removed() {
    let disk = SimDisk::new();
    let tenant = Tenant::single();
    let mut files = open(&disk);
    files.set(&tenant, "n", group("g", "vector(1)")).unwrap();
    files.set(&tenant, "n", group("h", "vector(1)")).unwrap();
    files.set(&tenant, "m", group("g", "vector(1)")).unwrap();
    files.remove(&tenant, "n", "g").unwrap();
    files.remove_namespace(&tenant, "m").unwrap();
    assert_eq!(files.remove(&tenant, "n", "g").unwrap_err().to_string(), "group does not exist");
    assert_eq!(
        files.remove_namespace(&tenant, "m").unwrap_err().to_string(),
        "group namespace does not exist"
    );
    let disk = disk.crash();
    let mut files = open(&disk);
    assert_eq!(names(&files, &tenant, "n"), ["h vector(1)"]);
    files.remove(&tenant, "n", "h").unwrap();
    assert_eq!(files.remove_namespace(&tenant, "n").unwrap_err().kind(), Kind::NotFound);
    let long = files.set(&tenant, &"ü".repeat(50), group("g", "vector(1)")).unwrap_err();
    assert!(long.to_string().starts_with("the namespace is too long"), "{long}");
}

#[test]
fn a_damaged_file_costs_its_namespace_alone() {
    let disk = SimDisk::new();
    let tenant = Tenant::single();
    let mut files = open(&disk);
    files.set(&tenant, "bad", group("g", "vector(1)")).unwrap();
    files.set(&tenant, "good", group("g", "vector(1)")).unwrap();
    let path = Path::new("/data/rules/fake/namespaces/bad.yaml");
    let mut bytes = disk.read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    disk.write_atomic(path, &bytes).unwrap();
    let mut files = open(&disk);
    assert_eq!((names(&files, &tenant, "bad").len(), names(&files, &tenant, "good").len()), (0, 1));
    assert!(disk.metadata(Path::new("/data/rules/fake/namespaces/bad.yaml.damaged")).unwrap().is_some());
    files.set(&tenant, "bad", group("g", "vector(2)")).unwrap();
    assert_eq!(names(&open(&disk), &tenant, "bad"), ["g vector(2)"]);
}

#[test]
fn names_of_files_are_reversible() {
    for text in ["", "a", "a/b", "%", "%41", "..", "ü"] {
        assert_eq!(decode_name(&encode_name(text)).as_deref(), Some(text), "{text}");
    }
    assert_eq!(encode_name("../a b.c"), "%2E.%2Fa%20b.c");
    assert_eq!((decode_name("%"), decode_name("%g0"), decode_name("%ff")), (None, None, None));
}

#[test]
fn a_namespace_may_be_larger_than_one_group_may_be() {
    let disk = SimDisk::new();
    let tenant = Tenant::single();
    let mut files = open(&disk);
    let text = "x".repeat(600 << 10);
    for name in ["g", "h"] {
        let yaml =
            format!("name: {name}\nrules: [{{alert: A, expr: vector(1), annotations: {{a: {text}}}}}]");
        files.set(&tenant, "n", read_group(yaml.as_bytes()).unwrap()).unwrap();
    }
    assert_eq!(names(&open(&disk), &tenant, "n"), ["g vector(1)", "h vector(1)"]);
}
