//! Tails targets and ships their entries, each exactly once.
//!
//! Owns: the sources (Docker, files, what is sent to it), which targets there are and under which labels, positions, the
//! spool and the pushing of batches. Deliberately absent: what the store does with entries, levels and
//! fields of lines (`ingest` finds them), queries.
//!
//! Flow: source → target → piece → batch → spool (synced) → push → ack. A position is what the last synced
//! batch says, so reading is never progress. Everything on the way is bounded: full means that targets
//! wait, and their lines stay where they are.
//!
//! New settings while it runs change the sources that differ and no others (`sources`).
//!
//! Change a record of the spool, also touch `schemas/spool.md` and the samples in `fuzz/corpus/spool_record`; change a label, also the README.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod agent;
mod agent_id;
mod batch;
mod batch_part;
mod clock_watch;
mod container_stages;
mod destination;
mod discovery;
mod docker_engine;
mod docker_target;
mod dry_run;
mod engine_place;
mod engine_states;
mod error;
mod file_form;
mod file_jobs;
mod file_lists;
mod file_target;
mod forward_event;
mod forward_key;
mod forward_parts;
mod gelf_message;
mod import;
pub mod inspect;
mod json_log;
mod labels;
mod lifecycle;
mod listen_tls;
mod log_decoder;
mod log_entry;
mod log_frames;
mod log_join;
mod log_looks;
mod log_source;
mod log_tty;
mod look;
mod machine;
mod metrics;
mod msgpack;
mod pieces;
mod ports;
mod position;
mod receive_tcp;
mod receive_udp;
mod received;
mod refused;
mod report;
mod settings;
mod settings_receive;
mod ship;
mod ship_complaint;
mod ship_send;
mod source_docker;
mod source_file;
mod source_forward;
mod source_gelf;
mod source_journal;
mod source_loki_push;
mod source_stdin;
mod source_syslog;
mod sources;
mod spool;
pub mod spool_check;
mod spool_mark;
mod spool_record;
mod spool_replay;
mod spool_shared;
mod stage_metrics;
mod staging;
mod syslog_frames;
mod syslog_message;
mod timestamp;

pub use agent::{Agent, AgentParts, Reporter};
pub use destination::{Destination, DestinationKind, WhenFull};
pub use dry_run::{DryEntry, DryParts, DryRun};
pub use error::{Error, Kind};
pub use import::ImportedPositions;
pub use listen_tls::ListenTlsSettings;
pub use logyard_pipeline::{self as pipeline, RelabelAction, RelabelSettings};
pub use look::look;
pub use report::{AgentReport, EngineReport, TargetKind, TargetReport, TargetState};
pub use settings::{
    AgentSettings, DockerSettings, EngineSettings, FileSettings, FilterName, FilterSettings, Initial,
    ReadFrom, SpoolSettings,
};
pub use settings_receive::{
    ForwardSettings, GelfSettings, JournalSettings, LokiPushSettings, StdinSettings, SyslogFormat,
    SyslogSettings, Transport,
};
pub use sources::{Reloaded, check_settings};
