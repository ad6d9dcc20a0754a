//! Where the server is, from a URL; and what of it may be shown.

use crate::refusal::Refusal;
use std::net::IpAddr;
use std::str::FromStr;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Reads `postgres://USER:PASSWORD@HOST:PORT/NAME`, or the form `host=… user=… dbname=…`. Off loopback TLS is demanded
/// unless `insecure`; on loopback it is spoken where `sslmode=require` is said.
pub(crate) fn read(url: &str, insecure: bool) -> Result<Config, Refusal> {
    const FIX: &str = "write postgres://USER:PASSWORD@HOST:PORT/NAME";
    // The driver's error does not repeat the URL, which may hold a password.
    let mut config = Config::from_str(&checking(url)).map_err(|error| {
        Refusal::lasting(format!("the URL cannot be used: {}", crate::error::in_full(&error)), FIX)
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(Refusal::lasting("the URL names no server", FIX));
    }
    if config.get_user().is_none() {
        return Err(Refusal::lasting("the URL names no user", FIX));
    }
    let near =
        config.get_hosts().iter().all(is_near) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    match (config.get_ssl_mode(), near || insecure) {
        (SslMode::Disable, false) => {
            let fix = "leave sslmode=disable out; or say postgres.insecure = true, and everybody on the way can read all of it";
            return Err(Refusal::lasting(
                "the URL has sslmode=disable, and the server is not on this machine",
                fix,
            ));
        }
        // Servers as packages install them show certificates of nobody, which are of no use here.
        (SslMode::Prefer, true) if near => config.ssl_mode(SslMode::Disable),
        (SslMode::Prefer, false) => config.ssl_mode(SslMode::Require),
        _ => &mut config,
    };
    Ok(config)
}

/// Certificates are always checked, with the name, so what others call that is the same as to require TLS.
fn checking(url: &str) -> String {
    url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require")
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

/// `HOST:PORT/NAME`.
pub(crate) fn shown(config: &Config) -> String {
    let mut shown = String::new();
    let ports = config.get_ports();
    for (place, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        let comma = if place == 0 { "" } else { "," };
        shown.push_str(&match host {
            Host::Tcp(name) if name.contains(':') => format!("{comma}[{name}]:{port}"),
            Host::Tcp(name) => format!("{comma}{name}:{port}"),
            Host::Unix(path) => format!("{comma}{}:{port}", path.display()),
        });
    }
    if let Some(address) = config.get_hostaddrs().first().filter(|_| shown.is_empty()) {
        shown = address.to_string();
    }
    let name = config.get_dbname().or(config.get_user()).unwrap_or_default();
    shown.push('/');
    shown.push_str(name);
    shown
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tls_is_demanded_off_this_machine_and_not_on_it() {
        let mode = |url: &str, insecure| read(url, insecure).map(|config| config.get_ssl_mode()).ok();
        assert_eq!(mode("postgres://u:p@db.example.com/n", false), Some(SslMode::Require));
        assert_eq!(mode("postgres://u:p@10.0.0.1/n", true), Some(SslMode::Prefer));
        assert_eq!(mode("postgres://u@db.example.com/n?sslmode=disable", false), None);
        assert_eq!(mode("postgres://u@db.example.com/n?sslmode=disable", true), Some(SslMode::Disable));
        assert_eq!(mode("postgres://u@db.example.com/n?sslmode=verify-full", true), Some(SslMode::Require));
        for near in ["127.0.0.1", "localhost", "[::1]"] {
            let url = ["postgres://u@", near, "/n"].concat();
            assert_eq!(mode(&url, false), Some(SslMode::Disable), "{url}");
        }
        assert_eq!(mode("postgres://u@127.0.0.1/n?sslmode=require", false), Some(SslMode::Require));
        assert_eq!(mode("host=/run/postgresql user=u dbname=n", false), Some(SslMode::Disable));
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let show = |url: &str| shown(&read(url, false).unwrap());
        assert_eq!(show("postgres://u:secret@db.example.com:6432/orders"), "db.example.com:6432/orders");
        assert_eq!(show("postgres://u:secret@a,b/orders"), "a:5432,b:5432/orders");
        assert_eq!(show("host=h user=u password=secret"), "h:5432/u");
        for bad in ["postgres://u:secret@h:port/n", "postgres:///n", "nonsense secret", "postgres://h/n", ""]
        {
            let refusal = read(bad, false).unwrap_err();
            assert!(!refusal.why.contains("secret"), "{refusal:?}");
        }
    }
}
