//! How fast files travel. Not run by default: the machine decides, so nothing is asserted, and `xtask bench` measures the
//! whole way. `cargo test --release -p session-core --lib speed -- --ignored --nocapture`

use std::time::Instant;

use super::*;

async fn measure(what: &str, source: &Path, back: &Path) {
    let mut best = (f64::MAX, f64::MAX);
    for round in 0..5 {
        // Kept until the end: ext4 is slow to make files for seconds after many were removed.
        let back = back.join(format!("{what} {round}"));
        let started = Instant::now();
        let mut archive = pack(
            source,
            PackOptions {
                respect_gitignore: true,
                as_contents: false,
            },
        );
        let mut bytes = 0;
        while let Some(chunk) = archive.next().await {
            bytes += chunk.unwrap().len();
        }
        let out = started.elapsed().as_secs_f64();
        let started = Instant::now();
        unpack(
            pack(source, PackOptions::default()),
            &back,
            UnpackOptions::default(),
        )
        .await
        .unwrap();
        let whole = started.elapsed().as_secs_f64();
        println!(
            "{what}: pack {:.0} ms, {:.2} GB/s; pack and unpack {:.0} ms",
            out * 1e3,
            bytes as f64 / out / 1e9,
            whole * 1e3
        );
        best = (best.0.min(out), best.1.min(whole));
    }
    println!("{what}: best {:.0} ms and {:.0} ms", best.0 * 1e3, best.1 * 1e3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; see the module"]
async fn small_and_large() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    fs::create_dir(&out).unwrap();
    let small = root.path().join("small");
    for dir in 0..100 {
        let dir = small.join(dir.to_string());
        fs::create_dir_all(&dir).unwrap();
        for file in 0..100 {
            fs::write(dir.join(file.to_string()), [b'x'; 1000]).unwrap();
        }
    }
    measure("10,000 files of 1 kB", &small, &out).await;
    let large = root.path().join("large");
    fs::create_dir(&large).unwrap();
    fs::write(large.join("file"), vec![b'x'; 1_000_000_000]).unwrap();
    measure("1 GB", &large, &out).await;
}
