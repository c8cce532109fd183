//! What gatepass says of itself: completions for shells, pages for `man`, and what its configuration can
//! have.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::terminal::print_out;
use super::{CommandLine, DONE, Failure};
use crate::config;

#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// Write gatepass.1 and a page for each command into this directory
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    /// Print the page with every key instead, as Markdown
    #[arg(long)]
    page: bool,
}

pub(super) fn schema(arguments: SchemaArguments) -> Result<u8, Failure> {
    let text = match arguments.page {
        true => config::page(),
        false => config::json_schema(),
    };
    print_out(&text)?;
    Ok(DONE)
}

pub(super) fn completions(arguments: CompletionsArguments) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut CommandLine::command(),
        NAME,
        &mut script,
    );
    print_out(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}

pub(super) fn man(arguments: ManArguments) -> Result<u8, Failure> {
    let command = CommandLine::command();
    let Some(directory) = arguments.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print_out(&String::from_utf8_lossy(&page))?;
        return Ok(DONE);
    };
    let written = clap_mangen::generate_to(command, &directory);
    written.map_err(|error| Failure::Unwritten(directory, error))?;
    Ok(DONE)
}

const NAME: &str = "gatepass";
