//! Tokens: read from their files at start, and the one of the agent in the same process.

use std::path::Path;

use anyhow::Context as _;
use logyard_client::Token;
use logyard_server::{Scope, Secret, ServerSettings, TokenSettings};
use logyard_sys::{Disk, Random};

use crate::config::{PushSettings, Settings};

/// Most bytes of a file that holds a token.
const FILE_BYTES_MAX: u64 = 4096;

/// Name of the token that the agent of this process shows; one of the settings cannot begin with a blank.
const OWN_NAME: &str = " own agent";

/// Bytes of chance in it.
const OWN_BYTES: usize = 32;

/// Puts what the files of tokens hold in place. Errors name the key and the file, never what it holds.
pub(crate) fn read_files(settings: &mut Settings, disk: &dyn Disk) -> anyhow::Result<()> {
    let PushSettings { delivery, also, .. } = &mut settings.push;
    let also = also.iter_mut().enumerate();
    let also = also.map(|(number, also)| (format!("push.also.{number}"), &mut also.delivery));
    for (key, delivery) in std::iter::once(("push".to_owned(), delivery)).chain(also) {
        read_file(&key, "token", &mut delivery.token, &delivery.token_file, disk)?;
        read_file(&key, "password", &mut delivery.password, &delivery.password_file, disk)?;
    }
    for (number, token) in settings.server.tokens.iter_mut().enumerate() {
        read_file(&format!("server.tokens.{number}"), "token", &mut token.token, &token.token_file, disk)?;
    }
    Ok(())
}

fn read_file(key: &str, what: &str, secret: &mut Secret, file: &str, disk: &dyn Disk) -> anyhow::Result<()> {
    if file.is_empty() {
        return Ok(());
    }
    anyhow::ensure!(secret.is_empty(), "{key}: both {what} and {what}_file; remove one");
    let path = Path::new(file);
    let at = || format!("{key}.{what}_file: cannot read {file}");
    let meta = disk.metadata(path).with_context(at)?.with_context(|| format!("{}: no such file", at()))?;
    anyhow::ensure!(meta.bytes <= FILE_BYTES_MAX, "{}: {} bytes are no {what}", at(), meta.bytes);
    let bytes = disk.read(path).with_context(at)?;
    let text = std::str::from_utf8(&bytes).with_context(at)?.trim();
    anyhow::ensure!(!text.is_empty(), "{}: it is empty", at());
    *secret = Secret::new(text);
    Ok(())
}

/// Makes a token for the agent of this process, if the server asks for tokens; empty if not.
pub(crate) fn own(server: &mut ServerSettings, random: &Random) -> Secret {
    if server.tokens.is_empty() {
        return Secret::default();
    }
    let token = made(random);
    server.tokens.push(TokenSettings {
        name: OWN_NAME.to_owned(),
        token: token.clone(),
        token_file: String::new(),
        scopes: vec![Scope::Write],
        tenants: Vec::new(),
    });
    token
}

/// Makes a token of chance.
pub(crate) fn made(random: &Random) -> Secret {
    let mut bytes = [0; OWN_BYTES];
    random.fill(&mut bytes);
    Secret::new(bytes.map(|byte| format!("{byte:02x}")).concat())
}

/// Returns the token by which a subcommand may do everything at the store of these settings.
pub(crate) fn operator(server: &ServerSettings) -> Option<Token> {
    let may = |token: &&TokenSettings| token.tenants.is_empty() && token.scopes.contains(&Scope::Admin);
    server.tokens.iter().find(may).and_then(|token| Token::new(token.token.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimDisk;

    #[test]
    fn tokens_come_from_files() {
        let disk = SimDisk::new();
        disk.write_atomic(Path::new("/token"), b" sesame\n").unwrap();
        disk.write_atomic(Path::new("/empty"), b"\n").unwrap();
        let with = |file: &str, token: &str| {
            let mut settings = Settings::default();
            settings.server.tokens.push(TokenSettings {
                name: "a".to_owned(),
                token: Secret::new(token),
                token_file: file.to_owned(),
                scopes: vec![Scope::Admin],
                tenants: Vec::new(),
            });
            let result = read_files(&mut settings, &disk).map_err(|error| format!("{error:#}"));
            result.map(|()| settings.server)
        };
        let server = with("/token", "").unwrap();
        assert_eq!(server.tokens[0].token, Secret::new("sesame"));
        assert_eq!(operator(&server), Token::new("sesame"));
        for (file, token, want) in [
            ("/token", "x", "both token and token_file"),
            ("/empty", "", "it is empty"),
            ("/none", "", "server.tokens.0.token_file: cannot read /none: no such file"),
        ] {
            let text = with(file, token).unwrap_err();
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn the_own_agent_has_a_token_if_there_are_any() {
        let mut server = ServerSettings::default();
        assert!(own(&mut server, &Random::seeded(1)).is_empty());
        server.tokens.push(TokenSettings::default());
        let token = own(&mut server, &Random::seeded(1));
        assert_eq!((token.expose().len(), server.tokens.len()), (2 * OWN_BYTES, 2));
        assert_eq!(server.tokens[1].scopes, [Scope::Write]);
    }
}
