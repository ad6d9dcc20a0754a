//! What the server is, and whether it keeps what it acknowledges.

use crate::connect::Conn;
use crate::error::Tried;
use crate::readers::Readers;
use crate::refusal::{OLDEST_VERSION, Refusal};
use order_core::query::{Durability, Server};
use std::time::Instant;

const ASK: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::integer, \
     pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'), \
     current_setting('synchronous_commit'), current_setting('synchronous_standby_names')";

/// Asks a server of whose kind it is.
#[expect(clippy::disallowed_methods, reason = "a monotonic clock, for how long it takes alone")]
pub(crate) async fn ask(readers: &Readers, name: &str) -> Tried<Server> {
    let conn = readers.get().await?;
    conn.prepared(ASK).await?;
    let began = Instant::now();
    let facts = of(&conn).await?;
    Ok(Server {
        name: name.to_owned(),
        version: facts.version,
        latency: began.elapsed(),
        durability: facts.durability,
    })
}

/// What is asked of a server before it is used.
pub(crate) struct Facts {
    version: String,
    number: i32,
    is_standby: bool,
    durability: Durability,
}

/// Asks.
pub(crate) async fn of(conn: &Conn) -> Tried<Facts> {
    let row = conn.query_one(ASK, &[]).await?;
    let version: String = row.try_get(0)?;
    let setting = |place: usize| row.try_get::<_, String>(place);
    let mut unsafe_settings = Vec::new();
    for (place, name) in [(3, "fsync"), (4, "full_page_writes"), (5, "synchronous_commit")] {
        if setting(place)? == "off" {
            unsafe_settings.push([name, " = off"].concat());
        }
    }
    let waits = !matches!(setting(5)?.as_str(), "off" | "local");
    let has_synchronous_standby = waits && !setting(6)?.is_empty();
    Ok(Facts {
        version: ["PostgreSQL ", &version].concat(),
        number: row.try_get(1)?,
        is_standby: row.try_get(2)?,
        durability: Durability { unsafe_settings, has_synchronous_standby },
    })
}

impl Facts {
    /// Refuses a server that is too old, or that takes no writes; says so when it may lose what it acknowledged.
    pub(crate) fn check(&self, for_writing: bool) -> Result<(), Refusal> {
        if self.number < OLDEST_VERSION {
            let why = ["it is ", &self.version, ", which is too old"].concat();
            return Err(Refusal::lasting(why, "use PostgreSQL 14 or newer"));
        }
        if self.is_standby && for_writing {
            let fix = "name the primary in `database`, or have this one promoted (then `wellorder restore --raise-epoch`)";
            return Err(Refusal::passing("it is a standby and takes no writes", fix));
        }
        if for_writing && !self.durability.unsafe_settings.is_empty() {
            let settings = self.durability.unsafe_settings.join(", ");
            tracing::warn!(settings, "the server may lose what it has committed: switch these on");
        }
        Ok(())
    }
}
