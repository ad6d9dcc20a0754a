//! What can be said, and what cannot.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use clap::CommandFactory as _;

use serde_json::json;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).and_then(Cli::check)
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_is_understood() {
    for line in [
        "wellorder dev",
        "wellorder dev --demo --as oscarps --ephemeral --listen 127.0.0.1:0 --ops 9090 --role api --role worker",
        "wellorder dev --data d --config f",
        "wellorder --json --data d orders list --processing parked --source api --limit 10 --cursor c --url http://h",
        "wellorder orders --url http://h list --json",
        "wellorder orders get A-1001 --source api --data d",
        "wellorder orders create --total 19.90",
        "wellorder orders create --line tea:2:9.95 --line a:b:1:2 --reference r --customer c --currency EUR",
        "wellorder orders create order.json --idempotency-key k",
        "wellorder orders create -",
        "wellorder orders redrive 1 2 3 --reason fixed",
        "wellorder orders redrive --all --reason fixed --dry-run --no-wait",
        "wellorder orders redrive --parked --source shop --error-contains stock --reason fixed --yes",
        "wellorder orders redrive --source shop --dry-run",
        "wellorder orders redrive A-1 --source shop --reason fixed",
        "wellorder orders list --search A- --customer c --accepted-from 2026-01-01T00:00:00Z --accepted-to x",
        "wellorder orders watch A-1 --source shop --until delivered",
        "wellorder orders ship A-1 --tracking-number 1Z --at 2026-01-01T00:00:00Z --key wo_x --url http://h",
        "wellorder orders deliver A-1",
        "wellorder orders withdraw A-1 --reason late",
        "wellorder orders erase A-1 --yes",
        "wellorder orders import orders.ndjson --json",
        "wellorder orders export out.ndjson --updated-since c --source s --processing done",
        "wellorder parked --source s --error-contains x --limit 5 --cursor c",
        "wellorder openapi",
        "wellorder openapi --asyncapi",
        "wellorder openapi --schema order.accepted",
        "wellorder man --to pages",
        "wellorder events tail --after c --follow --limit 5",
        "wellorder events tail -n 3 --follow",
        "wellorder events tail --from beginning --json",
        "wellorder --url http://h --key k orders list",
        "wellorder --url http://h healthcheck",
        "wellorder followers",
        "wellorder followers --url http://h list",
        "wellorder followers get ndjson",
        "wellorder followers pause ndjson",
        "wellorder followers resume ndjson",
        "wellorder followers replay ndjson --from beginning",
        "wellorder audit --json",
        "wellorder audit --actions",
        "wellorder backup --to d",
        "wellorder restore copy.db --replace --audit",
        "wellorder move --to postgres://h/n --shards 16 --data d --json",
        "wellorder move --back",
        "wellorder doctor",
        "wellorder simulate delivery --duplicates 0.5 --reorder 1 --bare --count 3 --ship-after-ms 0",
        "wellorder config show",
        "wellorder config show --for serve --json",
        "wellorder serve --listen 127.0.0.1:3000 --as parspec --role api --role relay --ops 9090 --migrate --data d",
        "wellorder keys create --name shop --scope orders:read --scope orders:write --expires-in 90d --tenant acme",
        "wellorder keys list --limit 10 --cursor c --url http://h",
        "wellorder keys rotate 0123456789abcdef --grace 1h",
        "wellorder keys --tenant acme revoke 0123456789abcdef",
        "wellorder token --subject me --tenant acme --scope orders:read --lifetime 15m",
        "wellorder migrate",
        "wellorder completions bash",
        "wellorder healthcheck --url http://127.0.0.1:3000",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn nonsense_is_a_usage_error() {
    for line in [
        "wellorder",
        "wellorder serve-all",
        "wellorder serve --demo",
        "wellorder serve --ephemeral",
        "wellorder keys create --name shop",
        "wellorder keys create --scope orders:read",
        "wellorder keys create --name x --scope y --expires-in soon",
        "wellorder keys revoke",
        "wellorder token",
        "wellorder token --scope x --lifetime 1",
        "wellorder config show --for ever",
        "wellorder dev --ephemeral --data d",
        "wellorder orders create",
        "wellorder orders create --customer c",
        "wellorder orders create --line tea:two:9.95",
        "wellorder orders create --line tea:2",
        "wellorder orders create --line :2:3",
        "wellorder orders create order.json --total 1",
        "wellorder orders create --total 1 --attributes [1]",
        "wellorder orders get",
        "wellorder orders deliver A-1 --at nonsense",
        "wellorder orders ship A-1 --at tomorrow",
        "wellorder orders export --force",
        "wellorder --ca-file f audit",
        "wellorder orders list --processing lost",
        "wellorder orders list --limit many",
        "wellorder orders redrive --reason x",
        "wellorder orders redrive 1 --all --reason x",
        "wellorder orders redrive --all",
        "wellorder orders redrive 1 --error-contains s --reason x",
        "wellorder orders withdraw A-1",
        "wellorder orders import",
        "wellorder orders watch A-1 --until bored",
        "wellorder openapi --asyncapi --schema order.accepted",
        "wellorder followers replay ndjson",
        "wellorder events tail -n 3 --from beginning",
        "wellorder events tail -n 201",
        "wellorder --url http://h dev",
        "wellorder --key k audit",
        "wellorder completions perl",
        "wellorder restore",
        "wellorder move --back --to postgres://h/n",
        "wellorder move --to postgres://h/n --shards 0",
        "wellorder audit --actions --noted 17",
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line}"));
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn a_copy_of_a_server_elsewhere_is_not_brought_here_and_that_is_said() {
    for line in ["wellorder backup --to d --url http://h", "wellorder --url http://h backup --to d"] {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line}"));
        assert_eq!(error.exit_code(), 2, "{line}");
        let said = error.to_string();
        assert!(said.contains("keeps its copies in the folder backups") && said.contains("--data"), "{said}");
    }
    parse("wellorder backup --url http://h").unwrap();
}

#[test]
fn flags_become_settings() {
    let cli =
        parse("wellorder dev --data d --as parspec --role api --role worker --listen 1 --ops 2").unwrap();
    let flags: Vec<_> = cli.flags().into_iter().map(|flag| (flag.path, flag.flag, flag.value)).collect();
    let expected = [
        ("data", "--data", "d"),
        ("as", "--as", "parspec"),
        ("listen", "--listen", "1"),
        ("ops", "--ops", "2"),
        ("role", "--role", "api,worker"),
    ];
    assert_eq!(flags, expected.map(|(path, flag, value)| (path, flag, value.to_owned())));
    assert!(parse("wellorder audit").unwrap().flags().is_empty());
}

#[test]
fn a_server_is_named_before_or_behind_the_command() {
    for line in [
        "wellorder --url u --key k --ca-file f orders list",
        "wellorder orders list --url u --key k --ca-file f",
        "wellorder orders --url u --key k --ca-file f list",
    ] {
        let cli = parse(line).unwrap();
        let said = |path: &str| cli.flags().into_iter().find(|flag| flag.path == path).map(|flag| flag.value);
        let (key, ca_file) = (said("client.key"), said("tls.ca_file"));
        assert_eq!(
            (cli.url(), key.as_deref(), ca_file.as_deref()),
            (Some("u"), Some("k"), Some("f")),
            "{line}"
        );
    }
    assert_eq!(parse("wellorder --url u orders --url v list").unwrap().url(), Some("v"));
}

#[test]
fn a_sku_may_have_colons() {
    let line: Line = "urn:x:tea:2:9.95".parse().unwrap();
    assert_eq!(line.as_json(), json!({ "sku": "urn:x:tea", "quantity": 2, "unit_price": "9.95" }));
}
