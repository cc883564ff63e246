//! E-mail: messages handed to a mail server, with TLS unless the address says otherwise.
//!
//! Each message has a connection of its own; they are few. A server that refuses a message as such (552, 554) is not asked
//! for ever; a wrong password or address may be mended over there, and is tried again.

use crate::notify_settings::TargetSettings;
use crate::notify_text::Letter;
use crate::target::{Carry, Refusal, Sending, read};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use logyard_sys::Disk;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Longest time for one answer of the server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest time for one message.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Most people that get it.
const TO_MAX: usize = 50;

/// Most bytes of a file of certificates.
const CA_BYTES_MAX: u64 = 1 << 20;

/// How TLS is spoken, and the port that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// After a plain beginning, before anything is sent.
    StartTls,
    /// From the first byte.
    Tls,
    /// Not at all.
    Plain,
}

/// Carries messages to a mail server.
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    /// Named in errors.
    host: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Without the password.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Email {
    /// Makes a carrier of settings; the password is read from its file. Connects to nobody yet.
    ///
    /// Errors: the key, and what is wrong.
    pub(crate) fn new(settings: &TargetSettings, url: &str, disk: &dyn Disk) -> Result<Self, String> {
        let (security, host, port) = split(url)?;
        if security == Security::Plain && !settings.user.is_empty() {
            return Err("no password is sent in plain; use smtp:// or smtps://, or leave user out".to_owned());
        }
        if settings.to.len() > TO_MAX {
            return Err(format!("to: {} addresses, at most {TO_MAX} are allowed", settings.to.len()));
        }
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| format!("{key}: {text:?} is no address: {error}"))
        };
        let tls = match security {
            Security::StartTls => Tls::Required(parameters(&host, &settings.ca_file, disk)?),
            Security::Tls => Tls::Wrapper(parameters(&host, &settings.ca_file, disk)?),
            Security::Plain => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT));
        if !settings.user.is_empty() {
            let password = read("password_file", &settings.password_file, disk)?;
            builder = builder.credentials(Credentials::new(settings.user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            host,
            from: mailbox("from", &settings.from)?,
            to: settings.to.iter().map(|to| mailbox("to", to)).collect::<Result<_, _>>()?,
        })
    }

    fn message(&self, letter: Letter) -> Result<Message, String> {
        // Nobody's automatic answer is wanted.
        let automatic =
            HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let begun: MessageBuilder = Message::builder().from(self.from.clone()).message_id(None);
        let message = self.to.iter().fold(begun, |message, to| message.to(to.clone()));
        let message = message.subject(letter.subject).raw_header(automatic).header(ContentType::TEXT_PLAIN);
        message.body(letter.body).map_err(|error| error.to_string())
    }
}

impl Carry for Email {
    fn send(&self, letter: Letter) -> Sending<'_> {
        Box::pin(async move {
            let refusal = |is_final: bool, is_answer: bool, why: &dyn fmt::Display| Refusal {
                is_final,
                is_answer,
                text: format!("cannot send mail by {}: {why}", self.host).replace(['\r', '\n'], " "),
                retry_after: None,
            };
            let message = self.message(letter).map_err(|why| refusal(true, true, &why))?;
            match tokio::time::timeout(TIMEOUT, self.transport.send(message)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => {
                    let code = error.status().map(u16::from);
                    Err(refusal(matches!(code, Some(552 | 554)), code.is_some(), &error))
                }
                Err(_) => Err(refusal(false, false, &"no answer in time")),
            }
        })
    }
}

fn parameters(host: &str, ca_file: &str, disk: &dyn Disk) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if !ca_file.is_empty() {
        let cannot = |why: &dyn fmt::Display| format!("ca_file: cannot use {ca_file}: {why}");
        let path = Path::new(ca_file);
        let meta = disk.metadata(path).map_err(|error| cannot(&error))?;
        let bytes = meta.ok_or_else(|| cannot(&"no such file"))?.bytes;
        if bytes > CA_BYTES_MAX {
            return Err(cannot(&format_args!("{bytes} bytes are too many")));
        }
        let pem = disk.read(path).map_err(|error| cannot(&error))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| cannot(&error))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| format!("cannot set up TLS: {error}"))
}

/// Splits the address of a mail server.
fn split(url: &str) -> Result<(Security, String, u16), String> {
    let fault =
        || "the address is none; want smtp://host:587, smtps://host:465 or smtp+plain://host:25".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(fault)?;
    let (security, port) = match scheme {
        "smtp" => (Security::StartTls, 587),
        "smtps" => (Security::Tls, 465),
        "smtp+plain" => (Security::Plain, 25),
        _ => return Err(fault()),
    };
    if rest.contains('@') {
        return Err("a user in the address; set user and password_file instead".to_owned());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let bracketed = rest.strip_prefix('[').and_then(|inner| inner.split_once(']'));
    let (host, port_text) = match bracketed {
        Some((host, behind)) => (host, behind.strip_prefix(':')),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port_text {
        Some(text) => text.parse().map_err(|_| fault())?,
        None => port,
    };
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#']);
    is_host.then(|| (security, host.to_owned(), port)).ok_or_else(fault)
}

#[cfg(test)]
mod tests;
