//! What gatepass says of itself: completions for shells, pages for `man`, and what its configuration can
//! have.

use std::fs;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::terminal::print_out;
use super::{CommandLine, DONE, Failure, exit_codes};
use crate::config;

#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// Write gatepass.1 and a page for each command into this directory, which is made if need be
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
    // There is no page for `help`, exit codes have a section of their own, and what the build is would run
    // together in one line.
    let command = CommandLine::command()
        .disable_help_subcommand(true)
        .after_help(Resettable::Reset)
        .long_version(Resettable::Reset);
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    page.extend(exit_codes::in_manual().into_bytes());
    let Some(directory) = arguments.directory else {
        print_out(&String::from_utf8_lossy(&page))?;
        return Ok(DONE);
    };
    let written = fs::create_dir_all(&directory)
        .and_then(|()| clap_mangen::generate_to(command, &directory))
        .and_then(|()| fs::write(directory.join(format!("{NAME}.1")), page));
    written.map_err(|error| Failure::Unwritten(directory, error))?;
    Ok(DONE)
}

const NAME: &str = "gatepass";
