//! Redirects (RFC 5685): finds the gateways that peers send us to, and sends peers to others when the operator wants it.

use std::time::Instant;

use xvpn_ike::api::{Command, GatewayIdentity, Input};
use xvpn_ike::config::ConnectionId;

use super::connection::{self, Ends, Unlocated};
use super::search::Found;
use super::supervisor::Supervisor;
use crate::admin::api::{ErrorKind, ErrorReport, Response};

impl Supervisor {
    /// Looks for the gateway that the peer has sent us to, in a task beside the loop.
    pub(super) fn seek_gateway(&self, id: ConnectionId, to: GatewayIdentity) {
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        let (config, listen, found) = (
            tunnel.config.clone(),
            self.gateway.listen.clone(),
            self.found.0.clone(),
        );
        tokio::spawn(async move {
            let result = connection::locate_gateway(&config, to, &listen).await;
            let redirected = true;
            // The loop may have ended meanwhile.
            drop(
                found
                    .send(Found {
                        id,
                        result,
                        redirected,
                    })
                    .await,
            );
        });
    }

    /// Tells `ike` where that gateway is, or the operator why nobody knows.
    pub(super) fn on_gateway_found(&mut self, id: ConnectionId, result: Result<Ends, Unlocated>) {
        let Some(tunnel) = self.tunnels.get_mut(&id).filter(|tunnel| !tunnel.barred) else {
            return;
        };
        let checked = result
            .and_then(|ends| connection::check_pinned(&tunnel.config, &ends, &self.pinned).map(|()| ends));
        match checked {
            Ok(Ends {
                local: Some(local),
                remote: Some(remote),
            }) => self.handle(Input::Command(Command::Follow {
                connection: id,
                local,
                remote,
            })),
            // Both are looked for.
            Ok(Ends { .. }) => {}
            Err(Unlocated { message, remedy }) => {
                let message = format!("a redirect of the peer leads nowhere: {message}");
                let progress = tunnel.could_not_begin(message, remedy, None, Instant::now());
                self.publish(progress, true);
            }
        }
    }

    /// The operator wants the peers of these tunnels to be served by another gateway, or here again.
    pub(super) fn redirect(&mut self, ids: &[ConnectionId], to: Option<&str>) -> Response {
        let to = match to.map(str::parse::<GatewayIdentity>).transpose() {
            Ok(to) if to.as_ref().is_none_or(GatewayIdentity::is_usable) => to,
            Ok(_) | Err(_) => {
                let remedy = "name it by an IP address or a DNS name by which the peers reach it";
                return Response::Error(ErrorReport::new(
                    ErrorKind::BadRequest,
                    "no gateway can be there",
                    remedy,
                ));
            }
        };
        for &connection in ids {
            let Some(tunnel) = self.tunnels.get_mut(&connection) else {
                continue;
            };
            tunnel.config.redirect_to.clone_from(&to);
            let words = match &to {
                Some(to) => format!("sends its peer to {to} from now on"),
                None => "serves its peer again".to_owned(),
            };
            let progress = tunnel.progress(words);
            self.publish(progress, true);
            self.handle(Input::Command(Command::Redirect {
                connection,
                to: to.clone(),
            }));
            if let Some(search) = self.searches.get_mut(&connection).filter(|_| to.is_none()) {
                // Now it may call its peer again.
                (search.up, search.again) = (false, None);
                self.search(connection);
            }
        }
        self.accepted(ids)
    }
}
