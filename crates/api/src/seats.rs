//! Seats for requests that last: so many in all, and half of them at most for one tenant, so that nobody takes the last
//! one from everybody else.

use order_core::{Fault, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many seats.
pub(crate) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Who has any.
    by_tenant: HashMap<TenantId, usize>,
}

/// One of them, free again when this is dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    tenant: TenantId,
}

impl Seats {
    /// `most` of them, none taken.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Takes one for `tenant`.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when there is none left, or none for this tenant.
    pub(crate) fn take(self: &Arc<Self>, tenant: &TenantId) -> Result<Seat, Fault> {
        let mut taken = self.taken();
        let own = taken.by_tenant.get(tenant).copied().unwrap_or(0);
        if taken.all >= self.most || own >= (self.most / 2).max(1) {
            return Err(Fault::overloaded());
        }
        taken.all += 1;
        taken.by_tenant.insert(tenant.clone(), own + 1);
        Ok(Seat { seats: Arc::clone(self), tenant: tenant.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all = taken.all.saturating_sub(1);
        match taken.by_tenant.get_mut(&self.tenant) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_tenant.remove(&self.tenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use testkit::build::tenant;

    #[test]
    fn one_tenant_takes_half_of_them_and_gives_them_back() {
        let seats = Seats::new(5);
        let take = |whose: &str| seats.take(&tenant(whose));
        let mut ours = vec![take("ours").unwrap(), take("ours").unwrap()];
        assert!(take("ours").is_err(), "half of five");
        let theirs = [take("theirs").unwrap(), take("theirs").unwrap()];
        let last = take("others").unwrap();
        assert!(take("nobody").is_err(), "all are taken");
        ours.pop();
        drop(last);
        ours.push(take("ours").unwrap());
        drop((ours, theirs));
        assert!(seats.taken().by_tenant.is_empty() && seats.taken().all == 0);
        let single = Seats::new(1);
        let only = single.take(&tenant("ours")).unwrap();
        assert!(single.take(&tenant("theirs")).is_err());
        drop(only);
        single.take(&tenant("theirs")).unwrap();
        assert!(Seats::new(0).take(&tenant("ours")).is_err());
    }
}
