//! What was found, for people and for programs.

use std::fmt;
use std::future::Future;

use serde::Serialize;
use serde_json::json;

use super::super::progress::Progress;

/// All that was found.
pub(super) struct Report(pub(super) Vec<Examination>);

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
    /// What was found, what it means, and what to do.
    said: String,
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
        Self::new(step, Outcome::Good, said)
    }

    pub(super) fn doubtful(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::Doubtful, said)
    }

    pub(super) fn broken(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::Broken, said)
    }

    pub(super) fn left_out(step: &'static str, said: impl Into<String>) -> Self {
        Self::new(step, Outcome::LeftOut, said)
    }

    fn new(step: &'static str, outcome: Outcome, said: impl Into<String>) -> Self {
        Self {
            step,
            outcome,
            said: said.into(),
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
        work: impl Future<Output = Result<(T, String), String>>,
    ) -> Option<T> {
        let what = format!("{}: {step}", self.examination.subject);
        match self.progress.during(&what, work).await {
            Ok((value, said)) => {
                self.note(Step::good(step, said));
                Some(value)
            }
            Err(said) => {
                self.note(Step::broken(step, said));
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
        let whole = json!({ "healthy": self.is_healthy(), "examinations": self.0 });
        format!("{whole:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Examination { subject, steps } in &self.0 {
            writeln!(f, "{subject}")?;
            for step in steps {
                let outcome = step.outcome.word();
                let said = step.said.replace('\n', &format!("\n{:INDENT$}", ""));
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

/// Where the third column begins.
const INDENT: usize = 23;
