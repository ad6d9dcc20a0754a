//! Whose address a request comes from, behind proxies that are known.

use http::{HeaderMap, HeaderName, header};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The address that a request comes from (a request extension): the other end of its connection, or what a trusted proxy
/// says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// What is limited as one: an address of IPv4, a network of 64 bits of IPv6, which is what one customer gets.
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        }
    }
}

/// Addresses that begin alike (CIDR, RFC 4632).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is no `ADDRESS` or `ADDRESS/BITS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidNetwork;

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address or network such as 10.0.0.0/8")
    }
}

impl std::error::Error for InvalidNetwork {}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidNetwork)?
            }
            Some(_) => return Err(InvalidNetwork),
            None => bits,
        };
        if prefix > bits { Err(InvalidNetwork) } else { Ok(Self { address, prefix }) }
    }
}

/// The shortest prefixes of networks that are somebody's own.
const V4_PREFIX_MIN: u8 = 8;
const V6_PREFIX_MIN: u8 = 16;

impl Network {
    /// Whether it holds more than anybody's own network does, and with it strangers: IPv4 shorter than /8 (10.0.0.0/8 is
    /// the largest private one, RFC 1918), IPv6 shorter than /16 (the largest blocks that are given out are /16 to /20).
    pub fn holds_strangers(&self) -> bool {
        self.prefix < if self.address.is_ipv4() { V4_PREFIX_MIN } else { V6_PREFIX_MIN }
    }

    /// Whether it holds `address`. An address of IPv4 that is written as one of IPv6 is one of IPv4.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix);
                let differs = ours.to_bits() ^ theirs.to_bits();
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix);
                let differs = ours.to_bits() ^ theirs.to_bits();
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Which header the proxies write. Only one is read: whoever asks could send the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: addresses apart by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies whose word is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// What they write.
    pub header: ProxyHeader,
}

impl Proxies {
    /// Whether one of them has this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(address))
    }

    /// Where a request comes from that came over a connection from `peer`: the last hop that is none of the proxies. What
    /// stands before it is anybody's claim.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut nearest = peer.to_canonical();
        if self.networks.is_empty() || !self.trusts(nearest) {
            return ClientAddress(nearest);
        }
        for hop in self.hops(headers) {
            // A hop without an address (`unknown`, a name made up) hides whoever is behind it.
            let Some(hop) = self.address(&hop) else { break };
            nearest = hop.to_canonical();
            if !self.trusts(nearest) {
                break;
            }
        }
        ClientAddress(nearest)
    }

    /// What the header says of each hop, the nearest first.
    fn hops(&self, headers: &HeaderMap) -> Vec<String> {
        const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        let (name, apart): (_, fn(&str) -> Vec<&str>) = match self.header {
            ProxyHeader::XForwardedFor => (X_FORWARDED_FOR, |text| text.rsplit(',').collect()),
            ProxyHeader::Forwarded => (header::FORWARDED, elements_from_last),
        };
        let mut hops = Vec::new();
        for value in headers.get_all(name).iter().rev() {
            // Bytes that are no text may stand in what a client sent; what a proxy added is behind them.
            let text = String::from_utf8_lossy(value.as_bytes());
            hops.extend(apart(&text).into_iter().map(str::to_owned));
        }
        hops
    }

    fn address(&self, hop: &str) -> Option<IpAddr> {
        match self.header {
            ProxyHeader::XForwardedFor => node(hop.trim()),
            ProxyHeader::Forwarded => element(hop),
        }
    }
}

/// The elements of `Forwarded`, the last one first. They are read from the end: a quote that a client left open must not
/// swallow what a proxy wrote behind it.
fn elements_from_last(text: &str) -> Vec<&str> {
    let (mut elements, mut end, mut quoted) = (Vec::new(), text.len(), false);
    for (at, char) in text.char_indices().rev() {
        quoted ^= char == '"' && !is_escaped(&text[..at]);
        if char == ',' && !quoted {
            elements.push(&text[at + 1..end]);
            end = at;
        }
    }
    elements.push(&text[..end]);
    elements
}

/// Whether what follows `text` is escaped by the backslashes at its end.
fn is_escaped(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The parts of `text` between separators that stand in no quotes.
fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char| {
        let apart = !quoted && char == separator;
        quoted ^= char == '"' && !escaped;
        escaped = quoted && char == '\\' && !escaped;
        apart
    })
}

/// The address of `for=` in one element of `Forwarded`.
fn element(text: &str) -> Option<IpAddr> {
    let mut pairs = unquoted(text, ';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    node(value)
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, _port) = rest.split_once(']')?;
        return address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, _port) = text.split_once(':')?;
    address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn proxies(header: ProxyHeader) -> Proxies {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.7"];
        Proxies { networks: networks.iter().map(|text| text.parse().unwrap()).collect(), header }
    }

    fn client(header: ProxyHeader, peer: &str, values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            let name = if header == ProxyHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
            headers.append(name, value.parse().unwrap());
        }
        proxies(header).client(peer.parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().holds(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"), "the same address");
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2001:db8::1") && holds("::1", "::1") && !holds("::1/128", "::2"));
        let wide = |network: &str| network.parse::<Network>().unwrap().holds_strangers();
        assert!(
            wide("0.0.0.0/0")
                && wide("128.0.0.0/1")
                && wide("10.0.0.0/7")
                && wide("::/0")
                && wide("2000::/3")
        );
        assert!(!wide("10.0.0.0/8") && !wide("fd00::/16") && !wide("127.0.0.1") && !wide("::1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7/32", "192.0.2.6"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::"));
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0/8"] {
            assert_eq!(bad.parse::<Network>(), Err(InvalidNetwork), "{bad}");
        }
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        let of = |peer, values| client(ProxyHeader::XForwardedFor, peer, values);
        assert_eq!(of("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.2.2.2"]), "203.0.113.9", "1.1.1.1 is a claim");
        assert_eq!(of("10.0.0.1", &["1.1.1.1", "203.0.113.9:4711", "192.0.2.7"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["[2001:db8::9]:80"]), "2001:db8::9");
        assert_eq!(of("::ffff:10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2", "proxies all the way");
        for hidden in ["unknown", "", "203.0.113.9, _x", "203.0.113.9, "] {
            let seen = client(ProxyHeader::XForwardedFor, "10.0.0.1", &[hidden]);
            assert_eq!(seen, "10.0.0.1", "{hidden:?}");
        }
    }

    #[test]
    fn nobody_but_a_proxy_is_believed() {
        for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
            assert_eq!(client(header, "203.0.113.1", &["for=1.1.1.1", "1.1.1.1"]), "203.0.113.1");
        }
        let mut headers = HeaderMap::new();
        headers.append("forwarded", "for=1.1.1.1".parse().unwrap());
        let of = proxies(ProxyHeader::XForwardedFor).client("10.0.0.1".parse().unwrap(), &headers);
        assert_eq!(
            of.0.to_string(),
            "10.0.0.1",
            "the header that the proxy does not write is the client's own"
        );
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let of = |values| client(ProxyHeader::Forwarded, "10.0.0.1", values);
        assert_eq!(of(&["for=1.1.1.1, For=\"[2001:db8::9]:4711\";proto=https;by=10.0.0.1"]), "2001:db8::9");
        assert_eq!(of(&[r#"for=203.0.113.9;host="a,b;for=1.1.1.1""#]), "203.0.113.9");
        assert_eq!(of(&[r#"for=203.0.113.9;host="a\",for=1.1.1.1""#]), "203.0.113.9");
        assert_eq!(of(&["for=203.0.113.9", "for=10.0.0.2"]), "203.0.113.9");
        assert_eq!(of(&["for=203.0.113.9, proto=https"]), "10.0.0.1", "a hop that names nobody");
        assert_eq!(of(&["for=203.0.113.9, for=_hidden"]), "10.0.0.1");
    }

    proptest! {
        /// What a client sends in front of what its proxy adds changes nothing, whatever it is.
        #[test]
        fn a_client_cannot_change_who_it_is(claim in "[ -~]{0,60}", as_forwarded: bool, v6: bool) {
            let (header, added) = match (as_forwarded, v6) {
                (true, true) => (ProxyHeader::Forwarded, r#"for="[2001:db8::9]:80";proto=https"#),
                (true, false) => (ProxyHeader::Forwarded, "for=203.0.113.9"),
                (false, true) => (ProxyHeader::XForwardedFor, "2001:db8::9"),
                (false, false) => (ProxyHeader::XForwardedFor, "203.0.113.9"),
            };
            let seen = client(header, "10.0.0.1", &[&format!("{claim}, {added}")]);
            prop_assert_eq!(&seen, if v6 { "2001:db8::9" } else { "203.0.113.9" });
            prop_assert_eq!(client(header, "10.0.0.1", &[&claim, added]), seen);
            prop_assert_eq!(client(header, "198.51.100.1", &[&claim]), "198.51.100.1");
        }
    }

    #[test]
    fn a_customer_of_ipv6_is_a_network() {
        let network = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(
            (network("203.0.113.9"), network("::ffff:203.0.113.9")),
            ("203.0.113.9".into(), "203.0.113.9".into())
        );
    }
}
