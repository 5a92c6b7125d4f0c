//! The program: see `lib.rs` for its rooms.

fn main() -> std::process::ExitCode {
    portcullis::main()
}
