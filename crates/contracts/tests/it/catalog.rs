//! A catalogue that says what a test tells it to.

use async_trait::async_trait;
use order_core::catalog::{Available, Catalog, CatalogAway};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// What it says, and whom it was asked about.
pub(crate) struct ScriptedCatalog {
    said: Mutex<HashMap<Uuid, Option<Available>>>,
    away: Mutex<Option<Duration>>,
    asked: Mutex<Vec<Uuid>>,
}

impl ScriptedCatalog {
    /// One in which everything can be had.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { said: Mutex::default(), away: Mutex::default(), asked: Mutex::default() })
    }

    /// So much of this product can be had; `None`: there is no such product.
    pub(crate) fn say(&self, product_id: &str, available: Option<u64>) {
        let product_id = Uuid::parse_str(product_id).unwrap();
        self.said.lock().unwrap().insert(product_id, available.map(Available::Count));
    }

    /// From now on it gives no answer, or answers again.
    pub(crate) fn away(&self, retry_after: Option<Duration>) {
        *self.away.lock().unwrap() = retry_after;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl Catalog for ScriptedCatalog {
    async fn available(&self, product_id: Uuid) -> Result<Option<Available>, CatalogAway> {
        self.asked.lock().unwrap().push(product_id);
        if let Some(retry_after) = *self.away.lock().unwrap() {
            return Err(CatalogAway { why: "no connection: secret-host".to_owned(), retry_after });
        }
        Ok(self.said.lock().unwrap().get(&product_id).copied().unwrap_or(Some(Available::Any)))
    }
}
