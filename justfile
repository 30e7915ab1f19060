# Recipes for people; CI calls the same commands.

# Two clouds on this machine, one tunnel, everything verified.
[group('use')]
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Everything: unit, vectors, simulation, namespaces, interop.
[group('check')]
test *ARGS:
    cargo test --workspace {{ARGS}}

# What CI looks at before the tests.
[group('check')]
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, duplicate and banned crates (cargo install cargo-deny).
[group('check')]
deny:
    cargo deny check bans licenses sources

# One fuzz target for SECONDS (cargo install cargo-fuzz); no argument lists them.
[group('check')]
fuzz TARGET="" SECONDS="60":
    tests/fuzz/run.sh {{TARGET}} {{SECONDS}}

# The dataplane's tests under AddressSanitizer, Miri or valgrind (address, miri, memcheck).
[group('check')]
sanitize *ARGS:
    tests/sanitize.sh {{ARGS}}

# strongSwan 6.1 and a User-Mode Linux guest for the interop scenarios, into target/interop.
[group('check')]
interop-setup:
    tests/interop/setup.sh

# ns per stage: seal, open, look-up, pipeline, handshake.
[group('measure')]
bench *ARGS:
    cargo bench --workspace {{ARGS}}

# Instructions per packet and stage (valgrind); --top N names the functions.
[group('measure')]
instructions *ARGS:
    cargo bench -p xvpn-dataplane --bench instructions -- {{ARGS}}

# Time to establish, memory with 1 and 100 tunnels, TCP throughput.
[group('measure')]
figures:
    benches/figures.sh

# xvpn beside other VPNs in user space: throughput, latency, cost (root; an hour, or --quick --profile wire).
[group('measure')]
throughput *ARGS:
    benches/throughput/run.sh {{ARGS}}
