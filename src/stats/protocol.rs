//! The scx_stats protocol: a line of JSON asks, a line of JSON answers.
//!
//! The crate's own server reads lines of any length from any number of connections; ours has bounds, and
//! is the same to its clients. Targets: `top` (the default) gives [`Metrics`] since this connection last
//! asked, `snapshot` the whole picture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::SinkExt;
use scx_stats::{Meta, StatsErrno, StatsRequest, StatsResponse};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use super::board::Board;
use super::metrics::Metrics;
use super::server::{LastHeard, SEND_TIMEOUT};
use crate::snapshot::Snapshot;

/// The longest request, in bytes. A sensible one has less than a hundred.
pub const MAX_REQUEST: usize = 16 * 1024;

/// What a connection has been told.
#[derive(Default)]
struct Client {
    earlier: Option<Arc<Snapshot>>,
    asked_at: Option<Instant>,
}

/// Answers until the client goes away or breaks the rules.
pub async fn serve(stream: UnixStream, board: Arc<Board>, heard: LastHeard) {
    let codec = LinesCodec::new_with_max_length(MAX_REQUEST);
    let mut lines = Framed::new(stream, codec);
    let mut client = Client::default();
    while let Some(line) = next_line(&mut lines).await {
        heard.touch();
        let (answer, go_on) = match line {
            Ok(line) => (client.answer(&line, &board).await, true),
            Err(error) => (Err(refusal(&error)), false),
        };
        let sent = timeout(SEND_TIMEOUT, lines.send(render(answer))).await;
        if !go_on || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

async fn next_line(
    lines: &mut Framed<UnixStream, LinesCodec>,
) -> Option<Result<String, LinesCodecError>> {
    std::future::poll_fn(|context| {
        futures_util::Stream::poll_next(std::pin::Pin::new(&mut *lines), context)
    })
    .await
}

fn refusal(error: &LinesCodecError) -> anyhow::Error {
    match error {
        LinesCodecError::MaxLineLengthExceeded => {
            anyhow::anyhow!("a request has {MAX_REQUEST} bytes at most")
                .context(StatsErrno(libc::E2BIG))
        }
        LinesCodecError::Io(error) => {
            anyhow::anyhow!("cannot read the request: {error}").context(StatsErrno(libc::EINVAL))
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
                errno.map_or(libc::EINVAL, |errno| errno.0),
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
    async fn answer(&mut self, line: &str, board: &Board) -> Result<Value> {
        let request: StatsRequest = serde_json::from_str(line).context("not a request")?;
        match request.req.as_str() {
            "stats" => {}
            "stats_meta" => return Ok(serde_json::to_value(meta())?),
            other => bail!("unknown command {other:?}; known are stats, stats_meta"),
        }
        let target = request.args.get("target").map_or("top", String::as_str);
        if !["top", "snapshot"].contains(&target) {
            bail!("unknown target {target:?}; known are top, snapshot");
        }
        let interval = self.asked_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.asked_at = Some(Instant::now());
        let now = board.ask(interval).await;
        let now = now
            .context("the scheduler has not answered yet")
            .context(StatsErrno(libc::EAGAIN))?;
        if target == "snapshot" {
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
