//! What IKE costs: handshakes per second and core, as initiator and as responder; new keys per second; octets per tunnel.
//!
//! Two endpoints in memory, no network and no kernel between them; the time each spends is added up by itself.
//! `cargo bench --bench handshake` prints it all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};
use xvpn_ike::Endpoint;
use xvpn_ike::api::{Command, Event, Input, Output, Path, Rekey};
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};
use xvpn_ike::auth::signature::RsaPadding;
use xvpn_ike::config::{ConnectionConfig, ConnectionId, EndpointConfig};
use xvpn_ike::negotiate::proposal::IkeProposal;
use xvpn_ike::testing::{Faults, LINK, Pair, SeededRandom, WALL_CLOCK, Who, config};

use pki::Authority;

#[path = "../ike/tests/pki/mod.rs"]
mod pki;

/// Key exchanges with a pre-shared key.
const SUITES: [&str; 9] = [
    "aes256gcm16-prfsha256-x25519",
    "aes256gcm16-prfsha256-x25519-ke1_mlkem768",
    "chacha20poly1305-prfsha256-x25519",
    "aes256gcm16-prfsha384-ecp256",
    "aes256gcm16-prfsha384-ecp384",
    "aes128-sha256-modp2048",
    "aes256-sha512-modp4096",
    "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024",
    "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_mlkem1024",
];
/// What both sides prove themselves by, with certificates of one authority, and the key exchange before it.
const CERTIFICATES: [(&str, &SignatureAlgorithm, &str); 4] = [
    ("ECDSA P-256", &PKCS_ECDSA_P256_SHA256, SUITES[0]),
    ("ECDSA P-384", &PKCS_ECDSA_P384_SHA384, SUITES[0]),
    ("Ed25519", &PKCS_ED25519, SUITES[0]),
    ("ECDSA P-256", &PKCS_ECDSA_P256_SHA256, SUITES[1]),
];
/// Tunnels whose memory is measured.
const TUNNELS: u32 = 1000;
/// How long one thing is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    // `cargo test` runs benches, too, to see whether they run at all.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let (time, tunnels) = match short {
        true => (Duration::ZERO, 10),
        false => (MEASURED, TUNNELS),
    };
    println!("handshakes per second and core (pre-shared key)      initiator  responder");
    for suite in SUITES {
        match suite.parse::<IkeProposal>() {
            Ok(proposal) => handshakes(suite, with(proposal, config), time),
            Err(error) => println!("  {suite:<50} not in this build: {error}"),
        }
    }
    println!("handshakes per second and core (certificates)        initiator  responder");
    for (name, algorithm, suite) in CERTIFICATES {
        match suite.parse::<IkeProposal>() {
            Ok(proposal) => {
                let exchange = suite.trim_start_matches("aes256gcm16-prfsha256-");
                let certified = certified(algorithm);
                handshakes(&format!("{name}, {exchange}"), with(proposal, certified), time);
            }
            Err(error) => println!("  {suite:<50} not in this build: {error}"),
        }
    }
    println!("new keys per second, the work of both sides added");
    for (what, name) in [
        (Rekey::Child, "CHILD SA, without PFS"),
        (Rekey::Ike, "IKE SA, x25519"),
    ] {
        println!("  {name:<50} {:>9}", rekeys(what, time));
    }
    println!("octets of memory per established tunnel, of {tunnels}");
    let [initiator, responder] = memory(tunnels);
    println!("  initiator {initiator}, responder {responder}");
}

/// Two endpoints, what they say to each other, and the time each of them took.
struct Both {
    endpoints: [Endpoint; 2],
    spent: [Duration; 2],
    under_way: VecDeque<(usize, Path, Vec<u8>)>,
    established: usize,
    now: Instant,
}

impl Both {
    fn new(seed: u64) -> Self {
        let endpoint = |seed| Endpoint::new(roomy(), Box::new(SeededRandom::new(seed)));
        Self {
            endpoints: [endpoint(seed * 2), endpoint(seed * 2 + 1)],
            spent: [Duration::ZERO; 2],
            under_way: VecDeque::new(),
            established: 0,
            now: Instant::now(),
        }
    }

    fn input(&mut self, who: usize, input: Input<'_>) {
        let begin = Instant::now();
        let endpoint = &mut self.endpoints[who];
        endpoint.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| endpoint.poll_output()).collect();
        self.spent[who] += begin.elapsed();
        for output in outputs {
            if let Output::Transmit(transmit) = output {
                let path = Path {
                    local: transmit.path.remote,
                    remote: transmit.path.local,
                };
                self.under_way.push_back((1 - who, path, transmit.bytes));
            } else if let Output::Event(Event::ChildEstablished { .. }) = output {
                self.established += 1;
            }
        }
    }

    /// Until nobody has anything to say.
    fn talk(&mut self) {
        while let Some((to, path, bytes)) = self.under_way.pop_front() {
            self.input(to, Input::Datagram { path, bytes: &bytes });
        }
    }
}

fn roomy() -> EndpointConfig {
    EndpointConfig {
        cookie_threshold: usize::MAX,
        max_half_open: usize::MAX,
        ..EndpointConfig::default()
    }
}

/// Both sides' configurations with this proposal alone.
fn with(proposal: IkeProposal, of: impl Fn(Who) -> ConnectionConfig) -> [ConnectionConfig; 2] {
    [Who::Alice, Who::Bob].map(|who| ConnectionConfig {
        ike_proposals: vec![proposal.clone()],
        ..of(who)
    })
}

/// Configurations in which each side has a certificate with a key of this kind, of one authority (P-256).
fn certified(algorithm: &'static SignatureAlgorithm) -> impl Fn(Who) -> ConnectionConfig {
    let root = Authority::root("Bench");
    let holder = |name| {
        let key = KeyPair::generate_for(algorithm).expect("the system's random numbers");
        root.issue_for(&pki::host(name), key)
    };
    let holders = ["alice.example", "bob.example"].map(holder);
    move |who| {
        let holder = &holders[who as usize];
        ConnectionConfig {
            local_auth: LocalAuth::Certificate {
                chain: [holder.der.clone()].into(),
                key: Arc::new(holder.signing_key()),
                padding: RsaPadding::Auto,
            },
            remote_auth: RemoteAuth::Certificate {
                anchors: [root.anchor()].into(),
            },
            ..config(who)
        }
    }
}

fn handshakes(name: &str, [alice, bob]: [ConnectionConfig; 2], time: Duration) {
    let (begin, mut spent, mut count) = (Instant::now(), [Duration::ZERO; 2], 0u32);
    while count == 0 || begin.elapsed() < time {
        let mut both = Both::new(u64::from(count));
        both.input(0, Input::Command(Command::Configure(Box::new(alice.clone()))));
        both.input(1, Input::Command(Command::Configure(Box::new(bob.clone()))));
        both.input(0, Input::WallClock(WALL_CLOCK));
        both.input(1, Input::WallClock(WALL_CLOCK));
        both.spent = [Duration::ZERO; 2];
        both.input(0, Input::Command(Command::Up(LINK)));
        both.talk();
        assert_eq!(both.established, 2, "{name}: a CHILD SA on both sides");
        spent[0] += both.spent[0];
        spent[1] += both.spent[1];
        count += 1;
    }
    let [initiator, responder] = spent.map(|spent| f64::from(count) / spent.as_secs_f64());
    println!("  {name:<50} {initiator:>9.0}  {responder:>9.0}");
}

fn rekeys(what: Rekey, time: Duration) -> u64 {
    let mut pair = Pair::new(7, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(Duration::from_secs(5), Pair::has_settled));
    let (begin, mut count) = (Instant::now(), 0u64);
    while count == 0 || begin.elapsed() < time {
        let who = if count.is_multiple_of(2) {
            Who::Alice
        } else {
            Who::Bob
        };
        pair.command(
            who,
            Command::Rekey {
                connection: LINK,
                what,
            },
        );
        // Virtual time: the old SAs are gone by then, unless one's own hour has just come.
        pair.run_for(Duration::from_secs(8));
        assert!(
            pair.run_until(Duration::from_secs(300), Pair::has_settled),
            "after {count}"
        );
        pair.alice.clear();
        pair.bob.clear();
        pair.net.tape.clear();
        count += 1;
    }
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    count * 1_000_000 / micros.max(1)
}

/// What each side holds for one tunnel when all stand.
fn memory(tunnels: u32) -> [usize; 2] {
    let mut both = Both::new(1);
    for number in 0..tunnels {
        let peer = |site: u32| IpAddr::V4(Ipv4Addr::from((10 << 24) + site * 0x10_0000 + number));
        for (side, who) in [(0u32, Who::Alice), (1, Who::Bob)] {
            let id = ConnectionId(number + 1);
            let configured = ConnectionConfig {
                id,
                name: format!("tunnel {number}"),
                local: Some(peer(side)),
                remote: Some(SocketAddr::new(peer(1 - side), 500)),
                ..config(who)
            };
            let command = Command::Configure(Box::new(configured));
            both.input(who as usize, Input::Command(command));
        }
        both.input(0, Input::Command(Command::Up(ConnectionId(number + 1))));
        both.talk();
    }
    let wanted = usize::try_from(tunnels).unwrap_or(usize::MAX) * 2;
    assert_eq!(both.established, wanted, "a CHILD SA on both sides of each");
    both.under_way = VecDeque::new();
    let all = live();
    let Both {
        endpoints: [initiator, responder],
        ..
    } = both;
    drop(initiator);
    let half = live();
    drop(responder);
    let none = live();
    let share = |octets: usize| octets / usize::try_from(tunnels).unwrap_or(1);
    [share(all.saturating_sub(half)), share(half.saturating_sub(none))]
}

/// Counts what is allocated and not freed.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

// SAFETY: everything is left to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
