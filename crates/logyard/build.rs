//! Tells the linker of a release where functions go.
//!
//! An agent at rest runs a tenth of the program's code, which lies all over it, and the system brings in 64 KiB around each
//! function that runs: so two thirds of the code were in memory. `order.ld` brings together what an agent and a store run.
//! For the linker that comes with the compiler; with another one, and in other builds, the order stays as it was.
//!
//! Where the C library knows how (glibc from 2.36 on), what it has to relocate at a start is told in a form that takes 20 KB instead
//! of 1 MB of memory. Such a program needs a C library no older than that; it is built so only where the machine's own is.

use std::env;
use std::path::Path;
use std::process::Command;

/// The first glibc that understands packed relative relocations.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=crates/logyard/order.ld");
    println!("cargo::rerun-if-changed=crates/logyard/build.rs");
    let is = |name: &str, want: &str| env::var(name).is_ok_and(|value| value == want);
    let has_own_linker = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") && !has_own_linker {
        let order = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/logyard/order.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", order.display());
        if env::var("HOST") == env::var("TARGET") && glibc().is_some_and(|version| version >= PACKED_SINCE) {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

/// Returns the version of this machine's glibc; `None` if it has another C library.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("ldd").arg("--version").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let first = told
        .lines()
        .next()
        .filter(|line| line.to_ascii_lowercase().contains("glibc") || line.contains("GNU libc"))?;
    let (major, minor) = first.split_whitespace().last()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
