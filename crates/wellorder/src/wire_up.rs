//! From settings to a running whole: use cases, worker.

use crate::config::{ProcessorKind, Settings};
use crate::http_processor::HttpProcessor;
use crate::simulate::Simulate;
use crate::storage::Opened;
use crate::system::SystemIds;
use crate::trust;
use anyhow::Context;
use order_core::App;
use order_core::lane::LanePolicy;
use order_core::lease::{Backoff, LeasePolicy};
use order_core::ports::Processor;
use order_core::process::{Processors, Worker, WorkerPolicy};
use order_core::trace::Tracer;
use std::sync::Arc;

/// The use cases over a storage, by its clock.
pub(crate) fn app(settings: &Settings, opened: &Opened, tracer: Tracer) -> Arc<App> {
    let lane = &settings.lane;
    let lanes = LanePolicy {
        queue_max: lane.queue_max,
        queue_bytes: lane.queue_bytes,
        batch_max: lane.batch_max,
        delay_max: lane.delay_max,
        deadline: lane.deadline,
    };
    let (storage, clock) = (Arc::clone(&opened.storage), Arc::clone(&opened.clock));
    App::traced(storage, clock, Arc::new(SystemIds), lanes, tracer)
}

/// How the settings have work leased and retried.
pub(crate) fn lease_policy(settings: &Settings) -> LeasePolicy {
    let worker = &settings.worker;
    LeasePolicy {
        lease: worker.lease,
        heartbeat: worker.heartbeat,
        attempts_max: worker.max_attempts,
        lapses_max: worker.lapses_max,
        backoff: Backoff { base: worker.backoff_base, cap: worker.backoff_cap },
    }
}

/// The worker that the settings ask for, at the desks whose work is done here; none when others do all of it.
///
/// # Errors
/// When the address of the processor `http` cannot be used.
pub(crate) fn worker(settings: &Settings, app: &Arc<App>) -> anyhow::Result<Option<Worker>> {
    let mut processors = Processors::new();
    for kind in [ProcessorKind::Simulate, ProcessorKind::Http] {
        let desks = settings.desks_of(kind);
        if !desks.is_empty()
            && let Some(processor) = processor(kind, settings, app)?
        {
            processors.extend(desks.iter().map(|desk| (desk, Arc::clone(&processor))));
        }
    }
    if processors.is_empty() {
        return Ok(None);
    }
    let worker = &settings.worker;
    let policy = WorkerPolicy {
        lease: lease_policy(settings),
        batch_size: worker.batch_size,
        poll: worker.poll_interval,
    };
    Ok(Some(Worker::at_desks(Arc::clone(app), processors, policy)))
}

/// None for what is not done here.
fn processor(
    kind: ProcessorKind,
    settings: &Settings,
    app: &App,
) -> anyhow::Result<Option<Arc<dyn Processor>>> {
    Ok(Some(match kind {
        ProcessorKind::Simulate => Arc::new(Simulate {
            delay: settings.simulate.delay,
            fail_rate: settings.simulate.fail_rate,
            ids: Arc::clone(&app.ids),
        }),
        ProcessorKind::Http => Arc::new(http_processor(settings, app)?),
        ProcessorKind::Pull | ProcessorKind::Kafka => return Ok(None),
    }))
}

fn http_processor(settings: &Settings, app: &App) -> anyhow::Result<HttpProcessor> {
    let http = &settings.http_processor;
    let url = http.url.as_deref().context("http_processor.url is not set")?;
    let timeouts = outbound::Timeouts { connect: http.connect_timeout, total: http.timeout };
    let client =
        outbound::ProcessorClient::new(url, &trust::of(settings)?, timeouts).context("http_processor.url")?;
    Ok(HttpProcessor { client, clock: Arc::clone(&app.clock) })
}
