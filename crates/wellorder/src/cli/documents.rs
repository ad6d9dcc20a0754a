//! `openapi` and `man`: what is made from the program itself, without a server and without settings.

use std::{io, path::Path};

use clap::CommandFactory as _;
use serde_json::Value;

use super::{
    args::{Cli, OpenapiArgs},
    failure::{Exit, Failure},
    shown,
};
use crate::output::Output;

/// The server that the AsyncAPI document names, where none was asked.
const HOST: &str = "127.0.0.1:3000";

/// Prints a description of the API.
///
/// # Errors
/// There is no such type of event; the reader is gone.
pub(crate) fn openapi(args: &OpenapiArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let document: Value = match &args.schema {
        _ if args.asyncapi => api::described::asyncapi(HOST, false),
        None => api::described::openapi(),
        Some(name) => api::described::event_schema(name).ok_or_else(|| {
            let names = api::described::event_schema_names().join(", ");
            Failure::here(Exit::NotFound, format!("{name} is no type of event"), format!("there are {names}"))
        })?,
    };
    // In one line for machines, as every answer of `--json` is.
    let text = if out.json { format!("{document}\n") } else { format!("{document:#}\n") };
    out.script(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Prints the manual page of the program, or writes those of all commands into a folder.
///
/// # Errors
/// The folder cannot be written, or the reader is gone.
pub(crate) fn man(to: Option<&Path>, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let Some(folder) = to else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        out.script(&page)?;
        return Ok(Exit::Ok);
    };
    write_pages(folder).map_err(|error| {
        let what = format!("cannot write to {}: {error}", shown(folder));
        Failure::here(Exit::Fault, what, "name a folder that can be written")
    })?;
    if !out.json {
        out.note(&format!("written to {}; read one with: man {0}/wellorder.1", shown(folder)));
    }
    Ok(Exit::Ok)
}

fn write_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // `help` says what the pages say.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}
