//! Which C++ core is linked, and whether it is this crate's.

use std::ffi::{c_char, CStr};

use crate::{ffi, Error, ErrorKind};

/// The version of the C++ core, "major.minor.patch".
pub fn core_version() -> &'static str {
    // SAFETY: the core returns a constant, zero-terminated text.
    unsafe { constant_text(ffi::gpt2x_bpe_version()) }
}

/// The Unicode version of the character classes, "16.0.0".
pub fn unicode_version() -> &'static str {
    // SAFETY: as above.
    unsafe { constant_text(ffi::gpt2x_bpe_unicode_version()) }
}

/// # Safety
///
/// `text` is zero-terminated, and neither changes nor ends.
unsafe fn constant_text(text: *const c_char) -> &'static str {
    CStr::from_ptr(text).to_str().unwrap_or("?")
}

/// Refuses the core of another minor version, with which the C interface may change. A library that was built before
/// (`GPT2X_BPE_LIB_DIR`) may be one, and a shared one may become one after this crate is built.
pub(crate) fn check_core() -> Result<(), Error> {
    check(core_version(), env!("CARGO_PKG_VERSION"))
}

fn check(core: &str, this_crate: &str) -> Result<(), Error> {
    if minor(core) == minor(this_crate) {
        return Ok(());
    }
    let message = format!(
        "the linked libgpt2x_bpe is version {core}, this crate {this_crate}; link a library of the same minor version"
    );
    Err(Error::new(ErrorKind::WrongVersion, message))
}

/// "major.minor" of "major.minor.patch".
fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

#[cfg(test)]
mod tests {
    use super::{check, ErrorKind};

    #[test]
    fn a_core_of_another_minor_version_is_refused() {
        assert!(check("0.1.0", "0.1.0").is_ok());
        assert!(check("0.1.7", "0.1.0").is_ok());
        for core in ["0.2.0", "1.1.0", "0.10.0", "?"] {
            let error = check(core, "0.1.0").expect_err("another minor version");
            assert_eq!(error.kind(), ErrorKind::WrongVersion);
            assert!(error.to_string().contains(core), "{error}");
        }
    }
}
