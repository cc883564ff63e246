//! `logyard health`: whether the running process does its work, for container engines and service managers.
//!
//! The image has neither a shell nor a client of HTTP, so the program asks itself: the store over its port, as anybody
//! else would, with TLS and prefix as its own settings have them; an agent alone over the socket in its data folder.

use std::time::Duration;

use anyhow::Context as _;
use logyard_client::{Client, ClientSettings};

use crate::args::HealthArguments;
use crate::config::Settings;
use crate::{command_targets, output, own_store, tls};

/// Runs the subcommand; an error says why it is not healthy.
pub(crate) fn run(arguments: &HealthArguments, settings: &Settings) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        if arguments.agent {
            return output::print(&agent(settings, Duration::from_secs(arguments.wait)).await?);
        }
        let client = client(arguments, settings)?;
        client.ready().await.with_context(|| format!("{} is not ready", client.base()))?;
        output::print("ready\n")
    })
}

/// Returns a client of the store that is asked about.
fn client(arguments: &HealthArguments, settings: &Settings) -> anyhow::Result<Client> {
    let timeout = Duration::from_secs(arguments.wait);
    let Some(addr) = &arguments.addr else { return own_store::client_without_token(settings, timeout) };
    let tls = match addr.starts_with("https://") {
        true => tls::of_push("push", &settings.push.delivery.tls)?,
        false => None,
    };
    let user_agent = own_store::user_agent();
    Client::new(addr, ClientSettings { timeout, org_id: None, token: None, tls, user_agent })
        .context("cannot use --addr")
}

/// Tells what the running agent reads.
async fn agent(settings: &Settings, wait: Duration) -> anyhow::Result<String> {
    let folder = settings.data_dir.display();
    let page = command_targets::ask(&settings.data_dir, wait).await.with_context(|| {
        format!("no agent answers on {folder}: start one, or name its folder by --data-dir")
    })?;
    Ok(command_targets::summary(&page))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn arguments() -> HealthArguments {
        HealthArguments { addr: None, agent: false, wait: 30 }
    }

    /// Answers one request, and returns its first line.
    async fn answer(listener: TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
    }

    /// Asks a server that gives one answer.
    async fn ask(prefix: &str, given: &str) -> (String, Result<(), String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings =
            Settings { listen: listener.local_addr().unwrap().to_string(), ..Settings::default() };
        settings.server.path_prefix = prefix.to_owned();
        let client = client(&arguments(), &settings).unwrap();
        let (asked, got) = tokio::join!(answer(listener, given), client.ready());
        (asked, got.map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn the_store_of_the_settings_is_asked_under_its_prefix() {
        let ready = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n";
        assert_eq!(ask("", ready).await, ("GET /ready HTTP/1.1".to_owned(), Ok(())));
        assert_eq!(ask("/logs/", ready).await, ("GET /logs/ready HTTP/1.1".to_owned(), Ok(())));
        let full = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 12\r\n\r\ndisk full: x";
        assert_eq!(ask("", full).await.1, Err("disk full: x".to_owned()));
    }

    #[test]
    fn nobody_and_a_bad_address_are_told() {
        // A port that nobody listens at any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        drop(listener);
        let settings = Settings { listen: listen.clone(), ..Settings::default() };
        let text = |arguments: &HealthArguments| format!("{:#}", run(arguments, &settings).unwrap_err());
        let want = format!("http://{listen} is not ready: cannot connect to http://{listen}: ");
        assert!(text(&arguments()).starts_with(&want), "{}", text(&arguments()));
        let at = |addr: &str| HealthArguments { addr: Some(addr.to_owned()), ..arguments() };
        assert!(text(&at(&listen)).starts_with(&want), "{}", text(&at(&listen)));
        assert!(text(&at("ftp://a")).starts_with("cannot use --addr: "), "{}", text(&at("ftp://a")));
    }

    #[test]
    fn an_agent_that_is_not_there_is_told_by_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { data_dir: folder.path().to_owned(), ..Settings::default() };
        let error = run(&HealthArguments { agent: true, ..arguments() }, &settings).unwrap_err();
        let want = format!("no agent answers on {}: ", folder.path().display());
        assert!(format!("{error:#}").starts_with(&want), "{error:#}");
    }
}
