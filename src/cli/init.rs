//! `gatepass init`: a first configuration, by flags or by questions.
//!
//! What is missing or wrong is what the configuration's own check says of the answers so far, so that
//! there is one place that knows what each provider needs.

mod comments;
mod deployment;
mod draft;
mod questions;

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::one_route::CredentialArguments;
use super::terminal::{Palette, print_out};
use super::{DONE, Failure, token, told};
use crate::config::{self, Layers};
use crate::store::KeyFile;
use deployment::Deployment;
use draft::{Draft, SESSIONS_DIRECTORY, SESSIONS_KEY};
use questions::Questions;

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "gatepass.toml")]
    output: PathBuf,

    /// Replace the file if it is there
    #[arg(long)]
    force: bool,

    /// What the credential is called [default: the preset's name, or default]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The path below which applications call; it is taken off [default: /]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Where requests go
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// Ask for a token once the file is written, and tell what came
    #[arg(long)]
    test: bool,

    /// Also print what a deployment needs
    #[arg(long, value_name = "WHERE")]
    deployment: Option<Deployment>,

    #[command(flatten)]
    credential: CredentialArguments,
}

pub(super) fn init(arguments: InitArguments) -> Result<u8, Failure> {
    let InitArguments { output, force, .. } = &arguments;
    if output.exists() && !force {
        return Err(Failure::FileIsThere(output.clone()));
    }
    let (output, force) = (output.clone(), *force);
    let mut draft = Draft::new(
        arguments.name,
        arguments.path,
        arguments.upstream,
        arguments.credential.keys(),
    );
    let mut questions = Questions::where_somebody_is();
    complete(&mut draft, questions.as_mut())?;
    if draft.is_login() {
        if arguments.deployment.is_some() {
            return Err(Failure::NoDeploymentOfLogin);
        }
        make_store()?;
    }
    let text = draft.file();
    // With the credential's own name and path, which only the file has.
    let checked = config::load(&Layers {
        text: Some(text.clone()),
        ..Layers::default()
    });
    let warnings = match &checked {
        Ok(settings) => settings.warnings.clone(),
        // What can be told before its files are there.
        Err(_) => draft.in_the_clear().into_iter().collect(),
    };
    draft
        .without_files_to_come(checked)
        .map_err(|failure| match failure {
            Failure::Config(problems) => Failure::Config(draft.told_by_flags(problems)),
            other => other,
        })?;
    let to_come = draft.files_to_come();
    to_come
        .iter()
        .try_for_each(|file| make_directory_of(file))?;
    write(&output, &text, force)?;
    tell(&written(&output, &warnings), arguments.deployment)?;
    // A person's session is asked for by login, and stays on this machine.
    let mut questions = questions.filter(|_| !draft.is_login());
    let mut test = arguments.test;
    if let Some(questions) = &mut questions
        && to_come.is_empty()
        && !test
    {
        test = questions.yes("Ask the provider for a token now, to see whether it works?")?;
    }
    // The file is there, and the rest is worth as much without a token.
    let code = match test {
        true => tried(&output, &draft, &to_come, arguments.deployment),
        false => DONE,
    };
    let mut deployment = arguments.deployment;
    if let Some(questions) = &mut questions
        && deployment.is_none()
    {
        deployment = questions.deployment()?;
    }
    if let Some(deployment) = deployment {
        print_out(&deployment.text(&draft))?;
    }
    tell(
        &next_steps(&output, &draft, &to_come, deployment),
        deployment,
    )?;
    Ok(code)
}

/// Tells what there is to say beside what a deployment needs: where that is printed, standard output
/// may lead into a file, which has to be good as it is.
fn tell(text: &str, deployment: Option<Deployment>) -> Result<(), Failure> {
    if deployment.is_none() {
        return print_out(text);
    }
    let _ = io::stderr().write_all(text.as_bytes());
    Ok(())
}

/// Asks until nothing is missing or wrong but files that may come later.
fn complete(draft: &mut Draft, questions: Option<&mut Questions>) -> Result<(), Failure> {
    let Some(questions) = questions else {
        let checked = draft.without_files_to_come(config::load(&draft.layers()));
        return checked.map_err(|failure| match failure {
            Failure::Config(problems) => Failure::LeftOpen(problems),
            other => other,
        });
    };
    if !draft.has_provider() {
        draft.set_provider(&questions.provider()?);
    }
    loop {
        let problems = match draft.without_files_to_come(config::load(&draft.layers())) {
            Err(Failure::Config(problems)) => problems,
            Err(other) => return Err(other),
            Ok(()) => break,
        };
        let Some((key, problem)) = draft.next_question(&problems) else {
            // Nothing that one answer would mend.
            return Err(Failure::Config(problems));
        };
        if draft.has_only_provider(key) {
            let meant = draft.meant_address();
            draft.set_provider(&questions.another_provider(problem, meant.as_deref())?);
            continue;
        }
        let answer = questions.about(key, problem)?;
        draft.set(key, answer);
    }
    if draft.takes_scope() {
        let scope =
            questions.optional("scope (what to ask for, with spaces between; Enter for none)")?;
        if let Some(scope) = scope {
            draft.set("scope", scope);
        }
    }
    let to_come = draft.files_to_come().into_iter();
    for file in to_come.filter(|file| !draft.is_of_others(file)) {
        questions.secret_for(&file)?;
    }
    Ok(())
}

/// Where a session can be kept. What is there already stays.
fn make_store() -> Result<(), Failure> {
    make_directory(Path::new(SESSIONS_DIRECTORY))?;
    match KeyFile::create(Path::new(SESSIONS_KEY)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map_err(|error| Failure::Unwritten(SESSIONS_KEY.into(), error)),
    }
}

/// A directory that is named below this one, for secrets alone. Others are somebody else's.
fn make_directory_of(file: &str) -> Result<(), Failure> {
    let Some(directory) = Path::new(file).parent() else {
        return Ok(());
    };
    if directory.is_absolute() || directory.exists() {
        return Ok(());
    }
    make_directory(directory)
}

/// One for its owner alone; one that is there stays as it is.
fn make_directory(directory: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(directory);
    made.map_err(|error| Failure::Unwritten(directory.to_owned(), error))
}

/// Puts the text where nothing was, or in the place of what was.
fn write(output: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !force {
        options.create_new(true);
    }
    let written = options
        .open(output)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Unwritten(output.to_owned(), error))
}

/// That it is there, and what is legal in it and yet probably not what was meant.
fn written(output: &Path, warnings: &[String]) -> String {
    let mut text = format!("{} is written.\n", output.display());
    for warning in warnings {
        let _ = writeln!(text, "Warning: {warning}.");
    }
    text
}

fn next_steps(
    output: &Path,
    draft: &Draft,
    to_come: &[String],
    deployment: Option<Deployment>,
) -> String {
    let config = config_flag(output);
    let mut steps: Vec<_> = to_come
        .iter()
        .map(|file| match draft.is_of_others(file) {
            true => format!("have {file} written by whoever renews the token"),
            false => format!("write the secret into {file}, for you alone to read (chmod 600)"),
        })
        .collect();
    steps.push(format!("gatepass check{config}"));
    if draft.is_login() {
        steps.push(format!("gatepass login{config}"));
    }
    match deployment {
        Some(deployment) => steps.extend(deployment.steps(draft)),
        None => steps.extend([
            format!("gatepass run{config}"),
            format!("curl http://127.0.0.1:8080{}", draft.path()),
        ]),
    }
    format!("\nNext:\n  {}\n", steps.join("\n  "))
}

/// What names the file that was written to other commands, where they would not find it.
fn config_flag(output: &Path) -> String {
    match output == Path::new("gatepass.toml") {
        true => String::new(),
        false => format!(" --config {}", output.display()),
    }
}

/// Asks for a token, tells what came, or what failed and how to go on, and returns the exit code.
fn tried(output: &Path, draft: &Draft, to_come: &[String], deployment: Option<Deployment>) -> u8 {
    let failure = match ask_for_a_token(output, draft, to_come) {
        Ok(told) => {
            let _ = tell(&told, deployment);
            return DONE;
        }
        Err(failure) => failure,
    };
    let is_without_token = matches!(failure, Failure::NoToken(..));
    let code = told(&draft.told_by_keys(failure));
    if is_without_token {
        let config = config_flag(output);
        let again = format!(
            "No token has come. `gatepass token{config}` asks again, once that is mended.\n"
        );
        let _ = tell(&again, deployment);
    }
    code
}

fn ask_for_a_token(output: &Path, draft: &Draft, to_come: &[String]) -> Result<String, Failure> {
    if let Some(file) = to_come.iter().find(|file| !draft.is_of_others(file)) {
        let again = format!("gatepass token{}", config_flag(output));
        return Err(Failure::SecretToCome(file.clone(), again));
    }
    let layers = Layers {
        file: Some(output.to_owned()),
        ..Layers::default()
    };
    let settings = config::load(&layers)?;
    let Some(credential) = settings.credentials.first() else {
        return Err(Failure::Fault(
            "there is no credential in what was written".into(),
        ));
    };
    let got = token::get(&settings, credential, false)?;
    let told = token::summary(credential, &got, Palette::of_stdout());
    Ok(format!("A token of {:?} has come:\n{told}", draft.name()))
}
