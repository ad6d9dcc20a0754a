//! Reads for a tenant see the rows of that tenant alone, whatever a statement says.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::app::App;
use order_core::ids::TenantId;
use order_core::lane::LanePolicy;
use order_core::ports::Storage;
use std::sync::Arc;
use storage_postgres::PostgresStorage;
use testkit::build::{id_of, intake, tenant};
use testkit::{ManualClock, SeededIds};

/// Tables that tell nothing of a tenant by a row of their own, or that no request reads.
const APART: [&str; 1] = ["term_tail"];

async fn two_tenants() -> (String, Arc<PostgresStorage>) {
    let url = installed().await;
    let storage = Arc::new(PostgresStorage::open(&options(&url), &seed()).await.unwrap().0);
    let app = App::start(storage.clone(), ManualClock::new(), SeededIds::new(1), LanePolicy::default());
    for owner in ["default", "acme", "acme"] {
        app.accept(intake("none").no_reference().tenant(owner).build()).await.unwrap();
    }
    app.accept(intake("r-1").build()).await.unwrap();
    (url, storage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_of_reads_sees_one_tenants_rows() {
    let (url, _storage) = two_tenants().await;
    let reader = client(&url).await;
    reader.batch_execute("SET ROLE wellorder_read").await.unwrap();
    for table in ["orders", "journal", "work", "tallies"] {
        let count = ["SELECT count(DISTINCT tenant), coalesce(min(tenant), '') FROM ", table].concat();
        for (tenant, expected) in [("", 0_i64), ("acme", 1), ("nobody", 0)] {
            reader.execute("SELECT set_config('wellorder.tenant', $1, false)", &[&tenant]).await.unwrap();
            let row = reader.query_one(&count, &[]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), expected, "{table} for {tenant:?}");
            assert!(expected == 0 || row.get::<_, String>(1) == tenant, "{table}");
        }
    }
    for secret in ["SELECT * FROM install", "SELECT * FROM latches", "DELETE FROM orders"] {
        assert!(reader.batch_execute(secret).await.is_err(), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_with_a_tenant_is_guarded() {
    let (url, _storage) = two_tenants().await;
    let admin = client(&url).await;
    let bare = "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
                WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
                AND a.attname IN ('tenant', 'tenants') AND NOT c.relrowsecurity ORDER BY 1";
    let bare: Vec<String> = admin.query(bare, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(bare, APART);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_for_a_tenant_are_made_in_that_role() {
    let (url, storage) = two_tenants().await;
    let owner = TenantId::default_tenant();
    let order_id = id_of(&intake("r-1").build());
    assert!(storage.order(&owner, order_id).await.unwrap().is_some());
    assert!(storage.order(&tenant("acme"), order_id).await.unwrap().is_none());
    client(&url).await.batch_execute("REVOKE SELECT ON orders FROM wellorder_read").await.unwrap();
    let refused = storage.order(&owner, order_id).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}
