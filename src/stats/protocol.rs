//! The scx_stats protocol: a line of JSON asks, a line of JSON answers.
//!
//! The crate's own server reads lines of any length from any number of connections; ours has bounds, and
//! is the same to its clients. Targets: `top` (the default) gives [`Metrics`] since this connection last
//! asked, `snapshot` the whole snapshot, `limits` the same with what `cpu.max` did to each cgroup.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use scx_stats::{Meta, StatsErrno, StatsRequest, StatsResponse};
use serde_json::Value;

use super::metrics::Metrics;
use super::server::{LastHeard, SEND_TIMEOUT, read_until, write_until};
use super::snapshot_channel::SnapshotChannel;
use crate::snapshot::Snapshot;

/// The longest request, in bytes. A sensible one has less than a hundred.
pub const MAX_REQUEST: usize = 16 * 1024;
/// Read at a time, in bytes.
const CHUNK: usize = 4 * 1024;

/// What a connection has been told.
#[derive(Default)]
struct Client {
    earlier: Option<Arc<Snapshot>>,
    asked_at: Option<Instant>,
}

/// Answers until the client goes away or breaks the rules.
pub fn serve(stream: &UnixStream, channel: &SnapshotChannel, heard: &LastHeard) {
    let mut client = Client::default();
    let mut lines = Lines::default();
    while let Some(line) = lines.next(stream) {
        heard.touch();
        let (answer, go_on) = match line {
            Ok(line) => (client.answer(&line, channel), true),
            Err(error) => (Err(error), false),
        };
        let mut text = render(answer);
        text.push('\n');
        let sent = write_until(stream, text.as_bytes(), Instant::now() + SEND_TIMEOUT);
        if !go_on || sent.is_err() {
            return;
        }
    }
}

/// What has come of a stream and is not yet answered: [`MAX_REQUEST`] and a chunk at most.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
    /// No end of line stands before this position.
    searched: usize,
    ended: bool,
}

impl Lines {
    /// The next line without its end; an error if it is too long or cannot be read; `None` at the end. A
    /// last line without an end counts as well.
    fn next(&mut self, stream: &UnixStream) -> Option<Result<Vec<u8>>> {
        loop {
            let found = self.pending[self.searched..]
                .iter()
                .position(|b| *b == b'\n');
            let line = found.map(|at| self.searched + at);
            if line.unwrap_or(self.pending.len()) > MAX_REQUEST {
                let error = anyhow::anyhow!("a request has {MAX_REQUEST} bytes at most");
                return Some(Err(error.context(StatsErrno(Errno::E2BIG as i32))));
            }
            if let Some(end) = line {
                let rest = self.pending.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                line.pop();
                self.searched = 0;
                return Some(Ok(line));
            }
            self.searched = self.pending.len();
            if self.ended {
                let line = std::mem::take(&mut self.pending);
                self.searched = 0;
                return (!line.is_empty()).then_some(Ok(line));
            }
            let mut chunk = [0; CHUNK];
            match read_until(stream, &mut chunk, None) {
                Ok(0) => self.ended = true,
                Ok(read) => self.pending.extend_from_slice(&chunk[..read]),
                // The client is gone, or the server ends.
                Err(_) => return None,
            }
        }
    }
}

/// The line of an answer, as the crate's server would write it.
fn render(answer: Result<Value>) -> String {
    let (errno, resp) = match answer {
        Ok(value) => (0, value),
        Err(error) => {
            let errno = error.downcast_ref::<StatsErrno>();
            (
                errno.map_or(Errno::EINVAL as i32, |errno| errno.0),
                Value::String(format!("{error:#}")),
            )
        }
    };
    let response = StatsResponse {
        errno,
        args: BTreeMap::from([("resp".to_owned(), resp)]),
    };
    serde_json::to_string(&response).unwrap_or_default()
}

impl Client {
    fn answer(&mut self, line: &[u8], channel: &SnapshotChannel) -> Result<Value> {
        let request: StatsRequest = serde_json::from_slice(line).context("not a request")?;
        match request.req.as_str() {
            "stats" => {}
            "keep" if channel.keep() => return Ok("scx_takt is kept".into()),
            "keep" => bail!("scx_takt is not on trial: it was started without --try, or is kept"),
            "stats_meta" => return Ok(serde_json::to_value(meta())?),
            other => bail!("unknown command {other:?}; known are stats, stats_meta, keep"),
        }
        let target = request.args.get("target").map_or("top", String::as_str);
        if !["top", "snapshot", "limits"].contains(&target) {
            bail!("unknown target {target:?}; known are top, snapshot, limits");
        }
        let interval = self.asked_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.asked_at = Some(Instant::now());
        if target == "limits" {
            channel.want_limits();
        }
        let now = channel.ask(interval);
        let now = now
            .context("the scheduler has not answered yet")
            .context(StatsErrno(Errno::EAGAIN as i32))?;
        if target != "top" {
            return Ok(serde_json::to_value(&*now)?);
        }
        let nothing = Snapshot::default();
        let metrics = Metrics::between(self.earlier.as_deref().unwrap_or(&nothing), &now);
        self.earlier = Some(now);
        Ok(serde_json::to_value(metrics)?)
    }
}

/// What the fields of the statistics mean, for clients that do not know us.
fn meta() -> BTreeMap<String, scx_stats::StatsMeta> {
    let meta = Metrics::meta();
    BTreeMap::from([(meta.name.clone(), meta)])
}
