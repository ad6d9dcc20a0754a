//! Kafka's protocol: just enough to tell answers apart, and to keep clients on this way.

use super::session::{Session, Side, number};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

const PRODUCE: u16 = 0;
const FETCH: u16 = 1;
const METADATA: u16 = 3;
const FIND_COORDINATOR: u16 = 10;

pub(super) struct Kafka {
    /// The address of the broker as it writes it, a host and the port behind it; and as it is to be.
    theirs: Vec<u8>,
    ours: Vec<u8>,
    /// What was asked for, by the number that the answer will have.
    asked: HashMap<usize, u16>,
    said: BTreeSet<String>,
}

impl Kafka {
    /// For a broker that is known by the address that it is reached at.
    pub(super) fn new(server: SocketAddr, port: u16) -> Self {
        let written =
            |port: u16| [server.ip().to_string().as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let (theirs, ours) = (written(server.port()), written(port));
        Self { theirs, ours, asked: HashMap::new(), said: BTreeSet::new() }
    }
}

impl Session for Kafka {
    fn frame(&mut self, from: Side, bytes: &mut [u8]) -> Option<(usize, String)> {
        let len = 4 + number(bytes)?;
        let body = bytes.get_mut(4..len)?;
        let kind = match from {
            Side::Client => {
                let kind = u16::from_be_bytes([body[0], body[1]]);
                self.asked.insert(number(&body[4..])?, kind);
                self.said.insert(name(kind));
                kind
            }
            Side::Server => self.asked.remove(&number(body)?).unwrap_or(u16::MAX),
        };
        // Also who refuses what is another's says where that one is.
        if from == Side::Server && [PRODUCE, FETCH, METADATA, FIND_COORDINATOR].contains(&kind) {
            self.point_here(body);
        }
        Some((len, name(kind)))
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.iter().any(|said| said.contains(text))
    }
}

impl Kafka {
    /// The host is the same, so nothing moves.
    fn point_here(&self, body: &mut [u8]) {
        let places = body.len().saturating_sub(self.theirs.len() - 1);
        for at in 0..places {
            let place = &mut body[at..at + self.theirs.len()];
            if *place == self.theirs {
                place.copy_from_slice(&self.ours);
            }
        }
    }
}

fn name(kind: u16) -> String {
    match kind {
        PRODUCE => "Produce".to_owned(),
        FETCH => "Fetch".to_owned(),
        METADATA => "Metadata".to_owned(),
        8 => "OffsetCommit".to_owned(),
        22 => "InitProducerId".to_owned(),
        other => other.to_string(),
    }
}
