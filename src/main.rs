//! The program `fcdd`.

fn main() -> std::process::ExitCode {
    fcdd::cli::main()
}
