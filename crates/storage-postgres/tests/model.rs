//! PostgreSQL agrees with the model, whatever happens in whatever order. `WELLORDER_MODEL_CASES` says how many sequences.

mod fixture;

#[test]
fn postgres_agrees_with_the_model() {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
    let cases = std::env::var("WELLORDER_MODEL_CASES").ok();
    // A database for each takes its time.
    testkit::model::check(testkit::model::cases(Some(cases.as_deref().unwrap_or("100"))), fixture::fresh);
}
