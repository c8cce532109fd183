//! What was found, for people and for programs.

use std::fmt;
use std::future::Future;

use serde::Serialize;

use super::super::progress::Progress;
use crate::token::source::FetchError;

/// All that was found.
pub(super) struct Report(pub(super) Vec<Examination>);

/// All of it as programs read it; docs/doctor.md has its form.
#[derive(Serialize)]
struct Whole<'a> {
    healthy: bool,
    examinations: &'a [Examination],
}

/// One way, step by step.
#[derive(Debug, Serialize)]
pub(super) struct Examination {
    pub(super) subject: String,
    pub(super) steps: Vec<Step>,
}

/// One step of a way.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    step: &'static str,
    outcome: Outcome,
    /// What was found, and what it means.
    said: String,
    /// What to do next, if something is.
    next: Option<String>,
}

/// What is wrong at a step, and what to do next.
#[derive(Debug)]
pub(super) struct Fault {
    said: String,
    next: String,
}

impl Fault {
    pub(super) fn new(said: impl Into<String>, next: impl Into<String>) -> Self {
        let (said, next) = (said.into(), next.into());
        Self { said, next }
    }
}

impl From<FetchError> for Fault {
    fn from(error: FetchError) -> Self {
        let next = error.advice;
        Self::new(error.message, next.unwrap_or_else(|| LOOK_AT_LOGS.into()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Good,
    /// It works, and yet it is probably not what was meant, or not for long.
    Doubtful,
    Broken,
    LeftOut,
}

impl Step {
    pub(super) fn good(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::Good, said.into(), None)
    }

    pub(super) fn doubtful(step: &'static str, Fault { said, next }: Fault) -> Self {
        Self::new(step, Outcome::Doubtful, said, Some(next))
    }

    /// Doubtful, by a sentence that says all.
    pub(super) fn warned(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::Doubtful, said.into(), None)
    }

    pub(super) fn broken(step: &'static str, Fault { said, next }: Fault) -> Self {
        Self::new(step, Outcome::Broken, said, Some(next))
    }

    /// Broken, by a text that says all.
    pub(super) fn unreadable(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::Broken, said.into(), None)
    }

    pub(super) fn left_out(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::LeftOut, said.into(), None)
    }

    fn new(step: &'static str, outcome: Outcome, said: String, next: Option<String>) -> Self {
        Self {
            step,
            outcome,
            said,
            next,
        }
    }
}

/// A way that is being walked.
pub(super) struct Walk {
    progress: Progress,
    examination: Examination,
}

impl Walk {
    pub(super) fn new(subject: String, progress: Progress) -> Self {
        let steps = Vec::new();
        Self {
            progress,
            examination: Examination { subject, steps },
        }
    }

    /// Takes a step that may last. `None` if it is broken, and the way ends there.
    pub(super) async fn take<T>(
        &mut self,
        step: &'static str,
        work: impl Future<Output = Result<(T, String), Fault>>,
    ) -> Option<T> {
        let what = format!("{}: {step}", self.examination.subject);
        match self.progress.during(&what, work).await {
            Ok((value, said)) => {
                self.note(Step::good(step, said));
                Some(value)
            }
            Err(fault) => {
                self.note(Step::broken(step, fault));
                None
            }
        }
    }

    pub(super) fn note(&mut self, step: Step) {
        self.examination.steps.push(step);
    }

    pub(super) fn over(self) -> Examination {
        self.examination
    }
}

impl Report {
    pub(super) fn is_healthy(&self) -> bool {
        self.count(Outcome::Broken) == 0
    }

    fn count(&self, outcome: Outcome) -> usize {
        let steps = self.0.iter().flat_map(|examination| &examination.steps);
        steps.filter(|step| step.outcome == outcome).count()
    }

    pub(super) fn json(&self) -> String {
        let whole = Whole {
            healthy: self.is_healthy(),
            examinations: &self.0,
        };
        let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
        format!("{text}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Examination { subject, steps } in &self.0 {
            writeln!(f, "{subject}")?;
            for step in steps {
                let outcome = step.outcome.word();
                let next = step.next.as_ref();
                let next = next.map_or_else(String::new, |next| format!("\nnext: {next}"));
                let said =
                    format!("{}{next}", step.said).replace('\n', &format!("\n{:INDENT$}", ""));
                writeln!(f, "  {outcome:8}  {:9}  {said}", step.step)?;
            }
            writeln!(f)?;
        }
        match (self.count(Outcome::Broken), self.count(Outcome::Doubtful)) {
            (0, 0) => writeln!(f, "Nothing is broken."),
            (0, doubtful) => writeln!(f, "Nothing is broken; doubtful: {doubtful}."),
            (broken, doubtful) => writeln!(f, "Broken: {broken}; doubtful: {doubtful}."),
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Broken => "BROKEN",
            Self::LeftOut => "left out",
        }
    }
}

const LOOK_AT_LOGS: &str = "see the provider's log";

/// Where the third column begins.
const INDENT: usize = 23;
