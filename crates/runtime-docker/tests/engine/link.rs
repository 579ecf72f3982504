//! The bridge carrier.

use std::sync::Arc;
use std::time::Duration;

use session_core::error::ErrorKind;
use session_core::runtime::ContainerRuntime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

pub(crate) async fn a_bridge_carries_any_bytes_both_ways(world: Arc<World>) {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let bridge = world.runtime.bridge(&spec.name).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(bridge);
    let sent: Vec<u8> = (0..3 << 20)
        .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let writing = {
        let sent = sent.clone();
        tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer
        })
    };
    let mut received = vec![0; sent.len()];
    tokio::time::timeout(Duration::from_secs(30), reader.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert!(received == sent, "bytes changed on their way");
    drop(writing.await.unwrap());
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn ending_one_direction_leaves_the_other_open(world: Arc<World>) {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let mut bridge = world.runtime.bridge(&spec.name).await.unwrap();
    bridge.write_all(b"\0\x01\x02\xff").await.unwrap();
    bridge.shutdown().await.unwrap();
    let mut received = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), bridge.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received, b"\0\x01\x02\xff<end of input>");
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn a_bridge_needs_a_container_that_runs(world: Arc<World>) {
    let spec = world.spec();
    let error = world.runtime.bridge(&spec.name).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ContainerLost, "{error}");
    world.launch(&spec).await.unwrap();
    world
        .engine
        .kill_container(spec.name.as_str(), None)
        .await
        .unwrap();
    world
        .until(&spec.name, session_core::runtime::ContainerState::Exited)
        .await;
    let error = world.runtime.bridge(&spec.name).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ContainerLost, "{error}");
    world.runtime.remove(&spec.name).await.unwrap();
}
