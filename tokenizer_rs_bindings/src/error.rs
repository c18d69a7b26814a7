//! What can go wrong, with the sentence that the C++ core wrote about it.

use std::ffi::{c_int, CStr};
use std::fmt;

use crate::ffi;

/// The kind of a failure; the numbers are those of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument that can never work, for example an unknown pattern name.
    InvalidArgument,
    /// The file cannot be read.
    Io,
    /// The file is not a rank file, or its ranks do not form a byte-level vocabulary.
    BadFormat,
    /// An id that the vocabulary does not have.
    UnknownToken,
    /// Memory ran out.
    OutOfMemory,
    /// The C++ core that is linked is not of this crate's minor version.
    WrongVersion,
    /// Anything else; a defect of this crate.
    Internal,
}

/// A failure: its kind, and one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// The error for a status that is not `OK`, with this thread's last message.
    pub(crate) fn from_status(status: c_int) -> Self {
        let kind = match status {
            ffi::INVALID_ARGUMENT => ErrorKind::InvalidArgument,
            ffi::IO_ERROR => ErrorKind::Io,
            ffi::BAD_FORMAT => ErrorKind::BadFormat,
            ffi::UNKNOWN_TOKEN => ErrorKind::UnknownToken,
            ffi::OUT_OF_MEMORY => ErrorKind::OutOfMemory,
            _ => ErrorKind::Internal,
        };
        // SAFETY: the core promises a zero-terminated text that lives until this thread's next call.
        let message = unsafe { CStr::from_ptr(ffi::gpt2x_bpe_last_error()) };
        Self { kind, message: message.to_string_lossy().into_owned() }
    }

    pub(crate) fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
