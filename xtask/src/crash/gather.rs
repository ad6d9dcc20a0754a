//! What the server shows at the end: the feed, the orders, the followers, the file of the sink.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::order::Door;
use crate::http::client::Client;

const TIMEOUT: Duration = Duration::from_secs(30);
const PAGE: usize = 1_000;
/// Empty pages in a row after which the end of the feed is reached, whatever their cursors say.
const EMPTY_PAGES_MAX: usize = 3;
/// Threads that read orders.
const READERS: usize = 4;

/// An event, as the feed or a sink shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event_id: String,
    pub(crate) order_id: String,
    pub(crate) version: u64,
    pub(crate) shard: u64,
    pub(crate) position: u64,
    pub(crate) kind: String,
    /// Source and reference, or customer when there is no reference, of `order.accepted` only.
    pub(crate) named: Option<(String, String)>,
    /// Of the whole event, whatever the order of its fields.
    pub(crate) digest: [u8; 16],
}

impl Event {
    pub(crate) fn parse(event: &Value) -> Result<Self> {
        let text =
            |name: &str| event[name].as_str().map(str::to_owned).with_context(|| format!("no text `{name}`"));
        let number = |name: &str| event[name].as_u64().with_context(|| format!("no number `{name}`"));
        let kind = text("type")?;
        let of_data = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
        // Without a reference the driver put its name into the customer.
        let name = || if event["data"]["reference"].is_null() { "customer" } else { "reference" };
        let named = (kind == "order.accepted").then(|| (of_data("source"), of_data(name())));
        Ok(Self {
            event_id: text("event_id")?,
            order_id: text("order_id")?,
            version: number("version")?,
            shard: number("shard")?,
            position: number("position")?,
            kind,
            named,
            digest: digest(event),
        })
    }
}

/// Follows the feed from the beginning.
pub(crate) struct Feed {
    client: Client,
    cursor: Option<String>,
}

impl Feed {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { client: Client::new(address, TIMEOUT), cursor: None }
    }

    /// Adds every event that was not read yet to `events`, up to the end of the feed or to where it breaks off. An
    /// empty page may have a `next`, but not for ever.
    pub(crate) fn read(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut empty_pages = 0;
        while empty_pages < EMPTY_PAGES_MAX {
            let after = self.cursor.as_ref().map(|cursor| format!("&after={cursor}")).unwrap_or_default();
            let page = self.client.get_json(&format!("/v1/events?limit={PAGE}{after}"))?;
            let shown = page["events"].as_array().context("a feed without `events`")?;
            for event in shown {
                events.push(Event::parse(event).with_context(|| format!("in the feed: {event}"))?);
            }
            let next = page["next"].as_str().map(str::to_owned);
            let moved = next.is_some() && next != self.cursor;
            empty_pages = if shown.is_empty() { empty_pages + 1 } else { 0 };
            if moved {
                self.cursor = next;
            } else if shown.is_empty() {
                break;
            } else {
                bail!("a page with events, but without a cursor that leads on");
            }
        }
        Ok(())
    }
}

/// One order, as `/v1` and, for its door, as the contract shows it. None where that is a 404.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) v1: Option<Value>,
    pub(crate) oscarps: Option<Value>,
}

/// Reads the given orders, each by its id and, of oscarps, by its reference; keyed by id.
pub(crate) fn orders(
    address: SocketAddr,
    wanted: &[(String, Door, String)],
) -> Result<HashMap<String, Shown>> {
    let share = wanted.len().div_ceil(READERS).max(1);
    let parts: Vec<Result<Vec<(String, Shown)>>> = thread::scope(|scope| {
        let readers: Vec<_> =
            wanted.chunks(share).map(|part| scope.spawn(move || read_part(address, part))).collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|_| Err(anyhow!("a reader panicked"))))
            .collect()
    });
    let mut orders = HashMap::new();
    for part in parts {
        orders.extend(part?);
    }
    Ok(orders)
}

fn read_part(address: SocketAddr, part: &[(String, Door, String)]) -> Result<Vec<(String, Shown)>> {
    let mut client = Client::new(address, TIMEOUT);
    let mut found = Vec::with_capacity(part.len());
    for (order_id, door, reference) in part {
        let v1 = get(&mut client, &format!("/v1/orders/{order_id}"))?;
        let oscarps = match door {
            Door::Oscarps => get(&mut client, &format!("/oscarps/orders/{reference}"))?,
            Door::V1 | Door::Keyed | Door::Bulk | Door::Sales => None,
        };
        found.push((order_id.clone(), Shown { v1, oscarps }));
    }
    Ok(found)
}

fn get(client: &mut Client, path: &str) -> Result<Option<Value>> {
    let reply = client.get(path).with_context(|| format!("GET {path}"))?;
    match reply.status {
        200 => Ok(Some(reply.json()?)),
        404 => Ok(None),
        status => bail!("GET {path}: {status} {}", reply.text()),
    }
}

/// A follower, as `/v1/followers` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) lag: u64,
    /// Shard, position, head.
    pub(crate) shards: Vec<(u64, u64, u64)>,
}

pub(crate) fn followers(address: SocketAddr) -> Result<Vec<Follower>> {
    let answer = Client::new(address, TIMEOUT).get_json("/v1/followers")?;
    let list = answer["followers"].as_array().context("no `followers`")?;
    list.iter()
        .map(|shown| {
            let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
            let shards = shown["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(Follower {
                name: text("name"),
                state: text("state"),
                lag: shown["lag"].as_u64().with_context(|| format!("no `lag` in {shown}"))?,
                shards: shards
                    .iter()
                    .map(|at| {
                        let n =
                            |name: &str| at[name].as_u64().with_context(|| format!("no `{name}` in {at}"));
                        Ok((n("shard")?, n("position")?, n("head")?))
                    })
                    .collect::<Result<_>>()?,
            })
        })
        .collect()
}

/// A line of the sink's file: where it stands, what it says, and the digest of its very bytes.
#[derive(Clone, Debug)]
pub(crate) struct SinkLine {
    pub(crate) place: String,
    /// Or why it could not be read.
    pub(crate) event: Result<Event, String>,
    pub(crate) bytes: [u8; 16],
}

/// The file `events.ndjson` with those that it was rotated into, oldest first.
pub(crate) fn sink_files(data: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    if !data.exists() {
        return Ok(Vec::new()); // the server did not come that far
    }
    for entry in fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("events") && name.contains("ndjson") && path.is_file() {
            files.push((path.metadata()?.modified()?, path));
        }
    }
    // The last write to a rotated file is older than any to the files after it.
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Every line of these files in the order they were written.
pub(crate) fn sink_lines(files: &[PathBuf]) -> Result<Vec<SinkLine>> {
    let mut lines = Vec::new();
    for path in files {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let event = match line.strip_suffix(b"\n") {
                Some(whole) => {
                    serde_json::from_slice(whole).map_err(anyhow::Error::from).and_then(|v| Event::parse(&v))
                }
                None => Err(anyhow!("a line without an end")),
            };
            lines.push(SinkLine {
                place: format!("{name}:{}", index + 1),
                event: event.map_err(|fault| format!("{fault:#}: {}", String::from_utf8_lossy(line))),
                bytes: digest_of(line),
            });
        }
    }
    Ok(lines)
}

/// A digest that does not depend on the order of fields.
fn digest(value: &Value) -> [u8; 16] {
    let mut hash = Sha256::new();
    feed(value, &mut hash);
    short(hash.finalize())
}

/// Of these very bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> [u8; 16] {
    short(Sha256::digest(bytes))
}

fn short(digest: impl AsRef<[u8]>) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&digest.as_ref()[..16]);
    short
}

fn feed(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            hash.update(b"{");
            for name in names {
                hash.update(name.as_bytes());
                hash.update(b":");
                feed(&fields[name], hash);
            }
            hash.update(b"}");
        }
        Value::Array(items) => {
            hash.update(b"[");
            items.iter().for_each(|item| feed(item, hash));
            hash.update(b"]");
        }
        plain => {
            hash.update(plain.to_string().as_bytes());
            hash.update(b",");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_digest_knows_content_and_not_the_order_of_fields() {
        assert_eq!(digest(&json!({"a": 1, "b": [1, 2]})), digest(&json!({"b": [1, 2], "a": 1})));
        assert_ne!(digest(&json!({"a": "1"})), digest(&json!({"a": 1})));
        assert_ne!(digest(&json!([[1], 2])), digest(&json!([[1, 2]])));
    }

    #[test]
    fn a_torn_line_of_the_sink_is_told() {
        let dir = std::env::temp_dir().join(format!("xtask-sink-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let event = json!({"event_id": "e", "order_id": "o", "version": 1, "shard": 3, "position": 1,
            "type": "order.accepted", "data": {"source": "api", "reference": "r"}});
        fs::write(dir.join("events.ndjson"), format!("{event}\n{{\"event_id\"")).unwrap();
        let files = sink_files(&dir).unwrap();
        let lines = sink_lines(&files).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(lines.len(), 2);
        let first = lines[0].event.as_ref().unwrap();
        assert_eq!((first.version, first.shard), (1, 3));
        assert_eq!(first.named, Some(("api".to_owned(), "r".to_owned())));
        assert!(lines[1].event.is_err());
    }
}
