//! Decoding ids as they come, as a model writes them.

use crate::{Error, Tokenizer};

/// An iterator over the text of ids; see [`Tokenizer::stream`].
///
/// A step takes as many ids as are needed for at least one whole character, so that no character is ever shown in
/// halves. Bytes that are not valid UTF-8 become U+FFFD, as in [`String::from_utf8_lossy`]; all steps together give
/// what that gives for all bytes.
#[derive(Debug)]
pub struct Stream<'tokenizer, Ids> {
    tokenizer: &'tokenizer Tokenizer,
    ids: Ids,
    pending: Vec<u8>, // the start of a character, at most three bytes between steps
}

impl<'tokenizer, Ids> Stream<'tokenizer, Ids> {
    pub(crate) fn new(tokenizer: &'tokenizer Tokenizer, ids: Ids) -> Self {
        Self { tokenizer, ids, pending: Vec::new() }
    }
}

impl<Ids: Iterator<Item = u32>> Iterator for Stream<'_, Ids> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        for id in self.ids.by_ref() {
            match self.tokenizer.token_bytes(id) {
                Ok(bytes) => self.pending.extend_from_slice(bytes),
                Err(error) => return Some(Err(error)),
            }
            let rest = self.pending.split_off(whole_prefix(&self.pending));
            let whole = std::mem::replace(&mut self.pending, rest);
            if !whole.is_empty() {
                return Some(Ok(String::from_utf8_lossy(&whole).into_owned()));
            }
        }
        let last = std::mem::take(&mut self.pending);
        (!last.is_empty()).then(|| Ok(String::from_utf8_lossy(&last).into_owned()))
    }
}

/// How many bytes there are before a character that may still become whole.
fn whole_prefix(bytes: &[u8]) -> usize {
    let mut done = 0;
    loop {
        match std::str::from_utf8(&bytes[done..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                Some(length) => done += error.valid_up_to() + length,
                None => return done + error.valid_up_to(), // the text ends inside a character
            },
        }
    }
}
