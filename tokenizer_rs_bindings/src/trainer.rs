//! Learning a vocabulary.

use std::ptr::{self, NonNull};

use crate::{c_text, check, ffi, version, Error, Tokenizer};

/// Counts the pieces of texts, and learns a vocabulary from these counts.
///
/// ```
/// use gpt2x_bpe::Trainer;
///
/// let mut trainer = Trainer::new("gpt2")?;
/// trainer.add(b"ab ab ab ac", 1);
/// let tokenizer = trainer.learn(258)?; // the 256 bytes, "ab" and " ab"
/// assert_eq!(tokenizer.encode(b"ab ab"), [256, 257]);
/// # Ok::<(), gpt2x_bpe::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    raw: NonNull<ffi::RawTrainer>,
}

// SAFETY: a trainer has no thread-local state; what changes it takes `&mut self`.
unsafe impl Send for Trainer {}
// SAFETY: what takes `&self` only reads.
unsafe impl Sync for Trainer {}

impl Trainer {
    /// A trainer that has seen nothing. `pattern` names how texts are split, as for [`Tokenizer::load`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for an unknown pattern;
    /// [`ErrorKind::WrongVersion`](crate::ErrorKind::WrongVersion) as for [`Tokenizer::load`].
    pub fn new(pattern: &str) -> Result<Self, Error> {
        version::check_core()?;
        let pattern = c_text(pattern)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the pattern is zero-terminated and outlives the call; `raw` is valid for writing.
        check(unsafe { ffi::gpt2x_bpe_trainer_new(pattern.as_ptr(), &mut raw) })?;
        Ok(Self { raw: NonNull::new(raw).expect("the core gives a trainer when it says so") })
    }

    /// Count the pieces of one text, a document of its own, on `num_threads` threads; 0 is one for each core.
    ///
    /// # Panics
    ///
    /// When memory runs out, or a piece of the text without a break has 4 GiB or more.
    pub fn add(&mut self, text: &[u8], num_threads: u32) {
        // SAFETY: the handle is alive as long as `self`; `text` is valid for its length.
        let status = unsafe {
            ffi::gpt2x_bpe_trainer_add(self.raw.as_ptr(), text.as_ptr().cast(), text.len(), num_threads)
        };
        check(status).unwrap_or_else(|error| panic!("counting failed: {error}"));
    }

    /// Learn a vocabulary of `vocab_size` ids, or of fewer where no pair is left to merge: merge for merge what
    /// Hugging Face's trainer learns from the same texts. More texts may be added afterwards.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a size below 256, the number of bytes.
    pub fn learn(&self, vocab_size: u32) -> Result<Tokenizer, Error> {
        // SAFETY: the handle is alive as long as `self`; `out` is valid for writing.
        Tokenizer::adopt(|out| unsafe { ffi::gpt2x_bpe_trainer_learn(self.raw.as_ptr(), vocab_size, out) })
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is freed once.
        unsafe { ffi::gpt2x_bpe_trainer_free(self.raw.as_ptr()) }
    }
}
