//! Where a server is.

use lapin::uri::{AMQPScheme, AMQPUri};
use std::fmt;
use std::str::FromStr;

/// The address of a server with its login; shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

/// An address that cannot be one; says nothing of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no address of a RabbitMQ server (amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS): {0}"
)]
pub struct InvalidAddress(String);

impl Address {
    /// Reads `amqp://USER:PASSWORD@HOST:PORT/VHOST`; without a path, the vhost is `/`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            return Err(InvalidAddress("it must begin with amqp:// or amqps://".to_owned()));
        }
        let uri = AMQPUri::from_str(text).map_err(InvalidAddress)?;
        let long = |text: &str| text.len() > 255;
        if long(&uri.vhost) || long(&uri.authority.userinfo.username) {
            return Err(InvalidAddress("its vhost, or its user, is longer than 255 bytes".to_owned()));
        }
        Ok(Self(uri))
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }

    /// The name or number of the host.
    pub fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// The vhost.
    pub fn vhost(&self) -> &str {
        &self.0.vhost
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    pub(crate) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.0;
        write!(f, "{scheme}://{}:{}, vhost {vhost}", authority.host, authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_address_never_shows_its_password() {
        let address = Address::parse("amqp://shop:hidden@mq.example:5673/orders").unwrap();
        assert_eq!(address.to_string(), "amqp://mq.example:5673, vhost orders");
        assert!(!format!("{address:?}").contains("hidden"));
        assert_eq!((address.user(), address.is_tls()), ("shop", false));
    }

    #[test]
    fn without_a_path_the_vhost_is_the_servers_own() {
        for text in ["amqp://localhost:5672", "amqp://localhost", "amqp://localhost/%2f"] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.vhost(), address.host()), ("/", "localhost"), "{text}");
        }
        assert!(Address::parse("amqps://mq.example").unwrap().is_tls());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "localhost:5672", "http://localhost", "amqp://host:port"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
