//! Small programs that behave as their namesakes do, as far as tests use them.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::Programs;
use crate::memory::program::{Context, Exit};

/// As much is read from a pipe at once.
const PIECE: usize = 64 << 10;

pub(super) fn add(programs: &Programs) {
    programs.add("true", async |_| Exit::OK);
    programs.add("false", async |_| Exit::Code(1));
    programs.add("echo", echo);
    programs.add("printf", printf);
    programs.add("cat", cat);
    programs.add("env", env);
    programs.add("id", id);
    programs.add("pwd", pwd);
    programs.add("sleep", sleep);
    programs.add("yes", yes);
    programs.add("touch", touch);
    programs.add("mkdir", mkdir);
    programs.add("rm", rm);
    programs.add("kill", kill);
    programs.add("tail", tail);
    programs.add("head", head);
    programs.add("wc", wc);
    programs.add("stty", stty);
    programs.add("test", test);
}

fn complaint(context: &Context, path: &str, error: &io::Error) -> String {
    let program = context
        .argv
        .first()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let reason = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "Read-only file system".to_owned(),
        io::ErrorKind::NotFound => "No such file or directory".to_owned(),
        _ => error.to_string(),
    };
    format!("{program}: {path}: {reason}")
}

async fn echo(context: Context) -> Exit {
    let mut line: Vec<u8> = Vec::new();
    for (index, argument) in context.argv.iter().skip(1).enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(argument.as_bytes());
    }
    line.push(b'\n');
    context.stdout.write(line).await;
    Exit::OK
}

/// `%s` and `\n` in the format, which is used again while arguments are left.
async fn printf(context: Context) -> Exit {
    let Some(format) = context.argv.get(1) else {
        return Exit::Code(2);
    };
    let format = format.to_string_lossy().replace("\\n", "\n");
    let mut arguments = context.argv.iter().skip(2);
    let mut output: Vec<u8> = Vec::new();
    loop {
        let mut pieces = format.split("%s");
        output.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
        for piece in pieces {
            output.extend_from_slice(
                arguments
                    .next()
                    .map(|argument| argument.as_bytes())
                    .unwrap_or_default(),
            );
            output.extend_from_slice(piece.as_bytes());
        }
        if arguments.len() == 0 || !format.contains("%s") {
            break;
        }
    }
    context.stdout.write(output).await;
    Exit::OK
}

async fn cat(mut context: Context) -> Exit {
    let paths = context.args();
    if paths.is_empty() {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = context.stdin.read(&mut buffer).await {
            context
                .stdout
                .write(Bytes::copy_from_slice(&buffer[..read]))
                .await;
        }
        return Exit::OK;
    }
    let mut exit = Exit::OK;
    for path in &paths {
        match read(&context, path) {
            Ok(bytes) => context.stdout.write(bytes).await,
            Err(error) => {
                context.stderr.line(complaint(&context, path, &error)).await;
                exit = Exit::Code(1);
            }
        }
    }
    exit
}

fn read(context: &Context, path: &str) -> io::Result<Vec<u8>> {
    match context.machine.container.files().kernel(path) {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => std::fs::read(context.host_path(path)),
    }
}

async fn env(context: Context) -> Exit {
    for (name, value) in &context.env {
        context.stdout.line(format!("{name}={value}")).await;
    }
    Exit::OK
}

async fn id(context: Context) -> Exit {
    let user = context.machine.container.spec().user;
    match context.args().first().map(String::as_str) {
        Some("-u") => context.stdout.line(user.uid).await,
        Some("-g") => context.stdout.line(user.gid).await,
        _ => {
            context
                .stdout
                .line(format!("uid={} gid={} groups={}", user.uid, user.gid, user.gid))
                .await
        }
    }
    Exit::OK
}

async fn pwd(context: Context) -> Exit {
    context.stdout.line(&context.cwd).await;
    Exit::OK
}

async fn sleep(context: Context) -> Exit {
    let seconds = context.args().first().and_then(|text| text.parse::<f64>().ok());
    let Some(duration) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        context.stderr.line("sleep: invalid time interval").await;
        return Exit::Code(1);
    };
    tokio::time::sleep(duration).await;
    Exit::OK
}

async fn yes(context: Context) -> Exit {
    let word = context.args().first().cloned().unwrap_or_else(|| "y".to_owned());
    let block = Bytes::from(format!("{word}\n").repeat(PIECE / (word.len() + 1)));
    loop {
        context.stdout.write(block.clone()).await;
        tokio::task::yield_now().await;
    }
}

async fn touch(context: Context) -> Exit {
    each(&context, |path| {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
    })
    .await
}

async fn mkdir(context: Context) -> Exit {
    each(&context, |path| std::fs::create_dir_all(path)).await
}

async fn rm(context: Context) -> Exit {
    each(&context, |path| match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    })
    .await
}

/// Does something to each path that is named and can be written.
async fn each(context: &Context, work: impl Fn(&std::path::Path) -> io::Result<()>) -> Exit {
    let mut exit = Exit::OK;
    for path in context
        .args()
        .iter()
        .filter(|argument| !argument.starts_with('-'))
    {
        if let Err(error) = context.writable(path).and_then(|host| work(&host)) {
            context.stderr.line(complaint(context, path, &error)).await;
            exit = Exit::Code(1);
        }
    }
    exit
}

/// `kill [-SIGNAL] PID…` with a number or one of two names.
async fn kill(context: Context) -> Exit {
    let mut signal = 15;
    for argument in context.args() {
        match argument.strip_prefix('-') {
            Some("TERM") => signal = 15,
            Some("KILL") => signal = 9,
            Some(number) => signal = number.parse().unwrap_or(15),
            None => {
                let Ok(pid) = argument.parse() else {
                    return Exit::Code(2);
                };
                if pid == context.machine.pid() {
                    return Exit::Signal(signal);
                }
                if context.machine.kill(pid, signal).await.is_err() {
                    context.stderr.line("kill: no such process").await;
                    return Exit::Code(1);
                }
            }
        }
    }
    Exit::OK
}

/// `tail /dev/zero` takes all memory there is; nothing else of `tail` is here.
async fn tail(context: Context) -> Exit {
    if context.args().last().is_some_and(|path| path == "/dev/zero") {
        context.machine.out_of_memory().await;
    }
    Exit::Code(1)
}

/// `head -c COUNT /dev/zero`; nothing else of `head` is here.
async fn head(context: Context) -> Exit {
    let args = context.args();
    let ["-c", count, "/dev/zero"] = args.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        return Exit::Code(1);
    };
    let mut left: usize = count.parse().unwrap_or_default();
    while left > 0 {
        let piece = left.min(PIECE);
        context.stdout.write(vec![0; piece]).await;
        left -= piece;
    }
    Exit::OK
}

async fn wc(mut context: Context) -> Exit {
    let count = context.stdin.to_end().await.len();
    context.stdout.line(count).await;
    Exit::OK
}

/// `stty size` and a few words that change the terminal.
async fn stty(context: Context) -> Exit {
    let Some(terminal) = context.machine.terminal() else {
        context.stderr.line("stty: not a terminal").await;
        return Exit::Code(1);
    };
    for word in context.args() {
        let known = match word.as_str() {
            "size" => match terminal.size() {
                Ok((rows, columns)) => {
                    context.stdout.line(format!("{rows} {columns}")).await;
                    true
                }
                Err(_) => false,
            },
            word => terminal.set(word).unwrap_or(false),
        };
        if !known {
            context
                .stderr
                .line(format!("stty: invalid argument {word}"))
                .await;
            return Exit::Code(1);
        }
    }
    Exit::OK
}

/// `test -s FILE`; nothing else of `test` is here.
async fn test(context: Context) -> Exit {
    let args = context.args();
    let ["-s", path] = args.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        return Exit::Code(2);
    };
    let found = std::fs::metadata(context.host_path(path)).is_ok_and(|file| file.len() > 0);
    Exit::Code(i32::from(!found))
}
