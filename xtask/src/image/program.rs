//! Programs of ours that go into images: each one static file, for images that may hold no C library at all.

use std::path::Path;

use xtask::error::{Error, Result};
use xtask::process::Tool;
use xtask::reporter::Reporter;
use xtask::workspace;

/// A program that is compiled for an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// The package that it is in.
    pub(crate) package: &'static str,
    /// Its own name.
    pub(crate) name: &'static str,
    /// The profile of cargo with which it is compiled.
    pub(crate) profile: &'static str,
    /// The flag that names one that was built elsewhere.
    pub(crate) flag: &'static str,
    /// What the linker is told.
    pub(crate) linker: &'static [&'static str],
}

/// PID 1 of every session.
pub(crate) const SESSION_INIT: Program = Program {
    package: "session-init",
    name: "session-init",
    profile: "init",
    flag: "--session-init",
    linker: &[],
};

/// What looks at the files of a project, in every session.
pub(crate) const PROJECT_ANALYSIS: Program = Program {
    package: "project-analysis",
    name: "project-analysis",
    profile: "init",
    flag: "--project-analysis",
    linker: &[],
};

/// All of the server's image.
pub(crate) const SERVER: Program = Program {
    package: "cli",
    name: "cofferdam",
    profile: "server",
    flag: "--server-program",
    // Functions whose code is the same are kept once, and what is relocated at the start is noted in short: that costs the
    // linker seconds.
    linker: &["--icf=all", "-z,pack-relative-relocs"],
};

/// Builds a program and returns its bytes.
pub(crate) fn build(program: Program, reporter: &Reporter) -> Result<Vec<u8>> {
    let Program {
        package,
        name,
        profile,
        flag,
        linker,
    } = program;
    if !cfg!(target_os = "linux") {
        return Err(Error::new(format!("{name} is built for images on Linux only"))
            .hint(format!("give a Linux build of it with `{flag} PATH`")));
    }
    let mut step = reporter.step(format!("build {name}, static"));
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = workspace::target();
    Tool::new(workspace::env("CARGO").unwrap_or_else(|| "cargo".to_owned()))
        .args([
            "rustc",
            "--locked",
            "--package",
            package,
            "--bin",
            name,
            "--profile",
            profile,
            "--target",
            &triple,
        ])
        .arg("--target-dir")
        .arg(&target)
        .arg("--")
        .args(linker.iter().map(|flag| format!("-Clink-arg=-Wl,{flag}")))
        // With `--target` these flags reach the program alone, never a build script or a macro.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .dir(workspace::root())
        .run(|line| step.update(line))
        .map_err(|error| {
            error.hint("if the linker misses libc, install the static C library (libc6-dev, or glibc-static on Fedora)")
        })?;
    let program = given(&target.join(triple).join(profile).join(name))?;
    step.done(&format!("{} kB", program.len() / 1024));
    Ok(program)
}

/// The bytes of a program that was built elsewhere.
pub(crate) fn given(path: &Path) -> Result<Vec<u8>> {
    let program = super::read(path)?;
    match needs_interpreter(&program) {
        Some(false) => Ok(program),
        Some(true) => Err(Error::new(format!("{} is not a static program", path.display()))
            .hint("build it with RUSTFLAGS='-C target-feature=+crt-static'")),
        None => Err(
            Error::new(format!("{} is no 64-bit Linux program", path.display()))
                .hint("give the program that `cargo build` made"),
        ),
    }
}

/// Whether an ELF file asks for a dynamic loader (a `PT_INTERP` header); `None` if it is no 64-bit little-endian ELF file.
fn needs_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(field(elf, 32)?)).ok()?;
    let entry = usize::from(u16::from_le_bytes(field(elf, 54)?));
    let count = usize::from(u16::from_le_bytes(field(elf, 56)?));
    let mut interpreter = false;
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(entry)?)?;
        interpreter |= u32::from_le_bytes(field(elf, at)?) == PT_INTERP;
    }
    Some(interpreter)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with one program header of that type.
    fn elf(kind: u32) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64..68].copy_from_slice(&kind.to_le_bytes());
        elf
    }

    #[test]
    fn tells_static_from_dynamic_and_from_nonsense() {
        assert_eq!(needs_interpreter(&elf(1)), Some(false));
        assert_eq!(needs_interpreter(&elf(3)), Some(true));
        assert_eq!(needs_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(needs_interpreter(&elf(3)[..70]), Some(true));
        assert_eq!(needs_interpreter(&elf(3)[..66]), None);
    }

    #[test]
    fn a_dynamic_program_is_refused_with_a_hint() {
        let this = std::env::current_exe().expect("a path");
        let refused = given(&this).expect_err("tests are dynamic programs");
        assert!(refused.report().contains("crt-static"), "{}", refused.report());
    }
}
