//! The golden vectors that Python, C++ and Rust share: `tests/golden` at the top of the repository, and a copy in a
//! package.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use gpt2x_bpe::{core_version, unicode_version, ErrorKind, Tokenizer, Trainer};

fn golden(name: &str) -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../tests/golden", "vendor/golden"].map(|place| crate_folder.join(place).join(name));
    places.iter().find(|place| place.exists()).unwrap_or(&places[0]).clone()
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

#[cfg(target_os = "linux")] // elsewhere `ulimit -v` limits nothing
#[test]
fn a_text_is_encoded_in_the_memory_that_its_ids_need() {
    const INSIDE: &str = "GPT2X_TEST_LITTLE_MEMORY";
    if std::env::var_os(INSIDE).is_some() {
        return encode_in_little_memory();
    }
    let script = "ulimit -v 262144 && exec \"$0\" --exact \"$1\" --test-threads=1"; // KiB
    let run = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this program has a path"))
        .arg("a_text_is_encoded_in_the_memory_that_its_ids_need")
        .env(INSIDE, "1")
        .output()
        .expect("a shell starts");
    let output = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && output.contains("1 passed"), "{output}{errors}");
}

/// With 256 MiB: the ids that a text could have find no room, those that it has do; then these do not, either.
#[cfg(target_os = "linux")]
fn encode_in_little_memory() {
    let tokenizer = tokenizer();
    let text = b" the".repeat(1 << 24); // 64 MiB
    assert_eq!(tokenizer.encode(&text).len(), 1 << 24);
    drop(text);
    let text = vec![1; 1 << 27]; // 128 MiB, and an id for each byte
    assert_eq!(tokenizer.encode16(&text).expect_err("no room").kind(), ErrorKind::OutOfMemory);
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
fn sixteen_bits_and_counts_agree_with_the_ids() {
    let tokenizer = tokenizer();
    for (text, ids) in vectors() {
        assert_eq!(tokenizer.count(&text), ids.len());
        let narrow = tokenizer.encode16(&text).expect("a small vocabulary");
        assert!(narrow.into_iter().map(u32::from).eq(ids));
    }
}

#[test]
fn ids_beyond_sixteen_bits_are_refused_there() {
    let mut ranks = tokenizer().to_ranks();
    ranks.extend_from_slice(b"enp6enp6 65536\n");
    let wide = Tokenizer::from_ranks(&ranks, "gpt2").expect("one more token");
    assert_eq!(wide.encode16(b"a").expect_err("65,537 ids").kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_batch_gives_the_ids_of_each_text_for_any_number_of_threads() {
    let tokenizer = tokenizer();
    let (texts, ids): (Vec<_>, Vec<_>) = vectors().into_iter().unzip();
    let counts: Vec<usize> = ids.iter().map(Vec::len).collect();
    for num_threads in [0, 1, 2, 7, 1000] {
        assert_eq!(tokenizer.encode_batch(&texts, num_threads), ids);
        assert_eq!(tokenizer.count_batch(&texts, num_threads), counts);
    }
    assert!(tokenizer.encode_batch::<&[u8]>(&[], 2).is_empty());
}

#[test]
fn a_batch_is_done_where_the_system_gives_no_threads() {
    // One test of the harness's own process, in which a thread would need a stack larger than any address space.
    let run = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "a_batch_gives_the_ids_of_each_text_for_any_number_of_threads", "--test-threads=1"])
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .expect("this program starts once more");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn a_stream_gives_whole_characters_and_all_of_the_text() {
    let tokenizer = tokenizer();
    for (text, ids) in vectors() {
        let parts: Vec<String> = tokenizer.stream(ids.clone()).map(|part| part.expect("known ids")).collect();
        assert_eq!(parts.concat(), String::from_utf8_lossy(&text));
        if std::str::from_utf8(&text).is_ok() {
            assert!(parts
                .iter()
                .all(|part| !part.is_empty() && (text.contains(&0xEF) || !part.contains('\u{FFFD}'))));
        }
    }
    let mut stream = tokenizer.stream([4_000_000_000, tokenizer.encode(b"a")[0]]);
    assert_eq!(stream.next().expect("an error").expect_err("no such id").kind(), ErrorKind::UnknownToken);
    assert_eq!(stream.next().expect("the next id").expect("it is known"), "a");
    assert!(stream.next().is_none());
}

#[test]
fn a_learned_vocabulary_is_saved_and_loaded() {
    let mut trainer = Trainer::new("gpt2").expect("a known pattern");
    for (text, _) in vectors() {
        trainer.add(&text, 2);
    }
    let learned = trainer.learn(300).expect("300 ids");
    assert_eq!(learned.vocab_size(), 300);
    let loaded = Tokenizer::from_ranks(&learned.to_ranks(), "gpt2").expect("its own ranks");
    for (text, _) in vectors() {
        assert_eq!(loaded.encode(&text), learned.encode(&text));
        assert_eq!(learned.decode(&learned.encode(&text)).expect("its own ids"), text);
    }
    assert_eq!(trainer.learn(255).expect_err("too small").kind(), ErrorKind::InvalidArgument);
    assert_eq!(Trainer::new("gpt5").expect_err("unknown").kind(), ErrorKind::InvalidArgument);
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
