//! From layers to the raw types, and the book-keeping of what is wrong.
//!
//! serde stops at the first value that does not fit. All of them are to be reported, so the values are read
//! without it (`values`): what does not fit is noted and left out.

mod values;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::PathBuf;

use figment::value::{Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::flags::{COMMAND_LINE, told_by_flags};
use super::layers::{ENVIRONMENT, Layers, variable};
use super::places::Places;
use super::problem::{Problem, Problems};
use super::profiles::PROFILE;
use super::raw;
use crate::watch::{Files, Stamp};
pub(super) use values::{Decode, Table};

/// Decodes what the layers hold, without the values that do not fit; those are in the report.
pub(super) fn decode(layers: &Layers) -> Result<(raw::Config, Report), Problems> {
    let read_files = seen(layers);
    let (figment, places) = layers.read()?;
    let main_source = layers.main_source();
    let mut data = figment.data().map_err(|_| {
        Problems::one(Problem::of_source(
            &*main_source,
            "something that is not a table",
            "a configuration that can be decoded",
        ))
    })?;
    let written = Value::from(data.remove(&Profile::Default).unwrap_or_default());
    let mut report = Report {
        figment,
        main_source,
        profile: layers.flags.profile.clone(),
        places,
        main_file: layers.file.clone(),
        written: written.clone(),
        problems: Vec::new(),
        warnings: layers.misspelt_variables().collect(),
        secret_files: Vec::new(),
        secret_variables: BTreeSet::new(),
        read_files,
        needed_files: Files::new(),
    };
    let config = raw::Config::decode(&written, &Path::new([]), &mut report);
    Ok((config.unwrap_or_default(), report))
}

/// The configuration's own file, as it is before it is read.
pub(super) fn seen(layers: &Layers) -> Files {
    let file = layers.file.iter();
    file.map(|file| (file.clone(), Stamp::of(file))).collect()
}

/// What is wrong so far, and where everything was written.
pub(super) struct Report {
    figment: Figment,
    main_source: String,
    profile: Option<String>,
    places: Places,
    main_file: Option<PathBuf>,
    written: Value,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    secret_files: Vec<(Path, Option<PathBuf>)>,
    /// The environment's, which the configuration takes secrets from.
    pub(super) secret_variables: BTreeSet<String>,
    read_files: Files,
    needed_files: Files,
}

impl Report {
    /// Notes what is legal and yet probably not what was meant.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// What was noted so.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Notes a file that holds a secret. Without a name it is the configuration's own.
    pub(super) fn secret_in(&mut self, path: &Path, file: Option<PathBuf>) {
        self.secret_files.push((path.clone(), file));
    }

    /// Notes a file whose content is part of the settings, so that they change with it. To be done
    /// before it is read.
    pub(super) fn reads(&mut self, file: impl Into<PathBuf>) {
        note(&mut self.read_files, file.into());
    }

    /// The files that were noted so.
    pub(super) fn read_files(&self) -> &Files {
        &self.read_files
    }

    /// Notes a file without which, as it is, there may be a mistake. To be done before it is read.
    pub(super) fn needs(&mut self, file: impl Into<PathBuf>) {
        note(&mut self.needed_files, file.into());
    }

    /// The files in which a mistake may be mended: a secret that is not there yet is one, and it is
    /// no part of the settings.
    pub(super) fn files_of_mistakes(&self) -> Files {
        let mut files = self.read_files.clone();
        files.extend(self.needed_files.clone());
        files
    }

    /// What is written at a path, as JSON; secrets may stand in it.
    pub(super) fn written_at(&self, path: &Path) -> serde_json::Value {
        let written = look_up(&self.written, &path.0);
        let json = written.map(serde_json::to_value).and_then(Result::ok);
        json.unwrap_or_default()
    }

    /// Where a key is written: the line of the file, the variable or the flag. None if it is not.
    pub(super) fn origin(&self, path: &Path) -> Option<String> {
        look_up(&self.written, &path.0)?;
        let in_file = || self.line_of(&path.0).map(|line| format!("line {line}"));
        let origin = self.source_besides_file(&path.0).or_else(in_file);
        Some(origin.unwrap_or_else(|| self.main_source.clone()))
    }

    /// What a key that is missing everywhere is missing from.
    pub(super) fn main_source(&self) -> &str {
        &self.main_source
    }

    /// The configuration's own file, if it is in one.
    pub(super) fn main_file(&self) -> Option<PathBuf> {
        self.main_file.clone()
    }

    /// The files that were noted so, each with the key that leads to it.
    pub(super) fn take_secret_files(&mut self) -> Vec<(Path, Option<PathBuf>)> {
        std::mem::take(&mut self.secret_files)
    }

    /// Notes a problem.
    pub(super) fn add<'a>(
        &mut self,
        path: &Path,
        found: impl Into<Cow<'a, str>>,
        expected: impl Into<Cow<'a, str>>,
    ) {
        self.add_text(path, found.into(), expected.into());
    }

    /// The same for all kinds of texts: hundreds of places call it, and each would have its own.
    fn add_text(&mut self, path: &Path, found: Cow<'_, str>, expected: Cow<'_, str>) {
        let other_source = self.source_besides_file(&path.0);
        let line = match other_source {
            Some(_) => None,
            None => self.line_of(&path.0),
        };
        let source = other_source.unwrap_or_else(|| self.main_source.clone());
        let problem = Problem {
            line,
            key: path.to_string(),
            ..Problem::of_source(source, found, expected)
        };
        self.problems.push(match self.is_from(COMMAND_LINE, path) {
            true => told_by_flags(problem),
            false => problem,
        });
    }

    /// The flag that says what a key says, or would say it where it is missing from what flags say.
    pub(super) fn flag(&self, path: &Path) -> Option<String> {
        let source = self.source_besides_file(&path.0)?;
        (self.is_from(COMMAND_LINE, path) && source != COMMAND_LINE).then_some(source)
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// All that was noted, what belongs together side by side.
    pub(super) fn into_problems(mut self) -> Problems {
        self.problems.sort();
        // The same slip may be met twice, as that of a listener that others look at as well.
        self.problems.dedup();
        Problems::new(self.problems)
    }

    /// Whether a key is written anywhere, fitting or not.
    pub(super) fn is_written(&self, path: &Path) -> bool {
        look_up(&self.written, &path.0).is_some()
    }

    /// Whether a key is written as an empty list.
    pub(super) fn is_empty_list(&self, path: &Path) -> bool {
        matches!(look_up(&self.written, &path.0), Some(Value::Array(_, list)) if list.is_empty())
    }

    fn is_from(&self, layer: &str, path: &Path) -> bool {
        self.metadata_around(&path.0)
            .is_some_and(|metadata| metadata.name == layer)
    }

    /// Whether a key is set by an environment variable.
    pub(super) fn is_from_environment(&self, path: &Path) -> bool {
        self.metadata_of(&path.0)
            .is_some_and(|metadata| metadata.name == ENVIRONMENT)
    }

    /// The line of the file that says it, in the profile if that does.
    fn line_of(&self, path: &[String]) -> Option<usize> {
        let layer = self.metadata_around(path);
        match &self.profile {
            Some(profile) if layer.is_some_and(|layer| layer.name == PROFILE) => {
                let over = [PROFILE.to_owned(), profile.clone()];
                self.places.line_of(&[&over, path].concat())
            }
            _ => self.places.line_of(path),
        }
    }

    /// The variable or flag that a key comes from; none if it is from the file.
    fn source_besides_file(&self, path: &[String]) -> Option<String> {
        let layer = self.metadata_around(path)?;
        let elsewhere = layer.name == ENVIRONMENT || layer.name == COMMAND_LINE;
        elsewhere.then(|| {
            let keys: Vec<_> = path.iter().map(String::as_str).collect();
            layer.interpolate(&Profile::Default, &keys)
        })
    }

    /// The layer that a key comes from. A missing one comes from where the table around it does.
    fn metadata_around(&self, path: &[String]) -> Option<&Metadata> {
        let written = (2..=path.len())
            .rev()
            .filter_map(|length| path.get(..length));
        written
            .chain([path])
            .find_map(|path| self.metadata_of(path))
    }

    fn metadata_of(&self, path: &[String]) -> Option<&Metadata> {
        let value = look_up(&self.written, path)?;
        self.figment.get_metadata(first_tag(value))
    }
}

/// As it is now, unless it was looked at before.
fn note(files: &mut Files, file: PathBuf) {
    if let Entry::Vacant(new) = files.entry(file) {
        let stamp = Stamp::of(new.key());
        new.insert(stamp);
    }
}

/// A table has no source of its own; that of something in it will do.
fn first_tag(value: &Value) -> Tag {
    match value {
        Value::Dict(_, table) => table.values().next().map_or(value.tag(), first_tag),
        Value::Array(_, list) => list.first().map_or(value.tag(), first_tag),
        _ => value.tag(),
    }
}

fn look_up<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    let [first, rest @ ..] = path else {
        return Some(tree);
    };
    let inner = match tree {
        Value::Dict(_, table) => table.get(first)?,
        Value::Array(_, list) => list.get(first.parse::<usize>().ok()?)?,
        _ => return None,
    };
    look_up(inner, rest)
}

/// The way to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn new<const N: usize>(parts: [&str; N]) -> Self {
        Self(parts.map(str::to_owned).to_vec())
    }

    /// The variable that sets it.
    pub(super) fn variable(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(String::as_str).collect();
        variable(&keys)
    }

    /// The way to something inside.
    pub(super) fn key(&self, key: impl fmt::Display) -> Self {
        let mut path = self.clone();
        path.0.push(key.to_string());
        path
    }
}

/// As one would write it in TOML: `credentials.envase.scope`, `routes[0].path`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, part) in self.0.iter().enumerate() {
            match part.parse::<usize>() {
                Ok(index) if position > 0 => write!(f, "[{index}]")?,
                _ if position > 0 => write!(f, ".{part}")?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}
