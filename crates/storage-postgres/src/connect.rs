//! Connections, with the settings that safety asks for, and their statements, each prepared once.
//!
//! Those of a process that goes by the history it has found at its start ([`Target::of`]) hold a lock for as long as they live,
//! shared by all of them: nobody begins another history meanwhile. Each asks for the epoch once it has the lock. So whoever was
//! cut off while another history began, and comes back, is not let in.

use crate::epoch;
use crate::error::{Tried, Trouble, unavailable};
use crate::refusal::Refusal;
use crate::{Options, address};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Notification, Row, SimpleQueryMessage, Socket, Statement,
};
use tokio_postgres_rustls::MakeRustlsConnect;

type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How many times as long as the server gives a statement its answers are waited for. A server that hangs, or whatever is on
/// the way to it, acknowledges what is sent: no limit but ours ends that.
const PATIENCE: u32 = 3;
/// The same of what migrates.
const PATIENCE_MIGRATING: Duration = Duration::from_secs(1_800);

/// What is said of a server that hangs.
const SILENT: &str = "the database does not answer";

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
    /// What besides time limits a connection is given.
    fn settings(self) -> &'static str {
        match self {
            // A lane's statements all go by key. Their plans are made once, and must not be made from what a table that
            // nobody has analysed yet seems to hold.
            Self::Write => {
                "SET jit = off; SET TimeZone = 'UTC'; \
                 SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
                 SET enable_mergejoin = off; SET enable_material = off; SET enable_memoize = off"
            }
            // Reads go by key and end early, whatever the values. To plan them anew takes longer than they do.
            Self::Read => {
                "SET jit = off; SET TimeZone = 'UTC'; \
                 SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan"
            }
            Self::ReadOwn => {
                "SET jit = off; SET TimeZone = 'UTC'; \
                 SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan; \
                 SET ROLE wellorder_read"
            }
            Self::Migrate => "SET jit = off; SET TimeZone = 'UTC'",
        }
    }

    /// Longest wait for an answer.
    fn patience(self, limits: &TimeLimits) -> Duration {
        if self == Self::Migrate { PATIENCE_MIGRATING } else { PATIENCE * limits.statement }
    }

    /// With time limits, and what is asked under them first.
    fn begin(self, limits: &TimeLimits, first: &str) -> String {
        if self == Self::Migrate {
            return ["SET statement_timeout = '10min'; SET lock_timeout = '60s'; ", self.settings()].concat();
        }
        let millis = |span: Duration| span.as_millis().to_string();
        let (statement, lock, idle) =
            (millis(limits.statement), millis(limits.lock), millis(limits.idle_in_transaction));
        [
            "SET statement_timeout = ",
            &statement,
            "; SET lock_timeout = ",
            &lock,
            "; SET idle_in_transaction_session_timeout = ",
            &idle,
            "; ",
            first,
            self.settings(),
        ]
        .concat()
    }
}

/// How long what may take; all in whole milliseconds. To PostgreSQL, and so for the first three, 0 is no limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// One statement.
    pub statement: Duration,
    /// The wait for a lock.
    pub lock: Duration,
    /// A transaction of which nothing is heard.
    pub idle_in_transaction: Duration,
    /// What was sent, until the other end acknowledges it.
    pub unacknowledged: Duration,
    /// The wait of a read for a connection.
    pub connection_wait: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(5),
            lock: Duration::from_secs(2),
            idle_in_transaction: Duration::from_secs(10),
            unacknowledged: Duration::from_secs(10),
            connection_wait: Duration::from_secs(1),
        }
    }
}

/// Where the server is and how to come in.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    pub(crate) limits: TimeLimits,
    /// Address and name of the database, without user and password.
    name: Arc<str>,
    /// What a process goes by, once it knows.
    history: Option<History>,
}

/// Which history it is, and whether it was said that it is over.
#[derive(Clone)]
struct History {
    epoch: u32,
    is_over: Arc<AtomicBool>,
}

impl Target {
    /// Reads a URL. Where the server speaks TLS its certificate is checked.
    ///
    /// # Errors
    /// When it is no such URL, or asks for what is not safe.
    pub(crate) fn parse(options: &Options) -> Result<Self, Refusal> {
        let config = address::read(&options.url, options.insecure)?;
        let name = address::shown(&config).into();
        Ok(Self {
            tls: tls(options)?,
            limits: options.limits,
            name,
            config: with_limits(config, options.limits),
            history: None,
        })
    }

    /// The same, for connections of the history with this epoch alone.
    pub(crate) fn of(self, epoch: u32) -> Self {
        Self { history: Some(History { epoch, is_over: Arc::default() }), ..self }
    }

    /// What the server and the database are called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a connection.
    pub(crate) async fn connect(&self, purpose: Purpose) -> Tried<Conn> {
        let (client, connection) = self.open().await?;
        // Ends when the client is dropped or the server hangs up.
        let carrying = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = crate::error::in_full(&error), "a connection ended");
            }
        });
        self.begun(purpose, client, carrying.abort_handle()).await
    }

    /// Makes a connection that passes on what it is notified of; when it ends, so does `heard`.
    pub(crate) async fn listen(&self, heard: UnboundedSender<Notification>) -> Tried<Conn> {
        let (client, mut connection) = self.open().await?;
        let carrying = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && heard.send(notification).is_err()
                {
                    return;
                }
            }
        });
        self.begun(Purpose::Read, client, carrying.abort_handle()).await
    }

    /// A connection with the settings of its purpose.
    async fn begun(&self, purpose: Purpose, client: Client, carrying: AbortHandle) -> Tried<Conn> {
        let conn = Conn {
            client,
            carrying,
            patience: purpose.patience(&self.limits),
            is_silent: AtomicBool::new(false),
            statements: Mutex::default(),
            latest: Mutex::default(),
            owner: Mutex::default(),
        };
        let beginning = tokio::time::timeout(2 * CONNECT_TIMEOUT, self.begin(&conn.client, purpose)).await;
        let Ok(begun) = beginning else {
            conn.is_silent.store(true, Ordering::Relaxed);
            return Err(unavailable(SILENT).into());
        };
        begun?;
        Ok(conn)
    }

    /// Sets a connection up; refuses it where another history has begun.
    async fn begin(&self, client: &Client, purpose: Purpose) -> Tried<()> {
        let Some(history) = &self.history else {
            return Ok(client.batch_execute(&purpose.begin(&self.limits, "")).await?);
        };
        let answers = client.simple_query(&purpose.begin(&self.limits, &epoch::stay())).await?;
        let epoch = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.try_get("epoch").ok().flatten(),
            _ => None,
        });
        let own = history.epoch;
        if epoch.is_some_and(|epoch| epoch == own.to_string()) {
            return Ok(());
        }
        let epoch = epoch.unwrap_or("none");
        if !history.is_over.swap(true, Ordering::Relaxed) {
            tracing::error!(epoch, own, "the database has begun another history: start this process anew");
        }
        let why = format!("the database has begun another history: its epoch is {epoch}, and {own} here");
        Err(Refusal::lasting(why, "start this process anew").into())
    }

    async fn open(&self) -> Tried<(Client, Connection<Socket, TlsStream>)> {
        let connecting = self.config.connect(self.tls.clone());
        let opened = tokio::time::timeout(2 * CONNECT_TIMEOUT, connecting).await;
        Ok(opened.map_err(|_| unavailable(SILENT))??)
    }
}

fn with_limits(mut config: Config, limits: TimeLimits) -> Config {
    if config.get_application_name().is_none() {
        config.application_name("wellorder");
    }
    config
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(limits.unacknowledged)
        // In whole seconds: the system refuses none at all.
        .keepalives_idle(limits.unacknowledged.max(Duration::from_secs(1)));
    config
}

/// Authorities: the public ones, and those that the options name.
fn tls(options: &Options) -> Result<MakeRustlsConnect, Refusal> {
    const FIX: &str = "name a PEM file with certificates of authorities in tls.ca_file";
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = &options.authorities {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| Refusal::lasting(error.to_string(), FIX))?;
            roots.add(certificate).map_err(|error| Refusal::lasting(error.to_string(), FIX))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Refusal::lasting(error.to_string(), FIX))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A connection.
pub(crate) struct Conn {
    client: Client,
    /// What carries its bytes.
    carrying: AbortHandle,
    patience: Duration,
    /// Whether an answer did not come in time.
    is_silent: AtomicBool,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// The one whose text is replaced now and then.
    latest: Mutex<Option<(Arc<str>, Statement)>>,
    /// Whose rows it sees, where it is one that sees one tenant's alone.
    owner: Mutex<Option<String>>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        // Else it would wait on, for as long as the other end lives.
        if self.is_silent.load(Ordering::Relaxed) {
            self.carrying.abort();
        }
    }
}

impl Conn {
    /// Whether it has ended, or is of no use any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed() || self.is_silent.load(Ordering::Relaxed)
    }

    /// What was asked over this connection, if it is answered in time. Else the connection is given up, and nobody knows
    /// whether it was done.
    pub(crate) async fn answered<T, E: Into<Trouble>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Tried<T> {
        let lost = || Trouble::Lost(SILENT.to_owned());
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(lost());
        }
        match tokio::time::timeout(self.patience, asked).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => {
                self.is_silent.store(true, Ordering::Relaxed);
                Err(lost())
            }
        }
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
        let statement = self.answered(self.client.prepare(sql)).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    /// The same for one text that is replaced now and then: the statement of the one before is given up.
    pub(crate) async fn prepared_latest(&self, sql: &Arc<str>) -> Tried<Statement> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, statement)) = latest.filter(|(text, _)| text == sql) {
            return Ok(statement);
        }
        let statement = self.answered(self.client.prepare(sql)).await?;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Arc::clone(sql), statement.clone()));
        Ok(statement)
    }

    fn known(&self, sql: &'static str) -> Option<Statement> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    /// All rows.
    pub(crate) async fn query(&self, sql: &'static str, values: Values<'_>) -> Tried<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        self.answered(self.client.query(&statement, values)).await
    }

    /// The one row.
    pub(crate) async fn query_one(&self, sql: &'static str, values: Values<'_>) -> Tried<Row> {
        let statement = self.prepared(sql).await?;
        self.answered(self.client.query_one(&statement, values)).await
    }

    /// The row, if there is one.
    pub(crate) async fn query_opt(&self, sql: &'static str, values: Values<'_>) -> Tried<Option<Row>> {
        let statement = self.prepared(sql).await?;
        self.answered(self.client.query_opt(&statement, values)).await
    }

    /// How many rows were changed.
    pub(crate) async fn execute(&self, sql: &'static str, values: Values<'_>) -> Tried<u64> {
        let statement = self.prepared(sql).await?;
        self.answered(self.client.execute(&statement, values)).await
    }

    /// Statements without values, as they stand.
    pub(crate) async fn run(&self, sql: &'static str) -> Tried<()> {
        self.answered(self.client.batch_execute(sql)).await
    }
}
