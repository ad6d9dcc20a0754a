//! Reads what schemathesis reports of one run: every request with its answer and what was checked (NDJSON), and
//! whether the run was whole (JSON). Nothing is read out of what it prints.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{curl, look};

/// What one run over one document came to.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Requests that were answered.
    pub(super) cases: usize,
    /// Operations that were tried.
    pub(super) operations: u64,
    /// Answers by status.
    pub(super) statuses: BTreeMap<u64, usize>,
    /// What went wrong, one of each sort, with how often.
    pub(super) failures: BTreeMap<Sort, Failure>,
}

/// Failures of one sort have one cause, most likely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sort {
    pub(super) operation: String,
    pub(super) check: String,
    pub(super) status: u64,
}

/// A failure; of several of its sort the one with the shortest request.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) curl: String,
    pub(super) times: usize,
}

impl Run {
    fn fail(&mut self, sort: Sort, message: String, curl: String) {
        let known = self.failures.entry(sort).or_insert_with(|| Failure {
            message: message.clone(),
            curl: curl.clone(),
            times: 0,
        });
        known.times += 1;
        if curl.len() < known.curl.len() {
            (known.message, known.curl) = (message, curl);
        }
    }

    /// The run as a whole failed.
    fn fail_whole(&mut self, check: &str, message: String) {
        let sort = Sort { operation: "the run".to_owned(), check: check.to_owned(), status: 0 };
        self.fail(sort, message, String::new());
    }

    /// Takes the failures and counts of a run over the document `name` in.
    pub(super) fn add(&mut self, name: &str, other: Self) {
        self.cases += other.cases;
        self.operations = self.operations.max(other.operations);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (mut sort, failure) in other.failures {
            sort.operation = format!("{name}: {}", sort.operation);
            self.failures.entry(sort).and_modify(|known| known.times += failure.times).or_insert(failure);
        }
    }
}

/// Reads both reports of a run.
pub(super) fn read(summary: &Path, events: &Path, kinds: &[(String, u64)]) -> Result<Run> {
    let mut run = Run::default();
    let text = std::fs::read(summary).with_context(|| format!("no report {}", summary.display()))?;
    read_summary(&serde_json::from_slice(&text)?, &mut run);
    let file = File::open(events).with_context(|| format!("no report {}", events.display()))?;
    for line in BufReader::new(file).lines() {
        let event: Value = serde_json::from_str(&line?).context("a line of the report is no JSON")?;
        if let Some(scenario) = event.get("ScenarioFinished") {
            read_scenario(&scenario["recorder"], kinds, &mut run);
        }
    }
    Ok(run)
}

/// A run that stopped early, left an operation out or broke down shows nothing.
fn read_summary(summary: &Value, run: &mut Run) {
    if summary["complete"] != true || summary["stop_reason"] != "completed" {
        run.fail_whole("complete", format!("the run stopped early: {}", summary["stop_reason"]));
    }
    for error in summary["errors"].as_array().into_iter().flatten() {
        run.fail_whole("errors", error.to_string());
    }
    let operations = &summary["operations"];
    let count = |name: &str| operations[name].as_u64().unwrap_or(0);
    run.operations = count("tested");
    if run.operations == 0 || run.operations != count("total") {
        run.fail_whole("operations", format!("not every operation was tried: {operations}"));
    }
}

fn read_scenario(recorder: &Value, kinds: &[(String, u64)], run: &mut Run) {
    let mut curls = HashMap::new();
    for (id, interaction) in recorder["interactions"].as_object().into_iter().flatten() {
        let (request, response) = (&interaction["request"], &interaction["response"]);
        let operation = operation(recorder, id);
        let status = response["status_code"].as_u64().unwrap_or(0);
        curls.insert(id.as_str(), (status, request));
        let sort = |check: &str| Sort { operation: operation.clone(), check: check.to_owned(), status };
        if status == 0 {
            run.fail(sort("answered"), "no answer".to_owned(), curl::line(request));
            continue;
        }
        run.cases += 1;
        *run.statuses.entry(status).or_default() += 1;
        for fault in look::faults(request, response, kinds) {
            run.fail(sort("every answer"), fault, curl::line(request));
        }
    }
    for (id, checks) in recorder["checks"].as_object().into_iter().flatten() {
        for check in checks.as_array().into_iter().flatten().filter(|check| check["status"] != "success") {
            let operation = operation(recorder, id);
            let (status, request) = curls.get(id.as_str()).copied().unwrap_or((0, &Value::Null));
            let name = check["name"].as_str().unwrap_or("?").to_owned();
            let failure = &check["failure_info"]["failure"];
            let said = |field: &str| failure[field].as_str().unwrap_or_default().replace('\n', "; ");
            let message = format!("{}: {}", said("title"), said("message"));
            run.fail(Sort { operation, check: name, status }, message, curl::line(request));
        }
    }
}

/// What a case asks: its method and the path as it is described.
fn operation(recorder: &Value, id: &str) -> String {
    let case = &recorder["cases"][id]["value"];
    let text = |name: &str| case[name].as_str().unwrap_or("?");
    format!("{} {}", text("method"), text("path"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn interaction(status: u64) -> Value {
        let headers = json!({"x-request-id": ["1"], "x-content-type-options": ["nosniff"]});
        json!({
            "request": {"method": "GET", "uri": format!("http://h/{status}")},
            "response": {"status_code": status, "headers": headers},
        })
    }

    #[test]
    fn answers_are_counted_and_failures_are_told_apart() {
        let failed = json!({"name": "status_code_conformance", "status": "failure",
            "failure_info": {"failure": {"title": "Undocumented", "message": "a\nb"}}});
        let recorder = json!({
            "label": "GET /x",
            "interactions": {"a": interaction(200), "b": interaction(418), "c": {"request": {"uri": "http://h/c"}}},
            "checks": {"a": [{"name": "not_a_server_error", "status": "success"}], "b": [failed]},
        });
        let mut run = Run::default();
        read_scenario(&recorder, &[], &mut run);
        assert_eq!((run.cases, run.failures.len()), (2, 2));
        let sorts: Vec<_> = run.failures.keys().map(|sort| (sort.check.as_str(), sort.status)).collect();
        assert_eq!(sorts, [("answered", 0), ("status_code_conformance", 418)]);
        let failure = run.failures.values().last().unwrap();
        assert_eq!((failure.message.as_str(), failure.times), ("Undocumented: a; b", 1));
        assert_eq!(failure.curl, "curl -i -X GET -g 'http://h/418'");
    }

    #[test]
    fn a_run_that_is_not_whole_is_a_failure() {
        let whole = json!({"complete": true, "stop_reason": "completed", "errors": [],
            "operations": {"total": 3, "tested": 3}});
        let failures = |summary: &Value| {
            let mut run = Run::default();
            read_summary(summary, &mut run);
            run.failures.len()
        };
        assert_eq!(failures(&whole), 0);
        for (name, value) in [
            ("complete", json!(false)),
            ("stop_reason", json!("interrupted")),
            ("errors", json!([{"title": "x"}])),
            ("operations", json!({"total": 3, "tested": 2})),
            ("operations", json!({})),
        ] {
            let mut broken = whole.clone();
            broken[name] = value;
            assert_eq!(failures(&broken), 1, "{name}");
        }
    }
}
