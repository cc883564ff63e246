//! Tells the linker of a release where functions go.
//!
//! An agent at rest runs a tenth of the program's code, which lies all over it, and the system brings in 64 KiB around each
//! function that runs: so two thirds of the code were in memory. `order.ld` brings together what an agent and a store run.
//! For the linker that comes with the compiler; with another one, and in other builds, the order stays as it was.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=crates/logyard/order.ld");
    println!("cargo::rerun-if-changed=crates/logyard/build.rs");
    let is = |name: &str, want: &str| env::var(name).is_ok_and(|value| value == want);
    let has_own_linker = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") && !has_own_linker {
        let order = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/logyard/order.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", order.display());
    }
}
