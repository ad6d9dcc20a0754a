//! The server with a storage that stores nothing: what HTTP, JSON and lanes cost by themselves. For benchmarks.
//!
//! `noop_server 127.0.0.1:3999`

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3999".to_owned()).parse()?;
    wellorder::bare(testkit::Wrapped::noop(), address).await
}
