//! Carries redrive jobs out behind the requests that asked for them: step by step, over faults, until the process stops.

use order_core::action_log;
use order_core::ids::RedriveId;
use order_core::redrive::{Redrive, RedriveFilter};
use order_core::trace;
use order_core::{App, Error, Fault, TenantId};
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// First and longest wait after a fault; each wait is twice the one before until a step succeeds.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Between two looks for jobs that nobody carries out.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Records a job and has it carried out.
///
/// # Errors
/// Faults of storage.
pub(crate) async fn start(
    app: &Arc<App>,
    tenant: TenantId,
    filter: RedriveFilter,
    reason: String,
    by: String,
) -> Result<Redrive, Error> {
    let app = Arc::clone(app);
    // In a task of its own, so that a client who goes away meanwhile does not leave a job that nobody carries out.
    let (at, actor) = (trace::current(), action_log::current());
    let starting = async move {
        let started = app.start_redrive(tenant, filter, reason, by).await;
        match &started {
            Ok(redrive) => {
                let carried = carry_out(Arc::downgrade(&app), redrive.redrive_id, tokio::time::sleep);
                tokio::spawn(trace::within(at, carried));
            }
            // It may be recorded all the same, and then nobody knows its id.
            Err(Error::Fault(Fault::OutcomeUnknown)) => {
                tokio::spawn(take_up_open(Arc::downgrade(&app), tokio::time::sleep));
            }
            Err(_) => {}
        }
        started
    };
    let starting = tokio::spawn(trace::within(at, action_log::within(actor, starting)));
    starting.await.map_err(Fault::internal)?
}

/// Takes up the jobs that an earlier process left unfinished, behind this call.
///
/// # Errors
/// When they cannot be read.
pub async fn resume_redrives(app: Arc<App>) -> Result<(), Fault> {
    for redrive_id in app.storage.open_redrives().await? {
        tracing::info!(%redrive_id, "takes a redrive up again");
        tokio::spawn(carry_out(Arc::downgrade(&app), redrive_id, tokio::time::sleep));
    }
    Ok(())
}

/// Takes up what nobody seems to carry out, for as long as it is polled: jobs of a node that is gone while others live. A job
/// that was open at two looks in a row is taken up once.
pub async fn adopt_redrives(app: Weak<App>) {
    adopt(app, tokio::time::sleep, tokio::time::sleep).await;
}

async fn adopt<L: Future<Output = ()>, F: Future<Output = ()> + Send + 'static>(
    app: Weak<App>,
    pause: impl Fn(Duration) -> L,
    wait: impl Fn(Duration) -> F + Clone + Send + 'static,
) {
    let (mut seen, mut adopted) = (HashSet::new(), HashSet::new());
    loop {
        pause(LOOK_EVERY).await;
        let Some(app) = app.upgrade() else { return };
        let Ok(open) = app.storage.open_redrives().await else { continue };
        let open: HashSet<RedriveId> = open.into_iter().collect();
        adopted.retain(|redrive_id| open.contains(redrive_id));
        for &redrive_id in open.intersection(&seen) {
            // Where somebody does carry it out, the two share its steps.
            if adopted.insert(redrive_id) {
                tracing::info!(%redrive_id, "takes up a redrive that is open for long");
                tokio::spawn(carry_out(Arc::downgrade(&app), redrive_id, wait.clone()));
            }
        }
        seen = open;
    }
}

/// Finds the open jobs, over faults, and has them carried out. One that is being carried out already loses nothing by
/// that: a step begins where the last one ended, whoever took it.
async fn take_up_open<F: Future<Output = ()>>(app: Weak<App>, wait: impl Fn(Duration) -> F) {
    let mut pause = WAIT_MIN;
    while let Some(app) = app.upgrade() {
        match resume_redrives(app).await {
            Ok(()) | Err(Fault::ShuttingDown) => return,
            Err(fault) => tracing::debug!(%fault, "cannot look for redrives yet"),
        }
        wait(pause).await;
        pause = WAIT_MAX.min(pause * 2);
    }
}

/// Carries a job out to its end. It ends earlier when the process stops, which is when everybody else has let go of
/// `app`: a job holds it only while a step runs, so that no wait keeps the storage from being closed.
async fn carry_out<F: Future<Output = ()>>(
    app: Weak<App>,
    redrive_id: RedriveId,
    wait: impl Fn(Duration) -> F,
) {
    let mut failing = false;
    let mut pause = WAIT_MIN;
    while let Some(app) = app.upgrade() {
        let step = app.step_redrive(redrive_id).await;
        drop(app);
        match step {
            Ok(redrive) => {
                if failing {
                    tracing::info!(%redrive_id, "redrive goes on");
                }
                if redrive.finished {
                    let Redrive { redriven, refused, .. } = redrive;
                    tracing::info!(%redrive_id, redriven, refused, "redrive finished");
                    return;
                }
                (failing, pause) = (false, WAIT_MIN);
            }
            // It is taken up again at the next start.
            Err(Error::Fault(Fault::ShuttingDown)) => return,
            Err(Error::Fault(fault)) => {
                if !failing {
                    report(redrive_id, &fault);
                }
                failing = true;
                wait(pause).await;
                pause = WAIT_MAX.min(pause * 2);
            }
            Err(Error::Rejection(rejection)) => {
                tracing::error!(%redrive_id, %rejection, "redrive stopped");
                return;
            }
        }
    }
}

/// Says once that a job waits. What does not pass by itself may be mended too, so it is tried again all the same.
fn report(redrive_id: RedriveId, fault: &Fault) {
    if fault.retry_after().is_some() {
        tracing::warn!(%redrive_id, %fault, "redrive waits for the storage");
    } else {
        tracing::error!(%redrive_id, %fault, "redrive cannot go on; trying again");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use order_core::command::Command;
    use order_core::lane::LanePolicy;
    use order_core::ports::Storage;
    use order_core::process::{Worker, WorkerPolicy};
    use std::collections::VecDeque;
    use std::future::ready;
    use std::sync::Mutex;
    use testkit::build::intake;
    use testkit::processors::Act;
    use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, SeededIds, Wrapped};

    /// How the next steps of jobs end: not at all, as they do, or in a fault although they took place.
    #[derive(Clone)]
    enum Step {
        Fails(Fault),
        TakesPlace,
        TakesPlaceUnheard,
    }

    /// A storage whose steps of jobs follow a script; without one they take place.
    fn scripted(steps: impl IntoIterator<Item = Step>) -> Arc<dyn Storage> {
        let script = Arc::new(Mutex::new(steps.into_iter().collect::<VecDeque<_>>()));
        let unheard = Arc::new(Mutex::new(false));
        let heard = Arc::clone(&unheard);
        let steps =
            |batch: &[Command]| batch.iter().any(|command| matches!(command, Command::StepRedrive(_)));
        let before = move |batch: &[Command]| {
            let step = if steps(batch) { script.lock().unwrap().pop_front() } else { None };
            *unheard.lock().unwrap() = matches!(step, Some(Step::TakesPlaceUnheard));
            if let Some(Step::Fails(fault)) = step { Some(fault) } else { None }
        };
        let after = move |_: &[Command]| heard.lock().unwrap().then_some(Fault::OutcomeUnknown);
        Wrapped::failing(MemoryStorage::new().port(), Box::new(before), Box::new(after))
    }

    /// An app with `parked` parked orders and a job for all of them.
    async fn app_with_job(storage: Arc<dyn Storage>, parked: usize) -> (Arc<App>, RedriveId) {
        let clock = ManualClock::new();
        let app = App::start(storage, clock.clone(), SeededIds::new(1), LanePolicy::default());
        let processor = ScriptedProcessor::new();
        for index in 0..parked {
            clock.tick();
            let sent = intake(&format!("A-{index}")).build();
            processor.script(testkit::build::id_of(&sent), [Act::hopeless("no")]);
            app.accept(sent).await.unwrap();
        }
        let policy = WorkerPolicy { batch_size: parked, ..WorkerPolicy::default() };
        Worker::new(Arc::clone(&app), processor, policy).step().await.unwrap();
        let (tenant, filter) = (TenantId::default_tenant(), RedriveFilter::default());
        let job = app.start_redrive(tenant, filter, "why".to_owned(), "me".to_owned()).await.unwrap();
        (app, job.redrive_id)
    }

    async fn job(app: &App, redrive_id: RedriveId) -> Redrive {
        app.storage.redrive(&TenantId::default_tenant(), redrive_id).await.unwrap().unwrap()
    }

    /// Lets the other tasks run until `so`, which must come to be.
    async fn until(so: impl AsyncFn() -> bool) {
        for _ in 0..1_000 {
            if so().await {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not come to be");
    }

    fn unavailable() -> Fault {
        Fault::Unavailable { why: "locked".to_owned(), retry_after: Duration::from_secs(3_600) }
    }

    #[tokio::test]
    async fn a_job_goes_on_after_any_fault_and_waits_longer_each_time_within_bounds() {
        let mut steps = vec![Step::Fails(unavailable()); 7];
        steps.extend([Step::TakesPlace, Step::Fails(Fault::internal("a row")), Step::TakesPlaceUnheard]);
        steps.push(Step::Fails(Fault::Data { why: "a value".to_owned() }));
        let (app, redrive_id) = app_with_job(scripted(steps), 500).await;
        let waits = Mutex::new(Vec::new());
        let wait = |span: Duration| {
            waits.lock().unwrap().push(span.as_secs());
            ready(())
        };
        carry_out(Arc::downgrade(&app), redrive_id, wait).await;
        assert_eq!(*waits.lock().unwrap(), [1, 2, 4, 8, 16, 30, 30, 1, 2, 4]);
        let job = job(&app, redrive_id).await;
        assert_eq!((job.finished, job.redriven, job.refused), (true, 500, 0), "each order once");
    }

    #[tokio::test]
    async fn a_stop_ends_a_job_that_waits_and_nothing_holds_the_storage_meanwhile() {
        let storage = scripted(vec![Step::Fails(unavailable()); 100]);
        let (app, redrive_id) = app_with_job(Arc::clone(&storage), 1).await;
        let (job, app) = (Arc::downgrade(&app), Mutex::new(Some(app)));
        let waits = Mutex::new(0);
        let wait = |_| {
            *waits.lock().unwrap() += 1;
            drop(app.lock().unwrap().take());
            assert_eq!(job.strong_count(), 0, "a job that waits holds nothing");
            ready(())
        };
        carry_out(Weak::clone(&job), redrive_id, wait).await;
        assert_eq!(*waits.lock().unwrap(), 1);
        // The lanes let go of the storage too: it can be closed.
        until(async || Arc::strong_count(&storage) == 1).await;
        let open = storage.open_redrives().await.unwrap();
        assert_eq!(open, [redrive_id], "the next start takes it up again");
    }

    #[tokio::test]
    async fn a_storage_that_ends_ends_the_job() {
        let (app, redrive_id) = app_with_job(scripted([Step::Fails(Fault::ShuttingDown)]), 1).await;
        let wait = |_| -> std::future::Ready<()> { unreachable!("there is nothing to wait for") };
        carry_out(Arc::downgrade(&app), redrive_id, wait).await;
        assert!(!job(&app, redrive_id).await.finished);
    }

    #[tokio::test]
    async fn jobs_are_looked_for_until_the_storage_can_be_read() {
        let storage = MemoryStorage::new();
        let (app, redrive_id) = app_with_job(storage.port(), 3).await;
        for _ in 0..3 {
            storage.fail_next_read(unavailable());
        }
        let waits = Mutex::new(Vec::new());
        let wait = |span: Duration| {
            waits.lock().unwrap().push(span.as_secs());
            ready(())
        };
        take_up_open(Arc::downgrade(&app), wait).await;
        assert_eq!(*waits.lock().unwrap(), [1, 2, 4]);
        until(async || job(&app, redrive_id).await.finished).await;
    }
}
