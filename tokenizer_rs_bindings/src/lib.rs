//! Byte-level BPE, token for token equal to tiktoken: the gpt2x tokenizer core behind a safe face.
//!
//! ```
//! use gpt2x_bpe::Tokenizer;
//!
//! // A vocabulary of the 256 bytes alone, ids in the order of their values.
//! let ranks: String = (0..=255u8).map(|byte| format!("{} {byte}\n", base64(byte))).collect();
//! let tokenizer = Tokenizer::from_ranks(ranks.as_bytes(), "gpt2")?;
//! assert_eq!(tokenizer.encode("hi".as_bytes()), [104, 105]);
//! assert_eq!(tokenizer.decode(&[104, 105])?, b"hi");
//!
//! # fn base64(byte: u8) -> String {
//! #     const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
//! #     format!("{}{}==", DIGITS[usize::from(byte >> 2)] as char, DIGITS[usize::from(byte & 3) << 4] as char)
//! # }
//! # Ok::<(), gpt2x_bpe::Error>(())
//! ```

mod batch;
mod error;
mod ffi;
mod stream;
mod trainer;
mod version;

use std::ffi::{c_char, c_int, CString};
use std::path::Path;
use std::ptr::{self, NonNull};

pub use error::{Error, ErrorKind};
pub use stream::Stream;
pub use trainer::Trainer;
pub use version::{core_version, unicode_version};

/// An immutable tokenizer; it may be shared between threads.
#[derive(Debug)]
pub struct Tokenizer {
    raw: NonNull<ffi::RawTokenizer>,
}

// SAFETY: the core never changes a tokenizer after it is made, and keeps no thread-local state in it.
unsafe impl Send for Tokenizer {}
// SAFETY: as above.
unsafe impl Sync for Tokenizer {}

impl Tokenizer {
    /// Load a rank file (tiktoken's format: base64 token, space, rank). `pattern` names how text is split ("gpt2").
    ///
    /// # Errors
    ///
    /// What is wrong with the path, the file or the pattern; [`ErrorKind::WrongVersion`] where the library that is linked
    /// is not of this crate's minor version.
    pub fn load(path: impl AsRef<Path>, pattern: &str) -> Result<Self, Error> {
        let path = path_text(path.as_ref())?;
        let pattern = c_text(pattern)?;
        // SAFETY: both texts are zero-terminated and outlive the call; `out` is valid for writing.
        Self::adopt(|out| unsafe { ffi::gpt2x_bpe_load(path.as_ptr(), pattern.as_ptr(), out) })
    }

    /// The same from a rank file in memory.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::load`].
    pub fn from_ranks(data: &[u8], pattern: &str) -> Result<Self, Error> {
        let pattern = c_text(pattern)?;
        // SAFETY: `data` is valid for its length, the pattern is zero-terminated, `out` is valid for writing.
        Self::adopt(|out| unsafe {
            ffi::gpt2x_bpe_load_memory(data.as_ptr().cast(), data.len(), pattern.as_ptr(), out)
        })
    }

    fn adopt(make: impl FnOnce(*mut *mut ffi::RawTokenizer) -> c_int) -> Result<Self, Error> {
        version::check_core()?;
        let mut raw = ptr::null_mut();
        match (make(&mut raw), NonNull::new(raw)) {
            (ffi::OK, Some(raw)) => Ok(Self { raw }),
            (status, _) => Err(Error::from_status(status)),
        }
    }

    /// The number of ids: one more than the largest.
    pub fn vocab_size(&self) -> u32 {
        // SAFETY: the handle is alive as long as `self`.
        unsafe { ffi::gpt2x_bpe_vocab_size(self.raw.as_ptr()) }
    }

    /// Encode text without special tokens. Bytes that are not valid UTF-8 are allowed and survive the round trip.
    ///
    /// # Panics
    ///
    /// When memory runs out, or a piece of the text without a break has 4 GiB or more.
    pub fn encode(&self, text: &[u8]) -> Vec<u32> {
        let ids = self.encode_with(text, ffi::gpt2x_bpe_encode);
        ids.unwrap_or_else(|error| panic!("encoding failed: {error}"))
    }

    /// The same in 16 bits, half the memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a vocabulary of more than 65,536 ids, or a piece of the text without a break
    /// of 4 GiB or more; [`ErrorKind::OutOfMemory`] when memory runs out.
    pub fn encode16(&self, text: &[u8]) -> Result<Vec<u16>, Error> {
        self.encode_with(text, ffi::gpt2x_bpe_encode16)
    }

    fn encode_with<Id>(
        &self,
        text: &[u8],
        encode: unsafe extern "C" fn(
            *const ffi::RawTokenizer,
            *const c_char,
            usize,
            *mut Id,
            usize,
            *mut usize,
        ) -> c_int,
    ) -> Result<Vec<Id>, Error> {
        let mut ids: Vec<Id> = self.room_for_ids(text)?;
        let mut count = 0;
        let capacity = ids.capacity();
        // SAFETY: `text` and the vector's capacity are valid for the lengths that are passed.
        let status = unsafe {
            encode(
                self.raw.as_ptr(),
                text.as_ptr().cast(),
                text.len(),
                ids.as_mut_ptr(),
                capacity,
                &mut count,
            )
        };
        check(status)?;
        // SAFETY: the core has written `count` ids, and the capacity holds them.
        unsafe { ids.set_len(count) };
        ids.shrink_to_fit();
        Ok(ids)
    }

    /// Room for the ids of a text, so that one pass is enough: a text has no more ids than bytes, and memory that is
    /// not written to costs nothing. Where the system does not promise so much, a pass before says what is needed.
    fn room_for_ids<Id>(&self, text: &[u8]) -> Result<Vec<Id>, Error> {
        let mut ids = Vec::new();
        if ids.try_reserve_exact(text.len()).is_ok() {
            return Ok(ids);
        }
        let count = self.try_count(text)?;
        let out_of_memory = |_| Error::new(ErrorKind::OutOfMemory, format!("no memory for {count} ids"));
        ids.try_reserve_exact(count).map_err(out_of_memory)?;
        Ok(ids)
    }

    /// How many ids a text has, without keeping them.
    ///
    /// # Panics
    ///
    /// When memory runs out, or a piece of the text without a break has 4 GiB or more.
    pub fn count(&self, text: &[u8]) -> usize {
        self.try_count(text).unwrap_or_else(|error| panic!("counting failed: {error}"))
    }

    fn try_count(&self, text: &[u8]) -> Result<usize, Error> {
        let mut count = 0;
        // SAFETY: `text` is valid for its length.
        let status =
            unsafe { ffi::gpt2x_bpe_count(self.raw.as_ptr(), text.as_ptr().cast(), text.len(), &mut count) };
        check(status)?;
        Ok(count)
    }

    /// The bytes of one id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownToken`] for an id that the vocabulary does not have.
    pub fn token_bytes(&self, id: u32) -> Result<&[u8], Error> {
        let mut bytes = ptr::null();
        let mut size = 0;
        // SAFETY: both places are valid for writing.
        check(unsafe { ffi::gpt2x_bpe_token_bytes(self.raw.as_ptr(), id, &mut bytes, &mut size) })?;
        // SAFETY: the core says that there are `size` bytes, which live and stay as they are as long as `self`.
        Ok(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) })
    }

    /// The rank file of the vocabulary, which [`Tokenizer::from_ranks`] reads.
    pub fn to_ranks(&self) -> Vec<u8> {
        let mut data: Vec<u8> = Vec::new();
        let mut size = 0;
        loop {
            // SAFETY: the vector's capacity is valid for writing.
            let status = unsafe {
                ffi::gpt2x_bpe_save_memory(
                    self.raw.as_ptr(),
                    data.as_mut_ptr().cast::<c_char>(),
                    data.capacity(),
                    &mut size,
                )
            };
            match status {
                ffi::OK => break,
                ffi::BUFFER_TOO_SMALL => data.reserve_exact(size),
                status => panic!("saving failed: {}", Error::from_status(status)),
            }
        }
        // SAFETY: the core has written `size` bytes, and the capacity holds them.
        unsafe { data.set_len(size) };
        data
    }

    /// Decode ids as they come: each step gives the text that has become whole.
    ///
    /// ```no_run
    /// # let tokenizer = gpt2x_bpe::Tokenizer::load("r50k_base.tiktoken", "gpt2")?;
    /// for text in tokenizer.stream([15496, 995]) {
    ///     print!("{}", text?);
    /// }
    /// # Ok::<(), gpt2x_bpe::Error>(())
    /// ```
    pub fn stream<Ids: IntoIterator<Item = u32>>(&self, ids: Ids) -> Stream<'_, Ids::IntoIter> {
        Stream::new(self, ids.into_iter())
    }

    /// Decode ids to bytes, which may be half a character at either end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownToken`] names the first id that the vocabulary does not have.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, Error> {
        let mut bytes: Vec<u8> = Vec::with_capacity(ids.len() * 6 + 16);
        let mut size = self.decode_into(ids, &mut bytes)?;
        if size > bytes.capacity() {
            bytes.reserve_exact(size);
            size = self.decode_into(ids, &mut bytes)?;
        }
        // SAFETY: the core has written `size` bytes, and the capacity holds them.
        unsafe { bytes.set_len(size) };
        Ok(bytes)
    }

    fn decode_into(&self, ids: &[u32], bytes: &mut Vec<u8>) -> Result<usize, Error> {
        let mut size = 0;
        // SAFETY: `ids` and the vector's capacity are valid for the lengths that are passed.
        let status = unsafe {
            ffi::gpt2x_bpe_decode(
                self.raw.as_ptr(),
                ids.as_ptr(),
                ids.len(),
                bytes.as_mut_ptr().cast::<c_char>(),
                bytes.capacity(),
                &mut size,
            )
        };
        match status {
            ffi::OK | ffi::BUFFER_TOO_SMALL => Ok(size),
            status => Err(Error::from_status(status)),
        }
    }
}

impl Drop for Tokenizer {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is freed once.
        unsafe { ffi::gpt2x_bpe_free(self.raw.as_ptr()) }
    }
}

fn check(status: c_int) -> Result<(), Error> {
    if status == ffi::OK {
        return Ok(());
    }
    Err(Error::from_status(status))
}

fn invalid_argument(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

fn c_text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| invalid_argument(format!("{text:?} has a zero byte inside")))
}

#[cfg(unix)]
fn path_text(path: &Path) -> Result<CString, Error> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| invalid_argument(format!("the path {path:?} has a zero byte inside")))
}

#[cfg(not(unix))]
fn path_text(path: &Path) -> Result<CString, Error> {
    path.to_str()
        .ok_or_else(|| invalid_argument(format!("the path {path:?} is not Unicode")))
        .and_then(c_text)
}
