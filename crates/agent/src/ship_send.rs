//! One push of one batch, in the words of its destination.
//!
//! Batches lie in the spool in our own form, compressed once. For a store of others they are decoded and encoded anew at
//! each attempt: that costs some milliseconds per batch, and nothing must be kept while it does not answer.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use logyard_client::{Client, Error as PushError};
use logyard_codec::BatchId;
use logyard_wire::loki_push_encode::encode_push;
use logyard_wire::native_push::PushAnswer;
use logyard_wire::otlp_encode::encode_export;

use crate::batch_part::BatchPart;
use crate::destination::DestinationKind;
use crate::ship_complaint::Trouble;

/// Speaks to one destination. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    client: Client,
    kind: DestinationKind,
    /// What [`DestinationKind::Auto`] turned out to be.
    found: Arc<OnceLock<DestinationKind>>,
}

/// Why a batch was not taken.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Bytes of a batch as a destination takes them.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// Ending of a file that holds them.
    pub(crate) ending: &'static str,
    /// Arguments of curl that send such a file.
    pub(crate) headers: &'static str,
    /// Path behind the address of the destination.
    pub(crate) path: &'static str,
}

impl Sender {
    pub(crate) fn new(client: Client, kind: DestinationKind) -> Self {
        Self { client, kind, found: Arc::default() }
    }

    /// Returns the address, without secrets.
    pub(crate) fn base(&self) -> &str {
        self.client.base()
    }

    /// Whether a known id is answered as such.
    pub(crate) fn knows_ids(&self) -> bool {
        self.known_kind() == Some(DestinationKind::Logyard)
    }

    fn known_kind(&self) -> Option<DestinationKind> {
        match self.kind {
            DestinationKind::Auto => self.found.get().copied(),
            kind => Some(kind),
        }
    }

    /// Pushes a batch of `entries` once. An `Ok` is the ack.
    pub(crate) async fn push(
        &self,
        id: &BatchId,
        encoded: Bytes,
        entries: u64,
    ) -> Result<PushAnswer, Failure> {
        let kind = match self.known_kind() {
            Some(kind) => kind,
            None => {
                let is_ours = self.client.is_logyard().await.map_err(|error| Failure::of(&error, false))?;
                let kind = if is_ours { DestinationKind::Logyard } else { DestinationKind::Loki };
                *self.found.get_or_init(|| kind)
            }
        };
        if kind == DestinationKind::Logyard {
            let pushed = self.client.push_native(id, encoded).await;
            return pushed.map_err(|error| Failure::of(&error, error.is_from_store()));
        }
        let Some(body) = self.body(encoded).await else {
            let text = "a batch of the spool cannot be read, this is a bug".to_owned();
            return Err(Failure { trouble: Trouble::Batch, text, retry_after: None });
        };
        let all = PushAnswer { accepted: entries, ..PushAnswer::default() };
        // Whoever answers at such a path is believed: stores of others bear no mark.
        let failed = |error: PushError| Failure::of(&error, true);
        if kind != DestinationKind::Otlp {
            return self.client.push_loki_packed(body.bytes).await.map(|()| all).map_err(failed);
        }
        let partial = self.client.push_otlp(body.bytes).await.map_err(failed)?;
        let rejected = partial.rejected.min(entries);
        Ok(PushAnswer { accepted: entries - rejected, rejected, message: partial.message, ..all })
    }

    /// Returns a batch as the destination takes it; `None` if it cannot be read.
    pub(crate) async fn body(&self, encoded: Bytes) -> Option<Body> {
        let kind = self.known_kind().unwrap_or_default();
        if kind == DestinationKind::Logyard {
            return Some(Body::native(encoded));
        }
        tokio::task::spawn_blocking(move || {
            let part = BatchPart::decode(&encoded)?;
            if kind != DestinationKind::Otlp {
                return Some(Body {
                    bytes: encode_push(&part.chunks()).into(),
                    ending: "loki",
                    headers: "-H 'Content-Type: application/x-protobuf'",
                    path: "/loki/api/v1/push",
                });
            }
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(&encode_export(&part.chunks())).ok()?;
            Some(Body {
                bytes: packer.finish().ok()?.into(),
                ending: "otlp",
                headers: "-H 'Content-Type: application/x-protobuf' -H 'Content-Encoding: gzip'",
                path: "/v1/logs",
            })
        })
        .await
        .ok()?
    }
}

impl Body {
    /// A batch in our own form.
    pub(crate) fn native(bytes: Bytes) -> Self {
        Self {
            bytes,
            ending: "batch",
            headers: "-H 'Content-Type: application/x-logyard-batch'",
            path: "/logyard/v1/push",
        }
    }
}

impl Failure {
    fn of(error: &PushError, is_from_store: bool) -> Self {
        Self {
            trouble: Trouble::of(error.kind(), error.status(), is_from_store),
            text: error.to_string(),
            retry_after: error.retry_after(),
        }
    }
}
