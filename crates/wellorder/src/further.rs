//! Addresses besides the main one, each for one contract.

use crate::access::Access;
use crate::config::{Role, Settings};
use crate::serve::Beside;
use crate::{boot, serve};
use axum::Router;
use edge::{Guard, Listening, Transport};
use order_core::App;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What an address is for.
enum Use {
    /// The contract of this name, at the root.
    Contract(&'static str),
    /// `orderstream` over gRPC alone.
    Grpc,
}

/// An address that can be had.
pub(crate) struct Further {
    listener: TcpListener,
    used: Use,
}

/// Takes the addresses that the settings name.
///
/// # Errors
/// When one cannot be had.
pub(crate) async fn listen(settings: &Settings) -> anyhow::Result<Vec<Further>> {
    let mut further = Vec::new();
    if !settings.has_role(Role::Api) {
        return Ok(further);
    }
    for (name, address) in &settings.contract_listen {
        let listener = serve::listen(*address, &format!("contracts.{name}.listen")).await?;
        further.push(Further { listener, used: Use::Contract(name) });
    }
    if let Some(address) = settings.orderstream.grpc {
        let listener = serve::listen(address, "contracts.orderstream.grpc").await?;
        further.push(Further { listener, used: Use::Grpc });
    }
    Ok(further)
}

impl Further {
    /// What is served there while there is no storage.
    ///
    /// # Errors
    /// When the process may have no more sockets.
    pub(crate) fn waiting(
        &self,
        guard: &Arc<Guard>,
        transport: Transport,
    ) -> anyhow::Result<(Listening, Router)> {
        let (name, has_grpc) = match self.used {
            Use::Contract(name) => (name, name == contracts::orderstream::NAME),
            Use::Grpc => (contracts::orderstream::NAME, true),
        };
        let http2 = if has_grpc { serve::waiting_grpc(guard) } else { None };
        let listening = Listening { listener: boot::twin(&self.listener)?, transport, http2 };
        Ok((listening, serve::waiting_contract(name, guard)))
    }

    /// What is to be served where.
    pub(crate) fn served(
        self,
        settings: &Settings,
        app: &Arc<App>,
        guard: &Arc<Guard>,
        access: &Access,
        beside: &Beside,
        transport: Transport,
    ) -> (Listening, Router) {
        let nothing = || edge::mount(Router::new(), contracts::orderstream::MOUNT, Arc::clone(guard));
        let grpc = || serve::grpc(settings, app, guard, access);
        let (router, http2) = match self.used {
            Use::Contract(name) => {
                let router = serve::contract(name, settings, app, guard, access, beside);
                let http2 = if name == contracts::orderstream::NAME { grpc() } else { None };
                (router.unwrap_or_else(nothing), http2)
            }
            Use::Grpc => (nothing(), grpc()),
        };
        (Listening { listener: self.listener, transport, http2 }, router)
    }
}
