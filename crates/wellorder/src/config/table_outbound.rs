//! Settings of calls whose addresses others set: receivers of webhooks.

use super::{
    shape::Shape::{Networks, Ports, Switch},
    table::{Default::Is, Setting},
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbound {
    /// Ports that are called.
    pub(crate) ports: Vec<u16>,
    /// What is called besides what is public.
    pub(crate) open_networks: Vec<edge::Network>,
    /// Whether endpoints of webhooks have to say first that they want to be called.
    pub(crate) challenge: bool,
}

pub(super) const OUTBOUND: &[Setting] = &[
    Setting::new(
        "outbound.ports",
        Is("443,8443"),
        Ports { set: |s, v| s.outbound.ports = v },
        "ports that receivers of webhooks are called at; any in dev",
    ),
    Setting::new(
        "outbound.open_networks",
        Is(""),
        Networks { set: |s, v| s.outbound.open_networks = v },
        "networks that are not public and in which receivers of webhooks are called all the same",
    ),
    Setting::new(
        "outbound.challenge",
        Is("true"),
        Switch { set: |s, v| s.outbound.challenge = v },
        "whether a new endpoint of webhooks must answer a challenge before it is sent anything; never in dev",
    ),
];
