//! How commands end: exit codes, and what is said when something went wrong.

use std::{io, process::ExitCode};

use outbound::Untrusted;
use serde_json::{Value, json};

use super::{
    api_call::{ApiReply, Unreachable},
    json::{self as read, text},
};
use crate::{
    config::Problems,
    output::{Output, Style, escape},
};

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// Something broke.
    Fault = 1,
    /// The command line or the settings are wrong.
    Usage = 2,
    NotFound = 3,
    /// The server understood and said no.
    Refused = 4,
    /// No server, or no data folder, to talk to.
    Unreachable = 5,
    /// A check found something.
    Findings = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// What an answer's status means.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            404 => Self::NotFound,
            // Not now: the same may be taken later.
            408 | 429 => Self::Fault,
            400..=499 => Self::Refused,
            _ => Self::Fault,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fault => "fault",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Findings => "findings",
        }
    }
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Found out here: what is wrong, and what to do.
    Here { exit: Exit, what: String, fix: String },
    /// The API answered with something else than success.
    Answer(Box<ApiReply>),
    /// The settings are wrong.
    Settings(Problems),
    /// Standard output could not be written.
    Output(io::Error),
    /// Something broke.
    Fault(anyhow::Error),
}

impl Failure {
    pub(crate) fn here(exit: Exit, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Here { exit, what: what.into(), fix: fix.into() }
    }

    /// The exit code that says so.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Here { exit, .. } => *exit,
            Self::Answer(reply) if problem(reply).is_some() => Exit::of_status(reply.status),
            // A status without our problem beside it was not said by wellorder.
            Self::Answer(reply) if (400..=499).contains(&reply.status) => Exit::Unreachable,
            Self::Settings(_) => Exit::Usage,
            // Whoever read our output has seen enough: that is how `| head` ends.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Answer(_) | Self::Output(_) | Self::Fault(_) => Exit::Fault,
        }
    }
}

impl From<ApiReply> for Failure {
    fn from(reply: ApiReply) -> Self {
        Self::Answer(Box::new(reply))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Problems>() {
            Ok(problems) => Self::Settings(problems),
            Err(error) => Self::Fault(error),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Settings(problems)
    }
}

impl From<Unreachable> for Failure {
    fn from(Unreachable { server, why, untrusted }: Unreachable) -> Self {
        let (what, fix) = match untrusted {
            None => (format!("{server} does not answer: {why}"), "is it running? name another with --url"),
            Some(Untrusted::Issuer) => (
                format!("{server} shows a certificate of an authority that is not believed here: {why}"),
                "name the authority's certificate with --ca-file, or as tls.ca_file in the settings",
            ),
            Some(Untrusted::Name) => (
                format!("{server} shows a certificate for another name: {why}"),
                "name the server with --url as its certificate does",
            ),
            Some(Untrusted::Other) => (
                format!("{server} shows a certificate that is not good: {why}"),
                "have it renewed, or name another server with --url",
            ),
        };
        Self::here(Exit::Unreachable, what, fix)
    }
}

/// The problem (RFC 9457) in a refusal of ours.
fn problem(reply: &ApiReply) -> Option<Value> {
    let kind = reply.headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    if !kind.starts_with("application/problem+json") {
        return None;
    }
    serde_json::from_slice(&reply.body).ok()
}

/// Says what went wrong, and gives the exit code.
pub(crate) fn report(failure: &Failure, out: &mut Output<'_>) -> Exit {
    let exit = failure.exit();
    if exit != Exit::Ok {
        // With nobody to read it, the exit code still tells.
        let _ = if out.json { as_json(failure, out) } else { as_text(failure, out) };
    }
    exit
}

/// The server's own problem as it came; what was found out here in the same form.
fn as_json(failure: &Failure, out: &mut Output<'_>) -> io::Result<()> {
    let exit = failure.exit();
    let local = |detail: String, fix: &str| {
        let name = exit.name();
        let kind = format!("urn:wellorder:problem:{name}");
        json!({ "type": kind, "title": name, "detail": detail, "fix": out.again.hint(fix), "exit": exit as u8 })
    };
    let value = match failure {
        Failure::Answer(reply) if problem(reply).is_some() => return out.json(&reply.body),
        Failure::Answer(reply) => local(not_ours(reply), CHECK_URL),
        Failure::Here { what, fix, .. } => local(what.clone(), fix),
        Failure::Settings(problems) => {
            let fix = |p: &crate::config::Problem| out.again.hint(&p.fix).into_owned();
            let one = |p: &crate::config::Problem| json!({ "place": p.place, "key": p.key, "what": p.what, "fix": fix(p) });
            let mut value = local("the settings are wrong".to_owned(), "mend them");
            value["problems"] = problems.0.iter().map(one).collect();
            value
        }
        Failure::Output(error) => local(error.to_string(), ""),
        Failure::Fault(error) => local(format!("{error:#}"), "`wellorder doctor` looks for the cause"),
    };
    out.json(value.to_string().as_bytes())
}

const CHECK_URL: &str = "check --url";
const LOG_IN: &str =
    "log in with an API key or a token that is good here: --key, or better the variable WELLORDER_KEY";

fn not_ours(reply: &ApiReply) -> String {
    format!("the server answered {} and not in wellorder's form", reply.status)
}

fn as_text(failure: &Failure, out: &mut Output<'_>) -> io::Result<()> {
    let mark = out.paint_note(Style::Bad, "error:");
    let (what, fix) = match failure {
        Failure::Answer(reply) => match problem(reply) {
            Some(problem) => return refusal(&problem, reply.status, out),
            None => (not_ours(reply), CHECK_URL.to_owned()),
        },
        Failure::Here { what, fix, .. } => (what.clone(), fix.clone()),
        Failure::Settings(problems) => {
            // Values are escaped where the message is made; its own line breaks are wanted.
            let problems = problems.to_string();
            out.note(&format!("{mark} {}", out.again.hint(&problems)));
            return Ok(());
        }
        Failure::Output(error) => (format!("cannot write the answer: {error}"), String::new()),
        Failure::Fault(error) => (format!("{error:#}"), "`wellorder doctor` looks for the cause".to_owned()),
    };
    out.note(&format!("{mark} {}", escape(&what)));
    if !fix.is_empty() {
        out.note(&format!("  fix: {}", escape(&out.again.hint(&fix))));
    }
    Ok(())
}

/// A problem for people: what, which fields, and the id to ask after.
fn refusal(problem: &Value, status: u16, out: &mut Output<'_>) -> io::Result<()> {
    let mark = out.paint_note(Style::Bad, "error:");
    let title = read::string(problem, "title").unwrap_or("refused");
    let what = match read::string(problem, "detail") {
        Some(detail) if detail != title => format!("{title}: {detail}"),
        _ => title.to_owned(),
    };
    out.note(&format!("{mark} {} ({status})", escape(&what)));
    for error in read::list(problem, "errors") {
        let pointer = match read::string(error, "pointer") {
            Some("") | None => "(body)",
            Some(pointer) => pointer,
        };
        out.note(&format!("  {}  {}", escape(pointer), escape(&text(error, "message"))));
    }
    if status == 401 {
        out.note(&format!("  fix: {LOG_IN}"));
    }
    if let Some(id) = read::string(problem, "request_id") {
        out.note(&format!("  request {}", escape(id)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use super::*;
    use crate::cli::fake::{problem, reply};

    fn said(failure: Failure, json: bool) -> (String, Exit) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = report(&failure, &mut Output::to(&mut stdout, &mut stderr, json));
        let empty = if json { &stderr } else { &stdout };
        assert!(empty.is_empty(), "{empty:?}");
        stdout.write_all(&stderr).unwrap();
        (String::from_utf8(stdout).unwrap(), code)
    }

    #[test]
    fn statuses_and_exit_codes() {
        for (status, exit) in [
            (200, Exit::Ok),
            (202, Exit::Ok),
            (302, Exit::Fault),
            (400, Exit::Refused),
            (404, Exit::NotFound),
            (409, Exit::Refused),
            (422, Exit::Refused),
            (429, Exit::Fault),
            (500, Exit::Fault),
            (503, Exit::Fault),
        ] {
            assert_eq!(Exit::of_status(status), exit, "{status}");
        }
    }

    #[test]
    fn a_refusal_lists_its_fields() {
        let body = json!({
            "type": "urn:wellorder:problem:invalid", "title": "Invalid order", "status": 422,
            "detail": "2 fields were refused", "request_id": "r-1",
            "errors": [
                {"pointer": "/total", "code": "mismatch", "message": "is not the sum of the lines\u{1b}[31m"},
                {"pointer": "", "code": "x", "message": "too long"},
            ],
        });
        let (text, code) = said(Failure::from(problem(422, &body)), false);
        insta::assert_snapshot!(text, @r"
        error: Invalid order: 2 fields were refused (422)
          /total  is not the sum of the lines\u{1b}[31m
          (body)  too long
          request r-1
        ");
        assert_eq!(code, Exit::Refused);
        let (text, _) = said(Failure::from(problem(422, &body)), true);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), body);
    }

    #[test]
    fn whoever_is_not_let_in_is_told_how_to_log_in() {
        let body = json!({ "title": "A valid credential is needed", "status": 401, "request_id": "r-1" });
        let (text, code) = said(Failure::from(problem(401, &body)), false);
        insta::assert_snapshot!(text, @r"
        error: A valid credential is needed (401)
          fix: log in with an API key or a token that is good here: --key, or better the variable WELLORDER_KEY
          request r-1
        ");
        assert_eq!(code, Exit::Refused);
    }

    #[test]
    fn an_answer_of_somebody_else_is_not_taken_for_ours() {
        let (text, code) = said(Failure::from(reply(404, "text/html", "<h1>no</h1>")), false);
        insta::assert_snapshot!(text, @r"
        error: the server answered 404 and not in wellorder's form
          fix: check --url
        ");
        assert_eq!(code, Exit::Unreachable);
        let broken = Failure::from(reply(502, "text/html", ""));
        assert_eq!(broken.exit(), Exit::Fault);
    }

    #[test]
    fn what_is_found_out_here_has_a_fix() {
        let failure = || Failure::here(Exit::Unreachable, "no data folder", "start `wellorder dev`");
        insta::assert_snapshot!(said(failure(), false).0, @r"
        error: no data folder
          fix: start `wellorder dev`
        ");
        insta::assert_snapshot!(said(failure(), true).0, @r#"
        {"type":"urn:wellorder:problem:unreachable","title":"unreachable","detail":"no data folder","fix":"start `wellorder dev`","exit":5}
        "#);
    }

    #[test]
    fn a_reader_that_left_is_no_fault() {
        let gone = || Failure::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(said(gone(), false), (String::new(), Exit::Ok));
    }
}
