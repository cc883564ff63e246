//! The `logyard` binary: hands the process over to the library.

use std::process::ExitCode;

/// Keeps little beyond what is in use when many buffers of all sizes come and go on several threads. Its settings are in
/// `.cargo/config.toml`; without that file it still works, and keeps a fifth more.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    logyard::run(std::env::args_os())
}
