//! The driver's own memory: a file of what was intended and what was acknowledged. An acknowledgement counts
//! once it is on the disk, and the checks at the end read nothing but that file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::order::Order;

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Intent(Order),
    Ack { reference: String, order_id: String, status: u16 },
    Kill { how: String },
}

struct Append {
    line: Vec<u8>,
    synced: Option<Sender<()>>,
}

/// Appends; may be shared between threads.
pub(crate) struct History {
    path: PathBuf,
    lines: Sender<Append>,
    /// When something was killed, and how.
    kills: Mutex<Vec<(Instant, String)>>,
}

/// An order of the history with the ids under which it was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) order: Order,
    /// Every `order_id` that an acknowledgement named: none, or all the same, if all is well.
    pub(crate) order_ids: Vec<String>,
    /// How many acknowledgements said "new" (201).
    pub(crate) created: usize,
}

impl History {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
        let (lines, received) = channel();
        thread::spawn(move || {
            if let Err(fault) = write_all(file, &received) {
                // Without its history the driver can prove nothing: the waiting clients end with an error.
                eprintln!("the history cannot be written: {fault}");
            }
        });
        Ok(Self { path: path.to_path_buf(), lines, kills: Mutex::default() })
    }

    /// Before the first request of an order. It reaches the disk no later than the acknowledgement.
    pub(crate) fn intent(&self, order: &Order) -> Result<()> {
        self.append(&Entry::Intent(order.clone()), None)
    }

    /// Returns once the acknowledgement is on the disk.
    pub(crate) fn acknowledged(&self, order: &Order, order_id: &str, status: u16) -> Result<()> {
        let (synced, wait) = channel();
        let reference = order.reference.clone();
        self.append(&Entry::Ack { reference, order_id: order_id.to_owned(), status }, Some(synced))?;
        wait.recv().context("the history was not synced")
    }

    pub(crate) fn kill(&self, how: &str) -> Result<()> {
        self.kills.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), how.to_owned()));
        self.append(&Entry::Kill { how: how.to_owned() }, None)
    }

    /// All of them so far.
    pub(crate) fn kills(&self) -> Vec<(Instant, String)> {
        self.kills.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn append(&self, entry: &Entry, synced: Option<Sender<()>>) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.lines.send(Append { line, synced }).map_err(|_| anyhow!("the history's writer has ended"))
    }

    /// Reads the file back, by reference.
    pub(crate) fn read(&self) -> Result<BTreeMap<String, Known>> {
        read(&self.path)
    }
}

/// Group commit: whatever has queued up while the last sync ran goes to the disk with one sync.
fn write_all(mut file: File, received: &Receiver<Append>) -> std::io::Result<()> {
    while let Ok(first) = received.recv() {
        let mut batch = vec![first];
        batch.extend(received.try_iter());
        let bytes: Vec<u8> = batch.iter().flat_map(|write| write.line.iter().copied()).collect();
        file.write_all(&bytes)?;
        file.sync_data()?;
        for synced in batch.into_iter().filter_map(|write| write.synced) {
            synced.send(()).ok(); // a client that no longer waits does not need to know
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<BTreeMap<String, Known>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        match serde_json::from_str(&line?).context("a line of the history is damaged")? {
            Entry::Intent(order) => {
                let fresh = Known { order: order.clone(), order_ids: Vec::new(), created: 0 };
                known.entry(order.reference).or_insert(fresh);
            }
            Entry::Ack { reference, order_id, status } => {
                let known = known.get_mut(&reference).context("acknowledged without an intent")?;
                known.created += usize::from(status == 201);
                if !known.order_ids.contains(&order_id) {
                    known.order_ids.push(order_id);
                }
            }
            Entry::Kill { .. } => {}
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn what_was_written_is_read_back() {
        let path = std::env::temp_dir().join(format!("xtask-history-{}", std::process::id()));
        std::fs::remove_file(&path).ok();
        let history = History::create(&path).unwrap();
        let orders: Vec<Order> = (0..6).map(|n| Order::generate("t", 0, n, &mut Rng::new(n))).collect();
        for order in &orders {
            history.intent(order).unwrap();
        }
        history.kill("random").unwrap();
        history.acknowledged(&orders[0], "id-0", 201).unwrap();
        history.acknowledged(&orders[0], "id-0", 200).unwrap();
        history.acknowledged(&orders[1], "id-1", 201).unwrap();
        history.acknowledged(&orders[1], "id-other", 201).unwrap();
        let known = history.read().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(known.len(), 6);
        assert_eq!(known["t-0-0"].order, orders[0]);
        assert_eq!((known["t-0-0"].order_ids.len(), known["t-0-0"].created), (1, 1));
        assert_eq!((known["t-0-1"].order_ids.len(), known["t-0-1"].created), (2, 2));
        assert_eq!(known["t-0-2"].order_ids.len(), 0);
    }
}
