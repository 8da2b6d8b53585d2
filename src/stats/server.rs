//! Serves pictures to other processes: the scx_stats protocol on a Unix socket, and OpenMetrics over HTTP.
//!
//! One thread of its own, with one tokio runtime; the agent only ever meets it at the [`Board`]. Nothing
//! that a client does takes memory or time without bound:
//!
//! * so many connections at a time; the one that has been silent for longest makes room for a new one
//! * requests of limited length; a longer one is answered with an error, then the connection is closed
//! * a client that does not take its answer within [`SEND_TIMEOUT`] is closed

use std::fs;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as TcpSocket};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::board::Board;
use super::{http, protocol};
use crate::collect::monotonic_ns;

/// Where the ecosystem looks for the active scheduler's statistics.
pub const SOCKET: &str = "/var/run/scx/root/stats";
/// Connections to one socket at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to take its answer.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A socket that is out of descriptors is asked again after this time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A running server; dropping it closes all connections and removes the socket.
pub struct Server {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Starts to serve `board` at `path`, and OpenMetrics at `tcp`.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(board: Arc<Board>, path: &Path, tcp: Option<TcpSocket>) -> Result<Self> {
        let unix =
            bind(path).with_context(|| format!("cannot serve statistics at {}", path.display()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("cannot start the statistics server")?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("takt-stats".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        () = serve_unix(unix, Arc::clone(&board)) => {}
                        () = serve_tcp(tcp, board) => {}
                        _ = stopped => {}
                    }
                });
            });
        Ok(Self {
            path: path.to_owned(),
            stop: Some(stop),
            thread: Some(thread.context("cannot start the statistics server")?),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have failed by a panic, which has been printed.
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes an address for metrics.
///
/// # Errors
/// If it is taken or not of this machine.
pub fn listen(address: SocketAddr) -> Result<TcpSocket> {
    let listen = || {
        let listener = TcpSocket::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(listener)
    };
    listen().with_context(|| format!("cannot serve metrics at {address}"))
}

/// A socket left behind by a scheduler that was killed is in the way.
fn bind(path: &Path) -> std::io::Result<StdUnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// When a connection last said something, by CLOCK_MONOTONIC.
#[derive(Clone)]
pub struct LastHeard(Arc<AtomicU64>);

impl LastHeard {
    fn now() -> Self {
        Self(Arc::new(AtomicU64::new(monotonic_ns())))
    }

    /// It has said something now.
    pub fn touch(&self) {
        self.0.store(monotonic_ns(), Ordering::Relaxed);
    }
}

/// The connections of one socket, bounded in number.
#[derive(Default)]
struct Connections(Vec<(LastHeard, AbortHandle)>);

impl Connections {
    /// Serves one more; the most silent one makes room if there are too many.
    fn add<F>(&mut self, serve: impl FnOnce(LastHeard) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.retain(|(_, handle)| !handle.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            let heard = |at: &(LastHeard, AbortHandle)| at.0.0.load(Ordering::Relaxed);
            if let Some((most_silent, _)) = self.0.iter().enumerate().min_by_key(|(_, c)| heard(c))
            {
                self.0.swap_remove(most_silent).1.abort();
            }
        }
        let heard = LastHeard::now();
        let task = tokio::spawn(serve(heard.clone()));
        self.0.push((heard, task.abort_handle()));
    }
}

async fn serve_unix(listener: StdUnixListener, board: Arc<Board>) {
    let Ok(listener) = UnixListener::from_std(listener) else {
        return;
    };
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let board = Arc::clone(&board);
                connections.add(|heard| protocol::serve(stream, board, heard));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Never ends, even if there is nothing to serve.
async fn serve_tcp(listener: Option<TcpSocket>, board: Arc<Board>) {
    let Some(Ok(listener)) = listener.map(TcpListener::from_std) else {
        return std::future::pending().await;
    };
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let board = Arc::clone(&board);
                connections.add(|_| http::serve(stream, board));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
