//! Statements that leave in one go, without waiting for each other's answers.

use crate::connect::Conn;
use crate::error::Tried;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::future::poll_fn;
use std::task::Poll;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

/// A value for a statement, or an array of values.
pub(crate) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

enum Step<'a> {
    Plain(&'static str),
    Statement(Statement, Vec<Value<'a>>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Pipeline<'a> {
    steps: Vec<Step<'a>>,
}

impl<'a> Pipeline<'a> {
    /// Adds a statement without values and without rows; returns its place.
    pub(crate) fn plain(&mut self, sql: &'static str) -> usize {
        self.steps.push(Step::Plain(sql));
        self.steps.len() - 1
    }

    /// Adds a statement; returns its place.
    pub(crate) async fn add(
        &mut self,
        conn: &Conn,
        sql: &'static str,
        values: Vec<Value<'a>>,
    ) -> Tried<usize> {
        self.steps.push(Step::Statement(conn.prepared(sql).await?, values));
        Ok(self.steps.len() - 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Sends all of them and waits for all answers: the rows of each, in order, or what went wrong first.
    pub(crate) async fn run(self, conn: &Conn) -> Tried<Answers> {
        conn.answered(send(conn, self.steps)).await
    }
}

async fn send(conn: &Conn, steps: Vec<Step<'_>>) -> Tried<Answers> {
    let mut waiting = Vec::with_capacity(steps.len());
    for step in steps {
        let mut answer: BoxFuture<'_, Result<Vec<Row>, tokio_postgres::Error>> = match step {
            Step::Plain(sql) => {
                conn.client().batch_execute(sql).map(|done| done.map(|()| Vec::new())).boxed()
            }
            Step::Statement(statement, values) => async move {
                let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
                conn.client().query(&statement, &values).await
            }
            .boxed(),
        };
        // The first poll sends. What cannot even be sent keeps all that comes behind it from being sent, a COMMIT above all.
        match poll_fn(|context| Poll::Ready(answer.poll_unpin(context))).await {
            Poll::Ready(Err(error)) if error.code().is_none() => return Err(error.into()),
            Poll::Ready(done) => waiting.push(std::future::ready(done).boxed()),
            Poll::Pending => waiting.push(answer),
        }
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for answer in waiting {
        answers.push(answer.await?);
    }
    Ok(Answers(answers))
}

/// Rows by the places of their statements.
pub(crate) struct Answers(Vec<Vec<Row>>);

impl Answers {
    /// The rows of the statement at `place`; none for one that was not sent.
    pub(crate) fn rows(&self, place: Option<usize>) -> &[Row] {
        place.and_then(|place| self.0.get(place)).map_or(&[], Vec::as_slice)
    }

    /// The rows of the statement at `place` alone.
    pub(crate) fn into_rows(mut self, place: usize) -> Vec<Row> {
        self.0.get_mut(place).map(std::mem::take).unwrap_or_default()
    }
}
