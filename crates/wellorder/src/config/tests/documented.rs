//! What is written elsewhere about settings is true of each.

use super::*;
use crate::config::shape::Shape;

/// A row of the table: the names in it, and its other cells.
struct Row<'a> {
    names: Vec<&'a str>,
    default: &'a str,
    allowed: &'a str,
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let table = page.split_once("| setting | default | allowed | what |\n|---|---|---|---|\n").unwrap().1;
    let lines = table.lines().take_while(|line| line.starts_with('|'));
    let cells = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = cells.map(|cells| Row { names: quoted(cells[1]), default: cells[2], allowed: cells[3] });
    rows.collect()
}

/// Settings that each contract has are one row.
fn generic(path: &str) -> Option<String> {
    let (_, last) = path.strip_prefix("contracts.")?.split_once('.')?;
    Some(format!("contracts.NAME.{last}"))
}

/// With commas, as on the page.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_page_of_operations_tells_of_every_setting_and_of_no_other() {
    let page = include_str!("../../../../../docs/operations.md");
    let rows = rows(page);
    let mut told: Vec<&str> = rows.iter().flat_map(|row| row.names.iter().copied()).collect();
    for setting in every_setting() {
        let path = setting.path;
        let generic = generic(path);
        let has =
            |row: &&Row<'_>| row.names.iter().any(|name| *name == path || Some(*name) == generic.as_deref());
        let found: Vec<&Row<'_>> = rows.iter().filter(has).collect();
        assert_eq!(found.len(), 1, "{path} stands in so many rows");
        let row = found[0];
        told.retain(|name| *name != path && Some(*name) != generic.as_deref());
        for name in setting.names() {
            assert!(row.names.contains(&name), "{path}: {name} is honoured, and not told");
            told.retain(|other| *other != name);
        }
        if let Unset::Is(default) = setting.default {
            let shown = quoted(row.default);
            let is =
                if default.is_empty() { row.default.starts_with("empty") } else { shown.contains(&default) };
            assert!(is, "{path} is {default:?} by default, not {}", row.default);
        }
        if let Shape::Count { min, max, .. }
        | Shape::Millis { min, max, .. }
        | Shape::Seconds { min, max, .. } = setting.shape
        {
            let range = format!("{}–{}", grouped(min), grouped(max));
            assert!(row.allowed.starts_with(&range), "{path} is {range}, not {}", row.allowed);
        }
        assert_eq!(row.allowed.contains("secret"), setting.secret, "{path}: whether it is a secret");
    }
    assert_eq!(told, [""; 0], "there are no such settings");
}

/// `settings` of the chart go into the objects of the cluster in plain; what is secret goes into a Secret.
#[test]
fn the_chart_refuses_secrets_beside_its_secret() {
    let schema = include_str!("../../../../../deploy/helm/wellorder/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let refused = schema["properties"]["settings"]["not"]["anyOf"].as_array().unwrap();
    let refused: BTreeSet<&str> = refused.iter().map(|one| one["required"][0].as_str().unwrap()).collect();
    let secret: BTreeSet<&str> =
        every_setting().filter(|setting| setting.secret).map(|setting| setting.path).collect();
    assert_eq!(refused, secret);
}
