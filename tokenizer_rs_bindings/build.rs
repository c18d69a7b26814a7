//! Compiles the C++ core (../csrc/bpe) into a static library with the system's C++ compiler.
//!
//! No `cc` crate: the sources are a handful of files that need one flag (`-std=c++20`), and a crate without
//! dependencies builds offline. `CXX`, `CXXFLAGS` and `AR` are honoured.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

fn main() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../csrc/bpe");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = cpp_files(&core.join("src"));
    assert!(!sources.is_empty(), "no C++ sources in {}", core.join("src").display());

    let objects: Vec<PathBuf> = sources.iter().map(|source| object_for(source, &out)).collect();
    // One compiler per file at a time; the files are few, so this needs no job server.
    let running: Vec<(PathBuf, Child)> = sources
        .iter()
        .zip(&objects)
        .map(|(source, object)| (source.clone(), compile(source, object, &core)))
        .collect();
    for (source, mut child) in running {
        let status = child.wait().expect("waiting for the C++ compiler");
        assert!(status.success(), "compiling {} failed", source.display());
    }
    archive(&objects, &out.join("libgpt2x_bpe_core.a"));

    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=gpt2x_bpe_core");
    println!("cargo:rustc-link-lib=dylib={}", if cfg!(target_os = "macos") { "c++" } else { "stdc++" });
    println!("cargo:rerun-if-changed={}", core.join("src").display());
    println!("cargo:rerun-if-changed={}", core.join("include").display());
    for variable in ["CXX", "CXXFLAGS", "AR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
}

fn cpp_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        folder.read_dir().unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cpp"));
    files.sort();
    files
}

fn object_for(source: &Path, out: &Path) -> PathBuf {
    out.join(source.file_name().expect("a source has a name")).with_extension("o")
}

fn compile(source: &Path, object: &Path, core: &Path) -> Child {
    let mut command = Command::new(env::var("CXX").unwrap_or_else(|_| "c++".into()));
    command.args(["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]);
    command.args(env::var("CXXFLAGS").unwrap_or_default().split_whitespace());
    command.arg("-I").arg(core.join("include")).arg("-c").arg(source).arg("-o").arg(object);
    command.spawn().unwrap_or_else(|error| panic!("cannot start the C++ compiler {command:?}: {error}"))
}

fn archive(objects: &[PathBuf], library: &Path) {
    let _ = std::fs::remove_file(library); // ar adds to an archive that exists
    let archiver = env::var("AR").unwrap_or_else(|_| "ar".into());
    let status = Command::new(&archiver).arg("crs").arg(library).args(objects).status();
    assert!(status.is_ok_and(|status| status.success()), "{archiver} could not make {}", library.display());
}
