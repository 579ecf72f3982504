//! The host at the end of the egress door: for each line with a number it sends so many bytes, as fast as they are taken.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use xtask::error::{Context, Result};

static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// A server on a loopback port, for as long as this lives.
pub(super) struct Far {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Far {
    pub(super) async fn start() -> Result<Self> {
        let doing = || "cannot start the host at the far end".to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context(doing)?;
        let address = listener.local_addr().context(doing)?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // What a client does to its connection is its own affair, and its figures say so.
                connections.spawn(serve(connection));
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // The task owns the connections, too.
        self.task.abort();
    }
}

async fn serve(connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 0 {
        let mut left: usize = line.trim().parse().map_err(io::Error::other)?;
        while left > 0 {
            let piece = left.min(ZEROS.len());
            connection.write_all(&ZEROS[..piece]).await?;
            left -= piece;
        }
        line.clear();
    }
    Ok(())
}
