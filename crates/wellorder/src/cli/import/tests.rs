#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::cli::{
    api_call::ApiReply,
    fake::{Fake, Said, broken, problem, reply, said},
};

fn line(reference: &str) -> String {
    format!("{{\"reference\":\"{reference}\"}}\n")
}

/// Answers with these statuses, from line 1 on.
fn answers(statuses: &[u16]) -> String {
    let answer = |(index, status): (usize, &u16)| {
        let mut answer = json!({ "line": index + 1, "status": status });
        if *status >= 400 {
            let errors = json!([{ "pointer": "/total", "message": "must not be negative" }]);
            answer["problem"] = json!({ "title": "A value is refused", "errors": errors, "retry_after": 0 });
        }
        format!("{answer}\n")
    };
    statuses.iter().enumerate().map(answer).collect()
}

fn whole(statuses: &[u16]) -> ApiReply {
    reply(200, "application/x-ndjson", &answers(statuses))
}

async fn run(fake: &Fake, text: &str, as_json: bool) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.ndjson");
    std::fs::write(&file, text).unwrap();
    let args = ImportArgs { file };
    said(as_json, async |out| import(fake.api(), &args, Duration::ZERO, out).await).await
}

/// The references that each request sent.
fn sent(fake: &Fake) -> Vec<String> {
    let references = |asked: &String| {
        let body = asked.strip_prefix("POST /v1/orders/bulk ").unwrap_or_default();
        body.split('"').skip(3).step_by(4).collect::<Vec<_>>().join(" ")
    };
    fake.asked().iter().map(references).collect()
}

#[tokio::test]
async fn bad_lines_are_named_by_their_number_in_the_file_and_harm_no_other() {
    let text = format!("\n{}{}{{\"total\":1}}\n{}", line("a"), line("b"), line("c"));
    let said = run(&Fake::new([whole(&[201, 422, 200])]), &text, false).await;
    assert_eq!(said.out, "1 taken in, 1 taken in before, 2 refused\n");
    let expected = [
        "line 3: A value is refused: /total must not be negative (422)",
        "line 4: has no reference: sent again, it would be a second order",
    ];
    let mut lines: Vec<&str> = said.err.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(said.exit, Exit::Refused);
}

#[tokio::test]
async fn json_is_an_answer_a_line() {
    let text = format!("\n{}{}", line("a"), line("b"));
    let said = run(&Fake::new([whole(&[201, 422])]), &text, true).await;
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!([lines[0]["line"], lines[0]["status"], lines[1]["line"]]), json!([2, 201, 3]));
    assert_eq!((lines.len(), said.err.as_str(), said.exit), (2, "", Exit::Refused));
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_and_what_was_is_not() {
    let text = ["a", "b", "c"].map(line).concat();
    let fake = Fake::new([
        broken(200, &format!("{}{{\"line\":2,\"st", answers(&[201]))),
        ApiReply { status: 0, ..whole(&[]) },
        problem(429, &json!({ "title": "slow down" })),
        whole(&[200, 503]),
        whole(&[201]),
    ]);
    let said = run(&fake, &text, false).await;
    assert_eq!(sent(&fake), ["a b c", "b c", "b c", "b c", "c"]);
    assert_eq!(said.out, "2 taken in, 1 taken in before\n");
    assert_eq!(said.exit, Exit::Ok);
    assert!(said.err.starts_with("fake does not answer: gone; trying again\n"), "{}", said.err);
}

#[tokio::test]
async fn a_server_that_takes_no_more_at_a_time_gets_the_rest_by_another_request() {
    let text = ["a", "b", "c", "d"].map(line).concat();
    let fake = Fake::new([whole(&[201, 201, 413]), whole(&[413, 201])]);
    let said = run(&fake, &text, false).await;
    assert_eq!(sent(&fake), ["a b c d", "c d"], "first the request was too large, then the line");
    assert_eq!(said.out, "3 taken in, 1 refused\n");
}

#[tokio::test]
async fn what_sending_again_does_not_mend_ends_it() {
    let text = line("a");
    for (status, exit) in [(401, Exit::Refused), (403, Exit::Refused)] {
        let fake = Fake::new([problem(status, &json!({ "title": "no" }))]);
        assert_eq!(run(&fake, &text, false).await.exit, exit);
    }
    let gone = || ApiReply { status: 0, ..whole(&[]) };
    let fake = Fake::new((0..9).map(|_| gone()));
    let said = run(&fake, &text, false).await;
    assert_eq!(said.exit, Exit::Unreachable);
    assert!(
        said.err.ends_with("0 taken in; run it again: what is there is not taken in twice\n"),
        "{}",
        said.err
    );
    let out_of_step = || reply(200, "application/x-ndjson", "{\"line\":7,\"status\":201}\n");
    let said = run(&Fake::new((0..9).map(|_| out_of_step())), &text, false).await;
    assert_eq!(said.exit, Exit::Unreachable, "an answer to another line is none");
}

#[tokio::test]
async fn an_empty_file_is_nothing_to_do() {
    let said = run(&Fake::new([whole(&[])]), "\n\n", false).await;
    assert_eq!((said.out.as_str(), said.exit), ("0 taken in\n", Exit::Ok));
}
