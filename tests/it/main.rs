//! End-to-end tests: the real binaries, a real Docker Engine, real containers.
//!
//! Needs root, `dockerd`, `docker` and a static busybox; `tests/run` installs what is missing. Every
//! test starts an engine of its own in a temporary folder, so nobody's containers are touched, and
//! checks the process's log: a warning or error that the test did not announce fails it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "tests")]
#![allow(unreachable_pub, reason = "the modules of one test program")]

mod access;
mod alerts;
mod bad_input;
mod behaviours_drivers;
mod behaviours_engine;
mod behaviours_files;
mod behaviours_many;
mod behaviours_store;
mod cable;
mod clients;
mod containers;
mod crash;
mod dashboards;
mod deletes;
mod deploy;
mod destinations;
mod engine;
mod engines;
mod exactly_once;
mod explorer;
mod files;
mod full_disk;
mod http;
mod notify;
mod pager;
mod people;
mod podman;
mod process;
mod promtail;
mod push_whole;
mod receivers;
mod record;
mod reload;
mod shells;
mod socket_proxy;
mod stages;
mod storage;
mod terminal;
mod tls;
mod torture;
mod transfers;
