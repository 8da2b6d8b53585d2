//! OpenMetrics over HTTP: `GET /metrics`, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::board::Board;
use super::openmetrics;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long a client may take to send the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last: one request.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Prometheus asks every 15 to 60 seconds: counting goes on in between.
const INTERVAL: Duration = Duration::from_secs(60);

/// Answers one request.
pub async fn serve(stream: TcpStream, board: Arc<Board>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&board)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong here is the client's: it is gone, or it has been told.
    let _ = timeout(TIMEOUT, connection).await;
}

async fn respond(
    request: Request<Incoming>,
    board: Arc<Board>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "see /metrics\n"));
    }
    let Some(snapshot) = board.ask(INTERVAL).await else {
        let text = "the scheduler has not answered yet\n";
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    Ok(match openmetrics::text(&snapshot) {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            let media_type = HeaderValue::from_static(openmetrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}\n")),
    })
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
