//! OpenMetrics over HTTP: `GET /metrics`, and nothing else.
//!
//! One request per connection. Of its head only the first line counts; a body is not read. `GET /metrics?cgroups` gives
//! the cgroups as well that have used most CPU time since they were made: as those seldom change, so do the labels.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::server::{LastHeard, SEND_TIMEOUT, read_until, write_until};
use super::snapshot_channel::SnapshotChannel;
use super::{openmetrics, source};
use crate::collect::Cgroups;
use crate::snapshot::Snapshot;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long a client may take to send the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Prometheus asks every 15 to 60 seconds: counting goes on in between.
const INTERVAL: Duration = Duration::from_secs(60);
/// Media type of what is no OpenMetrics.
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers one request.
pub fn serve(stream: &TcpStream, channel: &SnapshotChannel, _: &LastHeard) {
    let Some(head) = read_head(stream, Instant::now() + HEAD_TIMEOUT) else {
        return;
    };
    let request = head.and_then(|head| Request::parse(&head));
    let with_body = !matches!(request, Ok(Request { body: false, .. }));
    let response = request.map_or_else(|refusal| refusal, |request| respond(&request, channel));
    let bytes = response.render(with_body);
    // A client that is gone or does not read wants no answer.
    let _ = write_until(stream, &bytes, Instant::now() + SEND_TIMEOUT);
}

/// The head without the empty line that ends it, or why it is refused; `None`: the client went away or took
/// too long.
fn read_head(stream: &TcpStream, deadline: Instant) -> Option<Result<Vec<u8>, Response>> {
    let mut head = Vec::with_capacity(1024);
    let mut chunk = [0; 2048];
    loop {
        let read = read_until(stream, &mut chunk, Some(deadline)).ok()?;
        if read == 0 {
            return None;
        }
        // The end may lie across two reads.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(&chunk[..read]);
        if let Some(at) = head[from..].windows(4).position(|end| end == b"\r\n\r\n") {
            head.truncate(from + at);
            return Some(Ok(head));
        }
        if head.len() > MAX_HEAD {
            return Some(Err(Response::text(
                "431 Request Header Fields Too Large",
                "",
            )));
        }
    }
}

/// What is asked for.
struct Request {
    path: String,
    /// The query asks for cgroups.
    cgroups: bool,
    /// GET, not HEAD.
    body: bool,
}

impl Request {
    /// Reads the first line: method, target, version.
    fn parse(head: &[u8]) -> Result<Self, Response> {
        let bad = || Response::text("400 Bad Request", "no HTTP request\n");
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| bad())?;
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad());
        };
        if method.is_empty() || !target.starts_with('/') {
            return Err(bad());
        }
        let body = match method {
            "GET" => true,
            "HEAD" => false,
            _ => {
                let mut response = Response::text("405 Method Not Allowed", "only GET\n");
                response.more = "Allow: GET, HEAD\r\n";
                return Err(response);
            }
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut names = query.split('&').map(|part| part.split('=').next());
        Ok(Self {
            path: path.to_owned(),
            cgroups: names.any(|name| name == Some("cgroups")),
            body,
        })
    }
}

fn respond(request: &Request, channel: &SnapshotChannel) -> Response {
    if request.path != "/metrics" {
        return Response::text("404 Not Found", "see /metrics\n");
    }
    if request.cgroups {
        channel.want_limits();
    }
    let Some((snapshot, delta)) = channel.ask_with_delta(INTERVAL) else {
        let text = "the scheduler has not answered yet\n";
        return Response::text("503 Service Unavailable", text);
    };
    let mut snapshot = Snapshot::clone(&snapshot);
    if request.cgroups {
        match Cgroups::open() {
            Ok(mut cgroups) => source::add_cgroups(&mut snapshot, &mut cgroups),
            Err(error) => return Response::text("404 Not Found", &format!("{error:#}\n")),
        }
    }
    match openmetrics::text(&snapshot, delta.as_ref()) {
        Ok(body) => Response {
            status: "200 OK",
            media_type: openmetrics::CONTENT_TYPE,
            more: "",
            body,
        },
        Err(error) => Response::text("500 Internal Server Error", &format!("{error:#}\n")),
    }
}

struct Response {
    /// Code and reason.
    status: &'static str,
    media_type: &'static str,
    /// Further header lines, each with its end.
    more: &'static str,
    body: String,
}

impl Response {
    fn text(status: &'static str, body: &str) -> Self {
        Self {
            status,
            media_type: PLAIN,
            more: "",
            body: body.to_owned(),
        }
    }

    fn render(&self, with_body: bool) -> Vec<u8> {
        let Self {
            status,
            media_type,
            more,
            body,
        } = self;
        let length = body.len();
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n{more}\r\n"
        );
        if with_body {
            text.push_str(body);
        }
        text.into_bytes()
    }
}
