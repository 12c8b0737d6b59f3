//! Who may import whom. The order of the layers is what lets a reader stop at any of them: what
//! a layer does can be understood without anything above it. No compiler keeps that order
//! inside one crate, so this test does.
//!
//! It reads the sources as tokens, so `use` lines, paths in expressions and paths in macro calls
//! all count, and comments, doc links and strings do not.

use std::collections::BTreeMap;
use std::path::Path;

/// The modules of the library from the bottom up; a module may import its own layer and those
/// below it. Programs and the crate root lie above all, the crate `toile_kernels` below all.
const LAYERS: &[&[&str]] = &[
    // Plain values that everybody needs.
    &["error", "files", "shape"],
    &["autograd", "tensor"],
    // Operations bring the cases on which their gradients are checked.
    &["gradcheck"],
    &["ops"],
    &["nn"],
    // The parts of a run, each usable without a run.
    &[
        "checkpoint",
        "data",
        "memory",
        "metrics",
        "models",
        "optim",
        "recipe",
        "run_folder",
        "schedule",
    ],
    // What people see of a run, made from its parts.
    &["plots", "progress"],
    &["evaluate", "predict", "train"],
    &["tune"],
];

/// The modules that may call compute kernels.
const KERNEL_CALLERS: &[&str] = &["autograd", "ops", "optim"];

/// What stands for the crate root and for the programs where modules have their names.
const ROOT: &str = "lib";
const PROGRAMS: &str = "bin";

/// A word of which only some files may make use: the word, those files, and the reason.
type Reserved = (&'static str, fn(&str) -> bool, &'static str);
const RESERVED: &[Reserved] = &[
    (
        "rayon",
        |file| file == "kernels/src/threads.rs",
        "only kernels/src/threads.rs cuts work into tasks",
    ),
    ("clap", |file| file.starts_with("src/bin/"), "only programs read arguments"),
    ("unsafe", |file| file.starts_with("kernels/"), "only the kernels may be unsafe"),
];

/// A word, `::`, or a single other character of a source file.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_word(self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// A path of a source file, with lists in braces written out.
struct Name<'a> {
    segments: Vec<&'a str>,
    line: usize,
    /// The inline modules that it stands in.
    inside: Vec<&'a str>,
}

/// The tokens of a file, without comments and without string and character literals.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_len(rest);
        let len = skipped.unwrap_or_else(|| match first {
            ':' if rest.starts_with("::") => 2,
            _ => word_len(rest).max(first.len_utf8()),
        });
        let (text, after) = rest.split_at(len);
        if skipped.is_none() {
            found.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

fn word_len(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// How long the comment, literal or white space is that `rest` starts with, if any.
fn skipped_len(rest: &str) -> Option<usize> {
    let until = |start: usize, end: &str| {
        rest[start..].find(end).map_or(rest.len(), |found| start + found + end.len())
    };
    let mut chars = rest.chars();
    match (chars.next()?, chars.next()) {
        (space, _) if space.is_whitespace() => Some(space.len_utf8()),
        ('/', Some('/')) => Some(rest.find('\n').unwrap_or(rest.len())),
        ('/', Some('*')) => Some(block_comment_len(rest)),
        ('"', _) => Some(string_len(rest)),
        ('\'', Some('\\')) => Some(until(3, "'")),
        ('\'', Some(c)) if chars.next() == Some('\'') => Some(2 + c.len_utf8()),
        _ => {
            let (prefix, after) = rest.split_at(word_len(rest));
            let hashes = after.len() - after.trim_start_matches('#').len();
            let raw = ["r", "br", "cr"].contains(&prefix) && after[hashes..].starts_with('"');
            let end = format!("\"{}", "#".repeat(hashes));
            raw.then(|| until(prefix.len() + hashes + 1, &end))
        }
    }
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |end| end + 2)
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut len) = (0, 0);
    loop {
        let two = &rest.as_bytes()[len..(len + 2).min(rest.len())];
        match two {
            b"/*" => (depth, len) = (depth + 1, len + 2),
            b"*/" => (depth, len) = (depth - 1, len + 2),
            [_, _] => len += 1,
            _ => return rest.len(),
        }
        if depth == 0 {
            return len;
        }
    }
}

/// All paths among the tokens.
fn names<'a>(tokens: &[Token<'a>]) -> Vec<Name<'a>> {
    let mut found = Vec::new();
    // For each open brace, whether it is a module's, and the modules' names.
    let (mut braces, mut inside) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match text(tokens, at) {
            "{" => {
                let module = at >= 2 && text(tokens, at - 2) == "mod";
                braces.push(module);
                inside.extend(module.then(|| text(tokens, at - 1)));
            }
            "}" if braces.pop() == Some(true) => drop(inside.pop()),
            _ => {}
        }
        if tokens[at].is_word() && text(tokens, at + 1) == "::" {
            at = read_name(tokens, at, &[], &inside, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

/// Reads the path at `at`, which goes on from `prefix`; returns the index behind it.
fn read_name<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    inside: &[&'a str],
    found: &mut Vec<Name<'a>>,
) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match text(tokens, at) {
            "{" => {
                while !["}", ""].contains(&text(tokens, at)) {
                    at = read_name(tokens, at + 1, &segments, inside, found);
                    // A new name, `as other`, may follow.
                    while ![",", "}", ""].contains(&text(tokens, at)) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            segment if segment == "*" || tokens.get(at).is_some_and(|token| token.is_word()) => {
                segments.push(segment);
                at += 1;
            }
            _ => break,
        }
        if text(tokens, at) != "::" {
            break;
        }
        at += 1;
    }
    // After a list's last comma nothing follows.
    if segments.len() > prefix.len() {
        found.push(Name { segments, line, inside: inside.to_vec() });
    }
    at
}

/// Where a file of the library lies: `src/nn/conv2d.rs` is `["nn", "conv2d"]`.
fn module_of(file: &str) -> Vec<&str> {
    let inside = file.trim_start_matches("src/").trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    if inside == ROOT { Vec::new() } else { inside.split('/').collect() }
}

/// The path from the crate root, if it is one through this crate's modules.
fn from_root<'a>(module: &[&'a str], name: &Name<'a>) -> Option<Vec<&'a str>> {
    let start = match name.segments[0] {
        "crate" => return Some(name.segments[1..].to_vec()),
        "self" | "super" => [module, &name.inside].concat(),
        _ => return None,
    };
    let segments = name.segments.iter().skip_while(|segment| **segment == "self");
    let ups = segments.clone().take_while(|segment| **segment == "super").count();
    let kept = &start[..start.len().saturating_sub(ups)];
    Some(kept.iter().chain(segments.skip(ups)).copied().collect())
}

/// The names that the crate root gives again, such as `Tensor`, and the modules they come from.
fn exports(root: &str) -> BTreeMap<&str, &str> {
    let mut modules = BTreeMap::new();
    for Name { segments, .. } in names(&tokens(root)) {
        modules.insert(segments[segments.len() - 1], segments[0]);
    }
    modules
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Uses of words that are reserved for other files.
fn reserved_words(file: &str, tokens: &[Token]) -> Vec<String> {
    let uses = |(word, may_use, reason): &Reserved| {
        let forbidden = !may_use(file);
        let uses = tokens.iter().filter(|token| forbidden && token.text == *word);
        uses.map(|token| format!("{file}:{}: `{word}`: {reason}", token.line)).collect::<Vec<_>>()
    };
    RESERVED.iter().flat_map(uses).collect()
}

/// What is wrong with a path that stands in `module`.
fn fault(module: &[&str], name: &Name, exports: &BTreeMap<&str, &str>) -> Option<String> {
    let home = module.first().copied().unwrap_or(ROOT);
    let is_kernel = |segment: &&str| *segment == "*" || toile_kernels::MENU.contains(segment);
    if name.segments[0] == "toile_kernels" {
        let calls = name.segments.iter().any(is_kernel) && !KERNEL_CALLERS.contains(&home);
        return calls.then(|| format!("only {} call compute kernels", KERNEL_CALLERS.join(", ")));
    }
    let first = *from_root(module, name)?.first()?;
    let target = exports.get(first).copied().unwrap_or(first);
    let upward = layer_of(target).zip(layer_of(home)).is_some_and(|(there, here)| there > here);
    if first == "*" {
        Some("say which modules are meant".into())
    } else {
        upward.then(|| format!("`{target}` lies above `{home}`"))
    }
}

/// What breaks the rules in these files, given as (path in the repository, text): one sentence
/// each, with file and line.
fn offences(files: &[(String, String)]) -> Vec<String> {
    let root = files.iter().find(|(file, _)| file == "src/lib.rs");
    let exports = exports(root.map_or("", |(_, text)| text));
    let mut found = Vec::new();
    for (file, text) in files {
        let tokens = tokens(text);
        found.extend(reserved_words(file, &tokens));
        if !file.starts_with("src/") {
            continue;
        }
        let module = module_of(file);
        if module.first().is_some_and(|home| *home != PROGRAMS && layer_of(home).is_none()) {
            found.push(format!("{file}:1: `{}` has no place in LAYERS", module[0]));
        }
        for name in names(&tokens) {
            let fault = fault(&module, &name, &exports);
            let path = name.segments.join("::");
            found.extend(fault.map(|fault| format!("{file}:{}: `{path}`: {fault}", name.line)));
        }
    }
    found
}

/// Reads every Rust file below `folder`, a path in the repository.
fn read_sources(folder: &str, files: &mut Vec<(String, String)>) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(repository.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_sources(&path, files);
        } else if path.ends_with(".rs") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            files.push((path, text));
        }
    }
}

#[test]
fn the_sources_keep_to_their_layers() {
    let mut files = Vec::new();
    read_sources("src", &mut files);
    read_sources("kernels/src", &mut files);
    files.sort();
    for known in ["src/lib.rs", "src/bin/train.rs", "src/ops/relu.rs", "kernels/src/threads.rs"] {
        assert!(files.iter().any(|(file, _)| file == known), "{known} was not read");
    }
    let offences = offences(&files);
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

/// The places, `file:line`, that are found among made-up files.
fn places(files: &[(&str, &str)]) -> Vec<String> {
    let root = ("src/lib.rs", "pub use tensor::Tensor; pub use train::{Options, train};");
    let files = files.iter().chain([&root]);
    let files: Vec<_> = files.map(|(file, text)| (file.to_string(), text.to_string())).collect();
    let place = |offence: String| offence.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
    offences(&files).into_iter().map(place).collect()
}

#[test]
fn made_up_upward_imports_are_found() {
    let relu = "use crate::shape::Shape;\n\
        use crate::{\n    autograd::Node,\n    nn::{Layer as L, Dense},\n};\n\
        fn f() { assert_eq!(crate::train::steps(), 1); }\n\
        fn g() { super::super::models::reference(10); }\n\
        mod tests { use super::*; use super::super::super::data::Split; }\n\
        fn h() { super::bias::channels(); crate::Options::new(); }\n\
        use crate::*;\n";
    let expected = [4, 4, 6, 7, 8, 9, 10].map(|line| format!("src/ops/relu.rs:{line}"));
    assert_eq!(places(&[("src/ops/relu.rs", relu)]), expected);
}

#[test]
fn made_up_misuses_are_found() {
    let files = [
        ("src/nn/dense.rs", "use toile_kernels::{Buffer, gemm_nn};\nuse toile_kernels::*;"),
        ("src/train/session.rs", "fn f() {\n::toile_kernels::cpu::conv2d_forward(); }"),
        ("src/bin/train.rs", "fn f() { toile_kernels::softmax(); }"),
        ("src/metrics.rs", "use rayon::prelude::*;\nuse clap::Parser;"),
        ("src/oops.rs", ""),
        ("kernels/src/cpu/gemm.rs", "fn f() { rayon::join(); unsafe {} }"),
        ("src/tensor.rs", "fn f() -> u8 { unsafe { 1 } }"),
    ];
    let expected = [
        "src/nn/dense.rs:1",
        "src/nn/dense.rs:2",
        "src/train/session.rs:2",
        "src/bin/train.rs:1",
        "src/metrics.rs:1",
        "src/metrics.rs:2",
        "src/oops.rs:1",
        "kernels/src/cpu/gemm.rs:1",
        "src/tensor.rs:1",
    ];
    assert_eq!(places(&files), expected);
}

#[test]
fn what_the_rules_allow_passes() {
    let tensor = r###"//! See [`crate::ops`], which uses `unsafe`.
        /* crate::nn::Layer /* crate::train::x */ unsafe */
        use crate::{autograd::Node, shape::{self, Shape}};
        pub(crate) fn f<'a>(c: &'a char) -> bool {
            let texts = ["crate::nn::x \" unsafe", r#"rayon "crate::nn::x"#, r"\"];
            let characters = ['"', '\'', '\u{22}', '{'];
            crate::Tensor::new(texts, b"unsafe", b'"')
        }
        mod tests { mod deep { use super::super::Shape; } use super::*; }
        "###;
    let files = [
        ("src/tensor.rs", tensor),
        ("src/ops/relu.rs", "use toile_kernels::relu_forward; use crate::gradcheck::Case;"),
        ("src/nn/init.rs", "use toile_kernels::rng::{Stream, purpose};"),
        ("src/checkpoint.rs", "use crate::models; use crate::nn::Sequential;"),
        ("src/bin/train.rs", "use clap::Parser; use toile::train::train;"),
        ("kernels/src/threads.rs", "use rayon::prelude::*;"),
        ("kernels/src/block.rs", "unsafe impl Send for Block {}"),
    ];
    assert_eq!(places(&files), [""; 0]);
}
