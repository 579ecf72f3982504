//! Doors: loopback ports in the container whose connections come out at the host.

use std::time::Duration;

use session_link::{Door, ErrorKind, LinkListener, Tunnels};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::fixture::{Fixture, PATIENCE, accept};

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

fn door(name: &str, port: u16) -> Door {
    Door {
        name: name.to_owned(),
        port,
    }
}

/// Answers every tunnel with its door's name and then whatever it says.
fn echo(mut tunnels: Tunnels) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(mut tunnel) = tunnels.next().await {
            tokio::spawn(async move {
                tunnel.io.write_all(tunnel.door.as_bytes()).await?;
                let (mut reader, mut writer) = tokio::io::split(tunnel.io);
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await
            });
        }
    })
}

async fn dial(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection")
}

async fn read_exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes))
        .await
        .expect("in time")
        .expect("bytes");
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn connections_come_out_with_their_doors_name() {
    let fixture = Fixture::start();
    let (link, tunnels) = fixture.link().await;
    echo(tunnels);
    let (model, egress) = (free_port().await, free_port().await);
    link.open_doors(vec![door("model", model), door("egress", egress)])
        .await
        .expect("open");
    let (mut first, mut second) = (dial(model).await, dial(egress).await);
    second.write_all(b"two").await.expect("written");
    first.write_all(b"one").await.expect("written");
    assert_eq!(read_exactly(&mut first, 8).await, "modelone");
    assert_eq!(read_exactly(&mut second, 9).await, "egresstwo");
}

#[tokio::test]
async fn either_direction_can_end_first() {
    let fixture = Fixture::start();
    let (link, tunnels) = fixture.link().await;
    echo(tunnels);
    let port = free_port().await;
    link.open_doors(vec![door("m", port)]).await.expect("open");
    let mut stream = dial(port).await;
    let sent = vec![b'x'; 3 << 20];
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        writer.write_all(&sent).await.expect("written");
        writer.shutdown().await.expect("half closed");
    };
    let mut got = Vec::new();
    let reading = async {
        timeout(PATIENCE, reader.read_to_end(&mut got))
            .await
            .expect("in time")
            .expect("read")
    };
    tokio::join!(writing, reading);
    assert!(got.len() == sent.len() + 1 && got[0] == b'm' && got[1..] == sent);
}

#[tokio::test]
async fn five_hundred_connections_that_say_nothing_are_open_at_once() {
    let fixture = Fixture::start();
    let (link, mut tunnels) = fixture.link().await;
    let port = free_port().await;
    link.open_doors(vec![door("m", port)]).await.expect("open");
    let mut held = Vec::new();
    for _ in 0..500 {
        let client = dial(port).await;
        let tunnel = timeout(PATIENCE, tunnels.next()).await.expect("in time");
        held.push((client, tunnel.expect("a tunnel")));
    }
    let (client, tunnel) = held.last_mut().expect("five hundred");
    tunnel.io.write_all(b"the last one").await.expect("written");
    assert_eq!(read_exactly(client, 12).await, "the last one");
}

#[tokio::test]
async fn the_newest_living_link_takes_the_connections() {
    let fixture = Fixture::start();
    let (old, tunnels) = fixture.link().await;
    echo(tunnels);
    let port = free_port().await;
    old.open_doors(vec![door("old", port)]).await.expect("open");
    let conflict = old
        .open_doors(vec![door("old", free_port().await)])
        .await
        .expect_err("another port");
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    let listener = LinkListener::bind(&fixture.links(), "new").expect("a listener");
    let (new, mut tunnels) = accept(&listener).await;
    new.open_doors(vec![door("old", port)]).await.expect("taken over");
    let mut stream = dial(port).await;
    let tunnel = timeout(PATIENCE, tunnels.next())
        .await
        .expect("in time")
        .expect("a tunnel");
    assert_eq!(tunnel.door, "old");
    drop(tunnel);
    assert_eq!(stream.read(&mut [0]).await.expect("closed"), 0);
    new.close().await;
    let mut stream = dial(port).await;
    assert_eq!(read_exactly(&mut stream, 3).await, "old");
}

#[tokio::test]
async fn connections_wait_for_a_link() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let port = free_port().await;
    link.open_doors(vec![door("m", port)]).await.expect("open");
    link.close().await;
    let mut stream = dial(port).await;
    stream.write_all(b"early").await.expect("written");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let listener = LinkListener::bind(&fixture.links(), "back").expect("a listener");
    let (link, tunnels) = accept(&listener).await;
    echo(tunnels);
    link.open_doors(vec![door("m", port)]).await.expect("open");
    assert_eq!(read_exactly(&mut stream, 6).await, "mearly");
}

#[tokio::test]
async fn slow_and_many_connections_hold_up_no_other() {
    let fixture = Fixture::start();
    let (link, tunnels) = fixture.link().await;
    echo(tunnels);
    let port = free_port().await;
    link.open_doors(vec![door("m", port)]).await.expect("open");
    let mut idle = Vec::new();
    for _ in 0..120 {
        let mut stream = dial(port).await;
        stream.write_all(&[0; 4096]).await.expect("written");
        idle.push(stream);
    }
    let mut stream = dial(port).await;
    stream.write_all(b"!").await.expect("written");
    assert_eq!(read_exactly(&mut stream, 2).await, "m!");
    link.ping().await.expect("an answer");
    drop(idle);
    for _ in 0..200 {
        let mut stream = dial(port).await;
        assert_eq!(read_exactly(&mut stream, 1).await, "m");
    }
}

#[tokio::test]
async fn a_door_says_why_it_cannot_be_opened() {
    let (_fixture, link) = Fixture::linked().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let error = link.open_doors(vec![door("m", port)]).await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::PortInUse);
    assert!(error.hint().is_some());
    for (name, port) in [("", 1000), ("Up", 1000), ("a/b", 1000), ("ok", 0)] {
        let error = link
            .open_doors(vec![door(name, port)])
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
