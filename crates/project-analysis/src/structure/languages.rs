//! Languages by the names of files, with their lines.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::project::{File, Project};
use crate::text;

/// A language and how much there is of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Language {
    /// Its name.
    pub name: String,
    /// Files.
    pub files: u64,
    /// Lines in those that could be read.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
    /// Its part of all lines in percent, with one decimal.
    pub percent: f64,
}

const BY_EXTENSION: &[(&str, &[&str])] = &[
    ("Ada", &["adb", "ads"]),
    ("Assembly", &["asm", "s"]),
    ("Batch", &["bat", "cmd"]),
    ("C", &["c", "h"]),
    ("C#", &["cs"]),
    ("C++", &["cc", "cpp", "cxx", "hh", "hpp", "hxx"]),
    ("CSS", &["css"]),
    ("Clojure", &["clj", "cljc", "cljs"]),
    ("CoffeeScript", &["coffee"]),
    ("Crystal", &["cr"]),
    ("D", &["d"]),
    ("Dart", &["dart"]),
    ("Elixir", &["ex", "exs"]),
    ("Elm", &["elm"]),
    ("Erlang", &["erl", "hrl"]),
    ("F#", &["fs", "fsi", "fsx"]),
    ("Fortran", &["f", "f90", "f95"]),
    ("GLSL", &["frag", "glsl", "vert"]),
    ("Go", &["go"]),
    ("GraphQL", &["gql", "graphql"]),
    ("Groovy", &["gradle", "groovy"]),
    ("HCL", &["hcl", "tf", "tfvars"]),
    ("HTML", &["htm", "html", "xhtml"]),
    ("Haskell", &["hs", "lhs"]),
    ("INI", &["cfg", "ini", "properties"]),
    ("JSON", &["json", "json5", "jsonc"]),
    ("Java", &["java"]),
    ("JavaScript", &["cjs", "js", "jsx", "mjs"]),
    ("Julia", &["jl"]),
    ("Jupyter Notebook", &["ipynb"]),
    ("Kotlin", &["kt", "kts"]),
    ("Less", &["less"]),
    ("Lisp", &["cl", "el", "lisp", "scm"]),
    ("Lua", &["lua"]),
    ("Markdown", &["markdown", "md", "mdx"]),
    ("Nim", &["nim"]),
    ("Nix", &["nix"]),
    ("OCaml", &["ml", "mli"]),
    ("Objective-C", &["m", "mm"]),
    ("PHP", &["php"]),
    ("Pascal", &["pas"]),
    ("Perl", &["pl", "pm"]),
    ("PowerShell", &["ps1", "psm1"]),
    ("Prolog", &["pro"]),
    ("Protocol Buffers", &["proto"]),
    ("Python", &["py", "pyi", "pyx"]),
    ("R", &["r", "rmd"]),
    ("Ruby", &["gemspec", "rake", "rb"]),
    ("Rust", &["rs"]),
    ("SQL", &["sql"]),
    ("SVG", &["svg"]),
    ("Sass", &["sass", "scss"]),
    ("Scala", &["sbt", "scala", "sc"]),
    ("Shell", &["bash", "fish", "sh", "zsh"]),
    ("Solidity", &["sol"]),
    ("Svelte", &["svelte"]),
    ("Swift", &["swift"]),
    ("TOML", &["toml"]),
    ("TeX", &["bib", "sty", "tex"]),
    ("Text", &["rst", "adoc", "txt"]),
    ("TypeScript", &["cts", "mts", "ts", "tsx"]),
    ("Verilog", &["sv", "v"]),
    ("Vue", &["vue"]),
    ("XML", &["plist", "xml", "xsd", "xsl"]),
    ("YAML", &["yaml", "yml"]),
    ("Zig", &["zig"]),
];

const BY_NAME: &[(&str, &[&str])] = &[
    ("CMake", &["CMakeLists.txt"]),
    ("Dockerfile", &["Containerfile", "Dockerfile"]),
    ("Go Module", &["go.mod", "go.sum"]),
    ("Just", &["justfile", "Justfile"]),
    ("Makefile", &["GNUmakefile", "Makefile", "makefile"]),
    ("Ruby", &["Gemfile", "Rakefile"]),
    ("Starlark", &["BUILD", "BUILD.bazel", "WORKSPACE"]),
];

/// The language of a file, by its name.
pub(crate) fn language(path: &str) -> Option<&'static str> {
    let name = text::file_name(path);
    let named = BY_NAME.iter().find(|(_, names)| names.contains(&name));
    if let Some((language, _)) = named {
        return Some(language);
    }
    if name.starts_with("Dockerfile.") || name.ends_with(".Dockerfile") {
        return Some("Dockerfile");
    }
    let extension = text::extension(name)?;
    let found = BY_EXTENSION
        .iter()
        .find(|(_, extensions)| extensions.contains(&extension.as_str()));
    found.map(|(language, _)| *language)
}

/// The lines of a file; `None` when it is binary or was not read to its end.
pub(crate) fn lines(project: &Project, file: &File) -> Option<u64> {
    let (mut lines, mut last, mut first, mut binary) = (0, b'\n', true, false);
    project.pieces(file, u64::MAX, |piece| {
        binary |= std::mem::take(&mut first) && text::is_binary(piece);
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        last = piece.last().copied().unwrap_or(last);
    })?;
    (!binary).then(|| lines + u64::from(last != b'\n'))
}

pub(super) fn of(project: &Project) -> Vec<Language> {
    let mut counts: BTreeMap<&'static str, (u64, u64, u64)> = BTreeMap::new();
    for file in &project.files {
        let Some(language) = language(&file.path) else {
            continue;
        };
        let count = counts.entry(language).or_default();
        count.0 += 1;
        count.1 += lines(project, file).unwrap_or_default();
        count.2 = count.2.saturating_add(file.bytes);
    }
    let all: u64 = counts.values().map(|(_, lines, _)| lines).sum();
    let mut languages: Vec<Language> = counts
        .into_iter()
        .map(|(name, (files, lines, bytes))| Language {
            name: name.to_owned(),
            files,
            lines,
            bytes,
            percent: percent(lines, all),
        })
        .collect();
    languages.sort_by_key(|language| std::cmp::Reverse(language.lines));
    languages
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 1000.0 / whole as f64).round() / 10.0
}
