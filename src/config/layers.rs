//! Where settings are written: a file, the environment, flags; each layer over the one before.

use std::env::{self, VarError};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::excerpt::excerpt;
use super::flags::{COMMAND_LINE, Flags};
use super::misspelling;
use super::places::{Places, line_and_column};
use super::problem::{Problem, Problems};
use super::profiles::{self, VARIABLE};
use super::resolve::unexpanded;

/// The layers of one configuration. Secrets may stand in them, so they have no `Debug`.
#[derive(Clone, Default)]
pub struct Layers {
    /// The file; none to do with the environment and flags alone.
    pub file: Option<PathBuf>,
    /// The text of a file that is not on disk, in its place.
    pub text: Option<String>,
    /// Environment variables, as name and value.
    pub environment: Vec<(String, String)>,
    /// The names of others that are so like these that they may have been meant for some.
    pub others: Vec<String>,
    /// What the command line says.
    pub flags: Flags,
}

impl Layers {
    /// The usual layers: `file`, or the first of the default places that has one unless `flags` say
    /// it all, then its profile, if the flags or the environment choose one, then this process's
    /// environment, then `flags`.
    ///
    /// # Errors
    ///
    /// A file is needed, none is named and none is in a default place.
    pub fn from_process(file: Option<PathBuf>, flags: Flags) -> Result<Self, Problems> {
        Self::gathered(
            file,
            flags,
            ", or one route by --upstream; `gatepass demo` needs none",
        )
    }

    /// The same for what takes no other flags than `--profile`. `otherwise` is what else can be said than
    /// where the file is.
    ///
    /// # Errors
    ///
    /// As [`Self::from_process`].
    pub fn of_file(
        file: Option<PathBuf>,
        profile: Option<String>,
        otherwise: &str,
    ) -> Result<Self, Problems> {
        let flags = Flags {
            profile,
            ..Flags::default()
        };
        Self::gathered(file, flags, otherwise)
    }

    fn gathered(
        file: Option<PathBuf>,
        mut flags: Flags,
        otherwise: &str,
    ) -> Result<Self, Problems> {
        if flags.route.is_none() {
            let chosen = match env::var(VARIABLE) {
                Err(VarError::NotUnicode(_)) => return Err(Problems::one(not_text(VARIABLE))),
                chosen => chosen.ok().filter(|name| !name.is_empty()),
            };
            flags.profile = flags.profile.or(chosen);
        }
        let file = match file {
            None if flags.route.is_some() => None,
            None => Some(default_file(otherwise)?),
            named => named,
        };
        Ok(Self {
            file,
            text: None,
            environment: environment()?,
            others: variables()
                .map(|(name, _)| name)
                .filter(|name| !name.starts_with(PREFIX) && name.starts_with(NAME))
                .collect(),
            flags,
        })
    }

    /// The sources by name, for people.
    pub fn sources(&self) -> String {
        let mut sources = self.main_source();
        if let Some(profile) = &self.flags.profile {
            sources.push_str(", profile ");
            sources.push_str(profile);
        }
        for (name, _) in &self.environment {
            sources.push_str(", ");
            sources.push_str(name);
        }
        sources
    }

    /// Whether no flag says where the configuration is, or what is in it.
    pub fn is_by_default(&self) -> bool {
        let Flags {
            listen,
            admin_listen,
            profile,
            route,
        } = &self.flags;
        let is_in_its_place = |file: &PathBuf| DEFAULT_FILES.iter().any(|of| file == Path::new(of));
        let has_flags = admin_listen.is_some() || profile.is_some() || route.is_some();
        listen.is_empty() && !has_flags && self.file.as_ref().is_some_and(is_in_its_place)
    }

    /// Why there is no reading it again, if there is not.
    pub(super) fn spent(&self) -> Option<Problem> {
        let kind = fs::metadata(self.file.as_ref()?).ok()?.file_type();
        let is_spent = !kind.is_file() && !kind.is_dir();
        is_spent.then(|| {
            let found = "no ordinary file, of which nothing can be read a second time";
            let expected = "a file; what comes through a pipe changes with a restart alone";
            Problem::of_source(self.main_source(), found, expected)
        })
    }

    /// The profiles of the file that none was chosen of.
    pub fn other_profiles(&self) -> Vec<String> {
        // A pipe has been read once, and has no more to say.
        let file = self.file.as_ref().filter(|file| file.is_file());
        let text = file.and_then(|file| text_of(file).ok());
        match (&self.flags.profile, text) {
            (None, Some(text)) => profiles::names(&text),
            _ => Vec::new(),
        }
    }

    /// What a key that is missing everywhere is missing from.
    pub(super) fn main_source(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None if self.flags.route.is_some() => COMMAND_LINE.into(),
            None => "configuration".into(),
        }
    }

    /// What is said of each variable that means nothing and is a key's but for its underscores.
    pub(super) fn misspelt_variables(&self) -> impl Iterator<Item = String> {
        self.others.iter().filter_map(|name| {
            let path = misspelling::path_of(name.strip_prefix(NAME)?)?;
            let keys: Vec<_> = path.iter().map(String::as_str).collect();
            let meant = variable(&keys);
            Some(format!(
                "the variable {name} means nothing; if it is meant for gatepass, call it {meant}"
            ))
        })
    }

    /// What they hold, and where it stands in the file.
    pub(super) fn read(&self) -> Result<(Figment, Places), Problems> {
        let mut figment = Figment::new();
        let mut places = Places::default();
        if let Some(file) = &self.file {
            let text = text_of(file).map_err(|error| unreadable(file, &error))?;
            check_syntax(file, &text)?;
            places = Places::of(&text);
            let profile = self.flags.profile.as_deref();
            let source = self.main_source();
            for layer in profiles::layers(&text, profile, &source, &places)? {
                figment = figment.merge(layer);
            }
        }
        if let Some(text) = &self.text {
            figment = figment.merge(Toml::string(text));
        }
        let figment = figment
            .merge(Environment(&self.environment))
            .merge(&self.flags);
        Ok((figment, places))
    }
}

/// Those that set keys. What is not text is refused: sent as something like it, a secret would be another.
fn environment() -> Result<Vec<(String, String)>, Problems> {
    let (mut environment, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in variables().filter(|(name, _)| name.starts_with(PREFIX)) {
        match value.into_string() {
            Ok(value) => environment.push((name, value)),
            Err(_) => problems.push(not_text(&name)),
        }
    }
    match problems.as_slice() {
        [] => Ok(environment),
        _ => Err(Problems::new(problems)),
    }
}

fn not_text(name: &str) -> Problem {
    Problem::of_source(name, NOT_UTF_8, "text in UTF-8")
}

/// Those of this process. One whose name is not UTF-8 cannot be one of ours.
fn variables() -> impl Iterator<Item = (String, OsString)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
}

fn default_file(otherwise: &str) -> Result<PathBuf, Problems> {
    let mut files = DEFAULT_FILES.map(PathBuf::from).into_iter();
    files.find(|file| file.exists()).ok_or_else(|| {
        Problems::one(Problem::of_source(
            "no configuration",
            format!("neither {} nor {}", DEFAULT_FILES[0], DEFAULT_FILES[1]),
            format!(
                "one of them, which `gatepass init` writes, or another file by --config FILE{otherwise}"
            ),
        ))
    })
}

/// What a file holds, up to what a configuration can be: some files have no end.
fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(file)?.take(LARGEST_FILE + 1);
    file.read_to_string(&mut text)?;
    match file.limit() {
        0 => Err(io::Error::other("it is larger than 16 MiB")),
        _ => Ok(text),
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Problems {
    let unexpanded = file.to_str().and_then(unexpanded);
    let found = match (error.kind(), unexpanded) {
        (io::ErrorKind::NotFound, Some(beginning)) => {
            format!("no such file: its path begins with {beginning}, which only shells replace")
        }
        (io::ErrorKind::NotFound, None) => "no such file".into(),
        (io::ErrorKind::InvalidData, _) => NOT_UTF_8.into(),
        _ => format!("a file that cannot be read: {error}"),
    };
    Problems::one(Problem::of_source(
        file.display().to_string(),
        found,
        "a readable file in TOML",
    ))
}

/// figment's own message for a syntax error quotes the line, and a secret may stand on it. This
/// one tells the place, what the parser wanted there, and as much of the line as is surely none.
fn check_syntax(file: &Path, text: &str) -> Result<(), Problems> {
    let Err(error) = toml::from_str::<toml::Table>(text) else {
        return Ok(());
    };
    let offset = error.span().map_or(0, |span| span.start);
    let (line, column) = line_and_column(text, offset);
    let found = format!("a syntax error: {}", error.message().replace('\n', "; "));
    let expected = match found.contains("escape sequence") || found.contains("hex code") {
        // As in the path of a file on Windows.
        true => "valid TOML: a backslash is doubled, or the text stands in 'single quotes'",
        false => "valid TOML",
    };
    Err(Problems::one(Problem {
        line: Some(line),
        column: Some(column),
        excerpt: Some(excerpt(text, line, column)),
        ..Problem::of_source(file.display().to_string(), found, expected)
    }))
}

/// The variables whose names begin with `GATEPASS__`; further double underscores separate the
/// parts of a key.
///
/// The double underscore right after the name matters: a Kubernetes Service called `gatepass`
/// puts variables such as `GATEPASS_PORT=tcp://…` into every pod, which must mean nothing here.
struct Environment<'a>(&'a [(String, String)]);

impl Provider for Environment<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT).interpolater(|_, keys| variable(keys))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut root = Dict::new();
        for (name, value) in self.0 {
            if let Some(key) = name.strip_prefix(PREFIX) {
                let path: Vec<_> = key.split(SEPARATOR).map(str::to_lowercase).collect();
                // Text stays text: a secret of digits is no number.
                insert(&mut root, &path, Value::from(value.as_str()));
            }
        }
        Ok(Profile::Default.collect(root))
    }
}

fn insert(table: &mut Dict, path: &[String], value: Value) {
    let [first, rest @ ..] = path else {
        return;
    };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let entry = table
        .entry(first.clone())
        .or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = entry {
        insert(inner, rest, value);
    } else {
        // GATEPASS__A=x beside GATEPASS__A__B=y: the table is what can be checked further.
        let mut inner = Dict::new();
        insert(&mut inner, rest, value);
        *entry = Value::from(inner);
    }
}

/// The variable that sets a key.
pub(super) fn variable(keys: &[&str]) -> String {
    format!("{PREFIX}{}", keys.join(SEPARATOR).to_uppercase())
}

/// What is said of the source of such bytes. They are not shown: they may be a secret.
pub(super) const NOT_UTF_8: &str = "bytes that are not UTF-8";

/// A thousand routes have a quarter of a megabyte.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Where a configuration is looked for when none is named.
const DEFAULT_FILES: [&str; 2] = ["gatepass.toml", "/etc/gatepass/gatepass.toml"];

const PREFIX: &str = "GATEPASS__";
/// What variables begin with that may have been meant for gatepass.
const NAME: &str = "GATEPASS_";
const SEPARATOR: &str = "__";

/// The name of the environment's layer.
pub(super) const ENVIRONMENT: &str = "environment";
