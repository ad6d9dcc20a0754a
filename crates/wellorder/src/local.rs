//! Commands that open the database themselves: the API without a server, audits, migrations, the doctor's look.

use crate::cli::audit::AuditArgs;
use crate::cli::doctor::Seen;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Mode, Settings};
use crate::folder::DATABASE_FILE;
use crate::output::Output;
use crate::storage::{self, Database as _, Usable, sqlite};
use crate::system::SystemClock;
use crate::{cli, markets, secrets, serve, webhooks, wire_up};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use order_core::action_log::chain;
use order_core::query::Space;
use order_core::trace::Tracer;
use order_core::{Clock, TenantId, audit, journal};
use serde_json::json;
use std::sync::Arc;

/// Sets an empty database on a server up, for the first API key: no server starts without a login.
///
/// # Errors
/// When it cannot be had.
pub(crate) async fn set_up(settings: &Settings, out: &mut Output<'_>) -> Result<(), Failure> {
    if settings.database.text().is_none() {
        return Ok(());
    }
    let database = storage::of(settings)?;
    let stands = database.stands(SystemClock::default().now()).await.map_err(storage::named)?;
    if stands.is_none() {
        let done = database.migrate().await.map_err(storage::named)?;
        out.note(&format!("the database was empty and is set up now: schema {}", done.to));
    }
    Ok(())
}

/// The API over the database, as `tenant`, for a command that makes API keys or does not; where that is in a data folder which
/// no server holds, the folder stays locked while this process lives.
///
/// # Errors
/// When the folder or its database cannot be used.
pub(crate) async fn offline(
    settings: &Settings,
    tenant: TenantId,
    makes_keys: bool,
) -> Result<Router, Failure> {
    let database = storage::of(settings)?;
    let folder = storage::folder_of_command(settings)?;
    let Usable { opened, unwritable } = database.open_for_command(makes_keys).await?;
    let app = wire_up::app(settings, &opened, Tracer::off());
    secrets::hold_unchecked(&app, settings)?;
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
    // What may be called is what the server may call whose folder this is; that looks again at each delivery.
    let mode = if secrets::is_of_dev(settings) { Mode::Dev } else { Mode::Client };
    app.deliver_with(webhooks::deliverer(mode, settings, Vec::new())?);
    let market = markets::market(settings, &app, None)?;
    let router = serve::offline_router(settings, &app, tenant, market);
    let storage = Arc::clone(&app.storage);
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

/// `migrate`.
///
/// # Errors
/// When the folder is in use, or its database cannot be brought up to date.
pub(crate) async fn migrate(settings: &Settings, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let database = storage::of(settings)?;
    let _folder = storage::folder_of_command(settings)?;
    let done = database.migrate().await.map_err(storage::named)?;
    let copy = done.copy.as_ref().map(|path| path.display().to_string());
    if out.json {
        let json = json!({ "from": done.from, "to": done.to, "backup": copy });
        out.json(json.to_string().as_bytes())?;
    } else if done.from == done.to {
        out.line(&format!("schema {} is the newest: nothing to do", done.to))?;
    } else {
        out.line(&format!("schema {} -> {}", done.from, done.to))?;
        if let Some(copy) = copy {
            out.line(&format!("a copy of what was there: {copy}"))?;
        }
    }
    Ok(Exit::Ok)
}

/// `audit`: reads beside running servers, or a database at rest.
///
/// # Errors
/// When there is no database, or it cannot be read.
pub(crate) async fn audit(
    args: &AuditArgs,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let opened = storage::of(settings)?.open_to_read().await?;
    if args.actions {
        let followed = chain::follow(&*opened.storage, &args.noted).await;
        return Ok(cli::audit::show_actions(&followed.map_err(anyhow::Error::from)?, out)?);
    }
    let app = wire_up::app(settings, &opened, Tracer::off());
    let report = audit::audit(&app, |orders| out.progress(&format!("{orders} orders read"))).await;
    Ok(cli::audit::show(&report.map_err(anyhow::Error::from)?, out)?)
}

/// `doctor`.
///
/// # Errors
/// When the output cannot be written.
pub(crate) async fn doctor(config: &Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let elsewhere = storage::of(&config.settings)?.examine().await;
    let sealing = secrets::examine(config).await;
    cli::doctor::doctor(config, out, seen, elsewhere, sealing).await
}

/// What the folder's database says of itself; `None` without a database.
async fn seen(settings: &Settings) -> anyhow::Result<Option<Seen>> {
    let path = settings.data.join(DATABASE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let database = sqlite::File::at(settings, path);
    let versions = database.versions()?;
    // A journal that does not read is the audit's to find.
    let newest_event = match database.open_to_read().await {
        Ok(opened) => journal::newest(&*opened.storage).await.ok().flatten(),
        Err(_) => None,
    };
    Ok(Some(Seen { versions, newest_event }))
}
