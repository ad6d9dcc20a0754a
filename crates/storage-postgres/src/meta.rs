//! What the database says of itself, in the table `install`.

use crate::connect::Conn;
use crate::error::Tried;
use crate::migrate;
use crate::refusal::Refusal;
use crate::rows::{bytes32, number};
use order_core::Pepper;
use order_core::query::Install;
use uuid::Uuid;

/// What a new database is given.
#[derive(Clone)]
pub struct Seed {
    /// Tells databases apart.
    pub installation_id: Uuid,
    /// The key that signs cursors: 32 unguessable bytes.
    pub cursor_key: [u8; 32],
    /// What API keys are hashed with: 32 unguessable bytes.
    pub key_pepper: [u8; 32],
    /// How many shards it has for ever.
    pub shards: u16,
}

/// What was written at install; `None` for a database that has not been installed to the end.
pub(crate) async fn load(conn: &Conn) -> Tried<Option<Install>> {
    let schema_version = migrate::version(conn).await?;
    if schema_version == 0 {
        return Ok(None);
    }
    let row = conn
        .query_opt("SELECT installation_id, shards, epoch, cursor_key, key_pepper FROM install", &[])
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Install {
        installation_id: row.try_get(0)?,
        shards: number::<_, i32>(&row, 1)?,
        epoch: number::<_, i32>(&row, 2)?,
        cursor_key: bytes32(&row, 3)?,
        key_pepper: Pepper::new(bytes32(&row, 4)?),
        schema_version,
    }))
}

/// Writes a new database's identity, once: by the caller that holds the lock of migrations.
pub(crate) async fn install(conn: &Conn, seed: &Seed) -> Tried<()> {
    if load(conn).await?.is_some() {
        return Ok(());
    }
    conn.run("BEGIN").await?;
    write(conn, seed).await?;
    conn.run("COMMIT").await
}

/// The same, inside of the caller's transaction.
pub(crate) async fn write(conn: &Conn, seed: &Seed) -> Tried<()> {
    let shards = i32::from(seed.shards);
    conn.query_one("SELECT make_shards($1)", &[&shards]).await?;
    conn.execute(
        "INSERT INTO install (installation_id, shards, epoch, cursor_key, key_pepper) VALUES ($1, $2, 1, $3, $4)",
        &[&seed.installation_id, &shards, &seed.cursor_key.as_slice(), &seed.key_pepper.as_slice()],
    )
    .await
    .map(drop)
}

/// Refuses a number of shards that is not the installed one.
pub(crate) fn check_shards(install: &Install, shards: u16) -> Result<(), Refusal> {
    if install.shards == shards {
        return Ok(());
    }
    let why =
        format!("the database was installed with {} shards, the configuration says {shards}", install.shards);
    Err(Refusal::lasting(why, format!("set shards = {}", install.shards)))
}

/// Makes sure that reads for a tenant are guarded; `false` where that is not allowed.
pub(crate) async fn guard_reads(conn: &Conn) -> Tried<bool> {
    Ok(conn.query_one("SELECT guard_reads()", &[]).await?.try_get(0)?)
}
