//! Secrets at rest.

use super::state::State;
use order_core::command::Reply;
use order_core::ids::TenantId;
use order_core::marketplace::Store;
use order_core::sealing::resealing::{COUNT_MAX, RowKey, SealedCount, SealedRow, SecretsCommand};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use order_core::webhook::Endpoint;
use std::collections::BTreeMap;

impl State {
    pub(super) fn secrets(&mut self, command: &SecretsCommand) -> Reply {
        match command {
            SecretsCommand::Keep { tenant, name, sealed, .. } => {
                let key = (tenant.clone(), name.clone());
                Reply::Kept(self.named_secrets.entry(key).or_insert_with(|| sealed.clone()).clone())
            }
            SecretsCommand::Reseal { column, rows, .. } => {
                let mut resealed = 0;
                for (row, sealed) in rows {
                    if let Some(found) = self.secret(*column, row).filter(|found| **found == row.sealed) {
                        found.clone_from(sealed);
                        resealed += 1;
                    }
                }
                Reply::Resealed(resealed)
            }
        }
    }

    fn secret(&mut self, column: SealedColumn, row: &SealedRow) -> Option<&mut Sealed> {
        match column {
            SealedColumn::NamedSecret => self.named_secrets.get_mut(&(row.tenant.clone(), row.row.clone())),
            SealedColumn::StoreAccess => {
                let of =
                    |store: &&mut Store| store.tenant == row.tenant && store.store_id.to_string() == row.row;
                self.stores.values_mut().find(of).map(|store| &mut store.access_token)
            }
            SealedColumn::EndpointSecret => self.endpoint_of(row)?.secret.as_mut(),
            SealedColumn::EndpointPreviousSecret => {
                self.endpoint_of(row)?.previous.as_mut().map(|previous| &mut previous.sealed)
            }
        }
    }

    fn endpoint_of(&mut self, row: &SealedRow) -> Option<&mut Endpoint> {
        let is_it = |one: &&mut Endpoint| one.tenant == row.tenant && one.endpoint_id.to_string() == row.row;
        self.endpoints.values_mut().find(is_it)
    }

    fn of_endpoints(&self, sealed: impl Fn(&Endpoint) -> Option<Sealed>) -> Vec<SealedRow> {
        let row = |one: &Endpoint| {
            let (tenant, row) = (one.tenant.clone(), one.endpoint_id.to_string());
            Some(SealedRow { tenant, row, sealed: sealed(one)? })
        };
        let mut rows: Vec<SealedRow> = self.endpoints.values().filter_map(row).collect();
        rows.sort_by(|one, other| (&one.tenant, &one.row).cmp(&(&other.tenant, &other.row)));
        rows
    }

    /// In the order of tenant and row.
    fn sealed(&self, column: SealedColumn) -> Vec<SealedRow> {
        match column {
            SealedColumn::NamedSecret => {
                let row = |((tenant, name), sealed): (&(TenantId, String), &Sealed)| SealedRow {
                    tenant: tenant.clone(),
                    row: name.clone(),
                    sealed: sealed.clone(),
                };
                self.named_secrets.iter().map(row).collect()
            }
            SealedColumn::StoreAccess => {
                let row = |store: &Store| SealedRow {
                    tenant: store.tenant.clone(),
                    row: store.store_id.to_string(),
                    sealed: store.access_token.clone(),
                };
                let mut rows: Vec<SealedRow> = self.stores.values().map(row).collect();
                rows.sort_by(|a, b| (a.tenant.as_str(), &a.row).cmp(&(b.tenant.as_str(), &b.row)));
                rows
            }
            SealedColumn::EndpointSecret => self.of_endpoints(|endpoint| endpoint.secret.clone()),
            SealedColumn::EndpointPreviousSecret => self
                .of_endpoints(|endpoint| endpoint.previous.as_ref().map(|previous| previous.sealed.clone())),
        }
    }

    pub(super) fn sealed_counts(&self) -> Vec<SealedCount> {
        let mut all = Vec::new();
        for &column in SealedColumn::ALL {
            let mut counts = BTreeMap::<Option<KeyId>, u64>::new();
            let most = usize::try_from(COUNT_MAX + 1).unwrap_or(usize::MAX);
            for row in self.sealed(column).into_iter().take(most) {
                *counts.entry(row.sealed.key_id()).or_default() += 1;
            }
            all.extend(SealedCount::of(column, counts.into_iter().collect()));
        }
        all
    }

    pub(super) fn sealed_rows(
        &self,
        column: SealedColumn,
        besides: KeyId,
        after: &RowKey,
        limit: usize,
    ) -> Vec<SealedRow> {
        let after = (after.tenant.as_str(), after.row.as_str());
        let behind = |row: &SealedRow| (row.tenant.as_str(), row.row.as_str()) > after;
        let other = |row: &SealedRow| row.sealed.as_bytes().get(1..9).is_some_and(|id| id != besides.0);
        self.sealed(column).into_iter().filter(|row| behind(row) && other(row)).take(limit).collect()
    }
}
