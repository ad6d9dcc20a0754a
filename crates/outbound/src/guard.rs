//! Which addresses a server may be made to call. Whoever sets an address must not reach through it what only this machine
//! or its network can: metadata services, databases, routers.
//!
//! The rules are pure and know no exception: what is not known to be public is special. IPv4 after the IANA registry of
//! special-purpose addresses (RFC 6890); of IPv6 only global unicast (2000::/3) passes, without the blocks that wrap an
//! IPv4 address or lead nowhere. What stands for an address of IPv4 in a network that has none of its own (64:ff9b::/96,
//! RFC 6052) is what that address is.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether addresses inside a private network may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only addresses that anybody can call.
    Public,
    /// Any address: whoever sets it means this machine or its network.
    Anywhere,
}

/// Why an address is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// No URL with a host.
    #[error("is no URL with a host")]
    NoUrl,
    /// No `https`.
    #[error("is no https:// URL: anybody on the way could change what comes")]
    Plain,
    /// A user or a password.
    #[error("holds a user or a password")]
    UserInfo,
    /// An IP address that is not public.
    #[error("is an address that is not public")]
    Special,
}

/// Looks at an address before anything is asked about it. Names are looked at when they are resolved: see
/// `PublicNames`.
///
/// # Errors
/// Why it may not be called.
pub fn check(address: &str, reach: Reach) -> Result<(), Forbidden> {
    let url = Url::parse(address).map_err(|_| Forbidden::NoUrl)?;
    if url.scheme() != "https" {
        return Err(Forbidden::Plain);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::UserInfo);
    }
    // Numbers in every form that stands for an IPv4 address are one here: decimal, octal, hexadecimal, in parts or not.
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Forbidden::NoUrl)?;
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    if reach == Reach::Public && literal.is_some_and(|address| !is_public(address)) {
        return Err(Forbidden::Special);
    }
    Ok(())
}

/// Whether anybody can call this address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, private, loopback, link-local, multicast, reserved, broadcast.
        [0 | 10 | 127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] | [224..=255, ..]
        // Shared by carriers, protocol assignments, 6to4 relays, benchmarks.
        | [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..]
        // Documentation.
        | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        return is_public_v4((u32::from(high) << 16 | u32::from(low)).into());
    }
    // Outside 2000::/3 lie ::, ::1, mapped and translated IPv4 (::ffff:0:0/96), fc00::/7, fe80::/10, ff00::/8.
    let special = match address.segments() {
        // Protocol assignments, Teredo among them; documentation; 6to4; documentation again.
        [0x2001, 0x0000..=0x01ff, ..]
        | [0x2001, 0x0db8, ..]
        | [0x2002, ..]
        | [0x3fff, 0x0000..=0x0fff, ..] => true,
        [first, ..] => first & 0xe000 != 0x2000,
    };
    !special
}

/// What a name may stand for: all its addresses if every one is public, else none.
///
/// # Errors
/// When one is special, or there is none.
pub fn vetted(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    if addresses.iter().any(|address| !is_public(address.ip())) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the name has an address that is not public",
        ));
    }
    Ok(addresses)
}

/// Resolves names to public addresses. The connection goes to what was vetted, not to what a second question would say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(vetted(found)?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn special_addresses_are_not_public_to_their_very_ends() {
        let special_ones = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
            127.255.255.255 169.254.0.0 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.0 \
            192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 \
            198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 \
            ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::7f00:1 \
            64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:10::1 2001:20::1 \
            2001:1ff:ffff::1 2001:db8::1 2002::1 2002:7f00:1::1 3fff::1 3fff:fff::1 5f00::1 fc00::1 \
            fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1 4000::1";
        for special in special_ones.split(' ') {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        let public_ones = "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
            128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 \
            192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2001:200::1 \
            64:ff9b::808:808 2001:4860:4860::8888 2003::1 2606:4700::1111 2a00::1 3ffe::1 3fff:1000::1";
        for public in public_ones.split(' ') {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_is_looked_at_in_whatever_form_it_comes() {
        for (address, why) in [
            ("", Forbidden::NoUrl),
            ("https://", Forbidden::NoUrl),
            ("id.example/keys", Forbidden::NoUrl),
            ("http://id.example/keys", Forbidden::Plain),
            ("file:///etc/passwd", Forbidden::Plain),
            ("https://user@id.example/", Forbidden::UserInfo),
            ("https://:pass@id.example/", Forbidden::UserInfo),
            ("https://127.0.0.1/", Forbidden::Special),
            ("https://127.1/", Forbidden::Special),
            ("https://2130706433/", Forbidden::Special),
            ("https://0x7f000001/", Forbidden::Special),
            ("https://0x7f.1/", Forbidden::Special),
            ("https://0177.0.0.01/", Forbidden::Special),
            ("https://127.0.0.1./", Forbidden::Special),
            ("https://%31%32%37.0.0.1/", Forbidden::Special),
            ("https://１２７.0.0.1/", Forbidden::Special),
            ("https://0/", Forbidden::Special),
            ("https://169.254.169.254/latest/meta-data", Forbidden::Special),
            ("https://[::1]/", Forbidden::Special),
            ("https://[::ffff:10.0.0.1]:8443/", Forbidden::Special),
            ("https://[fd00:ec2::254]/", Forbidden::Special),
        ] {
            assert_eq!(check(address, Reach::Public), Err(why), "{address}");
            let anywhere = check(address, Reach::Anywhere);
            assert_eq!(anywhere, if why == Forbidden::Special { Ok(()) } else { Err(why) }, "{address}");
        }
        for fine in ["https://id.example/keys?a=b", "https://8.8.8.8/", "https://[2606:4700::1111]:8443/"] {
            assert_eq!(check(fine, Reach::Public), Ok(()), "{fine}");
        }
    }

    #[test]
    fn one_special_answer_forbids_the_name() {
        let read =
            |addresses: &[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let public = read(&["8.8.8.8:0", "[2606:4700::1111]:0"]);
        assert_eq!(vetted(public.clone()).unwrap(), public);
        for mixed in
            [&["8.8.8.8:0", "127.0.0.1:0"][..], &["[::ffff:10.0.0.1]:0", "8.8.8.8:0"], &["10.0.0.1:0"]]
        {
            assert_eq!(vetted(read(mixed)).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{mixed:?}");
        }
        assert_eq!(vetted(Vec::new()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn names_of_this_machine_are_not_called() {
        let refused = PublicNames.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.to_string().contains("not public"), "{refused}");
    }
}
