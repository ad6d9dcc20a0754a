//! One bulk request: lines go out while answers come in.

use std::{cell::RefCell, collections::VecDeque, io, pin::pin};

use axum::body::Bytes;
use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use http::{HeaderMap, Method, header};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    lines::{Line, Lines, Next},
    tally::Tally,
};
use crate::cli::{
    api_call::{ApiCall, ApiReply, Call, Unreachable},
    failure::Failure,
};

/// How much one request carries; the server takes 16 MiB.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Lines go out in pieces of about so many bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// How many pieces wait for the connection.
const PIECES: usize = 4;

type Shared<'s, 't, 'o> = RefCell<&'s mut Tally<'t, 'o>>;

/// How a request ended. What it left unanswered is given back to the lines.
pub(super) enum Ended {
    /// Every line that was sent is answered.
    Whole,
    /// Some may be sent again, later.
    Broken(Failure),
    /// The file cannot be read on.
    Unreadable(io::Error),
}

/// Sends lines until enough are sent or none are left, and reads the answers meanwhile.
///
/// # Errors
/// What sending again does not mend.
pub(super) async fn request(
    api: &dyn ApiCall,
    lines: &mut Lines,
    tally: &mut Tally<'_, '_>,
) -> Result<Ended, Failure> {
    // Both sides tell it things, one after the other.
    let shared = RefCell::new(tally);
    let sent = RefCell::new(VecDeque::new());
    let progress = RefCell::new(lines.progress());
    let mut answers = Answers { number: 0, again: Vec::new(), too_large: None, wait: None };
    let ended = {
        let (pieces, body) = mpsc::channel(PIECES);
        let sending = pin!(send(lines, pieces, &sent, &progress, &shared));
        let taking = pin!(answers.take(api, body, &sent, &progress, &shared));
        match select(taking, sending).await {
            Either::Left((taken, _)) => taken?,
            Either::Right((Ok(()), taking)) => taking.await?,
            Either::Right((Err(SendError::File(error)), _)) => Ended::Unreadable(error),
            Either::Right((Err(SendError::Said(failure)), _)) => return Err(failure),
        }
    };
    let rest = sent.into_inner();
    let left = answers.left(rest.is_empty(), &shared)?;
    let missing = !left.is_empty() || !rest.is_empty();
    lines.give_back(left.into_iter().chain(rest));
    Ok(match ended {
        Ended::Whole if missing => Ended::Broken(answers.busy()),
        other => other,
    })
}

enum SendError {
    File(io::Error),
    Said(Failure),
}

/// Hands lines to the connection. It may be dropped at any moment: each line is noted as sent before it is.
async fn send(
    lines: &mut Lines,
    pieces: mpsc::Sender<Bytes>,
    sent: &RefCell<VecDeque<Line>>,
    progress: &RefCell<(u64, Option<u64>)>,
    tally: &Shared<'_, '_, '_>,
) -> Result<(), SendError> {
    let (mut piece, mut bytes) = (Vec::with_capacity(PIECE_BYTES), 0);
    loop {
        let next = lines.next().await.map_err(SendError::File)?;
        *progress.borrow_mut() = lines.progress();
        match next {
            Next::Line(line) => {
                piece.extend_from_slice(&line.text);
                piece.push(b'\n');
                bytes += line.text.len() + 1;
                sent.borrow_mut().push_back(line);
            }
            Next::Unfit(number, why) => {
                tally.borrow_mut().unfit(number, why).map_err(SendError::Said)?;
            }
            Next::End => bytes = REQUEST_BYTES,
        }
        let last = bytes >= REQUEST_BYTES;
        // Whoever feeds us slowly wants to see each line through.
        if (piece.len() >= PIECE_BYTES || last || !lines.has_more_at_hand()) && !piece.is_empty() {
            // An error says that nobody takes them; the answers tell why.
            if pieces.send(std::mem::take(&mut piece).into()).await.is_err() {
                return Ok(());
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// The answers of one request.
struct Answers {
    /// How many there were.
    number: u64,
    /// Lines that may be sent again.
    again: Vec<Line>,
    /// A line that was too large, or at which the whole request was: what follows tells.
    too_large: Option<(Line, Value)>,
    /// How long to wait before that, in seconds.
    wait: Option<u64>,
}

impl Answers {
    async fn take(
        &mut self,
        api: &dyn ApiCall,
        body: mpsc::Receiver<Bytes>,
        sent: &RefCell<VecDeque<Line>>,
        progress: &RefCell<(u64, Option<u64>)>,
        tally: &Shared<'_, '_, '_>,
    ) -> Result<Ended, Failure> {
        let headers = [("content-type", "application/x-ndjson".to_owned())];
        let path_and_query = "/v1/orders/bulk";
        let call = Call { method: Method::POST, path_and_query, body: None, headers: &headers };
        let opened = match api.open(call, Some(body)).await {
            Ok(opened) => opened.success().await,
            Err(unreachable) => Err(unreachable.into()),
        };
        let mut chunks = match opened {
            Ok(stream) => stream.chunks,
            Err(failure) => return Ok(Ended::Broken(failure)),
        };
        let mut partial = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(broken) => return Ok(Ended::Broken(broken.into())),
            };
            partial.extend_from_slice(&chunk);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = partial.drain(..=end).collect();
                let Some(line) = sent.borrow_mut().pop_front() else { return Ok(out_of_step()) };
                self.number += 1;
                let Ok(answer) = serde_json::from_slice::<Value>(&text) else { return Ok(out_of_step()) };
                if answer.get("line").and_then(Value::as_u64) != Some(self.number) {
                    return Ok(out_of_step());
                }
                self.judge(line, answer, tally)?;
            }
            tally.borrow_mut().progress(*progress.borrow());
        }
        Ok(Ended::Whole)
    }

    /// A line is done with, or may be sent again.
    fn judge(&mut self, line: Line, answer: Value, tally: &Shared<'_, '_, '_>) -> Result<(), Failure> {
        // More followed it, so that was the line's own fault.
        if let Some((line, answer)) = self.too_large.take() {
            tally.borrow_mut().answered(line.number, &answer)?;
        }
        match answer.get("status").and_then(Value::as_u64) {
            Some(413) => self.too_large = Some((line, answer)),
            Some(408 | 429 | 500..=599) | None => {
                let wait = answer.pointer("/problem/retry_after").and_then(Value::as_u64);
                self.wait = self.wait.max(wait);
                self.again.push(line);
            }
            Some(_) => tally.borrow_mut().answered(line.number, &answer)?,
        }
        Ok(())
    }

    /// The lines that were answered and may be sent again. `all_answered`: whether no line that was sent is without answer.
    fn left(&mut self, all_answered: bool, tally: &Shared<'_, '_, '_>) -> Result<Vec<Line>, Failure> {
        if let Some((line, answer)) = self.too_large.take() {
            // The request was too large with it, unless it was the only one.
            if all_answered || self.number == 1 {
                tally.borrow_mut().answered(line.number, &answer)?;
            } else {
                self.again.push(line);
            }
        }
        Ok(std::mem::take(&mut self.again))
    }

    /// Why lines are left although the answer is whole.
    fn busy(&self) -> Failure {
        let mut headers = HeaderMap::new();
        if let Some(wait) = self.wait {
            headers.insert(header::RETRY_AFTER, wait.into());
        }
        ApiReply { status: 503, headers, body: Bytes::new() }.into()
    }
}

/// The answers do not belong to the lines: nothing that follows can be trusted, what was sent is sent again.
fn out_of_step() -> Ended {
    Ended::Broken(Unreachable::because("the server", "its answers are out of step with the lines").into())
}
