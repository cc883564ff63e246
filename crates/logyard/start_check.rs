//! What a start checks before it opens a port or a folder, so that `logyard config` and a reload can check the same.

use logyard_agent::check_settings;
use logyard_rules::Target;
use logyard_sys::Disk;

use crate::assemble::{destinations, pack_tenant, store_settings};
use crate::command_run::Role;
use crate::config::Settings;
use crate::tls::ServerTls;
use crate::{logging, secrets};

/// Checks settings as the start of a role would: names, addresses, selectors, rules, stages, and every file that they name.
///
/// Errors: the first fault, with its setting. Reads files; opens no port and no folder.
pub(crate) fn check(role: Role, settings: &Settings, disk: &dyn Disk) -> anyhow::Result<()> {
    let mut settings = settings.clone();
    logging::filter(&settings.log.level)?;
    secrets::read_files(&mut settings, disk)?;
    settings.server.check().map_err(anyhow::Error::msg)?;
    ServerTls::read(&settings.server.tls, disk)?;
    if role.keeps() {
        store_settings(&settings)?;
        settings.rules.check().map_err(anyhow::Error::msg)?;
        pack_tenant(&settings)?;
        Target::all(&settings.notify, disk).map_err(anyhow::Error::msg)?;
    }
    if role.reads() {
        check_settings(&settings.agent, &settings.data_dir, disk)?;
        destinations(&settings.push)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use logyard_sys::SimDisk;

    use super::*;
    use crate::config::{Sources, load};

    #[track_caller]
    fn faults(file: &str, want: &str) {
        let file = Some(("logyard.yaml".into(), file.to_owned()));
        let settings = load(&Sources { file, ..Sources::default() }).unwrap();
        let found = check(Role::All, &settings, &SimDisk::new());
        let found = found.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(found.contains(want) && found.is_empty() == want.is_empty(), "{found:?}, want {want:?}");
    }

    #[test]
    fn whatever_would_end_a_start_is_found() {
        faults("", "");
        faults("log: {level: loud}", "cannot use log.level \"loud\"");
        faults("server: {path_prefix: logs}", "server.path_prefix");
        faults("server: {tokens: [{name: a}]}", "server.tokens.0: no token");
        faults(
            "server: {tokens: [{name: a, token_file: /none, scopes: [read]}]}",
            "server.tokens.0.token_file",
        );
        faults("server: {tls: {cert_file: /none, key_file: /none}}", "server.tls.cert_file /none");
        faults(
            "store: {retention: {policies: [{selector: '{a=', period_secs: 1d}]}}",
            "store.retention.policies.0",
        );
        faults("rules: {mask: ['(']}", "rules.mask");
        faults("push: {tenant: a/b}", "cannot use push.tenant");
        faults("push: {url: ftp://nowhere}", "cannot use push.url");
        faults("agent: {files: [{path: [a.log]}]}", "agent.files.path");
        faults("agent: {docker: {stages: [{regex: {expression: '('}}]}}", "agent.docker.stages");
        faults("agent: {docker: {host: 'ftp://a'}}", "ftp://a");
        faults("agent: {syslog: [{listen: ':1514', time_zone: Mars/Base}]}", "agent.syslog.time_zone");
        faults(
            "agent: {gelf: [{listen: ':1', protocol: tcp, tls: {cert_file: /none, key_file: /none}}]}",
            "agent.gelf.tls",
        );
        faults("agent: {syslog: [{listen: ':1514'}, {listen: '0.0.0.0:1514'}]}", "two receivers want");
    }
}
