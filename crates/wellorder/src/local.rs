//! Commands that open the data folder themselves: the API without a server, audits, migrations, the doctor's look.

use crate::cli::audit::AuditArgs;
use crate::cli::doctor::Seen;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Settings};
use crate::folder::{DATABASE_FILE, Folder};
use crate::output::Output;
use crate::{boot, cli, serve, wire_up};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use order_core::action_log::chain;
use order_core::ports::Storage;
use order_core::query::Space;
use order_core::trace::Tracer;
use order_core::{Fault, TenantId, audit, journal};
use serde_json::json;
use std::sync::Arc;
use storage_sqlite::{Options, SqliteStorage};

/// The API over a data folder that no server holds, as `tenant`; the folder stays locked while this process lives.
///
/// # Errors
/// When the folder or its database cannot be used.
pub(crate) async fn offline(settings: &Settings, tenant: TenantId) -> Result<Router, Failure> {
    let folder = Folder::lock(&settings.data)?;
    let (storage, unwritable) = match wire_up::open_storage(settings, &folder) {
        Ok((storage, _)) => (storage, None),
        Err(unwritable) => {
            let (storage, why) = readable(settings, &folder, unwritable)?;
            (storage, Some(why))
        }
    };
    let app = wire_up::app(settings, storage, Tracer::off());
    // Held until the process ends, like the writer behind it.
    std::mem::forget(folder);
    let why_not = Arc::new(move |space: Option<Space>| {
        let short = space.filter(|space| !space.is_enough()).map(|Space { free, least }| {
            let (free, least) = (free >> 20, least >> 20);
            format!(
                "{free} MiB are free, {least} must stay free; fix: make room, or lower storage.free_space_min_mib"
            )
        });
        unwritable.clone().or(short)
    });
    let (router, storage) = (serve::offline_router(settings, &app, tenant), Arc::clone(&app.storage));
    Ok(router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (storage, why_not) = (Arc::clone(&storage), Arc::clone(&why_not));
        async move {
            let response = next.run(request).await;
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
            why_not(storage.space().await).map_or(response, |why| refuse(&why))
        }
    })))
}

/// Why nothing is written, for whoever sits at this folder: they may know.
fn refuse(why: &str) -> Response {
    let problem = json!({
        "type": "urn:wellorder:problem:unavailable",
        "title": "The database can be read, but not written",
        "status": 503,
        "detail": why,
    });
    let mut response = edge::respond::json(StatusCode::SERVICE_UNAVAILABLE, problem.to_string());
    let form = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, form);
    response
}

/// The storage of a folder that is ours and cannot be written now, for reading alone; and why, with what to do.
fn readable(
    settings: &Settings,
    folder: &Folder,
    unwritable: anyhow::Error,
) -> anyhow::Result<(Arc<dyn Storage>, String)> {
    let Some(Fault::Unavailable { why, .. }) = unwritable.downcast_ref() else { return Err(unwritable) };
    match SqliteStorage::open_at_rest(&wire_up::options(settings, folder.database())) {
        Ok(storage) => {
            let why = format!("{why}; fix: {}", boot::remedy(why, settings, &folder.database()));
            Ok((Arc::new(storage), why))
        }
        // What keeps it from being written says more.
        Err(_) => Err(unwritable),
    }
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
        let json = json!({ "from": migrated.from, "to": migrated.to, "backup": backup });
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
    let storage = to_audit(settings, &wire_up::options(settings, path))?;
    if args.actions {
        let followed = chain::follow(&storage, &args.noted).await;
        return Ok(cli::audit::show_actions(&followed.map_err(anyhow::Error::from)?, out)?);
    }
    let app = wire_up::app(settings, Arc::new(storage), Tracer::off());
    let report = audit::audit(&app, |orders| out.progress(&format!("{orders} orders read"))).await;
    Ok(cli::audit::show(&report.map_err(anyhow::Error::from)?, out)?)
}

/// The database beside its server; or, where SQLite cannot read because it cannot write, as it lies.
fn to_audit(settings: &Settings, options: &Options) -> Result<SqliteStorage, Failure> {
    let unreadable = match SqliteStorage::open_read_only(options) {
        Ok(storage) => return Ok(storage),
        Err(fault) => fault,
    };
    if matches!(unreadable, Fault::Unavailable { .. })
        && let Ok(folder) = Folder::lock(&settings.data)
        && let Ok(storage) = SqliteStorage::open_at_rest(options)
    {
        // Held until the process ends: nobody may write meanwhile.
        std::mem::forget(folder);
        return Ok(storage);
    }
    Err(anyhow::Error::from(unreadable).into())
}

/// `doctor`.
///
/// # Errors
/// When the output cannot be written.
pub(crate) async fn doctor(config: &Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    cli::doctor::doctor(config, out, seen).await
}

/// What the folder's database says of itself; `None` without a database.
async fn seen(settings: &Settings) -> anyhow::Result<Option<Seen>> {
    let path = settings.data.join(DATABASE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let newest = storage_sqlite::MIGRATIONS.last().map_or(0, |migration| migration.number);
    let options = wire_up::options(settings, path);
    let versions = (storage_sqlite::schema_version(&options)?, newest);
    // A journal that does not read is the audit's to find.
    let newest_event = match SqliteStorage::open_read_only(&options) {
        Ok(storage) => journal::newest(&storage).await.ok().flatten(),
        Err(_) => None,
    };
    Ok(Some(Seen { versions, newest_event }))
}
