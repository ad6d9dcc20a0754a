//! Desks: at each lies the work of the orders that one processor has. A contract's orders have a desk of their own, all others
//! share one, so that settings can say of each who works at it.
//!
//! Work says in its row at which desk it lies, and a claim names the desks that it takes from: what lies at others costs it
//! nothing, however much that is. Who works where is decided by the settings of whoever claims, at the moment of the claim;
//! no row says it.

use crate::ids::SourceId;

/// Sources that are not for clients to name, and the desk of each. This is all that is known here of contracts. The numbers
/// are in databases: none is ever changed, or given to another.
const RESERVED: [(&str, Desk); 6] = [
    ("oscarps", Desk(1)),
    ("parspec", Desk(2)),
    ("sales", Desk(3)),
    ("marketplace", Desk(4)),
    ("orderstream", Desk(5)),
    ("orderstream-events", Desk(5)),
];

/// Where work lies until somebody claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Desk(u8);

impl Desk {
    /// That of orders which came through no contract.
    pub const COMMON: Self = Self(0);
    /// How many there are.
    pub const COUNT: usize = 6;

    /// Where the work of orders of `source` lies.
    pub fn of(source: &SourceId) -> Self {
        Self::reserved(source.as_str()).unwrap_or(Self::COMMON)
    }

    /// The desk of a source that no client may name; `None` for any other.
    pub fn reserved(source: &str) -> Option<Self> {
        RESERVED.iter().find(|(name, _)| *name == source).map(|(_, desk)| *desk)
    }

    /// The sources that no client may name.
    pub fn reserved_sources() -> impl Iterator<Item = &'static str> {
        RESERVED.iter().map(|(name, _)| *name)
    }

    /// Its number, as databases keep it.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The number that a row names, when it is not that of work of `source`: for audits.
    pub fn other(number: i64, source: &str) -> Option<i64> {
        let right = Self::reserved(source).unwrap_or(Self::COMMON);
        Some(number).filter(|number| *number != i64::from(right.0))
    }

    /// The contract whose orders' work lies here; none for [`Desk::COMMON`].
    pub fn contract(self) -> Option<&'static str> {
        RESERVED.iter().find(|(_, desk)| *desk == self).map(|(name, _)| *name)
    }

    fn bit(self) -> u8 {
        1 << self.0
    }
}

/// Some desks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desks(u8);

impl Desks {
    /// Every one.
    pub const ALL: Self = Self((1 << Desk::COUNT) - 1);
    /// Not one.
    pub const NONE: Self = Self(0);

    /// Those that are not in here.
    #[must_use]
    pub fn others(self) -> Self {
        Self(Self::ALL.0 & !self.0)
    }

    /// Whether a desk is in here.
    pub fn has(self, desk: Desk) -> bool {
        self.0 & desk.bit() != 0
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in here, by number.
    pub fn iter(self) -> impl Iterator<Item = Desk> {
        (0_u8..).take(Desk::COUNT).map(Desk).filter(move |desk| self.has(*desk))
    }

    /// As a number: the bit of each desk's number is set.
    pub fn bits(self) -> u8 {
        self.0
    }
}

impl From<Desk> for Desks {
    fn from(desk: Desk) -> Self {
        Self(desk.bit())
    }
}

impl FromIterator<Desk> for Desks {
    fn from_iter<I: IntoIterator<Item = Desk>>(desks: I) -> Self {
        Self(desks.into_iter().fold(0, |bits, desk| bits | desk.bit()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::expect_used, reason = "tests")]
    use super::*;

    fn of(source: &str) -> Desk {
        Desk::of(&SourceId::new(source).expect("a source"))
    }

    #[test]
    fn a_contract_has_one_desk_whatever_its_sources_are_called() {
        assert_eq!([of("api"), of("shop"), of("sale"), of("Sales")], [Desk::COMMON; 4]);
        assert_eq!(of("orderstream"), of("orderstream-events"));
        assert_eq!(of("orderstream").contract(), Some("orderstream"));
        assert_eq!(Desk::COMMON.contract(), None);
        let contracts: Vec<_> = Desks::ALL.iter().filter_map(Desk::contract).collect();
        assert_eq!(contracts, ["oscarps", "parspec", "sales", "marketplace", "orderstream"]);
    }

    /// They are in databases.
    #[test]
    fn numbers_are_what_they_were() {
        let numbers = ["api", "oscarps", "parspec", "sales", "marketplace", "orderstream"];
        assert_eq!(numbers.map(|source| of(source).number()), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn some_desks_and_the_others_are_all() {
        let some: Desks = [of("sales"), Desk::COMMON].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [Desk::COMMON, of("sales")]);
        assert_eq!((some.bits(), some.others().bits()), (0b1001, 0b11_0110));
        assert!(some.has(of("sales")) && !some.others().has(of("sales")) && Desks::NONE.is_empty());
        assert_eq!(Desks::ALL.others(), Desks::NONE);
        assert_eq!(Desks::from(of("parspec")).iter().count(), 1);
    }
}
