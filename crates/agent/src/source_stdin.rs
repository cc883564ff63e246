//! The standard input, line by line, for trying and for pipes: `logyard agent --stdin`.
//!
//! Blank lines are left out, as Promtail does. The end of the input is told, so that the process can end once
//! everything is spooled. Nothing can be read again: what is in a pipe when the process is killed is lost.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use logyard_model::LabelSet;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::receive_tcp::{self, Protocol};
use crate::received::{Arrived, JobSettings, Lane, ReceiveJob, Receiving, SentAt};
use crate::report::{TargetKind, TargetState};
use crate::settings_receive::StdinSettings;

const READ_BYTES: usize = 64 << 10;

/// Returns what the settings say about labels and stages.
pub(crate) fn job_settings(settings: &StdinSettings) -> JobSettings<'_> {
    JobSettings {
        job: "stdin",
        paths: ["stdin.relabel", "stdin.stages"],
        labels: &settings.labels,
        default_labels: settings.default_labels,
        takes_labels: settings.default_labels,
        relabel: &settings.relabel,
        stages: &settings.stages,
    }
}

/// Name of the receiver.
pub(crate) const NAME: &str = "stdin";

/// Reads an input to its end, or until the agent stops; `ended` turns true once nothing more comes.
pub(crate) fn start(
    input: impl Read + Send + 'static,
    job: &Arc<ReceiveJob>,
    parts: &Receiving,
    ended: watch::Sender<bool>,
) -> JoinHandle<()> {
    parts.board.name_target(TargetKind::Receiver, NAME, NAME, job.shown_labels());
    parts.board.set_state(NAME, TargetState::Follow, "");
    let mut lane = Lane::new(job, parts);
    let (stop, board) = (parts.stop.clone(), parts.board.clone());
    let mut pipe = Pipe { blocks: blocks_of(input), block: Vec::new(), at: 0 };
    tokio::spawn(async move {
        let mut lines = Lines { held: Vec::new(), cut_bytes: 0 };
        // Lines are never without sense.
        drop(receive_tcp::read_all(&mut pipe, &mut lines, &mut lane, None, stop).await);
        board.set_state(NAME, TargetState::Idle, "its end is reached");
        ended.send_replace(true);
    })
}

/// Reads blocks on a thread of its own, as far as somebody takes them: reading an input may wait for ever.
pub(crate) fn blocks_of(mut input: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, blocks) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count) = input.read(&mut buffer) {
            let block = buffer.get(..count).unwrap_or_default().to_vec();
            if count == 0 || sender.blocking_send(block).is_err() {
                return;
            }
        }
    });
    blocks
}

/// Blocks as bytes to read.
struct Pipe {
    blocks: mpsc::Receiver<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.at == self.block.len() {
            match self.blocks.poll_recv(context) {
                Poll::Ready(Some(block)) => (self.block, self.at) = (block, 0),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

struct Lines {
    held: Vec<u8>,
    cut_bytes: usize,
}

impl Protocol for Lines {
    fn feed(&mut self, bytes: &[u8], lane: &mut Lane) -> Result<(), String> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = lane.line_bytes_max().saturating_add(1).saturating_sub(self.held.len());
            let kept = line.get(..room).unwrap_or(line);
            self.held.extend_from_slice(kept);
            self.cut_bytes += line.len() - kept.len();
            if line.len() < piece.len() {
                self.finish(lane);
            }
        }
        Ok(())
    }

    fn finish(&mut self, lane: &mut Lane) {
        let held = std::mem::take(&mut self.held);
        let cut_bytes = std::mem::take(&mut self.cut_bytes);
        let line = held.strip_suffix(b"\r").unwrap_or(&held);
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let (labels, metadata) = (LabelSet::default(), LabelSet::default());
        lane.push(Arrived { labels, at: SentAt::Unknown, line, cut_bytes, metadata });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::{rig, rows};

    #[tokio::test]
    async fn lines_are_read_to_the_end() {
        let settings = StdinSettings::default();
        let mut rig = rig(job_settings(&settings));
        let (ended, mut seen) = watch::channel(false);
        let long = "x".repeat(2_000);
        let input = std::io::Cursor::new(format!("one\r\n\n  \n{long}\nlast").into_bytes());
        let task = start(input, &rig.job, &rig.parts, ended);
        seen.wait_for(|ended| *ended).await.unwrap();
        task.await.unwrap();
        let rows = rows(&mut rig.pieces);
        let lines: Vec<(&str, usize)> = rows.iter().map(|row| (&row.2[..1], row.2.len())).collect();
        assert_eq!(lines, [("o", 3), ("x", 1 << 10), ("l", 4)]);
        assert_eq!(rows[0].0, r#"{host="nas", job="stdin"}"#);
        assert_eq!(rig.parts.metrics.lines_cut.get(), 1);
    }
}
