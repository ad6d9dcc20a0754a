//! Who does the work of which orders.

use super::settings::Settings;
use order_core::desk::{Desk, Desks};

/// Who does the work of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProcessorKind {
    /// Waits, then says done (or fails, on request).
    #[default]
    Simulate,
    /// Posts the order to a URL.
    Http,
    /// Nobody here: workers outside claim it over HTTP.
    Pull,
    /// Nobody here: another program learns of it over Kafka, and acknowledges it there. For `orderstream` alone.
    Kafka,
}

impl ProcessorKind {
    /// Those that anybody may be given to.
    pub(super) const WORDS: &'static [&'static str] = &["simulate", "http", "pull"];
    /// Those of a contract that is told of over Kafka.
    pub(super) const WORDS_WITH_KAFKA: &'static [&'static str] = &["simulate", "http", "pull", "kafka"];
    /// By their places in there.
    pub(crate) const VALUES: [Self; 4] = [Self::Simulate, Self::Http, Self::Pull, Self::Kafka];

    /// What a word says.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::VALUES.into_iter().find(|kind| kind.word() == word)
    }

    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Simulate => "simulate",
            Self::Http => "http",
            Self::Pull => "pull",
            Self::Kafka => "kafka",
        }
    }
}

impl Settings {
    /// Who does the work that lies at a desk.
    pub(crate) fn processor_at(&self, desk: Desk) -> ProcessorKind {
        let its_own = desk.contract().and_then(|contract| self.contract_processors.get(contract));
        its_own.copied().unwrap_or(self.processor)
    }

    /// The desks whose work `kind` does.
    pub(crate) fn desks_of(&self, kind: ProcessorKind) -> Desks {
        Desks::ALL.iter().filter(|desk| self.processor_at(*desk) == kind).collect()
    }

    /// The settings that name `kind`.
    pub(super) fn naming(&self, kind: ProcessorKind) -> Vec<String> {
        let general = (self.processor == kind).then(|| "processor".to_owned());
        let contracts = self.contract_processors.iter().filter(|(_, its)| **its == kind);
        general.into_iter().chain(contracts.map(|(name, _)| format!("contracts.{name}.processor"))).collect()
    }

    /// Whether another program does the work of the orders of `orderstream`, and acknowledges that over Kafka.
    pub(crate) fn left_to_kafka(&self) -> bool {
        !self.desks_of(ProcessorKind::Kafka).is_empty()
    }
}
