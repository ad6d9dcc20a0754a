//! Connections, with the settings that safety asks for, and their statements, each prepared once.

use crate::error::{Tried, unavailable};
use order_core::Fault;
use std::collections::HashMap;
use std::future::poll_fn;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Notification, Row, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest that the other end may leave unacknowledged what was sent.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Values for a statement.
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Commits of a lane.
    Write,
    /// Reads of everything.
    Read,
    /// Reads of one tenant's rows: see [`Conn::own`].
    ReadOwn,
    /// Migrations, which may wait for others that migrate.
    Migrate,
}

impl Purpose {
    fn settings(self) -> &'static str {
        match self {
            // A lane's statements all go by key. Their plans are made once, and must not be made from what a table that
            // nobody has analysed yet seems to hold.
            Self::Write => {
                "SET statement_timeout = '5s'; SET lock_timeout = '2s'; \
                 SET idle_in_transaction_session_timeout = '10s'; SET jit = off; SET TimeZone = 'UTC'; \
                 SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
                 SET enable_mergejoin = off; SET enable_material = off; SET enable_memoize = off"
            }
            // Reads go by key and end early, whatever the values. To plan them anew takes longer than they do.
            Self::Read => {
                "SET statement_timeout = '5s'; SET lock_timeout = '2s'; \
                 SET idle_in_transaction_session_timeout = '10s'; SET jit = off; SET TimeZone = 'UTC'; \
                 SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan"
            }
            Self::ReadOwn => {
                "SET statement_timeout = '5s'; SET lock_timeout = '2s'; \
                 SET idle_in_transaction_session_timeout = '10s'; SET jit = off; SET TimeZone = 'UTC'; \
                 SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan; \
                 SET ROLE wellorder_read"
            }
            Self::Migrate => {
                "SET statement_timeout = '10min'; SET lock_timeout = '60s'; SET jit = off; SET TimeZone = 'UTC'"
            }
        }
    }
}

/// Where the server is and how to come in.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Target {
    /// Reads a URL (`postgres://USER:PASSWORD@HOST:PORT/NAME`). Where the server speaks TLS its certificate is checked;
    /// `sslmode=require` accepts nothing less.
    ///
    /// # Errors
    /// When it is no such URL.
    pub(crate) fn parse(url: &str) -> Result<Self, Fault> {
        // The driver's error does not repeat the URL, which may hold a password.
        let mut config =
            Config::from_str(url).map_err(|error| Fault::internal(format!("the database's URL: {error}")))?;
        if config.get_application_name().is_none() {
            config.application_name("wellorder");
        }
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX);
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::internal(format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
    }

    /// Makes a connection.
    pub(crate) async fn connect(&self, purpose: Purpose) -> Tried<Conn> {
        let (client, connection) = self.open().await?;
        // Ends when the client is dropped or the server hangs up.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = crate::error::in_full(&error), "a connection ended");
            }
        });
        client.batch_execute(purpose.settings()).await?;
        Ok(Conn { client, statements: Mutex::default(), owner: Mutex::default() })
    }

    /// Makes a connection that passes on what it is notified of; when it ends, so does `heard`.
    pub(crate) async fn listen(&self, heard: UnboundedSender<Notification>) -> Tried<Conn> {
        let (client, mut connection) = self.open().await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && heard.send(notification).is_err()
                {
                    return;
                }
            }
        });
        client.batch_execute(Purpose::Read.settings()).await?;
        Ok(Conn { client, statements: Mutex::default(), owner: Mutex::default() })
    }

    async fn open(&self) -> Tried<(Client, Connection<Socket, TlsStream>)> {
        let connecting = self.config.connect(self.tls.clone());
        let opened = tokio::time::timeout(2 * CONNECT_TIMEOUT, connecting).await;
        Ok(opened.map_err(|_| unavailable("the database does not answer"))??)
    }
}

/// A connection.
pub(crate) struct Conn {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// Whose rows it sees, where it is one that sees one tenant's alone.
    owner: Mutex<Option<String>>,
}

impl Conn {
    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether it sees the rows of `tenant`.
    pub(crate) fn is_of(&self, tenant: &str) -> bool {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(tenant)
    }

    /// Lets it see the rows of `tenant` alone; made for [`Purpose::ReadOwn`].
    pub(crate) async fn own(&self, tenant: &str) -> Tried<()> {
        if !self.is_of(tenant) {
            self.query_one("SELECT set_config('wellorder.tenant', $1, false)", &[&tenant]).await?;
            *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(tenant.to_owned());
        }
        Ok(())
    }

    /// The driver's own, for what is sent in one go.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The statement of this text, prepared the first time.
    pub(crate) async fn prepared(&self, sql: &'static str) -> Tried<Statement> {
        if let Some(statement) = self.known(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    fn known(&self, sql: &'static str) -> Option<Statement> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    /// All rows.
    pub(crate) async fn query(&self, sql: &'static str, values: Values<'_>) -> Tried<Vec<Row>> {
        Ok(self.client.query(&self.prepared(sql).await?, values).await?)
    }

    /// The one row.
    pub(crate) async fn query_one(&self, sql: &'static str, values: Values<'_>) -> Tried<Row> {
        Ok(self.client.query_one(&self.prepared(sql).await?, values).await?)
    }

    /// The row, if there is one.
    pub(crate) async fn query_opt(&self, sql: &'static str, values: Values<'_>) -> Tried<Option<Row>> {
        Ok(self.client.query_opt(&self.prepared(sql).await?, values).await?)
    }

    /// How many rows were changed.
    pub(crate) async fn execute(&self, sql: &'static str, values: Values<'_>) -> Tried<u64> {
        Ok(self.client.execute(&self.prepared(sql).await?, values).await?)
    }

    /// Statements without values, as they stand.
    pub(crate) async fn run(&self, sql: &'static str) -> Tried<()> {
        Ok(self.client.batch_execute(sql).await?)
    }
}
