//! The `xvpn` program. Single-threaded until a verb decides otherwise: `xvpn demo` enters a user namespace of its own first.

fn main() -> std::process::ExitCode {
    xvpn::cli::main()
}
