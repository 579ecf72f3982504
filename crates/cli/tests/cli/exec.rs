//! `exec` and `output`: bytes, signals and exit codes as they are.

use cli::interrupts::Interrupt;
use session_core::command::{ExitCause, OutputStream};
use session_core::error::ErrorKind;

use crate::support::User;
use crate::support::fake::{Fake, Step};
use crate::support::fixtures::{command_id, session_id};

fn exited(code: i32) -> Step {
    Step::Exit(ExitCause::Exited, Some(code), None)
}

#[tokio::test]
async fn bytes_pass_unchanged_and_apart() {
    let user = User::new(Fake::commanding([
        Step::Write(OutputStream::Stdout, b"\x1b[31mred\xff\n"),
        Step::Write(OutputStream::Stderr, b"problem\n"),
        exited(7),
    ]))
    .on_a_terminal();
    let outcome = user.runs("exec fix-it -- ls -la --color").await;
    assert_eq!(outcome.stdout, b"\x1b[31mred\xff\n");
    assert_eq!(outcome.stderr, b"problem\n");
    assert_eq!(outcome.code, 7);
    let call = &user.fake.calls()[1];
    assert!(call.ends_with(r#"["ls", "-la", "--color"] Cancel"#), "{call}");
}

#[tokio::test]
async fn the_dashes_may_be_left_out() {
    let user = User::new(Fake::commanding([exited(0)]));
    assert_eq!(user.runs("exec fix-it ls -la --json").await.code, 0);
    let call = &user.fake.calls()[1];
    assert!(call.ends_with(r#"["ls", "-la", "--json"] Cancel"#), "{call}");
}

#[tokio::test]
async fn flags_may_stand_after_the_session() {
    let mut user = User::new(Fake::commanding([Step::UntilInputEnds, exited(0)]));
    user.stdin = b"some input".to_vec();
    assert_eq!(user.runs("exec fix-it -i -- cat -n").await.code, 0);
    assert_eq!(user.fake.input(), b"some input");
    let call = user.fake.calls()[1].clone();
    assert!(call.ends_with(r#"["cat", "-n"] Cancel"#), "{call}");
}

#[tokio::test]
async fn a_whole_id_is_not_looked_up() {
    let user = User::new(Fake::commanding([exited(0)]));
    user.runs(&format!("exec {} true", session_id('f'))).await;
    assert_eq!(user.fake.calls().len(), 1);
}

#[tokio::test]
async fn every_end_has_its_code_and_its_words() {
    for (cause, code, signal, expected, words) in [
        (ExitCause::Exited, Some(0), None, 0, ""),
        (ExitCause::Signaled, None, Some(9), 137, ""),
        (ExitCause::TimedOut, None, Some(9), 124, "time limit"),
        (ExitCause::OutputLimit, None, None, 125, "output limit"),
        (ExitCause::OutOfMemory, None, Some(9), 137, "memory"),
        (ExitCause::NotExecutable, None, None, 126, "cannot be executed"),
        (ExitCause::NotFound, None, None, 127, "no such program"),
        (
            ExitCause::BadWorkingDirectory,
            None,
            None,
            125,
            "working directory",
        ),
        (ExitCause::SupervisorLost, None, None, 125, "supervisor"),
    ] {
        let user = User::new(Fake::commanding([Step::Exit(cause, code, signal)]));
        let outcome = user.runs("exec fix-it prog").await;
        assert_eq!(outcome.code, expected, "{cause:?}");
        assert!(
            outcome.stderr().contains(words),
            "{cause:?}: {}",
            outcome.stderr()
        );
    }
}

#[tokio::test]
async fn our_own_failures_are_125() {
    for call in ["open", "list", "command"] {
        let user = User::new(Fake::new().failing(call, ErrorKind::NotFound));
        let outcome = user.runs("exec fix-it true").await;
        assert_eq!(outcome.code, 125, "{call}");
        assert!(outcome.stderr().starts_with("error: "), "{call}");
    }
    // The connection that breaks off in the middle.
    let user = User::new(Fake::commanding([Step::Write(OutputStream::Stdout, b"half")]));
    assert_eq!(user.runs("exec fix-it true").await.code, 125);
}

#[tokio::test]
async fn signals_go_to_the_program() {
    let user = User::new(Fake::commanding([
        Step::Signal(Interrupt::Interrupt),
        Step::UntilSignalled(2),
        Step::Signal(Interrupt::Terminate),
        Step::UntilSignalled(15),
        Step::Exit(ExitCause::Signaled, None, Some(15)),
    ]));
    assert_eq!(user.runs("exec fix-it sleep 100").await.code, 143);
    assert_eq!(user.fake.signalled(), [2, 15]);
}

#[tokio::test]
async fn the_third_ctrl_c_kills() {
    let user = User::new(Fake::commanding([
        Step::Signal(Interrupt::Interrupt),
        Step::Signal(Interrupt::Interrupt),
        Step::Signal(Interrupt::Interrupt),
        Step::UntilSignalled(9),
        Step::Exit(ExitCause::Signaled, None, Some(9)),
    ]));
    assert_eq!(user.runs("exec fix-it sleep 100").await.code, 137);
    assert_eq!(user.fake.signalled(), [2, 2, 9]);
}

#[tokio::test]
async fn json_carries_any_bytes() {
    let user = User::new(Fake::commanding([
        Step::Write(OutputStream::Stdout, b"text\n"),
        Step::Write(OutputStream::Stderr, b"\xff\xfe"),
        Step::Gap(7, 100),
        exited(3),
    ]));
    let outcome = user.runs("exec --json fix-it prog").await;
    let lines = outcome.lines();
    assert_eq!(lines[0]["event"], "command_started");
    assert_eq!(lines[0]["command"], command_id().to_string());
    assert_eq!(lines[1]["text"], "text\n");
    assert_eq!(lines[2]["base64"], "//4=");
    assert_eq!(lines[2]["offset"], 5);
    assert_eq!(lines[3]["event"], "gap");
    assert_eq!(lines[4]["event"], "exited");
    assert_eq!(lines[4]["exit_code"], 3);
    assert_eq!(outcome.code, 3);
}

#[tokio::test]
async fn a_detached_command_is_read_later() {
    let user = User::new(Fake::commanding([
        Step::Write(OutputStream::Stdout, b"later\n"),
        exited(4),
    ]));
    let outcome = user.runs("exec -d fix-it prog").await;
    assert_eq!(outcome.stdout(), format!("{}\n", command_id()));
    assert!(user.fake.calls()[1].ends_with("Detach"));
    let outcome = user
        .runs(&format!("output fix-it {} --offset 5", command_id()))
        .await;
    assert_eq!(outcome.stdout(), "later\n");
    assert_eq!(outcome.code, 4);
    assert!(user.fake.calls().last().unwrap().ends_with(" 5"));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let mut user = User::new(Fake::commanding([
        Step::Write(OutputStream::Stdout, b"too much"),
        Step::Hang,
    ]));
    user.stdout_limit = Some(3);
    let outcome = user.runs("exec fix-it yes").await;
    assert_eq!(outcome.code, 141);
    assert_eq!(outcome.stderr(), "");
}
