//! The shapes a value can have: how its text is read, what is said when it cannot be, and where it goes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::settings::{Hidden, Settings};

/// How the text of a setting is read and which field it fills.
pub(super) enum Shape {
    /// A whole number, `min` to `max`.
    Count { min: u64, max: u64, set: fn(&mut Settings, u64) },
    /// Whole milliseconds, `min` to `max`.
    Millis { min: u64, max: u64, set: fn(&mut Settings, Duration) },
    /// Whole seconds, `min` to `max`.
    Seconds { min: u64, max: u64, set: fn(&mut Settings, Duration) },
    /// Whole seconds, or a whole number with a unit (`ms`, `s`, `m`, `h`), at most `max`.
    Span { max: Duration, set: fn(&mut Settings, Duration) },
    /// A number from 0.0 to 1.0.
    Part { set: fn(&mut Settings, f64) },
    /// One of these words; `set` is given its place in the list.
    Word { words: &'static [&'static str], set: fn(&mut Settings, usize) },
    /// Some of these words, at least one, apart by commas (in TOML: an array).
    Words { words: &'static [&'static str], set: fn(&mut Settings, Vec<usize>) },
    /// One of these words, or empty for none.
    MaybeWord { words: &'static [&'static str], set: fn(&mut Settings, Option<&str>) },
    /// `IP:PORT`, or a port alone on 127.0.0.1.
    Address { set: fn(&mut Settings, SocketAddr) },
    /// The same, or empty for none.
    MaybeAddress { set: fn(&mut Settings, Option<SocketAddr>) },
    /// The path of a file, or empty for none.
    MaybePath { set: fn(&mut Settings, Option<PathBuf>) },
    /// A folder; never empty.
    Folder { set: fn(&mut Settings, PathBuf) },
    /// Any text, empty included.
    Text { set: fn(&mut Settings, &str) },
    /// A text that is never shown.
    Secret { set: fn(&mut Settings, Hidden) },
    /// `true` or `false`.
    Switch { set: fn(&mut Settings, bool) },
    /// Ports apart by commas (in TOML: a string, or an array of strings), at least one.
    Ports { set: fn(&mut Settings, Vec<u16>) },
    /// Addresses and networks apart by commas (in TOML: an array), or empty for none.
    Networks { set: fn(&mut Settings, Vec<edge::Network>) },
    /// A `postgres` URL, or the form `host=… dbname=…`, or empty for none; never shown whole.
    Database { set: fn(&mut Settings, Hidden) },
    /// An `http` or `https` URL with a host, or empty for none.
    MaybeUrl { set: fn(&mut Settings, Option<String>) },
}

/// How a value is written in TOML and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
}

/// Why a text is no value: what is wrong with it (the text itself is not repeated), and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) what: &'static str,
    pub(super) fix: String,
}

/// Networks; `None` when one is no network.
fn networks(text: &str) -> Option<Result<Vec<edge::Network>, Bad>> {
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    let networks = texts.map(str::parse).collect::<Result<Vec<edge::Network>, _>>().ok()?;
    // Whoever is in one of them is let do more: with everybody in it, nobody is told from anybody.
    if networks.iter().any(edge::Network::holds_strangers) {
        let fix = "name who is meant, or a network: /8 or longer, /16 or longer in IPv6";
        return Some(Err(Bad { what: "holds addresses of strangers", fix: fix.to_owned() }));
    }
    Some(Ok(networks))
}

impl Shape {
    /// Reads `text` and fills the field of `settings`.
    pub(super) fn set(&self, settings: &mut Settings, text: &str) -> Result<(), Bad> {
        let text = text.trim();
        let bad = |what| Bad { what, fix: format!("use {}", self.right()) };
        match self {
            Self::Count { min, max, set } => set(settings, number(text, *min, *max).map_err(bad)?),
            Self::Millis { min, max, set } => {
                set(settings, Duration::from_millis(number(text, *min, *max).map_err(bad)?));
            }
            Self::Seconds { min, max, set } => {
                set(settings, Duration::from_secs(number(text, *min, *max).map_err(bad)?));
            }
            Self::Span { max, set } => match span(text) {
                Some(span) if span <= *max => set(settings, span),
                Some(_) => return Err(bad("is out of range")),
                None => return Err(bad("is no span of time")),
            },
            Self::Part { set } => match text.parse::<f64>() {
                Ok(part) if (0.0..=1.0).contains(&part) => set(settings, part),
                Ok(_) => return Err(bad("is out of range")),
                Err(_) => return Err(bad("is no number")),
            },
            Self::Word { words, set } => {
                set(settings, place_of(text, words).ok_or_else(|| bad("is not known"))?);
            }
            Self::Words { words, set } => {
                let places: Option<Vec<_>> = text.split(',').map(|one| place_of(one.trim(), words)).collect();
                set(settings, places.ok_or_else(|| bad("is not known"))?);
            }
            Self::MaybeWord { words, set } if !text.is_empty() => {
                let place = place_of(text, words).ok_or_else(|| bad("is not known"))?;
                set(settings, Some(words[place]));
            }
            Self::MaybeWord { set, .. } => set(settings, None),
            Self::Address { set } => set(settings, address(text).ok_or_else(|| bad("is no address"))?),
            Self::MaybeAddress { set } if !text.is_empty() => {
                set(settings, Some(address(text).ok_or_else(|| bad("is no address"))?));
            }
            Self::MaybeAddress { set } => set(settings, None),
            Self::MaybePath { set } => {
                set(settings, Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
            }
            Self::Folder { set } if !text.is_empty() => set(settings, PathBuf::from(text)),
            Self::Folder { .. } => return Err(bad("is empty")),
            Self::Text { set } => set(settings, text),
            Self::Secret { set } => set(settings, Hidden::new(text)),
            Self::Switch { set } => match text {
                "true" => set(settings, true),
                "false" => set(settings, false),
                _ => return Err(bad("is neither true nor false")),
            },
            Self::Ports { set } => {
                let ports: Option<Vec<u16>> = text.split(',').map(|one| port(one.trim())).collect();
                set(settings, ports.ok_or_else(|| bad("names no ports"))?);
            }
            Self::Networks { set } => {
                set(settings, networks(text).unwrap_or_else(|| Err(bad("names no network")))?);
            }
            Self::Database { set } if text.is_empty() || database(text).is_some() => {
                set(settings, Hidden::new(text));
            }
            Self::Database { .. } => return Err(bad("is no address of a PostgreSQL database")),
            Self::MaybeUrl { set } if text.is_empty() => set(settings, None),
            Self::MaybeUrl { set } => match url_host(text) {
                Some(_) => set(settings, Some(text.to_owned())),
                None => return Err(bad("is no URL")),
            },
        }
        Ok(())
    }

    /// The right values, to follow «use».
    pub(super) fn right(&self) -> String {
        match self {
            Self::Count { min, max, .. } => format!("a whole number from {min} to {max}"),
            Self::Millis { min, max, .. } => format!("whole milliseconds from {min} to {max}"),
            Self::Seconds { min, max, .. } => format!("whole seconds from {min} to {max}"),
            Self::Span { max, .. } => {
                format!("a span such as 30s, 500ms or 0, at most {}s", max.as_secs())
            }
            Self::Part { .. } => "a number from 0.0 to 1.0".to_owned(),
            Self::Word { words, .. } => format!("one of {}", words.join(", ")),
            Self::Words { words, .. } => format!("one or more of {}", words.join(", ")),
            Self::MaybeWord { words, .. } => format!("one of {}, or nothing", words.join(", ")),
            Self::Address { .. } => "IP:PORT such as 127.0.0.1:3000, or a port".to_owned(),
            Self::MaybeAddress { .. } => "IP:PORT such as 127.0.0.1:9090, or a port, or nothing".to_owned(),
            Self::MaybePath { .. } => "the path of a file, or nothing".to_owned(),
            Self::Folder { .. } => "the path of a folder".to_owned(),
            Self::Text { .. } => "any text".to_owned(),
            Self::Secret { .. } => "a text, or nothing".to_owned(),
            Self::Switch { .. } => "true or false".to_owned(),
            Self::Ports { .. } => "ports such as 443,8443, from 1 to 65535".to_owned(),
            Self::Networks { .. } => "addresses or networks such as 10.0.0.0/8, apart by commas".to_owned(),
            Self::Database { .. } => "postgres://USER:PASSWORD@HOST:PORT/NAME, or nothing".to_owned(),
            Self::MaybeUrl { .. } => "an http:// or https:// URL".to_owned(),
        }
    }

    /// What a TOML value of this shape is, to follow «write».
    pub(super) fn in_toml(&self) -> &'static str {
        match self {
            Self::Count { .. } | Self::Millis { .. } | Self::Seconds { .. } => "a number without quotes",
            Self::Part { .. } => "a number without quotes",
            Self::Switch { .. } => "true or false without quotes",
            Self::Words { .. } | Self::Ports { .. } | Self::Networks { .. } => {
                "a string, or an array of strings"
            }
            _ => "a string in quotes",
        }
    }

    /// How the value is written in TOML and JSON.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Count { .. } | Self::Millis { .. } | Self::Seconds { .. } | Self::Part { .. } => {
                Kind::Number
            }
            Self::Switch { .. } => Kind::Switch,
            _ => Kind::Text,
        }
    }

    /// The value as it takes effect: an address whole, anything else as it was written.
    pub(super) fn shown(&self, text: &str) -> String {
        match self {
            Self::Address { .. } | Self::MaybeAddress { .. } => {
                address(text).map_or_else(|| text.to_owned(), |address| address.to_string())
            }
            _ => text.to_owned(),
        }
    }

    /// What may be shown of a secret value: of a URL its scheme and host, of anything else that it is set.
    pub(super) fn redacted(&self, text: &str) -> String {
        match self {
            _ if text.is_empty() => String::new(),
            Self::Database { .. } => match database(text) {
                Some(shown) if !shown.is_empty() => format!("postgres://(hidden)@{shown}"),
                _ => "(hidden)".to_owned(),
            },
            Self::MaybeUrl { .. } => match (text.split_once("://"), url_host(text)) {
                (Some((scheme, _)), Some(host)) => format!("{scheme}://{host}/(hidden)"),
                _ => "(hidden)".to_owned(),
            },
            _ => "(hidden)".to_owned(),
        }
    }
}

fn number(text: &str, min: u64, max: u64) -> Result<u64, &'static str> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no whole number");
    }
    // Negative, and more than 64 bits, are numbers too, but none that is allowed.
    text.parse().ok().filter(|number| (min..=max).contains(number)).ok_or("is out of range")
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// Digits, and a unit or none.
fn span(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    let count: u64 = digits.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 3_600 * 1_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

fn place_of(text: &str, words: &[&str]) -> Option<usize> {
    words.iter().position(|word| word.eq_ignore_ascii_case(text))
}

/// `IP:PORT`, `localhost:PORT` (127.0.0.1, whatever the resolver says) or a port alone.
fn address(text: &str) -> Option<SocketAddr> {
    let local = |port: &str| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?));
    match text.strip_prefix("localhost:") {
        Some(port) => local(port),
        None => text.parse().ok().or_else(|| local(text)),
    }
}

/// What may be shown of a database's URL: `HOST:PORT/NAME`; nothing of the form `host=… dbname=…`.
fn database(text: &str) -> Option<&str> {
    let url = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let Some(rest) = url else {
        return text.split_whitespace().any(|part| part.starts_with("host=")).then_some("");
    };
    let (place, more) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let shown = match place.rsplit_once('@') {
        Some((_, shown)) => shown,
        // What stands behind may be the rest of a password, and what stands before its beginning.
        None if more.contains('@') => "",
        None => place,
    };
    (!text.contains(char::is_whitespace)).then_some(shown)
}

/// The host (and port) of an `http` or `https` URL, without name and password.
fn url_host(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let fits = !host.is_empty() && !host.starts_with(':') && !text.contains(char::is_whitespace);
    fits.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(shape: &Shape, text: &str) -> Result<(), &'static str> {
        shape.set(&mut Settings::blank(), text).map_err(|bad| bad.what)
    }

    #[test]
    fn counts() {
        let shape = Shape::Count { min: 1, max: 100, set: |_, _| () };
        assert_eq!(read(&shape, "1"), Ok(()));
        assert_eq!(read(&shape, " 100 "), Ok(()));
        for text in ["0", "101", "-5", "99999999999999999999999"] {
            assert_eq!(read(&shape, text), Err("is out of range"), "{text}");
        }
        for text in ["", "ten", "1.5", "1e3", "0x10", "1 0", "-"] {
            assert_eq!(read(&shape, text), Err("is no whole number"), "{text}");
        }
    }

    #[test]
    fn ports() {
        let shape = Shape::Ports { set: |_, _| () };
        assert_eq!((read(&shape, "443"), read(&shape, "443, 9443")), (Ok(()), Ok(())));
        for text in ["", "0", "443,", "65536", "https", "-1"] {
            assert_eq!(read(&shape, text), Err("names no ports"), "{text}");
        }
    }

    #[test]
    fn parts() {
        let shape = Shape::Part { set: |_, _| () };
        for text in ["0", "1", "0.25", "1e-3"] {
            assert_eq!(read(&shape, text), Ok(()), "{text}");
        }
        for text in ["-0.1", "1.01", "NaN", "inf"] {
            assert_eq!(read(&shape, text), Err("is out of range"), "{text}");
        }
        assert_eq!(read(&shape, "half"), Err("is no number"));
    }

    #[test]
    fn addresses() {
        let shown = |text| address(text).map(|address| address.to_string());
        assert_eq!(shown("127.0.0.1:3000").as_deref(), Some("127.0.0.1:3000"));
        assert_eq!(shown("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(shown("localhost:0").as_deref(), Some("127.0.0.1:0"));
        assert_eq!(shown("8080").as_deref(), Some("127.0.0.1:8080"));
        for text in ["", ":3000", "example.com:80", "70000", "127.0.0.1", "127.0.0.1:x"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn urls() {
        let shape = Shape::MaybeUrl { set: |_, _| () };
        for text in ["", "http://h", "https://u:p@h:8/x?y#z", "http://[::1]:9/"] {
            assert_eq!(read(&shape, text), Ok(()), "{text}");
        }
        for text in ["ftp://h", "h:80", "http://", "http:///x", "http://:80", "http://a b/"] {
            assert_eq!(read(&shape, text), Err("is no URL"), "{text}");
        }
        assert_eq!(shape.redacted("https://user:p%40ss@h:8/token?key=1"), "https://h:8/(hidden)");
        assert_eq!(shape.redacted(""), "");
        assert_eq!(Shape::Text { set: |_, _| () }.redacted("hunter2"), "(hidden)");
    }

    #[test]
    fn a_span_has_a_unit_or_is_in_seconds() {
        for (text, millis) in
            [("0", 0), ("30", 30_000), ("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(span(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1.5s", "-1", "1 s", "1d", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
