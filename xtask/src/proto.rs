//! Code from the `.proto` files: it is committed, so that nobody needs a compiler of theirs to build the product.

use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace;

const SOURCES: &str = "crates/contracts/proto";
const GENERATED: &str = "crates/contracts/src/orderstream/grpc/generated";
const FILES: [&str; 2] = ["orders/models/v1/order_model.proto", "orders/service/v1/orders_service.proto"];
/// What servers tell of themselves over reflection.
const DESCRIPTORS: &str = "descriptors.bin";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when what is committed is not what the `.proto` files say
    #[arg(long)]
    check: bool,
}

/// Generates, or compares.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let root = workspace::root();
    let stale = stale(&root)?;
    if !args.check {
        for (path, bytes) in &stale {
            fs::create_dir_all(path.parent().context("a path without a folder")?)?;
            fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            println!("wrote {}", path.display());
        }
        return Ok(true);
    }
    for (path, _) in &stale {
        println!("{} is not what the .proto files say: run `cargo xtask proto`", path.display());
    }
    Ok(stale.is_empty())
}

/// The files that are not what they should be, with what they should be.
pub(crate) fn stale(root: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let generated = root.join(GENERATED);
    let mut stale = Vec::new();
    for (name, bytes) in generate(&root.join(SOURCES))? {
        let path = generated.join(name);
        if fs::read(&path).ok().as_ref() != Some(&bytes) {
            stale.push((path, bytes));
        }
    }
    Ok(stale)
}

fn generate(sources: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut compiler = protox::Compiler::new([sources])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let mut ours = compiler.file_descriptor_set();
    ours.file.retain(|file| FILES.contains(&file.name()));
    // Comments are for code; clients ask for what is there.
    let mut bare = protox::Compiler::new([sources])?;
    bare.include_imports(true).include_source_info(false).open_files(FILES)?;
    let folder = std::env::temp_dir().join(format!("wellorder-proto-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let made = tonic_prost_build::configure()
        .build_client(true)
        .build_transport(false)
        .out_dir(&folder)
        .compile_fds(ours)
        .context("cannot generate code");
    let mut files = vec![(DESCRIPTORS.to_owned(), bare.encode_file_descriptor_set())];
    if made.is_ok() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
    }
    fs::remove_dir_all(&folder)?;
    made?;
    if files.len() != FILES.len() + 1 {
        bail!("{} files were generated of {}", files.len() - 1, FILES.len());
    }
    files.sort();
    Ok(files)
}

impl Args {
    /// Only looks.
    pub(crate) fn for_ci() -> Self {
        Self { check: true }
    }
}
