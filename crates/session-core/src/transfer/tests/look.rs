//! What an archive from a session is about.

use super::*;

async fn seen(bytes: &[u8], path: &str) -> (Shape, Vec<u8>) {
    let (shape, rest) = look(archive(bytes), path).await.unwrap();
    (shape, collect(rest).await.unwrap())
}

fn lost() -> Error {
    Error::new(ErrorKind::LinkLost, "copy", "gone")
}

#[tokio::test]
async fn a_file_and_a_directory_of_one_file_are_told_apart() {
    let long = "n".repeat(101);
    let named = |name: &str| Tar::default().file(name, "data").end();
    let announced = Tar::default()
        .with(
            EntryType::GNULongName,
            "././@LongLink",
            format!("{long}\0").as_bytes(),
        )
        .file(&long[..100], "data")
        .end();
    for (one, path) in [
        (named("a"), "/workspace/a"),
        (named("a"), "a/"),
        (Tar::default().symlink("a", "b").end(), "a"),
        (announced, long.as_str()),
    ] {
        assert_eq!(seen(&one, path).await, (Shape::File, one.clone()), "{path}");
        // The same of a directory: described before what is in it, so that it can be told apart from now on.
        let (shape, bytes) = seen(&one, "/workspace/dir").await;
        assert_eq!(shape, Shape::Contents, "{path}");
        assert!(bytes[512..] == one);
        let entry = tar::Header::from_byte_slice(&bytes[..512]);
        assert_eq!(
            (&*entry.path_bytes(), entry.entry_type()),
            (&b"./"[..], EntryType::Directory)
        );
        assert_eq!(entry.size().unwrap(), 0);
        assert_eq!(
            seen(&bytes, "/workspace/dir").await,
            (Shape::Contents, bytes.clone())
        );
    }
}

#[tokio::test]
async fn empty_cut_and_nameless_ones_are_contents() {
    let one = Tar::default().file("x", "").end();
    for (bytes, path) in [
        (&[0; 1024][..], "dir"),
        (b"", "x"),
        (&one[..300], "x"),
        (&one, "."),
        (&one, "/"),
    ] {
        let (shape, rest) = seen(bytes, path).await;
        assert_eq!(shape, Shape::Contents, "{path}");
        assert!(rest[512..] == *bytes);
    }
}

#[tokio::test]
async fn an_error_of_the_stream_is_told_where_it_comes() {
    let broken = |after: usize| {
        let bytes = Tar::default().file("x", "data").end();
        archive(&bytes[..after])
            .chain(stream::iter([Err(lost())]))
            .boxed()
    };
    let Err(error) = look(broken(511), "x").await else {
        panic!("there was no header");
    };
    assert_eq!(error.kind(), ErrorKind::LinkLost);
    let (shape, rest) = look(broken(512), "x").await.unwrap();
    assert_eq!(shape, Shape::File);
    assert_eq!(collect(rest).await.unwrap_err().kind(), ErrorKind::LinkLost);
}

#[tokio::test]
async fn what_is_packed_tells_whether_a_directory_is_there() {
    let file = || archive(Tar::default().file("x", "").end());
    assert!(!is_directory("x", async { Ok(file()) }).await.unwrap());
    assert!(is_directory("y", async { Ok(file()) }).await.unwrap());
    let absent = async { Err(Error::new(ErrorKind::PathNotFound, "copy", "absent")) };
    assert!(!is_directory("x", absent).await.unwrap());
    let failed = is_directory("x", async { Err(lost()) }).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::LinkLost);
    for path in [".", "..", "a/.", "a/.."] {
        assert!(is_directory(path, async { Err(lost()) }).await.unwrap(), "{path}");
    }
}
