//! Stands in for `session-init` where a test is about the runtime alone: tells what it finds, obeys simple orders.
//! Compiled by the tests themselves, as a static program, into images that hold nothing else.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "bridge") {
        return echo();
    }
    tell(&arguments);
    loop {
        obey();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives back what comes, and says so when it ends.
fn echo() {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => output.write_all(&buffer[..read]).and_then(|()| output.flush()).unwrap_or_default(),
        }
    }
    let _ = output.write_all(b"<end of input>").and_then(|()| output.flush());
}

fn tell(arguments: &[String]) {
    let mut told = String::new();
    let mut say = |key: &str, value: &str| {
        told.push_str(&format!("{key}\t{}\n", value.trim().replace(['\n', '\t'], " ")));
    };
    say("arguments", &arguments.join(" "));
    let mut environment: Vec<String> = std::env::vars().map(|(key, value)| format!("{key}={value}")).collect();
    environment.sort();
    say("environment", &environment.join(" "));
    say("directory", &std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        if let Some((key, value)) = line.split_once(':') {
            say(key, value);
        }
    }
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> = devices.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    say("devices", &names.join(" "));
    say("loopback", if loopback_works() { "works" } else { "fails" });
    say("hosts", &std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    for dir in ["/", "/etc", "/opt/cofferdam", "/run/cofferdam/link", "/tmp", "/workspace", "/home/agent", "/data"] {
        let file = format!("{}/written", dir.trim_end_matches('/'));
        say(&format!("write {dir}"), if std::fs::write(file, "x").is_ok() { "yes" } else { "no" });
    }
    let listed: Vec<String> = std::fs::read_dir("/workspace")
        .map(|dir| dir.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    say("workspace", &listed.join(" "));
    print!("{told}told\tall\n");
    let _ = std::io::stdout().flush();
}

fn loopback_works() -> bool {
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return false };
    listener.local_addr().is_ok_and(|address| TcpStream::connect(address).is_ok())
}

/// `/workspace/order` says what to do.
fn obey() {
    let order = std::fs::read_to_string("/workspace/order").unwrap_or_default();
    match order.trim().split_once(' ') {
        Some(("exit", code)) => std::process::exit(code.parse().unwrap_or(1)),
        Some(("take", "memory")) => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 1 << 20]);
            }
        }
        _ => {}
    }
}
