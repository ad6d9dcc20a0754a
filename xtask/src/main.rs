//! Development tasks: `cargo xtask tidy | test | api | proto | services | ci | crash | fuzz | grpc | foreign | schemathesis | bench`.
//!
//! Nothing here depends on a crate of the product: the crash driver and the bench know wellorder only by its
//! command line, its environment and its HTTP interface, as a user does.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks by printing")]
#![allow(
    clippy::disallowed_methods,
    reason = "the ports of the product (clock, environment) are not for tools"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests"))]

mod amqp;
mod api;
mod bench;
mod ci;
mod crash;
mod foreign;
mod fuzz;
mod grpc;
mod http;
mod money;
mod procfs;
mod proto;
mod rng;
mod schemathesis;
mod server;
mod services;
mod shell;
mod stats;
mod tidy;
mod venv;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of wellorder.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what compilers do not: who may depend on whom, sizes, words, tests that invariants name
    Tidy,
    /// Name what is missing on this machine, then build and run every test
    Test(ci::test::Args),
    /// Compare the copy of the API's descriptions under docs/api with the code, or take a new one
    Api(api::Args),
    /// Generate the code of gRPC from the .proto files, or check that it is current
    Proto(proto::Args),
    /// Start, stop or name the servers that tests need: PostgreSQL, Redis, RabbitMQ, Kafka
    Services(services::Args),
    /// Everything that must be green before a change is merged
    Ci(ci::Args),
    /// Kill the server again and again under load and prove that nothing was lost
    Crash(crash::Args),
    /// Run every parser on inputs made by chance, and check the properties of what it makes of them
    Fuzz(fuzz::Args),
    /// Send generated requests to every operation that is described, and check every answer
    Schemathesis(schemathesis::Args),
    /// Let a client in another language speak gRPC with a server
    Grpc(server::Binary),
    /// Let programs that know nothing of us (kcat, grpcurl, a client of AMQP in Python) read and write
    Foreign(server::Binary),
    /// Measure the figures of the project beside their goals
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Tidy => tidy::run(),
        Task::Test(args) => ci::test::run(&args).map(|ran| ran.ok()),
        Task::Api(args) => api::run(&args),
        Task::Proto(args) => proto::run(&args),
        Task::Services(args) => services::run(&args),
        Task::Ci(args) => ci::run(&args),
        Task::Crash(args) => crash::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Schemathesis(args) => schemathesis::run(&args),
        Task::Grpc(binary) => grpc::run(&binary),
        Task::Foreign(binary) => foreign::run(&binary),
        Task::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}
