//! How the two sides prove who they are: `psk`, or `certificate`, `key`, `ca` and `public_key`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use xvpn_ike::auth::identity::Identity;
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};
use xvpn_ike::auth::signature::RsaPadding;
use xvpn_ike::auth::x509::{CertificateDer, Leaf, Moment};
use xvpn_ike::config::Secret;
use xvpn_ike::crypto::sign::SigningKey;

use super::super::Purpose;
use super::super::credential;
use super::super::diagnostic::{Diagnostic, Severity};
use super::super::raw::{RawEnd, RawTunnel};
use super::super::source::{At, Span};
use super::Resolver;

/// What both sides prove themselves by.
pub(super) struct Auth {
    pub(super) local: LocalAuth,
    pub(super) remote: RemoteAuth,
}

impl Auth {
    /// The pre-shared key, if there is one.
    pub(super) fn psk(&self) -> Option<&Secret> {
        match (&self.local, &self.remote) {
            (LocalAuth::Psk { secret, .. }, _) | (_, RemoteAuth::Psk { secret, .. }) => Some(secret),
            (
                LocalAuth::Certificate { .. } | LocalAuth::RawKey { .. },
                RemoteAuth::Certificate { .. } | RemoteAuth::RawKey { .. },
            ) => None,
        }
    }
}

/// Our own credential, as far as it could be read.
pub(super) enum Own {
    /// None is named: the pre-shared key.
    Psk,
    /// Something is wrong with it, which was reported.
    Unusable,
    /// A certificate and its key.
    Certificate(Vec<CertificateDer<'static>>, Box<Leaf>, SigningKey, Span),
    /// A key alone.
    Key(SigningKey),
}

impl Own {
    /// Who we are if the tunnel does not say so: the gateway's id if the certificate is for it, or what it says first.
    pub(super) fn identity(&self, default: Option<&Identity>) -> Option<Identity> {
        match self {
            Self::Certificate(_, leaf, ..) => default
                .filter(|id| leaf.is_for(id))
                .cloned()
                .or_else(|| leaf.identities().into_iter().next()),
            Self::Psk | Self::Unusable | Self::Key(_) => None,
        }
    }
}

impl Resolver<'_> {
    /// Reads `local.certificate` and `local.key`.
    pub(super) fn own_credential(&mut self, raw: &RawTunnel) -> Own {
        let Some(end) = raw.local.as_ref() else {
            return Own::Psk;
        };
        match (&end.certificate, &end.key) {
            (None, None) if super::has(&end.keys, "certificate") || super::has(&end.keys, "key") => {
                Own::Unusable
            }
            (None, None) => Own::Psk,
            (Some(certificate), None) => {
                let remedy = "add key = \"/etc/xvpn/NAME.key\": the private key that belongs to it";
                let title = "`local.certificate` has no `key`";
                self.out.push(
                    Diagnostic::error("missing-key", title, remedy)
                        .at(&certificate.span, "a certificate without key"),
                );
                Own::Unusable
            }
            (None, Some(key)) => credential::private_key(key, self.out).map_or(Own::Unusable, Own::Key),
            (Some(certificate), Some(key)) => {
                let chain = credential::chain(certificate, self.out);
                let private = credential::private_key(key, self.out);
                let (Some((chain, leaf)), Some(private)) = (chain, private) else {
                    return Own::Unusable;
                };
                if private.public() != leaf.key() {
                    let title = "the private key does not belong to the certificate";
                    let remedy = "name the key that the certificate was made for; both show the same public key: \
                                  openssl x509 -in CERTIFICATE -noout -pubkey, openssl pkey -in KEY -pubout";
                    self.out.push(
                        Diagnostic::error("key-mismatch", title, remedy)
                            .at(&key.span, format!("a key of {}", private.public().kind()))
                            .and(&certificate.span, format!("for a key of {}", leaf.key().kind())),
                    );
                    return Own::Unusable;
                }
                self.judge_validity(&leaf, "the certificate", certificate, self.severity());
                Own::Certificate(chain, Box::new(leaf), private, certificate.span.clone())
            }
        }
    }

    /// Puts all of it together.
    pub(super) fn auth(
        &mut self,
        raw: &RawTunnel,
        own: Own,
        local: Option<&Identity>,
        remote: Option<&Identity>,
    ) -> Option<Auth> {
        let padding = self.padding(raw.local.as_ref());
        let theirs = self.their_credential(raw, remote);
        let needs_psk = matches!(own, Own::Psk) || matches!(theirs, Theirs::Psk);
        let psk = self.psk_if(raw, needs_psk, &own, &theirs);
        let local_auth = match own {
            Own::Psk => {
                let (secret, previous) = psk.clone()?;
                LocalAuth::Psk { secret, previous }
            }
            Own::Unusable => return None,
            Own::Key(key) => LocalAuth::RawKey {
                key: Arc::new(key),
                padding,
            },
            Own::Certificate(chain, leaf, key, span) => {
                self.judge_name(&leaf, local, &span)?;
                LocalAuth::Certificate {
                    chain: chain.into(),
                    key: Arc::new(key),
                    padding,
                }
            }
        };
        let remote_auth = match theirs {
            Theirs::Psk => {
                let (secret, previous) = psk?;
                RemoteAuth::Psk { secret, previous }
            }
            Theirs::Unusable => return None,
            Theirs::Known(auth) => auth,
        };
        Some(Auth {
            local: local_auth,
            remote: remote_auth,
        })
    }

    fn their_credential(&mut self, raw: &RawTunnel, identity: Option<&Identity>) -> Theirs {
        let Some(end) = raw.remote.as_ref() else {
            return Theirs::Psk;
        };
        let unread = super::has(&end.keys, "ca") || super::has(&end.keys, "public_key");
        match (&end.ca, &end.public_key) {
            (None, None) if unread => Theirs::Unusable,
            (None, None) => Theirs::Psk,
            (Some(ca), Some(key)) => {
                let title = "`remote.ca` and `remote.public_key` are both there";
                let remedy = "keep `ca` if the peer has a certificate, `public_key` if it has only a key";
                self.out.push(
                    Diagnostic::error("two-ways", title, remedy)
                        .at(&key.span, "one way")
                        .and(&ca.span, "another way"),
                );
                Theirs::Unusable
            }
            (Some(ca), None) => self.authorities(ca, identity),
            (None, Some(list)) => {
                let keys: Vec<_> = list
                    .value
                    .iter()
                    .filter_map(|at| credential::public_key(at, self.out))
                    .collect();
                self.listed(list, keys.len()).map_or(Theirs::Unusable, |()| {
                    Theirs::Known(RemoteAuth::RawKey { keys: keys.into() })
                })
            }
        }
    }

    fn authorities(&mut self, list: &At<Vec<At<String>>>, identity: Option<&Identity>) -> Theirs {
        if let Some(identity @ Identity::KeyId(_)) = identity {
            let title = format!("no certificate can name {identity}");
            let remedy =
                "let the peer call itself by a name in its certificate, and write that as `remote.id`";
            self.out.push(
                Diagnostic::error("id-not-in-certificate", title, remedy)
                    .at(&list.span, "asks for a certificate"),
            );
            return Theirs::Unusable;
        }
        let mut anchors = Vec::new();
        let mut files = 0;
        for at in &list.value {
            let Some(of_file) = credential::anchors(at, self.out) else {
                continue;
            };
            files += 1;
            for anchor in &of_file {
                let subject = anchor.certificate().subject().to_string();
                self.judge_validity(
                    anchor.certificate(),
                    &format!("the authority {subject}"),
                    at,
                    Severity::Warning,
                );
            }
            anchors.extend(of_file);
        }
        self.listed(list, files).map_or(Theirs::Unusable, |()| {
            Theirs::Known(RemoteAuth::Certificate {
                anchors: anchors.into(),
            })
        })
    }

    /// All of a list could be read, and it is not empty.
    fn listed(&mut self, list: &At<Vec<At<String>>>, read: usize) -> Option<()> {
        if list.value.is_empty() {
            let remedy = "name at least one PEM file, or remove the line";
            self.out.push(
                Diagnostic::error("empty-list", "the list is empty", remedy)
                    .at(&list.span, "nothing to trust"),
            );
            return None;
        }
        (read == list.value.len()).then_some(())
    }

    /// The pre-shared key, where one is needed. One that is not is a mistake, or a leftover that somebody could take for
    /// what protects the tunnel.
    fn psk_if(
        &mut self,
        raw: &RawTunnel,
        needed: bool,
        own: &Own,
        theirs: &Theirs,
    ) -> Option<(Secret, Option<Secret>)> {
        if needed {
            let named = !matches!(own, Own::Psk) || !matches!(theirs, Theirs::Psk);
            if raw.psk.is_none() && named && !super::has(&raw.keys, "psk") {
                let (title, remedy) = if matches!(theirs, Theirs::Psk) {
                    (
                        "nothing says how the peer proves who it is",
                        "add ca = \"/etc/xvpn/ca.pem\" (or public_key) to `remote`, or a psk to the tunnel",
                    )
                } else {
                    (
                        "nothing says how we prove who we are",
                        "add certificate and key to `local`, or a psk to the tunnel",
                    )
                };
                self.out
                    .push(Diagnostic::error("missing-key", title, remedy).at(&raw.span, "one side only"));
                return None;
            }
            return self.psk(raw);
        }
        for key in ["psk", "previous_psk"] {
            if super::has(&raw.keys, key) {
                let title = format!("`{key}` is not used: both sides prove themselves by keys of their own");
                let remedy =
                    "remove it; or remove `certificate` and `key`, or `ca` or `public_key`, to use it";
                let label = format!("has a `{key}`");
                self.out
                    .push(Diagnostic::warning("unused-psk", title, remedy).at(&raw.span, label));
            }
        }
        None
    }

    fn padding(&mut self, end: Option<&RawEnd>) -> RsaPadding {
        let choices = [
            ("auto", RsaPadding::Auto),
            ("rsa-pkcs1", RsaPadding::Pkcs1),
            ("rsa-pss", RsaPadding::Pss),
        ];
        let at = end.and_then(|end| end.signature.as_ref());
        self.choice("signature", at, &choices).unwrap_or_default()
    }

    /// The peer believes us only if the certificate names us (RFC 4945 3.1).
    fn judge_name(&mut self, leaf: &Leaf, identity: Option<&Identity>, span: &Span) -> Option<()> {
        let identity = identity?;
        if leaf.is_for(identity) {
            return Some(());
        }
        let names: Vec<_> = leaf.identities().iter().map(ToString::to_string).collect();
        let title = format!("the certificate is not for {identity}");
        let remedy = "write one of its names as `local.id`, or have a certificate made with that name among its subjectAltNames";
        self.out.push(
            Diagnostic::error("id-not-in-certificate", title, remedy)
                .at(span, format!("is for {}", names.join(", "))),
        );
        None
    }

    fn judge_validity(&mut self, leaf: &Leaf, what: &str, at: &At<String>, severity: Severity) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = Moment(now.map_or(0, |since| since.as_secs()));
        let (since, until) = leaf.validity();
        let (title, remedy) = if now > until {
            (
                format!("{what} expired on {until}"),
                "renew it; no peer with a right clock accepts it",
            )
        } else if now < since {
            (
                format!("{what} is not valid before {since}"),
                "check this host's clock, or wait",
            )
        } else {
            return;
        };
        let mut diagnostic =
            Diagnostic::error("certificate-expired", title, remedy).at(&at.span, "in this file");
        diagnostic.severity = severity;
        self.out.push(diagnostic);
    }

    /// A gateway starts with an expired certificate, for its other tunnels; who checks wants to know.
    fn severity(&self) -> Severity {
        match self.purpose {
            Purpose::Check => Severity::Error,
            Purpose::Run => Severity::Warning,
        }
    }
}

/// The peer's credential, as far as it could be read.
enum Theirs {
    /// None is named: the pre-shared key.
    Psk,
    /// Something is wrong with it, which was reported.
    Unusable,
    /// What it must prove itself by.
    Known(RemoteAuth),
}
