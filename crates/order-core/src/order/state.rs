//! The two axes of an order's state, and the one table of legal changes.

use super::Order;
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word of the wire.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value that `word` names.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words!(
    /// How far the work of an order has come. `running` is never stored: it is read from a live lease.
    Processing {
        /// Waits for a worker.
        Queued = "queued",
        /// A worker holds a live lease.
        Running = "running",
        /// Nothing is left to do.
        Done = "done",
        /// Out of attempts, or hopeless: waits for an operator.
        Parked = "parked",
    }
);

words!(
    /// How far the goods have come. Never goes back.
    Fulfilment {
        /// Not sent yet.
        Unshipped = "unshipped",
        /// On its way.
        Shipped = "shipped",
        /// Arrived.
        Delivered = "delivered",
    }
);

words!(
    /// The changes that the table rules on.
    ChangeName {
        /// New content.
        Revise = "revise",
        /// Soft delete or cancel.
        Withdraw = "withdraw",
        /// The goods were sent.
        Ship = "ship",
        /// The goods arrived.
        Deliver = "deliver",
        /// Parked work gets a fresh budget of attempts.
        Redrive = "redrive",
        /// Personal fields are blanked.
        Erase = "erase",
    }
);

/// What the table says of a change in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// An event is appended.
    Change,
    /// It is so already: nothing is written, nobody is bothered.
    Already,
    /// Not in this state.
    Refused,
}

/// The table: is `change` legal for an order in this state? `processing` is the stored one (never `running`).
///
/// Facts of fulfilment may come in any order and never go back: a delivery makes an unshipped order delivered at
/// once, and a shipment that comes late, or again, only fills in what is missing ([`Order::ruling`] knows what is known).
pub fn ruling(change: ChangeName, processing: Processing, fulfilment: Fulfilment, withdrawn: bool) -> Ruling {
    use ChangeName as C;
    use Fulfilment as F;
    use Processing as P;
    match (change, withdrawn, fulfilment, processing) {
        (C::Revise, false, F::Unshipped, _) => Ruling::Change,
        (C::Revise, false, F::Shipped | F::Delivered, _) | (C::Revise, true, _, _) => Ruling::Refused,
        (C::Withdraw, false, _, _) => Ruling::Change,
        (C::Withdraw, true, _, _) => Ruling::Already,
        (C::Ship, false, F::Unshipped | F::Delivered, _) => Ruling::Change,
        (C::Ship, false, F::Shipped, _) => Ruling::Already,
        (C::Ship, true, F::Shipped, _) | (C::Deliver, true, F::Delivered, _) => Ruling::Already,
        (C::Ship, true, F::Unshipped | F::Delivered, _) => Ruling::Refused,
        (C::Deliver, false, F::Unshipped | F::Shipped, _) => Ruling::Change,
        (C::Deliver, false, F::Delivered, _) => Ruling::Already,
        (C::Deliver, true, F::Unshipped | F::Shipped, _) => Ruling::Refused,
        (C::Redrive, _, _, P::Parked) => Ruling::Change,
        (C::Redrive, _, _, P::Queued | P::Running | P::Done) => Ruling::Refused,
        (C::Erase, _, _, _) => Ruling::Change,
    }
}

impl Order {
    /// What the table says of a change of this order now.
    pub fn ruling(&self, change: ChangeName) -> Ruling {
        match (change, ruling(change, self.processing, self.fulfilment, self.withdrawn)) {
            // A shipment is told of once; a tracking number may come later.
            (ChangeName::Ship, _) if self.shipped_at.is_some() => {
                let fills_in = self.tracking_number.is_none() && !self.withdrawn;
                if fills_in { Ruling::Change } else { Ruling::Already }
            }
            (_, ruling) => ruling,
        }
    }

    /// The changes that would change this order now.
    pub fn legal_changes(&self) -> impl Iterator<Item = ChangeName> {
        ChangeName::ALL.iter().copied().filter(|&change| self.ruling(change) == Ruling::Change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a (change, withdrawn, fulfilment), the ruling for queued, done and parked in turn.
    const TABLE: &str = "
        revise   no  unshipped  C C C
        revise   no  shipped    - - -
        revise   no  delivered  - - -
        revise   yes unshipped  - - -
        revise   yes shipped    - - -
        revise   yes delivered  - - -
        withdraw no  unshipped  C C C
        withdraw no  shipped    C C C
        withdraw no  delivered  C C C
        withdraw yes unshipped  = = =
        withdraw yes shipped    = = =
        withdraw yes delivered  = = =
        ship     no  unshipped  C C C
        ship     no  shipped    = = =
        ship     no  delivered  C C C
        ship     yes unshipped  - - -
        ship     yes shipped    = = =
        ship     yes delivered  - - -
        deliver  no  unshipped  C C C
        deliver  no  shipped    C C C
        deliver  no  delivered  = = =
        deliver  yes unshipped  - - -
        deliver  yes shipped    - - -
        deliver  yes delivered  = = =
        redrive  no  unshipped  - - C
        redrive  no  shipped    - - C
        redrive  no  delivered  - - C
        redrive  yes unshipped  - - C
        redrive  yes shipped    - - C
        redrive  yes delivered  - - C
        erase    no  unshipped  C C C
        erase    no  shipped    C C C
        erase    no  delivered  C C C
        erase    yes unshipped  C C C
        erase    yes shipped    C C C
        erase    yes delivered  C C C";

    #[test]
    fn the_table_of_changes_is_as_written_down() {
        let stored = [Processing::Queued, Processing::Done, Processing::Parked];
        let mut lines = TABLE.lines().filter(|line| !line.trim().is_empty());
        for &change in ChangeName::ALL {
            for withdrawn in [false, true] {
                for &fulfilment in Fulfilment::ALL {
                    let marks: Vec<&str> = stored
                        .iter()
                        .map(|&processing| match ruling(change, processing, fulfilment, withdrawn) {
                            Ruling::Change => "C",
                            Ruling::Already => "=",
                            Ruling::Refused => "-",
                        })
                        .collect();
                    let yes = if withdrawn { "yes" } else { "no" };
                    let line: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
                    let head = [change.word(), yes, fulfilment.word()];
                    assert_eq!(line, [&head[..], &marks[..]].concat());
                }
            }
        }
        assert_eq!(lines.next(), None);
    }
}
