//! Commands that open the data folder themselves: the API without a server, audits, migrations, the doctor's look.

use crate::cli::audit::AuditArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Settings};
use crate::folder::{DATABASE_FILE, Folder};
use crate::output::Output;
use crate::{cli, serve, wire_up};
use axum::Router;
use order_core::action_log::chain;
use order_core::trace::Tracer;
use order_core::{TenantId, audit};
use std::sync::Arc;
use storage_sqlite::SqliteStorage;

/// The API over a data folder that no server holds, as `tenant`; the folder stays locked while this process lives.
///
/// # Errors
/// When the folder or its database cannot be used.
pub(crate) async fn offline(settings: &Settings, tenant: TenantId) -> Result<Router, Failure> {
    let folder = Folder::lock(&settings.data)?;
    let (storage, _) = wire_up::open_storage(settings, &folder)?;
    let app = wire_up::app(settings, storage, Tracer::off());
    // Held until the process ends, like the writer behind it.
    std::mem::forget(folder);
    Ok(serve::offline_router(settings, &app, tenant))
}

/// `migrate`.
///
/// # Errors
/// When the folder is in use, or its database cannot be brought up to date.
pub(crate) async fn migrate(settings: &Settings, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let folder = Folder::lock(&settings.data)?;
    let (_, opened) = wire_up::open_storage(settings, &folder)?;
    let migrated = opened.migrated;
    let backup = migrated.backup.as_ref().map(|path| path.display().to_string());
    if out.json {
        let json = serde_json::json!({ "from": migrated.from, "to": migrated.to, "backup": backup });
        out.json(json.to_string().as_bytes())?;
    } else if migrated.from == migrated.to {
        out.line(&format!("schema {} is the newest: nothing to do", migrated.to))?;
    } else {
        out.line(&format!("schema {} -> {}", migrated.from, migrated.to))?;
        if let Some(backup) = backup {
            out.line(&format!("a copy of what was there: {backup}"))?;
        }
    }
    Ok(Exit::Ok)
}

/// `audit`: reads beside a running server, or a folder at rest.
///
/// # Errors
/// When there is no database, or it cannot be read.
pub(crate) async fn audit(
    args: &AuditArgs,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let path = settings.data.join(DATABASE_FILE);
    if !path.exists() {
        let what = format!("there is no database {}", path.display());
        return Err(Failure::here(Exit::Unreachable, what, "name the data folder with --data"));
    }
    let storage =
        SqliteStorage::open_read_only(&wire_up::options(settings, path)).map_err(anyhow::Error::from)?;
    if args.actions {
        let followed = chain::follow(&storage, &args.noted).await;
        return Ok(cli::audit::show_actions(&followed.map_err(anyhow::Error::from)?, out)?);
    }
    let app = wire_up::app(settings, Arc::new(storage), Tracer::off());
    let report = audit::audit(&app, |orders| out.progress(&format!("{orders} orders read"))).await;
    Ok(cli::audit::show(&report.map_err(anyhow::Error::from)?, out)?)
}

/// `doctor`.
///
/// # Errors
/// When the output cannot be written.
pub(crate) async fn doctor(config: &Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    cli::doctor::doctor(config, out, schema_version).await
}

/// The schema version of the folder's database, and the newest that this program knows; `None` without a database.
async fn schema_version(settings: &Settings) -> anyhow::Result<Option<(u32, u32)>> {
    let path = settings.data.join(DATABASE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let newest = storage_sqlite::MIGRATIONS.last().map_or(0, |migration| migration.number);
    let version = storage_sqlite::schema_version(&wire_up::options(settings, path))?;
    Ok(Some((version, newest)))
}
