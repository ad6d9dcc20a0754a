//! The settings: one table says what there is (`table`), and layers say what it is set to.
//!
//! Flags > environment > `.env` > `wellorder.toml` > defaults. Within the environment our own name
//! (`WELLORDER_WORKER_BATCH_SIZE`) goes before the plain names that existing deployments use (`WORKER_BATCH_SIZE`).
//! Every value keeps its origin. Everything wrong is reported at once, each with its place and its fix; a secret is
//! never printed.
//!
//! * `sources` reads the layers; the process environment is read there and nowhere else.
//! * `resolve` lays them over each other; `check` compares settings with one another.
//! * `settings` is the typed result; `show` prints it with origins.

mod check;
mod check_kafka;
mod check_marketplace;
mod check_rabbitmq;
mod check_redis;
mod dotenv;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod marketplace;
mod problem;
mod processors;
mod resolve;
mod settings;
mod shape;
mod show;
mod sources;
mod suggest;
mod table;
mod table_contracts;
mod table_kafka;
mod table_marketplace;
mod table_outbound;
mod table_rabbitmq;
mod table_redis;
mod table_sales;
mod table_secrets;
mod table_serve;
mod table_share;
mod table_storage;
#[cfg(test)]
mod tests;

pub(crate) use marketplace::{MockLogin, ShopifyKind};
pub(crate) use problem::{Problem, Problems};
pub(crate) use processors::ProcessorKind;
pub(crate) use resolve::{Config, Origin, load};
pub(crate) use settings::{
    FollowerStart, Hidden, Kafka, KafkaLogin, Limits, LogFormat, LogLevel, NdjsonSink, RateLimits, Redis,
    Role, Settings, Transport,
};
pub(crate) use show::{as_json, as_rows};
pub(crate) use sources::{Environment, Flag, Inputs, Mode};
