//! The server with made snapshots: real clients, and clients that mean it ill.

use std::io::{BufRead, BufReader};
use std::sync::atomic::AtomicBool;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use scx_stats::{StatsClient, StatsResponse};

use super::*;
use crate::snapshot::Snapshot;
use crate::stats::metrics::Metrics;
use crate::stats::protocol::MAX_REQUEST;
use crate::stats::testing;

/// A server with an agent that answers each request with the snapshot of one second later.
struct Setup {
    _server: Server,
    metrics: SocketAddr,
    channel: Arc<SnapshotChannel>,
    dir: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    agent: Option<thread::JoinHandle<u64>>,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let channel = SnapshotChannel::new().unwrap();
        let tcp = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let metrics = tcp.local_addr().unwrap();
        let path = dir.path().join("scx/root/stats");
        let server = Server::start(Arc::clone(&channel), &path, Some(tcp)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (of_agent, agent_stop) = (Arc::clone(&channel), Arc::clone(&stop));
        let agent = thread::spawn(move || {
            let mut snapshots = 0;
            while !agent_stop.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(of_agent.wanted(), PollFlags::POLLIN)];
                if poll(&mut fds, 20u16).unwrap() > 0 && of_agent.take_request() {
                    snapshots += 1;
                    of_agent.publish(testing::snapshot(snapshots));
                }
            }
            snapshots
        });
        Self {
            _server: server,
            metrics,
            channel,
            dir,
            stop,
            agent: Some(agent),
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("scx/root/stats")
    }

    fn client(&self) -> StatsClient {
        let client = StatsClient::new().set_path(self.socket());
        client.connect(Some(5_000)).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    fn http(&self) -> TcpStream {
        let stream = TcpStream::connect(self.metrics).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// All is well for an honest client.
    fn still_serves(&self) {
        let snapshot: Snapshot = self
            .client()
            .request("stats", vec![("target".into(), "snapshot".into())])
            .unwrap();
        assert!(snapshot.is_takt());
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.agent.take().unwrap().join();
    }
}

fn line_of(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// Runs this test once more in a process of its own: the memory of this one is that of all tests at a time.
/// True: this is that process.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("TAKT_TEST_ALONE").is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("stats::server::tests::{test}")])
        .env("TAKT_TEST_ALONE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "no test of this name: {text}");
    false
}

/// The memory of this process in KiB.
fn rss_kib() -> u64 {
    crate::collect::cost_of_this_process().agent_rss_bytes / 1024
}

#[test]
fn the_crates_own_client_reads_us() {
    let setup = Setup::new();
    let mut client = setup.client();
    let first: Metrics = client.request("stats", vec![]).unwrap();
    let second: Metrics = client.request("stats", vec![]).unwrap();
    assert_eq!(first.placed["idle_prev"], 100, "since it was loaded");
    assert_eq!(second.placed["idle_prev"], 100, "since the last request");
    assert_eq!(second.period_ms, 1_000);
    let meta: serde_json::Value = client.request("stats_meta", vec![]).unwrap();
    assert_eq!(meta["Metrics"]["top"], "true");
    let fields = meta["Metrics"]["fields"].as_object().unwrap();
    let sent = serde_json::to_value(&second).unwrap();
    for field in sent.as_object().unwrap().keys() {
        assert!(fields[field]["desc"].is_string(), "{field} is described");
    }
}

#[test]
fn two_viewers_have_periods_of_their_own() {
    let setup = Setup::new();
    let (mut a, mut b) = (setup.client(), setup.client());
    let _: Metrics = a.request("stats", vec![]).unwrap();
    for _ in 0..2 {
        let _: Metrics = b.request("stats", vec![]).unwrap();
    }
    let of_a: Metrics = a.request("stats", vec![]).unwrap();
    let of_b: Metrics = b.request("stats", vec![]).unwrap();
    assert_eq!((of_a.period_ms, of_b.period_ms), (3_000, 2_000));
}

#[test]
fn nothing_is_collected_without_a_request() {
    let mut setup = Setup::new();
    assert!(!setup.channel.watched());
    setup.still_serves();
    assert!(setup.channel.watched());
    setup.stop.store(true, Ordering::Relaxed);
    let snapshots = setup.agent.take().unwrap().join().unwrap();
    setup.agent = Some(thread::spawn(|| 0));
    assert_eq!(snapshots, 1, "one request, one snapshot");
}

#[test]
fn garbage_is_answered_with_an_error() {
    let setup = Setup::new();
    let mut stream = setup.raw();
    for garbage in [
        "",
        "{",
        "null",
        "[]",
        "\u{7f}\u{0}x",
        r#"{"req":"nonsense"}"#,
    ] {
        writeln!(stream, "{garbage}").unwrap();
        let answer = line_of(&stream);
        assert!(answer.contains(r#""errno":22"#), "{garbage:?}: {answer}");
    }
    writeln!(stream, r#"{{"req":"stats","args":{{"target":"no_such"}}}}"#).unwrap();
    assert!(line_of(&stream).contains("known are top, snapshot"));
    stream.write_all(b"\xff\xfe\n").unwrap();
    assert!(line_of(&stream).contains(r#""errno":22"#));
    setup.still_serves();
}

/// Anything at all, or a request with a piece of it replaced by anything.
fn nonsense(request: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (any::<prop::sample::Index>(), vec(any::<u8>(), 0..8)).prop_map(|(at, with)| {
        let mut bytes = request.to_vec();
        let at = at.index(bytes.len());
        let end = (at + with.len()).min(bytes.len());
        bytes.splice(at..end, with);
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..400), spoilt]
}

/// Sends `bytes` and nothing more; all that comes back.
fn answers<S: Read + Write>(mut stream: S, bytes: &[u8], done: impl FnOnce(&S)) -> String {
    let _ = stream.write_all(bytes);
    done(&stream);
    let mut answer = Vec::new();
    // A server that hangs up before it has read all is right to; one that is silent runs into the time-out.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{bytes:?}");
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn whatever_is_sent_is_answered_and_forgotten() {
    if !is_alone("whatever_is_sent_is_answered_and_forgotten") {
        return;
    }
    let setup = Setup::new();
    setup.still_serves();
    let before_kib = rss_kib();
    let mut runner = TestRunner::new(Config::with_cases(1_000));
    let request = b"{\"req\":\"stats\",\"args\":{\"target\":\"top\"}}\n";
    let said = runner.run(&nonsense(request), |bytes| {
        let hang_up = |stream: &UnixStream| stream.shutdown(Shutdown::Write).unwrap();
        let answer = answers(setup.raw(), &bytes, hang_up);
        for line in answer.lines() {
            prop_assert!(
                serde_json::from_str::<StatsResponse>(line).is_ok(),
                "{line}"
            );
        }
        Ok(())
    });
    said.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let said = runner.run(&nonsense(request), |bytes| {
        let hang_up = |stream: &TcpStream| stream.shutdown(Shutdown::Write).unwrap();
        let answer = answers(setup.http(), &bytes, hang_up);
        prop_assert!(
            answer.is_empty() || answer.starts_with("HTTP/1."),
            "{answer}"
        );
        Ok(())
    });
    said.unwrap();
    let grown_kib = rss_kib().saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "memory grew by {grown_kib} KiB");
    setup.still_serves();
}

#[test]
fn a_huge_request_takes_no_memory() {
    if !is_alone("a_huge_request_takes_no_memory") {
        return;
    }
    let setup = Setup::new();
    setup.still_serves();
    let before_kib = rss_kib();
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..4 {
        let mut stream = setup.raw();
        let mut sent = 0;
        // 64 MiB without an end of line, or as much as the server takes before it hangs up.
        while sent < 64 << 20 && stream.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        assert!(
            sent < 1 << 20,
            "the server took {sent} bytes of a request of {MAX_REQUEST} at most"
        );
    }
    let grown_kib = rss_kib().saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "memory grew by {grown_kib} KiB");
    setup.still_serves();
}

#[test]
fn client_that_never_reads_does_not_block_others() {
    let setup = Setup::new();
    let mut stream = setup.raw();
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let request = b"{\"req\":\"stats\",\"args\":{\"target\":\"snapshot\"}}\n";
    // Until both sides' buffers are full, that is: the server takes no more requests.
    let mut sent = 0;
    while sent < 1 << 20 && stream.write_all(request).is_ok() {
        sent += request.len();
    }
    assert!(sent < 1 << 20, "the server goes on reading without an end");
    setup.still_serves();
}

#[test]
fn half_a_request_does_not_block_other_clients() {
    let setup = Setup::new();
    let mut slow: Vec<_> = (0..MAX_CONNECTIONS).map(|_| setup.raw()).collect();
    for stream in &mut slow {
        stream.write_all(br#"{"req":"#).unwrap();
    }
    // The socket is full of silent clients: the most silent one makes room.
    setup.still_serves();
    let last = slow.last_mut().unwrap();
    last.write_all(b"\"stats\"}\n").unwrap();
    assert!(
        line_of(last).contains(r#""errno":0"#),
        "others are left alone"
    );
}

#[test]
fn a_crowd_leaves_no_descriptors_behind() {
    let setup = Setup::new();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    for _ in 0..300 {
        let mut stream = setup.raw();
        let _ = stream.write_all(b"{");
    }
    setup.still_serves();
    let deadline = Instant::now() + Duration::from_secs(20);
    // Other tests of this process have descriptors as well, but not hundreds.
    while count() > 250 {
        assert!(
            Instant::now() < deadline,
            "{} descriptors are open",
            count()
        );
        setup.still_serves();
    }
}

fn ask(setup: &Setup, request: &str) -> String {
    let mut stream = setup.http();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn metrics_over_http() {
    let setup = Setup::new();
    let answer = ask(&setup, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    openmetrics_parser::openmetrics::parse_openmetrics(body).unwrap();
}

/// A scrape has no earlier one of its own connection to be judged by.
#[test]
fn metrics_are_judged_by_what_has_happened_lately() {
    let channel = SnapshotChannel::new().unwrap();
    // Later than now: each is fresh, and no agent is needed.
    let lost = |ms: u64, events_lost: u64| {
        let mut snapshot = testing::snapshot(1_000_000_000);
        snapshot.at_ns += ms * 1_000_000;
        snapshot.cost.events_lost = events_lost;
        channel.publish(snapshot);
        let (_, delta) = channel.ask_with_delta(Duration::ZERO).unwrap();
        delta.map(|delta| delta.cost.events_lost)
    };
    assert_eq!(lost(0, 0), None, "nothing to compare with");
    assert_eq!(lost(1_000, 3), Some(3));
    assert_eq!(lost(1_200, 3), Some(3), "of a second at least");
    assert_eq!(lost(2_000, 3), Some(0));
    assert_eq!(lost(2_100, 4), Some(1));
}

#[test]
fn head_gets_the_head_only() {
    let setup = Setup::new();
    let answer = ask(&setup, "HEAD /metrics?a=b HTTP/1.0\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.contains("Content-Length: 0"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn a_head_may_come_in_pieces() {
    let setup = Setup::new();
    let mut stream = setup.http();
    for piece in ["GET /met", "rics HTTP/1.1\r", "\nHost: x\r\n\r", "\n"] {
        stream.write_all(piece.as_bytes()).unwrap();
        // Sent at once, so that each piece may be read alone.
        stream.set_nodelay(true).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn readers_do_not_hold_up_the_end_of_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stats");
    let channel = SnapshotChannel::new().unwrap();
    let server = Server::start(Arc::clone(&channel), &path, None).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"{\"req\":\"stats\"}\n").unwrap();
    let mut fds = [PollFd::new(channel.wanted(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, 20_000u16).unwrap(), 1, "the reader waits");
    let begin = Instant::now();
    drop(server);
    assert!(begin.elapsed() < Duration::from_secs(1), "waited for it");
}

#[test]
fn http_is_read_only_and_bounded() {
    let setup = Setup::new();
    let status = |request: &str| {
        ask(&setup, request)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let host = "Host: x\r\n\r\n";
    assert!(status(&format!("POST /metrics HTTP/1.1\r\n{host}")).contains("405"));
    assert!(status(&format!("GET /etc/passwd HTTP/1.1\r\n{host}")).contains("404"));
    assert!(status("no http at all\r\n\r\n").contains("400"));
    let long = "x".repeat(1 << 20);
    let answer = status(&format!("GET /{long} HTTP/1.1\r\n{host}"));
    assert!(answer.is_empty() || answer.contains(" 4"), "{answer}");
    let mut silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| setup.http()).collect();
    silent[0].write_all(b"GET /met").unwrap();
    assert!(status(&format!("GET /metrics HTTP/1.1\r\n{host}")).contains("200"));
}

#[test]
fn the_socket_goes_with_the_server_and_a_stale_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stats");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind by an agent that was killed");
    let server = Server::start(SnapshotChannel::new().unwrap(), &path, None).unwrap();
    assert!(
        UnixStream::connect(&path)
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .is_ok()
    );
    drop(server);
    assert!(!path.exists());
}

#[test]
fn an_address_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = listen(address).unwrap_err();
    assert!(
        format!("{error:#}").contains(&address.to_string()),
        "{error:#}"
    );
}
