//! A PostgreSQL database for each test, on the server that runs for tests.

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Where `cargo xtask services up postgres` has one.
const USUAL: &str = "postgres://postgres@127.0.0.1:15432/postgres";

/// A database, which goes with this.
pub(crate) struct Database {
    pub(crate) url: String,
    admin: String,
    name: String,
}

impl Database {
    /// An empty one on the server for tests.
    #[expect(clippy::disallowed_methods, reason = "where the server for tests is")]
    pub(crate) fn new() -> Self {
        Self::on(&std::env::var("WELLORDER_TEST_DATABASE_URL").unwrap_or_else(|_| USUAL.to_owned()))
    }

    /// An empty one on the server with this URL.
    #[expect(clippy::disallowed_methods, reason = "a name like no other")]
    pub(crate) fn on(admin: &str) -> Self {
        let name = ["it_", &Uuid::new_v4().simple().to_string()].concat();
        let url = [admin.rsplit_once('/').unwrap().0, "/", &name].concat();
        run(admin, &["CREATE DATABASE ", &name].concat());
        Self { url, admin: admin.to_owned(), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run(&self.admin, &["DROP DATABASE IF EXISTS ", &self.name, " WITH (FORCE)"].concat());
    }
}

/// Runs statements, from wherever, and waits.
pub(crate) fn run(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { client(&url).await.batch_execute(&sql).await.unwrap() });
    });
    running.join().unwrap();
}

/// What a statement with one text counts.
pub(crate) fn count(url: &str, sql: &'static str, text: &'static str) -> usize {
    let url = url.to_owned();
    let counting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let row = runtime.block_on(async { client(&url).await.query_one(sql, &[&text]).await.unwrap() });
        usize::try_from(row.get::<_, i64>(0)).unwrap()
    });
    counting.join().unwrap()
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("no PostgreSQL at {url} ({error}): cargo xtask services up postgres"));
    tokio::spawn(connection);
    client
}
