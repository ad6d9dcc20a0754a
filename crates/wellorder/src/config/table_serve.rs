//! Settings of what many clients may do to a server: how long they may wait, what it is reached over, how often they may ask.

use super::{
    settings::Settings,
    shape::Shape::{Count, MaybePath, Millis, Networks, Seconds, Switch, Text, Word},
    sources::{Inputs, Mode},
    table::{
        Default::{Follows, Is},
        HOUR_MS, MIB, Setting, number, small,
    },
};
use edge::ProxyHeader;

/// Most of anything a second; far more than a process can do.
const PER_SECOND_MAX: u64 = 1_000_000;

/// In `dev` nobody is limited: who calls is at the machine.
fn in_serve(inputs: &Inputs, value: &str) -> String {
    if inputs.mode == Mode::Serve { value } else { "0" }.to_owned()
}

pub(super) const SERVE: &[Setting] = &[
    Setting::new(
        "auth.jwks_allow_private",
        Follows(|_, inputs| (inputs.mode != Mode::Serve).to_string()),
        Switch { set: |s: &mut Settings, v| s.auth.jwks_allow_private = v },
        "whether auth.jwks_url may lead into a private network; false in serve",
    ),
    Setting::new(
        "auth.operator_tenant",
        Is("default"),
        Text { set: |s, v| v.clone_into(&mut s.auth.operator_tenant) },
        "the tenant whose callers control followers and copies, which belong to all",
    ),
    Setting::new(
        "lane.delay_max_ms",
        Is("250"),
        Millis { min: 1, max: HOUR_MS, set: |s: &mut Settings, v| s.lane.delay_max = v },
        "longest that a write may be about to wait; else it is refused with 503 at once",
    ),
    Setting::new(
        "lane.deadline_ms",
        Is("1000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.lane.deadline = v },
        "longest that a write may have waited when its turn comes; else it is refused with 503",
    ),
    Setting::new(
        "limits.answers_mib",
        Is("64"),
        Count { min: 1, max: 65_536, set: |s: &mut Settings, v| s.limits.answers_bytes = small(v * MIB) },
        "answers that clients have not taken, half of it for one tenant; beyond it reads are refused with 503",
    ),
    Setting::new(
        "limits.reads_at_once",
        Is("16"),
        Count { min: 2, max: 10_000, set: |s, v| s.limits.reads_at_once = small(v) },
        "reads at once; more wait",
    ),
    Setting::new(
        "limits.lists_at_once",
        Is("3"),
        Count { min: 1, max: 10_000, set: |s, v| s.limits.lists_at_once = small(v) },
        "lists among them; always fewer than limits.reads_at_once, so that orders are found beside them",
    ),
    Setting::new(
        "limits.read_wait_ms",
        Is("1000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.limits.read_wait = v },
        "longest that a read waits for its turn; else it is refused with 503",
    ),
    Setting::new(
        "tls.cert",
        Is(""),
        MaybePath { set: |s: &mut Settings, v| s.transport.tls_cert = v },
        "certificates that serve speaks TLS with, its own first (PEM); read again on SIGHUP",
    ),
    Setting::new(
        "tls.key",
        Is(""),
        MaybePath { set: |s, v| s.transport.tls_key = v },
        "their private key (PEM); read again on SIGHUP",
    ),
    Setting::new(
        "tls.ca_file",
        Is(""),
        MaybePath { set: |s, v| s.ca_file = v },
        "authorities that are believed besides the public ones when calling over TLS (PEM)",
    ),
    Setting::new(
        "serve.trusted_proxies",
        Is(""),
        Networks { set: |s, v| s.transport.trusted_proxies = v },
        "proxies that speak TLS to clients, and whose word about a client's address is taken",
    ),
    Setting::new(
        "serve.proxy_header",
        Is("x-forwarded-for"),
        Word {
            words: &["x-forwarded-for", "forwarded"],
            set: |s, place| {
                s.transport.proxy_header = [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded][place];
            },
        },
        "header in which they write it; the other one is not read",
    ),
    Setting::new(
        "serve.plaintext",
        Is("false"),
        Switch { set: |s, v| s.transport.plaintext = v },
        "whether plain HTTP may come over a network, readable on the way",
    ),
    Setting::new(
        "rate.key_per_second",
        Follows(|_, inputs| in_serve(inputs, "1000")),
        Count { min: 0, max: PER_SECOND_MAX, set: |s, v| s.rates.key_per_second = number(v) },
        "requests of one API key or subject of tokens; 0 is no limit; 1000 in serve",
    ),
    Setting::new(
        "rate.tenant_per_second",
        Follows(|_, inputs| in_serve(inputs, "4000")),
        Count { min: 0, max: PER_SECOND_MAX, set: |s, v| s.rates.tenant_per_second = number(v) },
        "requests of all credentials of one tenant; 0 is no limit; 4000 in serve",
    ),
    Setting::new(
        "rate.address_per_second",
        Follows(|_, inputs| in_serve(inputs, "20")),
        Count { min: 0, max: PER_SECOND_MAX, set: |s, v| s.rates.address_per_second = number(v) },
        "requests without a credential of one address; 0 is no limit; 20 in serve",
    ),
    Setting::new(
        "rate.failed_logins_per_minute",
        Follows(|_, inputs| in_serve(inputs, "60")),
        Count { min: 0, max: PER_SECOND_MAX, set: |s, v| s.rates.failed_logins_per_minute = number(v) },
        "credentials of one address that are not good; then it gets 429 for all; 0 is no limit; 60 in serve",
    ),
    Setting::new(
        "rate.burst_seconds",
        Is("5"),
        Seconds { min: 1, max: 3600, set: |s, v| s.rates.burst = v },
        "as many requests at once as come in this time",
    ),
    Setting::new(
        "rate.tracked_max",
        Is("100000"),
        Count { min: 1, max: 10_000_000, set: |s, v| s.rates.tracked_max = small(v) },
        "keys, tenants and addresses that are remembered, of each; newcomers beyond share one limit",
    ),
];
