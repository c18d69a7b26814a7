//! How many lines, tokens and bytes files have: `wc` with tokens for words.
//!
//!     cargo run --release --example count -- VOCABULARY [--pattern NAME] [FILE…]
//!
//! VOCABULARY is a rank file (tiktoken's format). `-`, or no file at all, is standard input.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use gpt2x_bpe::Tokenizer;

#[derive(Default)]
struct Counts {
    lines: usize,
    tokens: usize,
    bytes: usize,
}

impl Counts {
    fn of(tokenizer: &Tokenizer, text: &[u8]) -> Self {
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        Self { lines, tokens: tokenizer.count(text), bytes: text.len() }
    }

    fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }

    fn line(&self, name: &OsStr) -> String {
        let Self { lines, tokens, bytes } = self;
        format!("{lines:>9} {tokens:>9} {bytes:>10} {}", shown(name)).trim_end().to_owned()
    }
}

/// A name may hold any bytes; what is not Unicode is shown as U+FFFD.
fn shown(name: &OsStr) -> impl std::fmt::Display + '_ {
    Path::new(name).display()
}

fn read(name: &OsStr) -> io::Result<Vec<u8>> {
    if name != "-" {
        return std::fs::read(name);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

/// The name of the pattern, and those of the files, that of the vocabulary first.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(String, Vec<OsString>), String> {
    let mut pattern = "gpt2".to_owned();
    let mut names = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        if argument == "--pattern" {
            let name = rest.next().ok_or("--pattern has no name; give one, as gpt2")?;
            pattern = name.to_string_lossy().into_owned();
        } else {
            names.push(argument);
        }
    }
    if names.is_empty() {
        return Err("no vocabulary; usage: count VOCABULARY [--pattern NAME] [FILE…]".into());
    }
    Ok((pattern, names))
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<bool, Box<dyn std::error::Error>> {
    let (pattern, mut names) = parse(arguments)?;
    let tokenizer = Tokenizer::load(names.remove(0), &pattern)?;
    if names.is_empty() {
        let counts = Counts::of(&tokenizer, &read("-".as_ref())?);
        writeln!(io::stdout(), "{}", counts.line("".as_ref()))?;
        return Ok(true);
    }

    let mut total = Counts::default();
    let mut all_read = true;
    for name in &names {
        match read(name) {
            Ok(text) => {
                let counts = Counts::of(&tokenizer, &text);
                writeln!(io::stdout(), "{}", counts.line(name))?;
                total.add(&counts);
            }
            Err(error) => {
                eprintln!("count: {}: {error}", shown(name));
                all_read = false;
            }
        }
    }
    if names.len() > 1 {
        writeln!(io::stdout(), "{}", total.line("total".as_ref()))?;
    }
    Ok(all_read)
}

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("count: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_name_that_is_not_utf8_is_kept_byte_for_byte() {
        let arguments = ["a.tiktoken".into(), OsString::from_vec(b"caf\xE9".to_vec())];
        let (pattern, names) = parse(arguments.clone()).expect("good arguments");
        assert_eq!((pattern.as_str(), names.as_slice()), ("gpt2", arguments.as_slice()));
        assert!(Counts::default().line(&names[1]).ends_with(" caf\u{FFFD}"));
    }
}
