//! Lets go of the pages of this test's own program. Alone in its process: other tests would bring pages back meanwhile.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "the test looks at its own process")]

use std::hint::black_box;

use logyard_sys::ProgramPages;

/// Addresses are relocated at the start: read from the file again they would lead nowhere.
static RELOCATED: [&str; 2] = ["one", "two"];

/// Memory that is mapped from files.
fn file_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn what_is_let_go_of_is_gone_and_what_is_used_comes_back_as_it_was() {
    let mut own = vec![7_u8; 1 << 16];
    let pages = ProgramPages::at_start().unwrap();
    let before = file_bytes();
    pages.let_go().unwrap();
    let after = file_bytes();
    assert!(after < before * 3 / 4, "{after} of {before} bytes are left");
    own.push(7);
    assert!(black_box(&own).iter().all(|&byte| byte == 7));
    assert_eq!(black_box(&RELOCATED).concat(), "onetwo");
    pages.let_go().unwrap();
    assert_eq!(format!("{:.3} {:?}", black_box(2.0_f64).sqrt(), own.get(3)), "1.414 Some(7)");
}
