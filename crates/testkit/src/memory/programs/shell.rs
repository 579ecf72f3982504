//! `sh`: enough of a shell for tests, with a script or without. One statement after the other, read only when it is reached, with `;`, `&&`,
//! `||`, quotes, a few variables and redirections. What it does not know ends it with 2, as a syntax error does.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;

use super::{Programs, Refusal};
use crate::memory::program::{Context, Exit, Input, Output};

/// Children that leave the shell's input to those after them. Any other takes all of it.
const READS_NOTHING: [&str; 15] = [
    "echo", "printf", "true", "false", "env", "id", "pwd", "sleep", "touch", "mkdir", "rm", "kill", "tail",
    "stty", "head",
];

pub(super) fn add(programs: &Arc<Programs>) {
    let known = Arc::downgrade(programs);
    programs.add("sh", move |context| shell(known.clone(), context));
}

pub(super) async fn shell(programs: Weak<Programs>, context: Context) -> Exit {
    let args = context.args();
    let Some(programs) = programs.upgrade() else {
        return Exit::Code(127);
    };
    if args.is_empty() {
        return Shell::new(programs, Vec::new(), context).converse().await;
    }
    let [flag, script, parameters @ ..] = args.as_slice() else {
        return Exit::Code(2);
    };
    if flag != "-c" {
        return Exit::Code(2);
    }
    let script = script.clone();
    let mut shell = Shell::new(programs, parameters.to_vec(), context);
    for statement in statements(&script) {
        if let Some(exit) = shell.statement(&statement).await {
            return exit;
        }
    }
    Exit::Code(shell.status)
}

struct Shell {
    programs: Arc<Programs>,
    /// `$0`, `$1` and so on.
    parameters: Vec<String>,
    context: Context,
    status: i32,
}

/// What joins a command to the one before.
#[derive(Clone, Copy, PartialEq)]
enum Join {
    Always,
    IfOk,
    IfFailed,
}

impl Shell {
    fn new(programs: Arc<Programs>, parameters: Vec<String>, context: Context) -> Self {
        Self {
            programs,
            parameters,
            context,
            status: 0,
        }
    }

    /// Does what it is told line by line; on a terminal, with a prompt.
    async fn converse(mut self) -> Exit {
        loop {
            if self.context.machine.terminal().is_some() {
                self.context.stdout.write("$ ").await;
            }
            let Some(line) = self.context.stdin.line().await else {
                return Exit::Code(self.status);
            };
            for statement in statements(&String::from_utf8_lossy(&line)) {
                if let Some(exit) = self.statement(&statement).await {
                    return exit;
                }
            }
        }
    }

    /// Runs a list of commands; the exit of the shell when one ends it.
    async fn statement(&mut self, statement: &str) -> Option<Exit> {
        let Some(commands) = self.parse(statement) else {
            self.context.stderr.line("sh: syntax error").await;
            return Some(Exit::Code(2));
        };
        for (join, words) in commands {
            let wanted = match join {
                Join::Always => true,
                Join::IfOk => self.status == 0,
                Join::IfFailed => self.status != 0,
            };
            if wanted && let Some(exit) = self.command(words).await {
                return Some(exit);
            }
        }
        None
    }

    fn parse(&self, statement: &str) -> Option<Vec<(Join, VecDeque<String>)>> {
        let mut commands = vec![(Join::Always, VecDeque::new())];
        for word in self.words(statement)? {
            match word {
                Word::Operator(join) => commands.push((join, VecDeque::new())),
                Word::Text(text) => commands.last_mut()?.1.push_back(text),
            }
        }
        Some(commands)
    }

    fn words(&self, text: &str) -> Option<Vec<Word>> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                ' ' | '\t' => words.extend(word.take().map(Word::Text)),
                '\'' => {
                    let word = word.get_or_insert_default();
                    loop {
                        match chars.next()? {
                            '\'' => break,
                            c => word.push(c),
                        }
                    }
                }
                '"' => {
                    let mut quoted = String::new();
                    loop {
                        match chars.next()? {
                            '"' => break,
                            '\\' => quoted.push(chars.next()?),
                            '$' => quoted.push_str(&self.expand(&mut chars)),
                            c => quoted.push(c),
                        }
                    }
                    word.get_or_insert_default().push_str(&quoted);
                }
                '\\' => word.get_or_insert_default().push(chars.next()?),
                '$' => {
                    let value = self.expand(&mut chars);
                    word.get_or_insert_default().push_str(&value);
                }
                '&' if chars.next_if_eq(&'&').is_some() => {
                    words.extend(word.take().map(Word::Text));
                    words.push(Word::Operator(Join::IfOk));
                }
                '|' if chars.next_if_eq(&'|').is_some() => {
                    words.extend(word.take().map(Word::Text));
                    words.push(Word::Operator(Join::IfFailed));
                }
                '&' if word.as_deref().is_some_and(|word| word.ends_with('>')) => {
                    word.get_or_insert_default().push('&');
                }
                '|' | '&' | '`' | '(' | ')' | '*' | '?' => return None,
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word.map(Word::Text));
        Some(words)
    }

    /// The value of what follows a `$`.
    fn expand(&self, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
        if chars.next_if_eq(&'$').is_some() {
            return self.context.machine.pid().to_string();
        }
        if chars.next_if_eq(&'?').is_some() {
            return self.status.to_string();
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        match name.parse::<usize>() {
            Ok(index) => self.parameters.get(index).cloned().unwrap_or_default(),
            Err(_) => self.context.env.get(&name).cloned().unwrap_or_default(),
        }
    }

    async fn command(&mut self, words: VecDeque<String>) -> Option<Exit> {
        let (mut words, stdout, stderr) = match self.redirect(words) {
            Ok(redirected) => redirected,
            Err(complaint) => {
                self.context.stderr.line(complaint).await;
                self.status = 1;
                return None;
            }
        };
        let name = words.pop_front()?;
        self.status = match name.as_str() {
            ":" | "set" | "umask" => 0,
            "exit" => {
                let code = words
                    .front()
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(self.status);
                return Some(Exit::Code(code));
            }
            "cd" => {
                let target = words.pop_front().unwrap_or_default();
                self.context.cwd = crate::memory::files::absolute(&self.context.cwd, &target);
                0
            }
            "export" => {
                for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
                    self.context.env.insert(name.to_owned(), value.to_owned());
                }
                0
            }
            "read" => {
                let line = self.context.stdin.line().await;
                let value = String::from_utf8_lossy(line.as_deref().unwrap_or_default()).into_owned();
                self.context
                    .env
                    .extend(words.pop_front().map(|name| (name, value)));
                i32::from(line.is_none())
            }
            "command" => i32::from(words.back().is_none_or(|name| self.find(name).is_err())) * 127,
            "kill" => return self.run(&name, words, stdout, stderr, true).await,
            "exec" => {
                let name = words.pop_front()?;
                let exit = self.run(&name, words, stdout, stderr, true).await;
                return Some(exit.unwrap_or(Exit::Code(self.status)));
            }
            _ => return self.run(&name, words, stdout, stderr, false).await,
        };
        None
    }

    fn find(&self, name: &str) -> Result<crate::memory::program::Program, Refusal> {
        let path = self.context.env.get("PATH").map(String::as_str);
        self.programs.look_up(
            self.context.machine.container.files(),
            &self.context.cwd,
            name,
            path,
        )
    }

    /// Runs a program as a child; with `own`, a signal that it sends itself ends the shell.
    async fn run(
        &mut self,
        name: &str,
        words: VecDeque<String>,
        stdout: Output,
        stderr: Output,
        own: bool,
    ) -> Option<Exit> {
        let program = match self.find(name) {
            Ok(program) => program,
            Err(refusal) => {
                stderr.line(format!("sh: {name}: not found")).await;
                self.status = if refusal == Refusal::NotFound { 127 } else { 126 };
                return None;
            }
        };
        let stdin = if READS_NOTHING.contains(&name) {
            Input::empty()
        } else {
            std::mem::replace(&mut self.context.stdin, Input::empty())
        };
        let child: BoxFuture<'static, Exit> = program(Context {
            argv: std::iter::once(name.to_owned())
                .chain(words)
                .map(Into::into)
                .collect(),
            env: self.context.env.clone(),
            cwd: self.context.cwd.clone(),
            stdin,
            stdout,
            stderr,
            machine: self.context.machine.clone(),
        });
        match child.await {
            Exit::Code(code) => self.status = code,
            Exit::Signal(signal) if own => return Some(Exit::Signal(signal)),
            Exit::Signal(signal) => self.status = 128 + signal,
        }
        None
    }

    /// Takes the redirections out of the words.
    fn redirect(&self, words: VecDeque<String>) -> Result<(VecDeque<String>, Output, Output), String> {
        let (mut stdout, mut stderr) = (self.context.stdout.clone(), self.context.stderr.clone());
        let mut rest = VecDeque::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (to_stderr, target) = match word.strip_prefix('2').unwrap_or(&word).strip_prefix('>') {
                Some(target) => (word.starts_with('2'), target.to_owned()),
                None => {
                    rest.push_back(word);
                    continue;
                }
            };
            let output = match target.as_str() {
                "&1" => stdout.clone(),
                "&2" => stderr.clone(),
                "/dev/null" => Output::null(),
                "" => self.open(&words.next().unwrap_or_default())?,
                target => self.open(target)?,
            };
            *(if to_stderr { &mut stderr } else { &mut stdout }) = output;
        }
        Ok((rest, stdout, stderr))
    }

    fn open(&self, target: &str) -> Result<Output, String> {
        let (append, path) = match target.strip_prefix('>') {
            Some(path) => (true, path),
            None => (false, target),
        };
        let mut options = std::fs::File::options();
        options.create(true).append(append).write(true).truncate(!append);
        self.context
            .writable(path)
            .and_then(|path| options.open(path))
            .map(Output::file)
            .map_err(|error| format!("sh: cannot create {path}: {error}"))
    }
}

enum Word {
    Text(String),
    Operator(Join),
}

/// Cuts a script at line ends and `;` outside of quotes. Comments go.
fn statements(script: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quote = None;
    let mut chars = script.chars();
    while let Some(c) = chars.next() {
        let last = all.len() - 1;
        match (quote, c) {
            (None, '\n' | ';') => all.push(String::new()),
            (None, '#') if all[last].trim().is_empty() => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        break;
                    }
                }
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                all[last].push(c);
            }
            (Some(open), c) if c == open => {
                quote = None;
                all[last].push(c);
            }
            (_, c) => all[last].push(c),
        }
    }
    all.retain(|statement| !statement.trim().is_empty());
    all
}
