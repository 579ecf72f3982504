//! Daemons that leave by themselves.

use crate::host::Host;

#[test]
fn it_leaves_when_there_is_nothing_to_do_and_comes_back_when_there_is() {
    let host = Host::new().with("COFFERDAM_IDLE_EXIT", "300ms");
    for _ in 0..2 {
        host.ok(&["ls"]);
        host.until("it has left", || host.processes().is_empty());
        let left: Vec<_> = std::fs::read_dir(host.state())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("cofferdam.sock") || name.starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(
        host.log().matches("nothing to do any more").count(),
        2,
        "{}",
        host.log()
    );
}

/// Each comes at another moment of the daemon's leaving, and each is served.
#[test]
fn nobody_who_comes_is_left_unanswered() {
    let host = Host::new().with("COFFERDAM_IDLE_EXIT", "50ms");
    for pause in (0..40).map(|step| 40 + step * 6) {
        host.ok(&["ls"]);
        std::thread::sleep(std::time::Duration::from_millis(pause));
    }
}

#[test]
fn one_that_somebody_started_by_hand_stays() {
    let host = Host::new().with("COFFERDAM_IDLE_EXIT", "100ms");
    let _serving = host.serve(&[]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(host.info().is_some());
}
