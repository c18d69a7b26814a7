//! Compiles the C++ core into a static library with the system's C++ compiler: from ../csrc/bpe in the
//! repository, from vendor/bpe in a package (vendor.sh copies the sources there). Where `GPT2X_BPE_LIB_DIR` names a
//! folder with libgpt2x_bpe already built, nothing is compiled.
//!
//! No `cc` crate: the sources are a handful of files that need one flag (`-std=c++20`), and a crate without
//! dependencies builds offline. `CXX`, `CXXFLAGS` and `AR` are honoured.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

fn main() {
    for variable in ["CXX", "CXXFLAGS", "AR", "GPT2X_BPE_LIB_DIR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if let Some(folder) = env::var_os("GPT2X_BPE_LIB_DIR") {
        return link_built(Path::new(&folder));
    }
    let core = find_core();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = cpp_files(&core.join("src"));
    assert!(!sources.is_empty(), "no C++ sources in {}", core.join("src").display());

    let objects: Vec<PathBuf> = sources.iter().map(|source| object_for(source, &out)).collect();
    let files: Vec<(&PathBuf, &PathBuf)> = sources.iter().zip(&objects).collect();
    for some in files.chunks(num_jobs()) {
        let running: Vec<Child> =
            some.iter().map(|(source, object)| compile(source, object, &core)).collect();
        for ((source, _), mut child) in some.iter().zip(running) {
            let status = child.wait().expect("waiting for the C++ compiler");
            assert!(status.success(), "compiling {} failed", source.display());
        }
    }
    archive(&objects, &out.join("libgpt2x_bpe_core.a"));

    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=gpt2x_bpe_core");
    link_cpp_runtime();
    println!("cargo:rerun-if-changed={}", core.join("src").display());
    println!("cargo:rerun-if-changed={}", core.join("include").display());
}

fn link_cpp_runtime() {
    println!("cargo:rustc-link-lib=dylib={}", if cfg!(target_os = "macos") { "c++" } else { "stdc++" });
}

/// The static library if there is one, else the shared one. Of which version it is, `src/version.rs` asks the library
/// itself when it runs: no file beside it has to be there, and a shared one may be replaced later.
fn link_built(folder: &Path) {
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rerun-if-changed={}", folder.display());
    if folder.join("libgpt2x_bpe.a").exists() {
        println!("cargo:rustc-link-lib=static=gpt2x_bpe");
        link_cpp_runtime();
    } else if ["so", "dylib"].iter().any(|suffix| folder.join(format!("libgpt2x_bpe.{suffix}")).exists()) {
        println!("cargo:rustc-link-lib=dylib=gpt2x_bpe");
    } else {
        panic!(
            "GPT2X_BPE_LIB_DIR is {}, which has no libgpt2x_bpe; name the folder that cmake builds it in",
            folder.display()
        );
    }
}

/// Where the sources are.
fn find_core() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [crate_folder.join("../csrc/bpe"), crate_folder.join("vendor/bpe")];
    let found = places.iter().find(|place| place.join("include/gpt2x_bpe.h").exists());
    found.expect("the C++ sources are in neither ../csrc/bpe nor vendor/bpe; run vendor.sh first").clone()
}

/// How many compilers cargo lets run at a time.
fn num_jobs() -> usize {
    env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1).max(1)
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
