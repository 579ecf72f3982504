//! What the link costs: round trips, commands, bytes in each direction, files, memory.
//!
//! ```text
//! cargo build --profile init -p session-init && \
//!     cargo run --release -p session-init --example measure -- target/init/session-init
//! ```

use std::{
    error::Error,
    io::Write,
    process::{Child, Command},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use session_link::{
    CopyInOptions, CopyOutOptions, Door, Link, LinkListener, LinkOptions, Process, ProcessEvent, ProcessId,
    SpawnSpec, Tunnels,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome<T> = Result<T, Box<dyn Error>>;

const GIGABYTE: u64 = 1 << 30;

struct Init(Child);

impl Drop for Init {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn say(what: &str, value: &str) {
    let _ = writeln!(std::io::stdout(), "{what:<44} {value}");
}

fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() - 1) * percent / 100]
}

fn rate(bytes: u64, time: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
    let rate = bytes as f64 / time.as_secs_f64() / 1e6;
    format!("{rate:.0} MB/s ({:.2} s)", time.as_secs_f64())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let binary = std::env::args_os().nth(1).ok_or("say where session-init is")?;
    let directory = tempfile::tempdir()?;
    let listener = LinkListener::bind(directory.path(), "measure")?;
    let init = Init(
        Command::new(binary)
            .arg("--link-dir")
            .arg(directory.path())
            .current_dir(directory.path())
            .spawn()?,
    );
    let (link, tunnels) = Link::establish(listener.accept().await?, LinkOptions::default()).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    say("resident, idle", &resident(init.0.id())?);
    pings(&link).await?;
    commands(&link).await?;
    output(&link).await?;
    tunnel(&link, tunnels).await?;
    small_files(&link, directory.path()).await?;
    large_file(&link, directory.path()).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    say("resident, afterwards", &resident(init.0.id())?);
    Ok(())
}

fn resident(pid: u32) -> Outcome<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    Ok(line.trim().to_owned())
}

async fn pings(link: &Link) -> Outcome<()> {
    let mut samples = Vec::new();
    for _ in 0..5000 {
        samples.push(link.ping().await?);
    }
    say(
        "round trip, p50 / p99",
        &format!(
            "{:?} / {:?}",
            percentile(&mut samples, 50),
            percentile(&mut samples, 99)
        ),
    );
    Ok(())
}

fn spec(number: u32, argv: &[&str]) -> Outcome<SpawnSpec> {
    let mut spec = SpawnSpec::new(ProcessId::new(format!("m-{}-{number}", argv[0]))?, argv);
    spec.env.push(("PATH".into(), "/usr/bin:/bin".into()));
    Ok(spec)
}

async fn drain(mut process: Process) -> Outcome<u64> {
    let mut bytes = 0;
    while let Some(event) = process.next().await? {
        if let ProcessEvent::Output { bytes: piece, .. } = event {
            bytes += piece.len() as u64;
        }
    }
    Ok(bytes)
}

async fn commands(link: &Link) -> Outcome<()> {
    let mut samples = Vec::new();
    for number in 0..500 {
        let spec = spec(number, &["true"])?;
        let id = spec.id.clone();
        let start = Instant::now();
        drain(link.run(spec).await?).await?;
        samples.push(start.elapsed());
        link.forget(&id).await?;
    }
    say(
        "run of `true`, p50 / p99",
        &format!(
            "{:?} / {:?}",
            percentile(&mut samples, 50),
            percentile(&mut samples, 99)
        ),
    );
    Ok(())
}

async fn output(link: &Link) -> Outcome<()> {
    let start = Instant::now();
    let length = (4 * GIGABYTE).to_string();
    let bytes = drain(link.run(spec(0, &["head", "-c", &length, "/dev/zero"])?).await?).await?;
    say("output of one command", &rate(bytes, start.elapsed()));
    Ok(())
}

async fn tunnel(link: &Link, mut tunnels: Tunnels) -> Outcome<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    link.open_doors(vec![Door {
        name: "echo".into(),
        port,
    }])
    .await?;
    let serve = tokio::spawn(async move {
        while let Some(mut tunnel) = tunnels.next().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(&mut tunnel.io);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut samples = Vec::new();
    for _ in 0..3000 {
        let start = Instant::now();
        stream.write_all(b"x").await?;
        stream.read_u8().await?;
        samples.push(start.elapsed());
    }
    say(
        "tunnel round trip, p50 / p99",
        &format!(
            "{:?} / {:?}",
            percentile(&mut samples, 50),
            percentile(&mut samples, 99)
        ),
    );
    let mut connects = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"x").await?;
        stream.read_u8().await?;
        connects.push(start.elapsed());
    }
    say(
        "new tunnel to first byte, p50",
        &format!("{:?}", percentile(&mut connects, 50)),
    );
    serve.abort();
    Ok(())
}

fn archive(files: u32) -> Outcome<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    let contents = [b'x'; 1024];
    for number in 0..files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1);
        builder.append_data(&mut header, format!("d{}/f{number}", number / 100), &contents[..])?;
    }
    Ok(builder.into_inner()?.into())
}

async fn small_files(link: &Link, directory: &std::path::Path) -> Outcome<()> {
    let tar = archive(10_000)?;
    let dest = directory.join("small");
    let dest = dest.to_str().ok_or("text")?;
    let start = Instant::now();
    let mut copy = link.copy_in(dest, CopyInOptions::default()).await?;
    for piece in 0..tar.len().div_ceil(256 << 10) {
        let from = piece * (256 << 10);
        copy.write(tar.slice(from..tar.len().min(from + (256 << 10))))
            .await?;
    }
    copy.finish().await?;
    say("10,000 files of 1 kB in", &format!("{:?}", start.elapsed()));
    let start = Instant::now();
    let mut copy = link.copy_out(dest, CopyOutOptions::default()).await?;
    while copy.next().await?.is_some() {}
    say("10,000 files of 1 kB out", &format!("{:?}", start.elapsed()));
    Ok(())
}

async fn large_file(link: &Link, directory: &std::path::Path) -> Outcome<()> {
    let dest = directory.join("large");
    let dest = dest.to_str().ok_or("text")?;
    let start = Instant::now();
    let mut copy = link.copy_in(dest, CopyInOptions::default()).await?;
    let mut header = tar::Header::new_gnu();
    header.set_path("large")?;
    header.set_size(GIGABYTE);
    header.set_mode(0o644);
    header.set_cksum();
    copy.write(Bytes::copy_from_slice(header.as_bytes())).await?;
    let piece = BytesMut::zeroed(256 << 10).freeze();
    for _ in 0..GIGABYTE / piece.len() as u64 {
        copy.write(piece.clone()).await?;
    }
    copy.write(Bytes::from_static(&[0; 1024])).await?;
    let report = copy.finish().await?;
    say("1 GiB file in", &rate(report.bytes, start.elapsed()));
    let start = Instant::now();
    let mut copy = link.copy_out(dest, CopyOutOptions::default()).await?;
    let mut bytes = 0;
    while let Some(piece) = copy.next().await? {
        bytes += piece.len() as u64;
    }
    say("1 GiB file out", &rate(bytes, start.elapsed()));
    Ok(())
}
