//! The golden vectors that Python, C++ and Rust share: `tests/golden` at the top of the repository.

use std::path::{Path, PathBuf};
use std::thread;

use gpt2x_bpe::{core_version, unicode_version, ErrorKind, Tokenizer};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(golden("songs.tiktoken"), "gpt2").expect("the golden rank file loads")
}

/// Lines of "hex of the text's bytes, tab, ids with spaces between".
fn vectors() -> Vec<(Vec<u8>, Vec<u32>)> {
    let file = std::fs::read_to_string(golden("encode_vectors.tsv")).expect("the golden vectors are there");
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    let vectors: Vec<_> = lines
        .map(|line| {
            let (text, ids) = line.split_once('\t').expect("a vector has a tab");
            (
                from_hex(text),
                ids.split_whitespace().map(|id| id.parse().expect("an id is a number")).collect(),
            )
        })
        .collect();
    assert!(vectors.len() >= 100, "only {} golden vectors", vectors.len());
    vectors
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}

#[test]
fn every_golden_text_encodes_to_its_ids() {
    let tokenizer = tokenizer();
    for (text, ids) in vectors() {
        assert_eq!(tokenizer.encode(&text), ids, "text {:?}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn every_golden_text_comes_back_from_its_ids() {
    let tokenizer = tokenizer();
    for (text, ids) in vectors() {
        assert_eq!(tokenizer.decode(&ids).expect("known ids"), text);
    }
}

#[test]
fn every_byte_survives_the_round_trip() {
    let tokenizer = tokenizer();
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    assert_eq!(tokenizer.decode(&tokenizer.encode(&bytes)).expect("known ids"), bytes);
}

#[test]
fn a_text_with_more_tokens_than_guessed_is_encoded_whole() {
    // Control characters stand alone: one token a byte, three times the first guess.
    let text = vec![1u8; 10_000];
    assert_eq!(tokenizer().decode(&tokenizer().encode(&text)).expect("known ids"), text);
}

#[test]
fn one_tokenizer_serves_many_threads() {
    let tokenizer = tokenizer();
    let vectors = vectors();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| vectors.iter().for_each(|(text, ids)| assert_eq!(&tokenizer.encode(text), ids)));
        }
    });
}

#[test]
fn an_unknown_id_is_an_error_that_names_it() {
    let error = tokenizer().decode(&[4_000_000_000]).expect_err("no such id");
    assert_eq!(error.kind(), ErrorKind::UnknownToken);
    assert!(error.to_string().contains("4000000000"), "{error}");
}

#[test]
fn every_pattern_is_known_by_name() {
    for pattern in ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "deepseek"] {
        let tokenizer = Tokenizer::load(golden("songs.tiktoken"), pattern).expect(pattern);
        let text = "It's 1234 中文・x\n".as_bytes();
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)).expect("its own ids"), text, "{pattern}");
    }
}

#[test]
fn bad_files_are_errors_of_their_kind() {
    let kind = |result: Result<Tokenizer, gpt2x_bpe::Error>| result.expect_err("it is bad").kind();
    assert_eq!(kind(Tokenizer::load("no/such/file.tiktoken", "gpt2")), ErrorKind::Io);
    assert_eq!(kind(Tokenizer::from_ranks(b"not base64! 0\n", "gpt2")), ErrorKind::BadFormat);
    assert_eq!(kind(Tokenizer::from_ranks(b"", "gpt2")), ErrorKind::BadFormat);
    assert_eq!(kind(Tokenizer::load(golden("songs.tiktoken"), "gpt5")), ErrorKind::InvalidArgument);
}

#[test]
fn versions_agree() {
    assert_eq!(core_version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(unicode_version(), "16.0.0");
}
