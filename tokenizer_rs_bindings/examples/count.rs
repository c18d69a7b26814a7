//! How many lines, tokens and bytes files have: `wc` with tokens for words.
//!
//!     cargo run --release --example count -- VOCABULARY [--pattern NAME] [FILE…]
//!
//! VOCABULARY is a rank file (tiktoken's format). `-`, or no file at all, is standard input.

use std::io::{self, Read, Write};
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

    fn line(&self, name: &str) -> String {
        format!("{:>9} {:>9} {:>10} {name}", self.lines, self.tokens, self.bytes).trim_end().to_owned()
    }
}

fn read(name: &str) -> io::Result<Vec<u8>> {
    if name != "-" {
        return std::fs::read(name);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

fn run(arguments: Vec<String>) -> Result<bool, Box<dyn std::error::Error>> {
    let mut pattern = "gpt2".to_owned();
    let mut names = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--pattern" => pattern = rest.next().ok_or("--pattern has no name; give one, as gpt2")?,
            _ => names.push(argument),
        }
    }
    if names.is_empty() {
        return Err("no vocabulary; usage: count VOCABULARY [--pattern NAME] [FILE…]".into());
    }
    let tokenizer = Tokenizer::load(names.remove(0), &pattern)?;
    if names.is_empty() {
        let counts = Counts::of(&tokenizer, &read("-")?);
        writeln!(io::stdout(), "{}", counts.line(""))?;
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
                eprintln!("count: {name}: {error}");
                all_read = false;
            }
        }
    }
    if names.len() > 1 {
        writeln!(io::stdout(), "{}", total.line("total"))?;
    }
    Ok(all_read)
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("count: {error}");
            ExitCode::from(2)
        }
    }
}
