//! Letting senders of Fluent's forward protocol in by a key that both sides know.
//!
//! Source: the Fluentd forward protocol specification, v1: the receiver says `HELO` with a nonce, the sender `PING` with a
//! digest of nonce, its name and the key, the receiver `PONG` with its own, so that each knows the other without the key
//! being sent. Users and passwords are not asked for. Everything is bounded: nobody is known yet. What follows is not
//! encrypted by it; TLS is. Who does not know the key is told of: nothing of it arrives, and it tries again for ever.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use logyard_sys::{Disk, Random};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::error::Error;
use crate::msgpack::{Ends, Item, Reader};

/// Longest time for the whole of it.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most bytes of a `PING`; Fluentd's take about 300.
const PING_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a file that holds a key.
const KEY_FILE_BYTES_MAX: u64 = 4096;
const NONCE_BYTES: usize = 16;
/// Name shown to senders. Not the machine's: Fluentd takes a receiver of its own name for itself.
const HOST: &str = "logyard";
/// Time after which a sender without the key is told of again in warn.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// Most senders without the key that are told of in warn within that time: anybody may come.
const TOLD_MAX: usize = 32;
/// What is wrong with a sender that does not speak of the key.
const NO_PING: &str = "what came is no PING of a handshake; set the sender's shared_key";

/// A key, and what else answering takes. Never printed.
#[derive(Clone)]
pub(crate) struct SharedKey {
    key: Vec<u8>,
    random: Arc<Random>,
}

/// Why a sender is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotIn {
    /// It does not show that it knows the key.
    Stranger(&'static str),
    /// The connection ended before.
    Left(String),
}

/// Tells of senders that do not know the key of a port.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<VecDeque<(IpAddr, Instant)>>);

impl Strangers {
    /// Tells of one: in warn once an hour for each, as long as they are few, else in debug.
    pub(crate) fn tell(&self, peer: IpAddr, reason: &str) {
        if self.is_due(peer) {
            tracing::warn!(source = "forward", %peer, reason, "left a connection: nothing is taken from this sender; it is told again in an hour");
        } else {
            tracing::debug!(source = "forward", %peer, reason, "left a connection");
        }
    }

    fn is_due(&self, peer: IpAddr) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while told.front().is_some_and(|(_, at)| at.elapsed() >= TELL_AGAIN_AFTER) {
            told.pop_front();
        }
        let is_due = told.len() < TOLD_MAX && !told.iter().any(|(other, _)| *other == peer);
        if is_due {
            told.push_back((peer, Instant::now()));
        }
        is_due
    }
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey").finish_non_exhaustive()
    }
}

impl SharedKey {
    /// Reads a key from its file; `None`: no file is named. Errors as with [`check_key`].
    pub(crate) fn read(file: &str, random: &Arc<Random>, disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let key = read_key(file, disk)?;
        Ok(key.map(|key| Self { key, random: Arc::clone(random) }))
    }

    /// Shakes hands. Errors: why the sender is not let in; it was told if it could be.
    pub(crate) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<(), NotIn> {
        match timeout(HANDSHAKE_WAIT_MAX, self.shake_unbounded(stream)).await {
            Ok(shaken) => shaken,
            Err(_) => Err(NotIn::Stranger("no handshake within 10 s; set the sender's shared_key")),
        }
    }

    async fn shake_unbounded<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<(), NotIn> {
        let failed = |error: std::io::Error| NotIn::Left(format!("no handshake: {error}"));
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce);
        stream.write_all(&helo(&nonce)).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let message = read_ping(stream).await?;
        let ping = Ping::parse(&message).ok_or(NotIn::Stranger(NO_PING))?;
        let want = digest([ping.salt, ping.host, &nonce, &self.key]);
        let is_known = bool::from(want.as_bytes().ct_eq(ping.digest));
        let answer = match is_known {
            true => pong(true, "", &digest([ping.salt, HOST.as_bytes(), &nonce, &self.key])),
            // A digest would help to guess the key.
            false => pong(false, "shared_key mismatch", ""),
        };
        let told = async {
            stream.write_all(&answer).await?;
            stream.flush().await
        };
        let told = told.await;
        match is_known {
            true => told.map_err(failed),
            false => {
                Err(NotIn::Stranger("its shared_key is another one; set that of forward.shared_key_file"))
            }
        }
    }
}

/// Looks at the file of a key, if one is named. Errors name the setting and the file, never what it holds.
pub(crate) fn check_key(file: &str, disk: &dyn Disk) -> Result<(), Error> {
    read_key(file, disk).map(drop)
}

/// Reads a key, white space around it left out.
fn read_key(file: &str, disk: &dyn Disk) -> Result<Option<Vec<u8>>, Error> {
    if file.is_empty() {
        return Ok(None);
    }
    let fault = |reason: &str| Error::Setting {
        setting: "forward.shared_key_file",
        reason: format!("cannot use {file}: {reason}"),
    };
    let path = Path::new(file);
    let meta = disk.metadata(path).map_err(|error| fault(&error.to_string()))?;
    let meta = meta.ok_or_else(|| fault("there is no such file"))?;
    if meta.bytes > KEY_FILE_BYTES_MAX {
        return Err(fault("it is too long for a key"));
    }
    let key = disk.read(path).map_err(|error| fault(&error.to_string()))?.trim_ascii().to_vec();
    if key.is_empty() {
        return Err(fault("it is empty"));
    }
    Ok(Some(key))
}

/// What a sender says of itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Ping<'a> {
    pub(crate) host: &'a [u8],
    salt: &'a [u8],
    digest: &'a [u8],
}

impl<'a> Ping<'a> {
    /// Divides a whole message; `None`: it is no `PING`. User and password, which nobody asked for, are not looked at.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(message);
        let Ok(Item::Array(6)) = reader.item() else { return None };
        let mut text = || match reader.item() {
            Ok(Item::Bytes(text)) => Some(text),
            _ => None,
        };
        if text()? != b"PING" {
            return None;
        }
        Some(Self { host: text()?, salt: text()?, digest: text()? })
    }
}

async fn read_ping<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, NotIn> {
    let (mut held, mut ends, mut buffer) = (Vec::new(), Ends::new(), [0; 512]);
    loop {
        match ends.find(&held) {
            // A sender waits for the answer, so nothing may follow.
            Ok(Some(length)) if length == held.len() => return Ok(held),
            Ok(None) if held.len() <= PING_BYTES_MAX => {}
            _ => return Err(NotIn::Stranger(NO_PING)),
        }
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => held.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            _ => return Err(NotIn::Left("it left before the handshake was done".to_owned())),
        }
    }
}

/// `["HELO", {"nonce": …, "auth": "", "keepalive": true}]`
fn helo(nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    let mut out = vec![0x92];
    text(&mut out, "HELO");
    out.push(0x83);
    text(&mut out, "nonce");
    // Bytes, since it is no text.
    out.extend_from_slice(&[0xc4, 0x10]);
    out.extend_from_slice(nonce);
    text(&mut out, "auth");
    text(&mut out, "");
    text(&mut out, "keepalive");
    out.push(0xc3);
    out
}

/// `["PONG", is let in, reason, host, digest]`
fn pong(is_let_in: bool, reason: &str, digest: &str) -> Vec<u8> {
    let mut out = vec![0x95];
    text(&mut out, "PONG");
    out.push(if is_let_in { 0xc3 } else { 0xc2 });
    [reason, HOST, digest].into_iter().for_each(|part| text(&mut out, part));
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    // The longest is a digest or a host's name.
    let length = u16::try_from(text.len()).unwrap_or_default();
    out.push(0xda);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

/// SHA-512 in hexadecimal of parts one after the other.
fn digest(parts: [&[u8]; 4]) -> String {
    let mut hash = Sha512::new();
    parts.into_iter().for_each(|part| hash.update(part));
    let mut out = String::new();
    for byte in hash.finalize() {
        write!(out, "{byte:02x}").unwrap_or_default();
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use logyard_sys::SimDisk;
    use tokio::io::{DuplexStream, duplex};

    fn key(text: &str) -> SharedKey {
        let disk = SimDisk::new();
        disk.write_atomic(Path::new("/key"), text.as_bytes()).unwrap();
        SharedKey::read("/key", &Arc::new(Random::seeded(1)), &disk).unwrap().unwrap()
    }

    fn ping(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0x90 | (parts.len() + 1) as u8];
        text(&mut out, "PING");
        for part in parts {
            out.extend_from_slice(&[0xda, (part.len() >> 8) as u8, part.len() as u8]);
            out.extend_from_slice(part);
        }
        out
    }

    /// Says hello with a key as a sender does, over a nonce that may be another than the receiver's; returns its answer,
    /// after a check that it holds the right digest, or none for a stranger.
    pub(crate) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        stream: &mut S,
        key: &str,
        other_nonce: Option<[u8; NONCE_BYTES]>,
    ) -> bool {
        let mut hello = vec![0; helo(&[0; NONCE_BYTES]).len()];
        stream.read_exact(&mut hello).await.unwrap();
        let at = hello.windows(5).position(|window| window == b"nonce").unwrap() + 5 + 2;
        assert_eq!(hello[..at], helo(&[0; NONCE_BYTES])[..at]);
        let nonce = other_nonce.unwrap_or(hello[at..at + NONCE_BYTES].try_into().unwrap());
        let own = digest([b"salt", b"web1", &nonce, key.as_bytes()]);
        stream.write_all(&ping(&[b"web1", b"salt", own.as_bytes(), b"", b""])).await.unwrap();
        let want = pong(true, "", &digest([b"salt", HOST.as_bytes(), &nonce, key.as_bytes()]));
        let refusal = pong(false, "shared_key mismatch", "");
        let mut answer = vec![0; refusal.len()];
        stream.read_exact(&mut answer).await.unwrap();
        if answer == refusal {
            return false;
        }
        answer.resize(want.len(), 0);
        stream.read_exact(&mut answer[refusal.len()..]).await.unwrap();
        assert_eq!(answer, want);
        true
    }

    async fn shaken(own: &str, of_sender: &'static str, nonce: Option<[u8; NONCE_BYTES]>) -> bool {
        let (mut here, mut there) = duplex(1 << 10);
        let sending = tokio::spawn(async move { greet(&mut there, of_sender, nonce).await });
        let shaken = key(own).shake(&mut here).await;
        assert_eq!(sending.await.unwrap(), shaken.is_ok(), "{shaken:?}");
        shaken.is_ok()
    }

    #[tokio::test]
    async fn who_knows_the_key_is_let_in() {
        assert!(shaken(" sesame\n", "sesame", None).await);
        assert!(!shaken("sesame", "other", None).await);
        assert!(!shaken("sesame", "", None).await);
        assert!(!shaken("sesame", "sesame", Some([7; NONCE_BYTES])).await, "an answer to another nonce");
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [&[0xdb, 0xff, 0, 0, 0][..], &[0; 8 << 10]].concat();
        let five = ping(&[b"web1", b"salt", b"digest", b""]);
        let more = [&ping(&[b"a", b"b", b"c", b"", b""])[..], b"\xc0"].concat();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xc1", &long, &five, &more, b"\x93\xa1a\x01\x80", b""]
        {
            let (mut here, mut there): (DuplexStream, DuplexStream) = duplex(64 << 10);
            there.write_all(bytes).await.unwrap();
            there.shutdown().await.unwrap();
            assert!(key("sesame").shake(&mut here).await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_not_waited_for() {
        let (mut here, _there) = duplex(1 << 10);
        let reason = key("sesame").shake(&mut here).await.unwrap_err();
        let NotIn::Stranger(reason) = reason else { panic!("{reason:?}") };
        assert!(reason.contains("no handshake within 10 s"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_stranger_is_told_of_now_and_again() {
        let strangers = Strangers::default();
        let peer = |number: u8| IpAddr::from([192, 0, 2, number]);
        assert!(strangers.is_due(peer(0)) && !strangers.is_due(peer(0)));
        tokio::time::advance(TELL_AGAIN_AFTER / 2).await;
        let told = (0..u8::MAX).filter(|number| strangers.is_due(peer(*number))).count();
        assert_eq!(told, TOLD_MAX - 1, "others too, as long as they are few");
        tokio::time::advance(TELL_AGAIN_AFTER / 2).await;
        assert!(strangers.is_due(peer(0)) && !strangers.is_due(peer(1)));
    }

    #[test]
    fn digests_are_those_of_the_specification() {
        // SHA-512 of "abc", from FIPS 180-2.
        let want = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(digest([b"a", b"b", b"", b"c"]), want);
    }

    #[test]
    fn keys_are_read_and_never_shown() {
        assert!(!format!("{:?}", key("sesame")).contains("sesame"));
        let disk = SimDisk::new();
        disk.write_atomic(Path::new("/empty"), b"\n").unwrap();
        disk.write_atomic(Path::new("/long"), &[b'a'; 5_000]).unwrap();
        let read = |file| SharedKey::read(file, &Arc::new(Random::seeded(1)), &disk);
        assert!(read("").unwrap().is_none());
        for file in ["/empty", "/none", "/long"] {
            let error = read(file).unwrap_err().to_string();
            assert!(error.contains("agent.forward.shared_key_file") && error.contains(file), "{error}");
        }
    }
}
