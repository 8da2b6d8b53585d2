//! Serves snapshots to other processes: the scx_stats protocol on a Unix socket, and OpenMetrics over HTTP.
//!
//! One thread accepts, and each connection has a thread of its own, all of which block; the agent only ever
//! meets them at the [`SnapshotChannel`]. Nothing that a client does takes memory or time without bound:
//!
//! * at most [`MAX_CONNECTIONS`] at a time per socket; the one that has been silent for longest is closed for
//!   a new one, and has ended before the new one is served
//! * requests of limited length; a longer one is answered with an error, then the connection is closed
//! * a client that does not take its answer within [`SEND_TIMEOUT`] is closed

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::snapshot_channel::SnapshotChannel;
use super::{http, protocol};
use crate::base::clock::monotonic_ns;

/// Where the ecosystem looks for the active scheduler's statistics.
pub const SOCKET: &str = "/var/run/scx/root/stats";
/// Connections to one socket at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to take its answer.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A socket that cannot be accepted from (no descriptors, no memory) is asked again after this time.
const ACCEPT_PAUSE_MS: u16 = 200;
/// A thread reads a request and formats an answer. Its stack is not touched beyond what it uses.
const STACK_BYTES: usize = 512 * 1024;

/// A running server; dropping it closes all connections and removes the socket.
pub struct Server {
    path: PathBuf,
    channel: Arc<SnapshotChannel>,
    stop: Arc<EventFd>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Starts to serve `channel` at `path`, and OpenMetrics at `tcp`.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(
        channel: Arc<SnapshotChannel>,
        path: &Path,
        tcp: Option<TcpListener>,
    ) -> Result<Self> {
        let unix =
            bind(path).with_context(|| format!("cannot serve statistics at {}", path.display()))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let stop = Arc::new(stop.context("cannot make an event")?);
        let (of_thread, stopped) = (Arc::clone(&channel), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("takt-stats".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || accept_until_stopped(&unix, tcp.as_ref(), &of_thread, &stopped))
            .context("cannot start the statistics server")?;
        Ok(Self {
            path: path.to_owned(),
            channel,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.channel.close();
        // Fails only when it is raised already.
        let _ = self.stop.write(1);
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
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok::<_, io::Error>(listener)
    };
    listen().with_context(|| format!("cannot serve metrics at {address}"))
}

/// A socket left behind by a scheduler that was killed is in the way.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts a thread for each connection until `stop` is raised, then ends them all.
fn accept_until_stopped(
    unix: &UnixListener,
    tcp: Option<&TcpListener>,
    channel: &Arc<SnapshotChannel>,
    stop: &EventFd,
) {
    let (mut of_unix, mut of_tcp) = (Connections::default(), Connections::default());
    loop {
        let mut fds = vec![
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(unix.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(tcp.map(|tcp| PollFd::new(tcp.as_fd(), PollFlags::POLLIN)));
        // Fails for a signal: then the sockets are asked, and have nothing.
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[0].any().unwrap_or(true) {
            return;
        }
        let of_unix = of_unix.accept(channel, || Ok(unix.accept()?.0));
        let of_tcp = tcp.map_or(Ok(()), |tcp| of_tcp.accept(channel, || Ok(tcp.accept()?.0)));
        if of_unix.and(of_tcp).is_err() {
            let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, ACCEPT_PAUSE_MS);
        }
    }
}

/// A connected socket, shared by the thread that serves it and the one that may close it.
pub trait Stream: Send + Sync + 'static {
    /// Reads what has come, for at most `timeout`; 0: the client has closed its side.
    fn read_within(&self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<usize>;
    /// Writes some of it, for at most `timeout`.
    fn write_within(&self, bytes: &[u8], timeout: Duration) -> io::Result<usize>;
    /// Ends reads and writes that are under way, and all later ones.
    fn close(&self);
    /// Answers requests until the client goes away or breaks the rules.
    fn serve(&self, channel: &SnapshotChannel, heard: &LastHeard);
}

macro_rules! stream {
    ($name:ident, $serve:path) => {
        impl Stream for $name {
            fn read_within(
                &self,
                buffer: &mut [u8],
                timeout: Option<Duration>,
            ) -> io::Result<usize> {
                self.set_read_timeout(timeout)?;
                (&mut &*self).read(buffer)
            }

            fn write_within(&self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
                self.set_write_timeout(Some(timeout))?;
                (&mut &*self).write(bytes)
            }

            fn close(&self) {
                // Fails where the client has closed it already.
                let _ = self.shutdown(Shutdown::Both);
            }

            fn serve(&self, channel: &SnapshotChannel, heard: &LastHeard) {
                $serve(self, channel, heard);
            }
        }
    };
}
stream!(UnixStream, protocol::serve);
stream!(TcpStream, http::serve);

/// Reads what has come until `deadline`; `None`: no deadline.
///
/// # Errors
/// `TimedOut` at the deadline; what the socket says.
pub fn read_until(
    stream: &impl Stream,
    buffer: &mut [u8],
    deadline: Option<Instant>,
) -> io::Result<usize> {
    loop {
        match stream.read_within(buffer, deadline.map(left).transpose()?) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes all of it until `deadline`.
///
/// # Errors
/// `TimedOut` at the deadline; what the socket says.
pub fn write_until(stream: &impl Stream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write_within(bytes, left(deadline)?) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time left until `deadline`.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// When a connection last said something, by CLOCK_MONOTONIC.
pub struct LastHeard(AtomicU64);

impl LastHeard {
    /// Notes that it has said something now.
    pub fn touch(&self) {
        self.0.store(monotonic_ns(), Ordering::Relaxed);
    }
}

/// One connection and the thread that serves it.
struct Connection<S> {
    stream: Arc<S>,
    heard: Arc<LastHeard>,
    thread: thread::JoinHandle<()>,
}

impl<S: Stream> Connection<S> {
    fn start(stream: S, channel: &Arc<SnapshotChannel>) -> io::Result<Self> {
        let stream = Arc::new(stream);
        let heard = Arc::new(LastHeard(AtomicU64::new(monotonic_ns())));
        let (of_thread, touched) = (Arc::clone(&stream), Arc::clone(&heard));
        let channel = Arc::clone(channel);
        let thread = thread::Builder::new()
            .name("takt-reader".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                of_thread.serve(&channel, &touched);
                of_thread.close();
            })?;
        Ok(Self {
            stream,
            heard,
            thread,
        })
    }

    fn end(self) {
        self.stream.close();
        // It can only have failed by a panic, which has been printed.
        let _ = self.thread.join();
    }
}

/// The connections of one socket, bounded in number.
struct Connections<S: Stream>(Vec<Connection<S>>);

impl<S: Stream> Default for Connections<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Stream> Connections<S> {
    /// Serves one more connection if there is one.
    ///
    /// # Errors
    /// If there is one that cannot be served now.
    fn accept(
        &mut self,
        channel: &Arc<SnapshotChannel>,
        accept: impl FnOnce() -> io::Result<S>,
    ) -> io::Result<()> {
        let accepted = accept();
        // Also when there is none: their descriptors go with them.
        self.0.retain(|connection| !connection.thread.is_finished());
        match accepted {
            Ok(stream) => self.add(stream, channel),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn add(&mut self, stream: S, channel: &Arc<SnapshotChannel>) -> io::Result<()> {
        if self.0.len() >= MAX_CONNECTIONS {
            let heard = |at: &Connection<S>| at.heard.0.load(Ordering::Relaxed);
            let most_silent = self.0.iter().enumerate().min_by_key(|(_, at)| heard(at));
            if let Some((most_silent, _)) = most_silent {
                self.0.swap_remove(most_silent).end();
            }
        }
        self.0.push(Connection::start(stream, channel)?);
        Ok(())
    }
}

impl<S: Stream> Drop for Connections<S> {
    fn drop(&mut self) {
        for connection in &self.0 {
            connection.stream.close();
        }
        for connection in self.0.drain(..) {
            connection.end();
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
