//! The C interface, line for line as in `csrc/bpe/include/gpt2x_bpe.h`. Nothing here is safe to call directly;
//! the rest of the crate is the safe face.

use std::ffi::{c_char, c_int, c_uint};

/// An opaque tokenizer behind a pointer.
#[repr(C)]
pub struct RawTokenizer {
    _opaque: [u8; 0],
}

/// An opaque trainer behind a pointer.
#[repr(C)]
pub struct RawTrainer {
    _opaque: [u8; 0],
}

pub const OK: c_int = 0;
pub const INVALID_ARGUMENT: c_int = 1;
pub const IO_ERROR: c_int = 2;
pub const BAD_FORMAT: c_int = 3;
pub const UNKNOWN_TOKEN: c_int = 4;
pub const BUFFER_TOO_SMALL: c_int = 5;
pub const OUT_OF_MEMORY: c_int = 6;

extern "C" {
    pub fn gpt2x_bpe_version() -> *const c_char;
    pub fn gpt2x_bpe_unicode_version() -> *const c_char;
    pub fn gpt2x_bpe_last_error() -> *const c_char;
    pub fn gpt2x_bpe_load(path: *const c_char, pattern: *const c_char, out: *mut *mut RawTokenizer) -> c_int;
    pub fn gpt2x_bpe_load_memory(
        data: *const c_char,
        size: usize,
        pattern: *const c_char,
        out: *mut *mut RawTokenizer,
    ) -> c_int;
    pub fn gpt2x_bpe_free(tokenizer: *mut RawTokenizer);
    pub fn gpt2x_bpe_vocab_size(tokenizer: *const RawTokenizer) -> u32;
    pub fn gpt2x_bpe_encode(
        tokenizer: *const RawTokenizer,
        text: *const c_char,
        size: usize,
        ids: *mut u32,
        capacity: usize,
        count: *mut usize,
    ) -> c_int;
    pub fn gpt2x_bpe_decode(
        tokenizer: *const RawTokenizer,
        ids: *const u32,
        count: usize,
        text: *mut c_char,
        capacity: usize,
        size: *mut usize,
    ) -> c_int;
    pub fn gpt2x_bpe_encode16(
        tokenizer: *const RawTokenizer,
        text: *const c_char,
        size: usize,
        ids: *mut u16,
        capacity: usize,
        count: *mut usize,
    ) -> c_int;
    pub fn gpt2x_bpe_count(
        tokenizer: *const RawTokenizer,
        text: *const c_char,
        size: usize,
        count: *mut usize,
    ) -> c_int;
    pub fn gpt2x_bpe_token_bytes(
        tokenizer: *const RawTokenizer,
        id: u32,
        bytes: *mut *const c_char,
        size: *mut usize,
    ) -> c_int;
    pub fn gpt2x_bpe_trainer_new(pattern: *const c_char, out: *mut *mut RawTrainer) -> c_int;
    pub fn gpt2x_bpe_trainer_add(
        trainer: *mut RawTrainer,
        text: *const c_char,
        size: usize,
        num_threads: c_uint,
    ) -> c_int;
    pub fn gpt2x_bpe_trainer_learn(
        trainer: *const RawTrainer,
        vocab_size: u32,
        out: *mut *mut RawTokenizer,
    ) -> c_int;
    pub fn gpt2x_bpe_trainer_free(trainer: *mut RawTrainer);
    pub fn gpt2x_bpe_save_memory(
        tokenizer: *const RawTokenizer,
        data: *mut c_char,
        capacity: usize,
        size: *mut usize,
    ) -> c_int;
}
