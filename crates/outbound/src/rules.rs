//! Where calls may go whose addresses others set: receivers of webhooks, shops of marketplaces. Built on the one rule of
//! [`crate::is_public`]; what an operator opens besides is named network by network.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;

use crate::guard;

/// Longest address that is taken.
const URL_BYTES_MAX: usize = 2_048;
/// Ports that are called unless others are named.
pub const PORTS: [u16; 2] = [443, 8443];
/// Names that lead into somebody's own network, or to this machine.
const INNER: [&str; 5] = ["localhost", "local", "internal", "lan", "home.arpa"];

/// Whether an address that is not public was opened by the operator.
pub type Opened = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What may be called.
#[derive(Clone)]
pub struct Rules {
    /// Whether `http`, any port and addresses instead of names will do: on a developer's own machine.
    is_dev: bool,
    challenges: bool,
    /// Ports that may be called otherwise.
    ports: Vec<u16>,
    opens_any: bool,
    opened: Opened,
    /// Where this installation itself listens, and keeps things.
    own: Vec<SocketAddr>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_dev, challenges, ports, own, opens_any, .. } = self;
        f.debug_struct("Rules")
            .field("is_dev", is_dev)
            .field("challenges", challenges)
            .field("ports", ports)
            .field("opens_any", opens_any)
            .field("own", own)
            .finish_non_exhaustive()
    }
}

/// Why an address may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no URL with a host, or holds what no URL may.
    #[error("is no URL with a host")]
    NoUrl,
    /// It is longer than 2,048 bytes.
    #[error("is longer than 2048 bytes")]
    TooLong,
    /// It is not `https`.
    #[error("is no https:// URL: anybody on the way could read and change what is sent")]
    HttpsOnly,
    /// It is neither `http` nor `https`.
    #[error("is no http:// or https:// URL")]
    Scheme,
    /// It holds a user or a password.
    #[error("holds a user or a password")]
    UserInfo,
    /// Its port is none of those that may be called.
    #[error("names a port that is not called; 443 and 8443 are, unless the operator says otherwise")]
    Port,
    /// An address stands where a name should.
    #[error("names an IP address instead of a host")]
    Literal,
    /// Its name is one of this machine or of a private network.
    #[error("names a host of this machine or of a private network")]
    Name,
    /// It is an address that is not public.
    #[error("leads to an address that is not public")]
    Special,
    /// It is this installation itself, or what it keeps things in.
    #[error("leads to this installation itself")]
    Own,
}

impl Refused {
    /// Its name, for ever.
    pub fn rule(self) -> &'static str {
        match self {
            Self::NoUrl => "url",
            Self::TooLong => "url-length",
            Self::HttpsOnly => "https-only",
            Self::Scheme => "scheme",
            Self::UserInfo => "user-info",
            Self::Port => "port",
            Self::Literal => "ip-literal",
            Self::Name => "host-name",
            Self::Special => "address",
            Self::Own => "own-address",
        }
    }
}

impl Rules {
    /// The same; whoever is registered need not say that they want to be called.
    #[must_use]
    pub fn unchallenged(self) -> Self {
        Self { challenges: false, ..self }
    }

    /// Whether whoever is registered has to say first that they want to be called: those of a server for others.
    pub(crate) fn challenges(&self) -> bool {
        self.challenges
    }

    /// Those of a server for others: `https` to hosts by name, at `ports`, whose addresses are all public or `opened`. `own` are
    /// the addresses of this installation, which are never called.
    pub fn strict(ports: Vec<u16>, opened: Option<Opened>, own: Vec<SocketAddr>) -> Self {
        let ports = if ports.is_empty() { PORTS.to_vec() } else { ports };
        let (opens_any, opened) = (opened.is_some(), opened.unwrap_or_else(|| Arc::new(|_| false)));
        Self { is_dev: false, challenges: true, ports, opens_any, opened, own }
    }

    /// Those of a developer's own machine: `http` too, at any port, and loopback besides what is public or `opened`.
    pub fn of_dev(opened: Option<Opened>, own: Vec<SocketAddr>) -> Self {
        let more = opened.unwrap_or_else(|| Arc::new(|_| false));
        let opened: Opened = Arc::new(move |address| address.to_canonical().is_loopback() || more(address));
        Self { is_dev: true, challenges: false, ports: Vec::new(), opens_any: true, opened, own }
    }

    /// Looks at an address as far as its text tells; names are looked at when they are resolved ([`Rules::vet`]).
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self, address: &str) -> Result<Url, Refused> {
        if address.len() > URL_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        // What parsers drop or turn into something else: whoever wrote it means another address than they show.
        if address.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'\\')) {
            return Err(Refused::NoUrl);
        }
        let url = Url::parse(address).map_err(|_| Refused::NoUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.is_dev => {}
            "http" => return Err(Refused::HttpsOnly),
            _ => return Err(Refused::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() || authority(address).contains('@') {
            return Err(Refused::UserInfo);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::NoUrl)?;
        let port = url.port_or_known_default().ok_or(Refused::Port)?;
        if !self.is_dev && !self.ports.contains(&port) {
            return Err(Refused::Port);
        }
        // Numbers in every form that stands for an address are one here: decimal, octal, hexadecimal, in parts or not.
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => self.literal(ip, port)?,
            Err(_) => self.name(host, port)?,
        }
        Ok(url)
    }

    fn literal(&self, ip: IpAddr, port: u16) -> Result<(), Refused> {
        if !self.admits(ip) {
            return Err(Refused::Special);
        }
        if self.is_own(SocketAddr::new(ip, port)) {
            return Err(Refused::Own);
        }
        // An address that the operator has opened may be named as one.
        if self.is_dev || !guard::is_public(ip) { Ok(()) } else { Err(Refused::Literal) }
    }

    fn name(&self, host: &str, port: u16) -> Result<(), Refused> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" && self.is_dev {
            let own = self.own.iter().any(|own| own.port() == port && is_here(own.ip()));
            return if own { Err(Refused::Own) } else { Ok(()) };
        }
        let is_inner = !name.contains('.')
            || INNER.iter().any(|inner| name == *inner || name.ends_with(&[".", inner].concat()));
        // Where a private network is open, its names are; what they stand for is vetted all the same.
        if is_inner && !self.opens_any { Err(Refused::Name) } else { Ok(()) }
    }

    /// Whether an address may be called at some port.
    pub fn admits(&self, ip: IpAddr) -> bool {
        let is_open = guard::is_public(ip) || (self.opened)(ip);
        // A database or a broker is never called, whichever port of it; of this machine it depends on the port.
        is_open
            && !self.own.iter().any(|own| !is_here(own.ip()) && own.ip().to_canonical() == ip.to_canonical())
    }

    /// Whether this is where the installation itself listens.
    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let same = |own: IpAddr| own == ip || (own.is_unspecified() && ip.is_loopback());
        self.own.iter().any(|own| own.port() == port && same(own.ip().to_canonical()))
    }

    /// Whether this installation listens at this port of its own machine: then what a name stands for is looked at with it.
    pub(crate) fn has_own_port(&self, port: u16) -> bool {
        self.own.iter().any(|own| own.port() == port)
    }

    /// What a name may stand for: all of its addresses if each may be called, else none.
    ///
    /// # Errors
    /// When one may not.
    pub fn vet(&self, found: &[IpAddr]) -> Result<(), Refused> {
        if found.iter().all(|ip| self.admits(*ip)) { Ok(()) } else { Err(Refused::Special) }
    }
}

#[cfg(test)]
impl Rules {
    /// As those of a developer's machine, but that loopback is opened no further than this.
    pub(crate) fn opening(opened: Opened) -> Self {
        Self { is_dev: true, challenges: false, ports: Vec::new(), opens_any: true, opened, own: Vec::new() }
    }
}

/// Whether it is an address of this machine whatever its network.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// What stands between the slashes and the path, as it was written: a user without a name is one too.
fn authority(address: &str) -> &str {
    let behind = address.split_once("//").map_or("", |(_, behind)| behind);
    behind.split(['/', '?', '#']).next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &'static str) -> Option<Opened> {
        Some(Arc::new(move |ip: IpAddr| ip.to_canonical().to_string().starts_with(text)))
    }

    fn strict() -> Rules {
        Rules::strict(Vec::new(), None, Vec::new())
    }

    fn refused(rules: &Rules, address: &str) -> Option<Refused> {
        rules.check(address).err()
    }

    /// Every form in which an address that is not public was ever smuggled past such a guard.
    #[test]
    fn an_address_is_refused_in_whatever_form_it_comes() {
        use Refused::{HttpsOnly, Literal, Name, NoUrl, Port, Scheme, Special, TooLong, UserInfo};
        for (address, why) in [
            ("https://2130706433/", Special),
            ("https://0x7f.1/", Special),
            ("https://0177.0.0.1/", Special),
            ("https://127.1/", Special),
            ("https://0/", Special),
            ("https://127.0.0.1./", Special),
            ("https://%31%32%37.0.0.1/", Special),
            ("https://[::ffff:7f00:1]/", Special),
            ("https://[::7f00:1]/", Special),
            ("https://[::ffff:0:7f00:1]/", Special),
            ("https://[::5efe:7f00:1]/", Special),
            ("https://[64:ff9b::a9fe:a9fe]/", Special),
            ("https://[64:ff9b:1::808:808]/", Special),
            ("https://[2002:7f00:1::]/", Special),
            ("https://[fd00:ec2::254]/latest", Special),
            ("https://[fe80::1%25eth0]/", NoUrl),
            ("https://①②⑦.⓪.⓪.①/", Special),
            ("https://１２７.0.0.1/", Special),
            ("https://169.254.169.254/latest/meta-data", Special),
            ("https://100.100.100.200/", Special),
            ("https://metadata.google.internal/", Name),
            ("https://localhost/", Name),
            ("https://localhost./", Name),
            ("https://LOCALHOST/", Name),
            ("https://a.localhost/", Name),
            ("https://printer.local./", Name),
            ("https://intranet/", Name),
            ("https://8.8.8.8/", Literal),
            ("https://[2606:4700::1111]/", Literal),
            ("https://ok@127.0.0.1/", UserInfo),
            ("https://127.0.0.1@ok.example/", UserInfo),
            ("https://:pass@ok.example/", UserInfo),
            ("https://@ok.example/", UserInfo),
            ("https://ok.example\\@127.0.0.1/", NoUrl),
            ("https:\\\\127.0.0.1/", NoUrl),
            ("https://ok.example/\r\nhost: inner", NoUrl),
            ("https://127.0.\t0.1/", NoUrl),
            ("\thttps://ok.example/", NoUrl),
            ("https://ok.example /", NoUrl),
            ("https://[example.com]/", NoUrl),
            ("https://", NoUrl),
            ("", NoUrl),
            ("ok.example/hook", NoUrl),
            ("http://ok.example/", HttpsOnly),
            ("ftp://ok.example/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://ok.example/", Scheme),
            ("https://ok.example:22/", Port),
            ("https://ok.example:0/", Port),
            (&format!("https://ok.example/{}", "a".repeat(URL_BYTES_MAX)), TooLong),
        ] {
            assert_eq!(refused(&strict(), address), Some(why), "{address}");
        }
        for fine in ["https://ok.example/hook?a=b@c", "https://ok.example.:8443/", "https://bücher.example/"]
        {
            assert_eq!(refused(&strict(), fine), None, "{fine}");
        }
        assert_eq!(
            strict().check("https://bücher.example/a").map(|url| url.to_string()).as_deref(),
            Ok("https://xn--bcher-kva.example/a")
        );
    }

    #[test]
    fn what_the_operator_opens_is_called_and_nothing_beside_it() {
        let rules = Rules::strict(vec![443, 9443], opened("10.1."), vec![([10, 1, 0, 5], 5432).into()]);
        for (address, why) in [
            ("https://10.1.2.3:9443/", None),
            ("https://hooks.internal/", None),
            ("http://10.1.2.3/", Some(Refused::HttpsOnly)),
            ("https://10.2.2.3/", Some(Refused::Special)),
            ("https://127.0.0.1/", Some(Refused::Special)),
            ("https://10.1.2.3:8443/", Some(Refused::Port)),
            ("https://10.1.0.5/", Some(Refused::Special)),
            ("https://1.1.1.1/", Some(Refused::Literal)),
        ] {
            assert_eq!(refused(&rules, address), why, "{address}");
        }
        let ip = |text: &str| text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        assert!(rules.vet(&[ip("10.1.2.3"), ip("1.1.1.1")]).is_ok());
        assert!(rules.vet(&[ip("10.1.2.3"), ip("10.1.0.5")]).is_err(), "the database is not called");
        assert!(rules.vet(&[ip("1.1.1.1"), ip("10.2.0.1")]).is_err(), "one forbids all");
    }

    #[test]
    fn on_a_developers_machine_loopback_is_called_but_for_the_server_itself() {
        let rules = Rules::of_dev(None, vec![([127, 0, 0, 1], 3000).into()]);
        for (address, why) in [
            ("http://127.0.0.1:4000/webhook", None),
            ("http://localhost:4000/webhook", None),
            ("http://[::1]:4000/", None),
            ("https://ok.example:1234/", None),
            ("https://8.8.8.8/", None),
            ("http://127.0.0.1:3000/v1/orders", Some(Refused::Own)),
            ("http://localhost:3000/v1/orders", Some(Refused::Own)),
            ("http://[::ffff:127.0.0.1]:3000/", Some(Refused::Own)),
            ("http://192.168.0.1/", Some(Refused::Special)),
            ("http://169.254.169.254/", Some(Refused::Special)),
            ("http://u@127.0.0.1:4000/", Some(Refused::UserInfo)),
            ("ws://127.0.0.1:4000/", Some(Refused::Scheme)),
        ] {
            assert_eq!(refused(&rules, address), why, "{address}");
        }
    }

    /// The list of what is not to be called as it was written down, in another form than the guard has it.
    const FORBIDDEN: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/8",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];

    /// Whether `bits` begins as a network of `FORBIDDEN` does: compared digit by digit, as text.
    fn is_in(network: &str, ip: IpAddr) -> bool {
        let digits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => format!("{:032b}", u32::from(ip)),
            IpAddr::V6(ip) => format!("{:0128b}", u128::from(ip)),
        };
        let (address, prefix) = network.split_once('/').unwrap_or((network, "0"));
        let address: IpAddr = address.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let prefix: usize = prefix.parse().unwrap_or(0);
        address.is_ipv4() == ip.is_ipv4() && digits(address)[..prefix] == digits(ip)[..prefix]
    }

    /// What the list says of an address; of IPv6 what is not given out (outside of 2000::/3) is not called either.
    fn oracle(ip: IpAddr) -> bool {
        let wrapped = "64:ff9b::/96";
        if is_in(wrapped, ip) {
            let IpAddr::V6(ip) = ip else { return false };
            let [.., a, b, c, d] = ip.octets();
            return oracle(IpAddr::from([a, b, c, d]));
        }
        let given_out = ip.is_ipv4() || is_in("2000::/3", ip);
        given_out && !FORBIDDEN.iter().any(|network| is_in(network, ip))
    }

    /// A sequence of numbers that is the same each time (SplitMix64).
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn wide(&mut self) -> u128 {
            u128::from(self.next()) << 64 | u128::from(self.next())
        }
    }

    #[test]
    fn a_hundred_thousand_addresses_are_judged_as_the_list_says() {
        let mut numbers = Numbers(8);
        let networks: Vec<(IpAddr, u32)> = FORBIDDEN
            .iter()
            .chain(&["64:ff9b::/96", "2000::/3"])
            .filter_map(|network| network.split_once('/'))
            .filter_map(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)))
            .collect();
        let (mut public, mut special) = (0, 0);
        for round in 0..100_000 {
            let ip: IpAddr = match round % 4 {
                0 => IpAddr::from(u32::try_from(numbers.next() >> 32).unwrap_or(0).to_be_bytes()),
                1 => IpAddr::from(numbers.wide().to_be_bytes()),
                // Near the ends of a network: its prefix with perhaps a bit of it turned, and anything behind.
                _ => {
                    let (address, prefix) =
                        networks[usize::try_from(numbers.next()).unwrap_or(0) % networks.len()];
                    let turned = numbers.next();
                    match address {
                        IpAddr::V4(address) => {
                            let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
                            let flip = if turned.is_multiple_of(2) { 0 } else { 1 << (32 - prefix) };
                            let random = u32::try_from(numbers.next() >> 32).unwrap_or(0) & host;
                            IpAddr::from(((u32::from(address) | random) ^ flip).to_be_bytes())
                        }
                        IpAddr::V6(address) => {
                            let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
                            let flip = if turned.is_multiple_of(2) { 0 } else { 1 << (128 - prefix) };
                            IpAddr::from(
                                ((u128::from(address) | (numbers.wide() & host)) ^ flip).to_be_bytes(),
                            )
                        }
                    }
                }
            };
            assert_eq!(guard::is_public(ip), oracle(ip), "{ip}");
            if oracle(ip) { public += 1 } else { special += 1 }
        }
        assert!(public > 20_000 && special > 20_000, "{public} public, {special} not");
    }
}
